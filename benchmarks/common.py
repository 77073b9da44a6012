"""What the benchmarks share: interleaved rounds, medians, ratios and their range, a record that names the machine."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median

import torch

RESULTS = Path(__file__).parent / "results"


def fair_malloc() -> None:
    """Starts the script again with large blocks kept by malloc, where glibc has that setting.

    Otherwise every large temporary is mapped and cleared anew, which triples the time of whoever allocates most.
    """
    setting = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296"
    if sys.platform == "linux" and os.environ.get("GLIBC_TUNABLES") != setting:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"GLIBC_TUNABLES": setting})


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measured(contestants: dict[str, Callable[[], dict[str, float]]], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Calls A, B, C, A, B, C, ...: each contestant's figures (seconds), one a round.

    Two rounds before them warm up, or one if that takes longer than a minute.
    """
    started = time.perf_counter()
    warm_up = 0
    while warm_up < 2 and time.perf_counter() - started < 60:
        for contestant in contestants.values():
            contestant()
        warm_up += 1
    figures = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            figures[name].append(contestant())
    return {name: {key: [row[key] for row in rows] for key in rows[0]} for name, rows in figures.items()}


def interleaved(contestants: dict[str, Callable[[], dict[str, float]]], rounds: int) -> dict[str, dict[str, float]]:
    """The median of each figure (seconds) of each contestant, `measured` in turn."""
    found = measured(contestants, rounds)
    return {name: {key: median(values) for key, values in figures.items()} for name, figures in found.items()}


def ratios(found: dict[str, dict[str, list[float]]], base: str, **conditions) -> list[dict]:
    """One row for each contestant and figure of `measured`: its ratio to the same round's `base`, median and range.

    `conditions` stand in every row. On a GPU a row also has the median in milliseconds.
    """
    rows = []
    for name, figures in found.items():
        for figure, values in figures.items():
            each = [value / reference for value, reference in zip(values, found[base][figure])]
            row = conditions | {"figure": figure, "contestant": name, "base": base} | spread("ratio", each)
            rows.append(row | ({"milliseconds": round(1000 * median(values), 3)} if torch.cuda.is_available() else {}))
    return rows


def spread(name: str, values: list[float]) -> dict:
    """{name: the median, "range": [the smallest, the largest]}, rounded."""
    return {name: round(median(values), 4), "range": [round(min(values), 4), round(max(values), 4)]}


def clock() -> float:
    """The time, after all work given to the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def record(name: str, rows: list[dict]) -> None:
    """Writes results/NAME-DEVICE.json: the rows with date, device, threads and versions.

    A CPU is named with the instructions that torch uses: without AVX512 bfloat16 convolutions are slower than float32.
    """
    on_gpu = torch.cuda.is_available()
    label = torch.cuda.get_device_name() if on_gpu else f"{_cpu_name()} ({torch.backends.cpu.get_cpu_capability()})"
    short = label.lower().replace(" ", "-") if on_gpu else "cpu"
    head = {"date": str(date.today()), "device": label, "threads": torch.get_num_threads()} | _versions()
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    lines += [' "rows": [', ",\n".join("  " + json.dumps(row) for row in rows), " ]"]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{short}.json"
    path.write_text("\n".join(["{", *lines, "}"]) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    try:
        return versions | {"triton": metadata.version("triton")}
    except metadata.PackageNotFoundError:
        return versions


def _cpu_name() -> str:
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
