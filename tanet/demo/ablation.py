"""The ablation: which part of TAM does what, on demo sets that ask for different things.

Each cell of the tables is a training by the usual code, in the usual run folder, so it can be interrupted and resumed.
`run_cells` trains and tests what is missing. `table_rows` gives what is there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch

from tanet import evaluate, recipes, train
from tanet.demo.runs import RUNS, data_root
from tanet.model import measure
from tanet.recipes import Recipe
from tanet.runtime import read_json

FOLDER = RUNS.parent / "ablation"
SETS = ("demo_late", "demo_something", "demo_kinetics", "demo_near")
SEEDS = (0, 1, 2)
# What stands in the slots -> the changes of the recipe.
MODULES = {
    "no module (TSN)": {"temporal": "none"},
    "shift (TSM)": {"temporal": "tsm"},
    "fixed convolution": {"temporal": "conv"},
    "V alone": {"temporal": "tam_local"},
    "W alone": {"temporal": "tam_global"},
    "TAM": {},
}
# Other sizes and places of TAM, on SIZES_SET alone.
SIZES_SET = "demo_late"
SIZES = {
    "K = 1": {"kernel_size": 1},
    "K = 5": {"kernel_size": 5},
    "K = 7": {"kernel_size": 7},
    "fixed convolution, K = 5": {"temporal": "conv", "kernel_size": 5},
    "fixed convolution, K = 7": {"temporal": "conv", "kernel_size": 7},
    "alpha = 1": {"alpha": 1},
    "alpha = 4": {"alpha": 4},
    "beta = 2": {"beta": 2},
    "beta = 8": {"beta": 8},
    "stage 1": {"temporal_stages": [1]},
    "stages 1, 2": {"temporal_stages": [1, 2]},
    "stages 3, 4": {"temporal_stages": [3, 4]},
    "stage 4": {"temporal_stages": [4]},
    "before conv1": {"temporal_position": "conv1"},
    "before conv3": {"temporal_position": "conv3"},
}


@dataclass(frozen=True)
class Cell:
    """One training of the ablation: a demo set, a variant by its name, a seed."""

    dataset: str
    variant: str
    seed: int

    @property
    def recipe(self) -> Recipe:
        changes = {**MODULES, **SIZES}[self.variant]
        return recipes.get(self.dataset).with_changes({"workers": 0, "seed": self.seed, **changes})

    @property
    def folder(self) -> Path:
        return FOLDER / f"{self.dataset.removeprefix('demo_')}-{self.variant}-{self.seed}".replace(" ", "")


def cells() -> Iterator[Cell]:
    """All trainings of the ablation. Seed by seed, and the control set last: what is interrupted has whole tables."""
    for seed in SEEDS:
        for dataset in SETS[:-1]:
            yield from (Cell(dataset, variant, seed) for variant in MODULES)
    for seed in SEEDS:
        yield from (Cell(SIZES_SET, variant, seed) for variant in SIZES)
    for seed in SEEDS:
        yield from (Cell(SETS[-1], variant, seed) for variant in MODULES)


def run_cell(cell: Cell) -> dict:
    """Trains and tests a cell, unless that is done already. Returns the result of `evaluate.run`."""
    result_path = cell.folder / "result.json"
    if not result_path.exists():
        root = data_root(cell.recipe)
        train.fit(cell.recipe, root, cell.folder)
        evaluate.run(cell.folder / "checkpoints" / "last.pth", root, out=result_path)
    return read_json(result_path)


def run_cells(share: str = "1/1") -> None:
    """Trains and tests the cells that are missing: hours. `share`: "2/3" is the second of three processes' share."""
    part, parts = map(int, share.split("/"))
    torch.set_num_threads(1)  # several threads for networks so small wait for each other
    chosen = [cell for number, cell in enumerate(cells()) if number % parts == part - 1]
    for number, cell in enumerate(chosen, 1):
        result = run_cell(cell)
        print(f"{number} of {len(chosen)}: {cell.dataset}, {cell.variant}, seed {cell.seed}: {result['top1']:.1f}%")


def table_rows() -> list[dict]:
    """What the tested cells gave: one row a set and variant.

    A row: {"dataset", "variant", "top1": [per cent of each seed], "curves": [[validation top-1 of each epoch] of each
    seed], "parameters", "macs" of one test clip}.
    """
    rows: dict[tuple[str, str], dict] = {}
    for cell in cells():
        result_path = cell.folder / "result.json"
        if result_path.exists():
            epochs = train.read_metrics(cell.folder)
            key = cell.dataset, cell.variant
            if key not in rows:
                rows[key] = _new_row(cell)
            row = rows[key]
            row["top1"].append(round(read_json(result_path)["top1"], 2))
            row["curves"].append([round(epoch["val_top1"], 2) for epoch in epochs])
    return list(rows.values())


def _new_row(cell: Cell) -> dict:
    cost = measure(cell.recipe, cell.recipe.test_size)
    row = {"dataset": cell.dataset, "variant": cell.variant, "top1": [], "curves": []}
    return row | {"parameters": cost.parameters, "macs": cost.macs}


def results(rows: list[dict]) -> dict[str, dict[str, list[float]]]:
    """{data set: {variant: [top-1 in per cent of each seed]}} of `table_rows`."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault(row["dataset"], {})[row["variant"]] = row["top1"]
    return found


def table(rows: list[dict], variants: Iterable[str], datasets: Sequence[str] = SETS) -> str:
    """A Markdown table of `table_rows`: top-1 of each variant on each set, and its cost on the last of the sets."""
    found = results(rows)
    costs = {row["variant"]: row for row in rows if row["dataset"] == datasets[-1]}
    lines = [
        "| variant | " + " | ".join(datasets) + " | parameters | MACs of a clip |",
        "|---|" + "---|" * (len(datasets) + 2),
    ]
    for variant in variants:
        if variant in costs:
            values = [spread(found[dataset].get(variant, [])) for dataset in datasets]
            cost = f"{costs[variant]['parameters']:,} | {costs[variant]['macs'] / 1e6:.1f} M"
            lines.append(f"| {variant} | " + " | ".join(values) + f" | {cost} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Per cent of several seeds -> "mean ± standard deviation" (n - 1); one value alone; "not run" for none."""
    if not values:
        return "not run"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
