"""Trains and tests the ablation's networks that are missing, then writes the record that notebook 10 and the docs show.

`python benchmarks/ablation.py` takes hours on two cores. `--share 1/2` and `--share 2/2`, in two processes, halve that.
`--time` measures the training step of each module instead, on a machine that does nothing else.
"""

import argparse

import torch
from common import clock, fair_malloc, measure_in_turns, ratios, record

from tanet import recipes
from tanet.demo import ablation
from tanet.model import build

ROUNDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", default="1/1", help="2/3: the second of three shares; default: all")
    parser.add_argument("--time", action="store_true", help="measure training steps, train nothing")
    chosen = parser.parse_args()
    if chosen.time:
        record("ablation_time", step_times())
    else:
        ablation.run_cells(chosen.share)
        record("ablation", ablation.table_rows())


def step_times() -> list[dict]:
    """Forward and backward of one batch of demo Late with each module, as a ratio to no module."""
    torch.set_num_threads(1)
    fair_malloc()
    steps = {name: step_of(changes) for name, changes in ablation.MODULES.items()}
    times = measure_in_turns(steps, ROUNDS)
    return ratios(times, next(iter(ablation.MODULES)), task="training step", dataset=ablation.SIZES_SET)


def step_of(changes: dict):
    recipe = recipes.get(ablation.SIZES_SET).with_changes(changes)
    torch.manual_seed(0)
    model = build(recipe).to(memory_format=torch.channels_last).train()
    side = recipe.crop_size
    clips = torch.randint(0, 256, (recipe.clips_per_process, recipe.num_frames, 3, side, side), dtype=torch.uint8)

    def step() -> dict[str, float]:
        started = clock()
        for _ in range(5):
            model(clips).square().sum().backward()
        return {"time": (clock() - started) / 5}

    return step


if __name__ == "__main__":
    main()
