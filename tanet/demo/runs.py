"""The demo networks: where they are, how they are trained and tested, and `run_all`, which does all of it anew.

The notebooks' demo preset finds its data below data/ and its trained networks below runs/demo/ of the checkout. What is
not there is made on first use.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tanet import checkpoint, recipes, train
from tanet.data import Sample, load_list
from tanet.demo.footage import make_demo_kinetics, make_demo_late, make_demo_near, make_demo_something
from tanet.evaluate import videos_tested
from tanet.recipes import Recipe
from tanet.runtime import read_json, worker_count

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "runs" / "demo"
NETWORKS = ROOT / "notebooks" / "networks"
TRAINED = ("demo_kinetics", "demo_something")  # what `make demo` trains, in notebooks 04 and 05
LONGEST = ("10", "04", "05", "08", "09", "02", "07")  # notebooks, the longest first
# The demo networks that come with the repository: (recipe, temporal module).
STORED = (
    ("demo_kinetics", "tam"),
    ("demo_kinetics", "none"),
    ("demo_something", "tam"),
    ("demo_something", "tsm"),
    ("demo_something", "none"),
    ("demo_late", "tam"),
    ("demo_late", "tsm"),
)
_MAKERS = {
    "demo_kinetics": make_demo_kinetics,
    "demo_something": make_demo_something,
    "demo_late": make_demo_late,
    "demo_near": make_demo_near,
}


def data_root(recipe: Recipe) -> Path:
    """The folder of a demo recipe's data, made on the first call. Raises ValueError for recipes of real data sets."""
    if recipe.name not in _MAKERS:
        raise ValueError(f"recipe {recipe.name} needs a real data set: set data_root to its folder")
    return _MAKERS[recipe.name](ROOT / "data")


def run_dir(recipe: Recipe) -> Path:
    """The default folder of a recipe's run: runs/demo/NAME-TEMPORAL for demo recipes, runs/NAME-TEMPORAL for others."""
    folder = RUNS if recipe.name in _MAKERS else RUNS.parent
    return folder / f"{recipe.name.removeprefix('demo_')}-{recipe.temporal}"


def trained(name: str, temporal: str = "tam") -> Path:
    """The run folder of a trained demo network. Trains it on the first call.

    `name` is that of a demo recipe; `temporal` as in `Recipe.temporal`.
    """
    recipe = dataclasses.replace(recipes.get(name), temporal=temporal)
    train.launch(recipe, data_root(recipe), run_dir(recipe))
    return run_dir(recipe)


def examples(name: str) -> dict[str, Path]:
    """A validation video of each class of a demo set, {class: path}: the longest of its first three."""
    recipe = recipes.get(name)
    videos = load_list(recipe, data_root(recipe), "val")
    chosen = {}
    for label, class_name in enumerate(videos.class_names):
        first = [sample for sample in videos.samples if sample.label == label][:3]
        chosen[class_name] = max(first, key=_length).path
    return chosen


def _length(sample: Sample) -> int:
    with sample.open() as video:
        return len(video)


def stored(name: str, temporal: str = "tam") -> Path:
    """The file of a demo network that comes with the repository, so that texts and figures fit what everybody sees.

    `name` and `temporal` as for `trained`, which trains the same network, the same to the last bit on the same machine.
    ValueError if it is not one of STORED.
    """
    if (name, temporal) not in STORED:
        raise ValueError(f"no network of {name} with temporal={temporal!r} comes with the repository; train it")
    return NETWORKS / f"{name.removeprefix('demo_')}-{temporal}.safetensors"


def stored_metrics(name: str, temporal: str = "tam") -> list[dict]:
    """The epochs of a stored network's training, as `train.read_metrics` gives them, without the speed."""
    return read_json(stored(name, temporal).with_suffix(".json"))["epochs"]


def store(name: str, temporal: str, run: Path) -> None:
    """Puts the network of the run folder `run`, and what its training reported, where `stored` finds them."""
    target = stored(name, temporal)
    target.parent.mkdir(exist_ok=True)
    recipe = dataclasses.replace(recipes.get(name), temporal=temporal)
    checkpoint.convert(run / "checkpoints" / "last.pth", target, "tanet", recipe)
    speed = ("clips_per_second", "data_wait", "peak_memory_mib")
    lines = [json.dumps({key: row[key] for key in row if key not in speed}) for row in train.read_metrics(run)]
    target.with_suffix(".json").write_text('{"epochs": [\n' + ",\n".join(lines) + "\n]}\n")


def execute(notebook: str) -> None:
    """Runs the notebook whose file name begins with `notebook`, with its default parameters.

    The executed copy goes to runs/demo/notebooks. Raises papermill's PapermillExecutionError if a cell fails.
    """
    # Not at the top: notebooks import this module, and JupyterLab runs them without papermill.
    import papermill

    from tanet.demo.kernels import AsyncFileKernelManager

    source = next((ROOT / "notebooks").glob(f"{notebook}*.ipynb"))
    target = RUNS / "notebooks" / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"{source.relative_to(ROOT)}: running", flush=True)
    started = time.monotonic()
    options = {"progress_bar": False, "kernel_manager_class": AsyncFileKernelManager}
    papermill.execute_notebook(source, target, cwd=source.parent, **options)
    print(f"{target.relative_to(ROOT)}: done in {time.monotonic() - started:.0f} s", flush=True)


def run_all() -> None:
    """Removes runs/demo, then runs all notebooks, which train and test the demo networks, and prints the accuracies.

    Everything is run again, so the printed numbers are those of this checkout on this machine. The demo data stay.
    """
    started = time.monotonic()
    shutil.rmtree(RUNS, ignore_errors=True)
    for name in (*TRAINED, "demo_late"):
        print(f"demo data: {data_root(recipes.get(name)).relative_to(ROOT)}", flush=True)
    # With a thread each, since most of their cells use one core. Kernels that start and trainings that load leave cores
    # idle, so that one notebook more runs than there are cores. The longest come first.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    others = sorted({path.name[:2] for path in (ROOT / "notebooks").glob("*.ipynb")} - {*LONGEST})
    with ThreadPoolExecutor(min(4, worker_count(os.cpu_count()) + 1)) as pool:
        jobs = [pool.submit(execute, notebook) for notebook in (*LONGEST, *others)]
        jobs += [pool.submit(_test_without, name) for name in TRAINED]
        for job in jobs:
            job.result()
    rows = _accuracies()
    summary_path = RUNS / "summary.json"
    summary_path.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"\n{'top-1, per cent':18}{'with TAM':>10}{'without':>10}   protocol")
    for name, row in rows.items():
        with_tam, without = row["tam"], row["none"]
        conditions = f"{row['protocol']}, {with_tam['videos']} videos"
        print(f"{name:18}{with_tam['top1']:10.1f}{without['top1']:10.1f}   {conditions}")
    print(f"\n{time.monotonic() - started:.0f} s; numbers in {summary_path.relative_to(ROOT)}")
    print(f"executed notebooks in {(RUNS / 'notebooks').relative_to(ROOT)}")


def _test_without(name: str) -> None:
    """Tests the stored network without TAM of the demo recipe `name`, by the command that tests any checkpoint."""
    root, target = data_root(recipes.get(name)), _result_path(name, "none")
    command = ["evaluate", stored(name, "none"), "--data-root", root, "--out", target]
    subprocess.run([sys.executable, "-m", "tanet", *map(str, command)], check=True)


def _result_path(name: str, temporal: str) -> Path:
    """Where the result of a demo network is, by the first protocol of its recipe. Notebooks write those with TAM."""
    recipe = recipes.get(name)
    if temporal == "tam":
        return run_dir(recipe) / f"result-{recipe.protocols[0]}.json"
    return RUNS / f"{name}-{temporal}-{recipe.protocols[0]}.json"


def _accuracies() -> dict:
    """{recipe: {"protocol": name, "tam": {"top1": per cent, "videos": text}, "none": likewise}}."""
    rows = {}
    for name in TRAINED:
        rows[name] = {"protocol": recipes.get(name).protocols[0]}
        for temporal in ("tam", "none"):
            result = read_json(_result_path(name, temporal))
            rows[name][temporal] = {"top1": result["top1"], "videos": videos_tested(result)}
    return rows
