"""What the benchmarks share: interleaved rounds, medians, and a record that names the machine."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
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


def interleaved(contestants: dict[str, Callable[[], dict[str, float]]], rounds: int) -> dict[str, dict[str, float]]:
    """Calls A, B, C, A, B, C, ... and returns the median of each figure (seconds) of each; the first two rounds warm up."""
    figures = {name: [] for name in contestants}
    for _ in range(rounds + 2):
        for name, contestant in contestants.items():
            figures[name].append(contestant())
    return {
        name: {key: median(row[key] for row in rows[2:]) for key in rows[0]} for name, rows in figures.items()
    }


def clock() -> float:
    """The time, after all work given to the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def record(name: str, rows: list[dict]) -> None:
    """Writes results/NAME-DEVICE.json: the rows with date, device and versions."""
    on_gpu = torch.cuda.is_available()
    label = torch.cuda.get_device_name() if on_gpu else f"{_cpu_name()}, {torch.get_num_threads()} thread(s)"
    short = "cpu" if not on_gpu else label.lower().replace(" ", "-")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{short}.json"
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    path.write_text(json.dumps({"date": str(date.today()), "device": label, **versions, "rows": rows}, indent=1) + "\n")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _cpu_name() -> str:
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
