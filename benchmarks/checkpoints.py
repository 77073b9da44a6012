"""The cost of checkpoints and metrics.jsonl: their shares of a training's time at the default intervals.

    python benchmarks/checkpoints.py [--arch tanet50] [--clips 2] [--rounds 5]

Three actions are timed in turns: one step of the optimiser, one checkpoint of the whole state (weights and momentum,
written, synced, and the oldest removed), and one line of metrics.jsonl.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from common import Contestant, clock, device, fair_malloc, median_in_turns, record

from tanet import recipes, train
from tanet.data import Sample, VideoList
from tanet.model import ARCHITECTURES
from tanet.runtime import Process
from tanet.train import FiniteCheck, Options, StepTimer, loop, state

SAVE_SECONDS = 60 * Options().save_minutes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="tanet50")
    parser.add_argument("--clips", type=int, default=2 if device().type == "cpu" else 32)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    changes = {"arch": chosen.arch, "init": "none", "clips_per_process": chosen.clips, "deterministic": True}
    recipe = recipes.get("k400_8f").with_changes(changes)
    shape = (chosen.clips, recipe.num_frames, 3, recipe.crop_size, recipe.crop_size)
    indices = torch.arange(chosen.clips)
    parts = [(torch.zeros(shape, dtype=torch.uint8), indices, indices, [])]
    videos = VideoList(tuple(Sample(Path(f"{index}.mp4"), index) for index in range(chosen.clips)), ("a", "b"))
    with TemporaryDirectory() as folder:
        run_dir = Path(folder)
        (run_dir / "checkpoints").mkdir()
        training = state.begin(recipe, videos.class_names, {}, run_dir, Process(0, 1, device()), None)
        finite_check, timer = FiniteCheck(videos, training.run_dir), StepTimer()
        actions = {
            "step": lambda: loop._step(training, parts, finite_check),
            "checkpoint": lambda: state.save(training),
            "line": lambda: loop._log_step(training, 0.01, 0.5, timer),
        }
        times = median_in_turns({name: timed(action) for name, action in actions.items()}, chosen.rounds)
    seconds = {name: row["seconds"] for name, row in times.items()}
    shares = {
        "checkpoint": seconds["checkpoint"] / SAVE_SECONDS,
        "line": seconds["line"] / (train.LOG_STEPS * seconds["step"]),
    }
    rows = []
    for action, share in shares.items():
        row = {"arch": chosen.arch, "clips": chosen.clips, "what": action}
        row["percent of the training"] = round(100 * share, 4)
        if device().type == "cuda":
            row["seconds"] = round(seconds[action], 5)
        rows.append(row)
        print(row)
    record(f"checkpoints-{chosen.arch}", rows)


def timed(action: Callable) -> Contestant:
    """A contestant that runs `action` once."""

    def run():
        started = clock()
        action()
        return {"seconds": clock() - started}

    return run


if __name__ == "__main__":
    fair_malloc()
    main()
