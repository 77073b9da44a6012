"""All that a GPU is needed for, by one command: its tests, the benchmarks, a training in a notebook, the tables.

    python benchmarks/gpu.py [--parts tests network ...] [--seconds 480] [--dry-run]

Each part is a process with a time limit of its own. A part that fails or is cut off leaves the records that it has
written, and the next part runs. No part begins when `--seconds` are over, and none is given more than is left; the
tables are written in any case. Output goes to runs/gpu/NAME.log. A summary ends the run, whose exit status is 1 if a
part failed or was cut off. It works from a checkout, with any Python that has torch, PyAV, pydantic and pytest; the
notebook needs papermill.
"""

import argparse
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LOGS = ROOT / "runs" / "gpu"
TEST_PROCESSES = min(8, (os.cpu_count() or 1) // 2)  # Triton compiles on the CPU; used where pytest-xdist is installed
GPU_TESTS = re.compile(r"^@(needs_gpu|computes)$|^def test_\w+\([^)]*\bdevice\b", re.MULTILINE)
GRACE = 5  # seconds between asking a part to end and ending it
SHOWN = 12  # last lines of a part that failed


class Part(NamedTuple):
    """One process: its words after `python`, and the most seconds that it may take."""

    name: str
    words: tuple[str, ...]
    limit: int


def part(name: str, command: str, limit: int) -> Part:
    return Part(name, tuple(shlex.split(command)), limit)


# The options keep the whole run under eight minutes on an H100; without them the scripts measure more.
PARTS = (
    part("tests", "-m pytest -q -m gpu -p no:cacheprovider --durations=5", 120),
    part("profile", "benchmarks/step_kernels.py", 50),
    part(
        "network",
        "benchmarks/network.py --precisions bfloat16 --compile --rounds 5 --seconds 15 --without TSM"
        " --tasks 'training step' inference 'test forward'",
        150,
    ),
    part(
        "module",
        "benchmarks/module.py --tasks bandwidth module --clips 32 --precisions bfloat16 float32"
        " --layouts channels_last contiguous --rounds 3 --seconds 70",
        100,
    ),
    part("memory", "benchmarks/network.py --tasks memory --clips 8", 50),
    part("scaling", "benchmarks/scaling.py --seconds 2 --cases 8x8x224 8x16x224 8x32x224 8x64x224", 70),
    part(
        "training",
        "benchmarks/train_e2e.py --clips 32 --key-frames 12 --steps 120 --graphs off on"
        " --set compile=off --set precision=bfloat16 --set memory_format=channels_last",
        100,
    ),
    part(
        "loader",
        "benchmarks/loader.py --tasks training --contestants tanet --key-frames 12 --no-jpegs"
        " --workers 1 4 8 16 --batches 16 --rounds 2",
        60,
    ),
    part("nvdec", "benchmarks/nvdec.py --videos 2", 40),
    part(
        "notebook",
        "-m papermill notebooks/04_train_kinetics400.ipynb runs/gpu/04_train_kinetics400.ipynb --cwd notebooks"
        " --no-progress-bar -p gpus 1 -p run_dir ../runs/gpu/kinetics-tam",
        120,
    ),
    part(
        "compiled",
        "benchmarks/network.py --label compiled --precisions bfloat16 --compile default --clips 32 --rounds 5"
        " --seconds 15 --without TSM --tasks inference 'training step'",
        150,
    ),
    part("pages", "benchmarks/pages.py --write", 60),
)


def command(chosen: Part) -> list[str]:
    """The part's command. Tests run in several processes where pytest can do that."""
    words = [sys.executable, *chosen.words]
    if chosen.name == "tests":
        words += gpu_test_files()
        if importlib.util.find_spec("xdist") and TEST_PROCESSES > 1:
            words += ["-n", str(TEST_PROCESSES)]
    return words


def gpu_test_files() -> list[str]:
    """The files with tests that need a GPU. The others import more than a machine with its own torch has."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if GPU_TESTS.search(file.read_text())]


def run(chosen: Part, limit: float) -> tuple[str, float]:
    """Runs a part for at most `limit` seconds; returns ("passed", "failed" or "cut off", seconds)."""
    search_path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": search_path, "PYTHONUNBUFFERED": "1"}
    started = time.monotonic()
    with open(LOGS / f"{chosen.name}.log", "w") as log:
        process = subprocess.Popen(
            command(chosen), cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            outcome = "failed" if process.wait(limit) else "passed"
        except subprocess.TimeoutExpired:
            outcome = "cut off"
        end_group(process)
    return outcome, time.monotonic() - started


def end_group(process: subprocess.Popen) -> None:
    """Ends the part's process and those that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue
        time.sleep(0.2)  # for the children that the first signal ends
    process.wait()


def report(outcomes: dict[str, tuple[str, float]]) -> None:
    print(f"{'part':10} {'outcome':10} seconds")
    for name, (outcome, seconds) in outcomes.items():
        print(f"{name:10} {outcome:10} {seconds:7.1f}")
    print(f"output: {LOGS}/NAME.log, records: benchmarks/results", flush=True)


def main() -> int:
    names = [each.name for each in PARTS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=names, default=names, help="run in the order of the list")
    parser.add_argument("--seconds", type=float, default=480, help="of all parts together")
    parser.add_argument("--mmaction2", type=Path, help="folder with the package mmaction2, for network.py")
    parser.add_argument("--commit", help="for the records, where the checkout has no history")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and run nothing")
    chosen = parser.parse_args()
    plan = [each for each in PARTS if each.name in chosen.parts]
    if chosen.mmaction2:
        words = ("--mmaction2", str(chosen.mmaction2))
        plan = [each._replace(words=each.words + words) if each.name == "network" else each for each in plan]
    if chosen.dry_run:
        for each in plan:
            print(f"{each.name:10} {each.limit:4} s  {shlex.join(command(each))}")
        return 0
    if chosen.commit:
        os.environ["BENCHMARKED_COMMIT"] = chosen.commit
    LOGS.mkdir(parents=True, exist_ok=True)
    outcomes, deadline = {}, time.monotonic() + chosen.seconds
    for each in plan:
        left = deadline - time.monotonic() if each.name != "table" else each.limit
        outcomes[each.name] = run(each, min(each.limit, left)) if left > 0 else ("not begun", 0.0)
        print(f"{each.name}: {outcomes[each.name][0]} after {outcomes[each.name][1]:.0f} s", flush=True)
        if outcomes[each.name][0] in ("failed", "cut off"):
            lines = (LOGS / f"{each.name}.log").read_text(errors="replace").splitlines()
            print("\n".join(f"    {line[:200]}" for line in lines[-SHOWN:]), flush=True)
    report(outcomes)
    return int(any(outcome != "passed" for outcome, _ in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
