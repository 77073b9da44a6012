"""The demo, end to end: data, trainings with and without TAM, tests, notebooks. `make demo` runs `python -m tanet.demo`.

Also where the notebooks' demo preset finds its data and its trained networks, made on first use: below the checkout,
data/ and runs/demo/.
"""

import dataclasses
import json
import shutil
import time
from pathlib import Path

from tanet import checkpoint, evaluate, recipes, train
from tanet.demo.footage import make_demo_kinetics, make_demo_something
from tanet.evaluate import videos_tested
from tanet.recipes import Recipe

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "runs" / "demo"
_MAKERS = {"demo_kinetics": make_demo_kinetics, "demo_something": make_demo_something}


def data_root(recipe: Recipe) -> Path:
    """Where the data of a demo recipe are; makes them if they are not there."""
    if recipe.name not in _MAKERS:
        raise ValueError(f"recipe {recipe.name} trains on data that only you have: set data_root to their folder")
    return _MAKERS[recipe.name](ROOT / "data")


def run_dir(recipe: Recipe) -> Path:
    """The folder of a recipe's run when none is named: runs/demo/... for the demo recipes, runs/... for others."""
    folder = RUNS if recipe.name in _MAKERS else RUNS.parent
    return folder / f"{recipe.name.removeprefix('demo_')}-{recipe.temporal}"


def trained(name: str, temporal: str = "tam") -> Path:
    """The run folder of a demo network, trained there if it is not yet: "demo_kinetics" or "demo_something"."""
    recipe = dataclasses.replace(recipes.get(name), temporal=temporal)
    train.launch(recipe, data_root(recipe), run_dir(recipe))
    return run_dir(recipe)


def tested(run: Path, protocol: str) -> dict:
    """The result of a demo run's last checkpoint under `protocol`; tests it if it is not yet tested."""
    stored, weights = run / f"result-{protocol}.json", run / "checkpoints" / "last.pth"
    if not stored.exists() or stored.stat().st_mtime < weights.stat().st_mtime:
        evaluate.run(weights, data_root(checkpoint.read(weights).recipe), protocol, stored)
    return json.loads(stored.read_text())


def execute(notebook: str) -> None:
    """Runs one of the notebooks by papermill with its default parameters; the copy with outputs goes to runs/demo."""
    import papermill  # here: the notebooks import this module, and JupyterLab runs them without papermill

    source = next((ROOT / "notebooks").glob(f"{notebook}*.ipynb"))
    target = RUNS / "notebooks" / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"{source.relative_to(ROOT)}: running", flush=True)
    started = time.monotonic()
    papermill.execute_notebook(source, target, cwd=source.parent, progress_bar=False)
    print(f"{target.relative_to(ROOT)}: done in {time.monotonic() - started:.0f} s", flush=True)


def summary() -> dict:
    """Top-1 of the demo networks with and without a temporal module, by the first protocol of each recipe."""
    rows = {}
    for name in _MAKERS:
        recipe = recipes.get(name)
        protocol = recipe.protocols[0]
        rows[name] = {"protocol": protocol}
        for temporal in ("tam", "none"):
            result = tested(trained(name, temporal), protocol)
            rows[name][temporal] = {"top1": result["top1"], "videos": videos_tested(result)}
    return rows


def run_all() -> None:
    """Everything anew, so that what it prints is what this checkout does on this machine."""
    started = time.monotonic()
    shutil.rmtree(RUNS, ignore_errors=True)
    for name in _MAKERS:
        print(f"demo data: {data_root(recipes.get(name)).relative_to(ROOT)}", flush=True)
    execute("04")  # trains demo Kinetics with TAM
    execute("05")  # trains demo Something with TAM
    rows = summary()  # trains both without, tests all four
    (RUNS / "summary.json").write_text(json.dumps(rows, indent=2) + "\n")
    for notebook in ("01", "02", "03", "06", "07", "08"):
        execute(notebook)
    print(f"\n{'top-1, per cent':18}{'with TAM':>10}{'without':>10}   protocol")
    for name, row in rows.items():
        print(
            f"{name:18}{row['tam']['top1']:10.1f}{row['none']['top1']:10.1f}   {row['protocol']}, {row['tam']['videos']} videos"
        )
    print(f"\n{time.monotonic() - started:.0f} s; figures in {(RUNS / 'summary.json').relative_to(ROOT)}, "
          f"notebooks with their outputs in {(RUNS / 'notebooks').relative_to(ROOT)}")  # fmt: skip
