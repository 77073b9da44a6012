"""What the benchmarks share: measuring in turns, medians and ranges, ratios, and records that name the machine."""

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median

import torch

RESULTS = Path(__file__).parent / "results"

Contestant = Callable[[], dict[str, float]]  # runs once and returns {figure: seconds}


def fair_malloc() -> None:
    """Restarts the script so that malloc keeps large blocks, where glibc has that setting.

    Without it, the kernel maps and clears the memory of every large temporary again. That triples the time of the code
    that allocates most.
    """
    setting = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296"
    if sys.platform == "linux" and os.environ.get("GLIBC_TUNABLES") != setting:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"GLIBC_TUNABLES": setting})


def device() -> torch.device:
    """The device to measure: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measure_in_turns(
    contestants: dict[str, Contestant], rounds: int, seconds: float = math.inf
) -> dict[str, dict[str, list[float]]]:
    """Runs A, B, C, A, B, C, ... and returns {contestant: {figure: [seconds of each round]}}.

    In turns, because the speed of a machine drifts. Two rounds to warm up come first, or one if it takes over a minute.
    No round begins later than `seconds` after the start, but two are measured in any case.
    """
    started = time.perf_counter()
    warm_up = 0
    while warm_up < 2 and time.perf_counter() - started < min(60, seconds):
        for contestant in contestants.values():
            contestant()
        warm_up += 1
    results = {name: [] for name in contestants}
    for done in range(rounds):
        if done >= 2 and time.perf_counter() - started > seconds:
            break
        for name, contestant in contestants.items():
            results[name].append(contestant())
    return {name: {figure: [row[figure] for row in rows] for figure in rows[0]} for name, rows in results.items()}


def median_in_turns(contestants: dict[str, Contestant], rounds: int) -> dict[str, dict[str, float]]:
    """{contestant: {figure: median seconds}} of `measure_in_turns`."""
    times = measure_in_turns(contestants, rounds)
    return {name: {figure: median(values) for figure, values in figures.items()} for name, figures in times.items()}


def ratios(times: dict[str, dict[str, list[float]]], base: str, **conditions) -> list[dict]:
    """One row for each contestant and figure of `measure_in_turns`: its ratio to `base` in the same round.

    A row has the median ratio and its range, and `conditions`. On a GPU it also has the median in milliseconds.
    """
    rows = []
    for name, figures in times.items():
        for figure, values in figures.items():
            by_round = [value / reference for value, reference in zip(values, times[base][figure])]
            row = {
                **conditions,
                "figure": figure,
                "contestant": name,
                "base": base,
                **median_and_range("ratio", by_round),
            }
            if torch.cuda.is_available():
                row["milliseconds"] = round(1000 * median(values), 3)
            rows.append(row)
    return rows


def median_and_range(name: str, values: list[float]) -> dict:
    """{name: the median, "range": [the smallest, the largest]}, rounded to four decimals."""
    return {name: round(median(values), 4), "range": [round(min(values), 4), round(max(values), 4)]}


def clock() -> float:
    """The time in seconds, read after the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def record(name: str, rows: list[dict]) -> None:
    """Writes results/NAME-DEVICE.json: the rows, and date, device, threads, versions and commit.

    Long measurements call it after each part, so that one that is cut off leaves what it has.
    The name of a CPU includes the instructions that torch uses: without AVX512, bfloat16 convolutions are slower than
    float32.
    """
    if torch.cuda.is_available():
        device_name = torch.cuda.get_device_name()
        suffix = device_name.lower().replace(" ", "-")
    else:
        device_name = f"{_cpu_name()} ({torch.backends.cpu.get_cpu_capability()})"
        suffix = "cpu"
    head = {"date": str(date.today()), "device": device_name, "threads": torch.get_num_threads(), **_versions()}
    write_record(RESULTS / f"{name}-{suffix}.json", head | _commit(), rows)


def write_record(path: Path, head: dict, rows: list[dict]) -> None:
    # One row per line, so that a change of a record can be read.
    head_lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    row_lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["{", *head_lines, ' "rows": [', row_lines, " ]", "}"]) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    try:
        versions["triton"] = metadata.version("triton")
    except metadata.PackageNotFoundError:
        pass
    return versions


def _commit() -> dict[str, str]:
    """{"commit": the checkout's commit}; empty without git. "+" says that the code differs from it.

    The variable BENCHMARKED_COMMIT names it where a copy of the checkout has no history.
    """
    if "BENCHMARKED_COMMIT" in os.environ:
        return {"commit": os.environ["BENCHMARKED_COMMIT"]}

    def git(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *words], cwd=RESULTS.parents[1], capture_output=True, text=True)

    try:
        commit = git("rev-parse", "--short=7", "HEAD")
        changed = git("diff", "--quiet", "HEAD", "--", "*.py", "*.cpp", "*.h")
    except OSError:
        return {}
    return {"commit": commit.stdout.strip() + "+" * changed.returncode} if commit.returncode == 0 else {}


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
