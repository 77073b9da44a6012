"""Weights in the layouts of other code bases: the keys of the gold tables, the values drawn by the tables' rule."""

import functools
import json
import math
import zlib

import numpy as np
import torch
from support.paths import GOLD


def gold(layout: str) -> dict:
    """Keys with shapes and dtypes, and logits, of a network with 8 frames, 400 classes: "mmaction2" and "official" are
    TANet-R50, "mmaction2_tsm" and "tsm" (mit-han-lab's) TSM-R50."""
    return json.loads((GOLD / f"{layout}_k400_8f.json").read_text())


@functools.cache  # drawing them takes seconds
def gold_weights(layout: str) -> dict[str, torch.Tensor]:
    """The weights for the gold logits, by the keys of the published file; tests must leave them as they are."""
    return {
        key: _weight(key.removeprefix("module."), shape, dtype) for key, (shape, dtype) in gold(layout)["keys"].items()
    }


def gold_clips(layout: str) -> torch.Tensor:
    """The normalised clips [2, 8, 3, 64, 64] for the gold logits."""
    size = gold(layout)["size"]
    return torch.tensor(np.random.default_rng(7).standard_normal((2, 8, 3, size, size)).astype(np.float32))


def _weight(key: str, shape: list[int], dtype: str) -> torch.Tensor:
    if dtype == "int64":
        return torch.zeros(shape, dtype=torch.int64)
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        values = 1 + 0.1 * abs(values)
    elif key.endswith(("running_mean", "bias")):
        values = 0.1 * values
    elif len(shape) == 1:
        values = 1 + 0.1 * values
    else:
        values = (values.astype(np.float64) * math.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    return torch.tensor(values)
