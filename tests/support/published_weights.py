"""Files in the layouts of others, made from the gold tables: the same keys, weights drawn by the tables' rule."""

import json
import math
import zlib

import numpy as np
import torch
from support.paths import GOLD


def gold(layout: str) -> dict:
    """Keys with shapes and dtypes, and logits, of a TANet-R50 (8 frames, 400 classes) in "mmaction2" or "official"."""
    return json.loads((GOLD / f"{layout}_k400_8f.json").read_text())


def gold_weights(layout: str) -> dict[str, torch.Tensor]:
    """The weights for the gold logits, by the keys of the published file."""
    return {key: _weight(key.removeprefix("module."), *what) for key, what in gold(layout)["keys"].items()}


def gold_clips(layout: str) -> torch.Tensor:
    """The normalised clips [2, 8, 3, 64, 64] for the gold logits."""
    size = gold(layout)["size"]
    return torch.tensor(np.random.default_rng(7).standard_normal((2, 8, 3, size, size)).astype(np.float32))


def _weight(key: str, shape: list[int], dtype: str) -> torch.Tensor:
    if dtype == "int64":
        return torch.zeros(shape, dtype=torch.int64)
    a = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        a = 1 + 0.1 * abs(a)
    elif key.endswith(("running_mean", "bias")):
        a = 0.1 * a
    elif len(shape) == 1:
        a = 1 + 0.1 * a
    else:
        a = (a.astype(np.float64) * math.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    return torch.tensor(a)
