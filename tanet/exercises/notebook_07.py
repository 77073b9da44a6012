"""Notebook 7, from published checkpoints."""

import numpy as np
import torch

from tanet.checkpoint import layouts
from tanet.evaluate import average_views
from tanet.exercises.checking import exercise, require
from tanet.model import build
from tanet.recipes import get


@exercise(1)
def check_1(our_name) -> None:
    """This package's name of a weight, from its name in a file of the authors."""
    with torch.device("meta"):  # names and shapes, no memory
        names = list(build(get("demo_kinetics")).state_dict())
    for name, theirs in zip(names, layouts.from_ours(dict.fromkeys(names), "official")):
        got = our_name(theirs)
        require(got == name, f"{theirs} is {name} here, not {got}")


@exercise(2)
def check_2(in_label_order) -> None:
    """Scores [videos, classes] of a classifier with other rows -> the same in the order of the label file."""
    rng = np.random.default_rng(0)
    for count in (3, 8, 20):
        listed = [f"class {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"[:count]]
        stored = list(rng.permutation(listed))
        scores = rng.random((5, count))
        got = np.asarray(in_label_order(scores, stored, listed))
        require(got.shape == scores.shape, f"scores {list(scores.shape)} stay so, not {list(got.shape)}")
        for column, name in enumerate(listed):
            right = np.array_equal(got[:, column], scores[:, stored.index(name)])
            require(right, f"{count} classes: column {column} must hold the scores of {name!r}")


@exercise(3)
def check_3(logits) -> None:
    """Logits [views, classes] for which the two ways of averaging name different classes."""
    logits = torch.as_tensor(logits, dtype=torch.float32)
    require(logits.ndim == 2 and len(logits) > 1, f"logits must be [views, classes], got {list(logits.shape)}")
    of_probabilities, of_logits = (average_views(logits, style) for style in ("mmaction2", "official"))
    named = [int(scores.argmax()) for scores in (of_probabilities, of_logits)]
    require(
        named[0] != named[1],
        f"both name class {named[0]}: the mean probabilities are {_rounded(of_probabilities)}, "
        f"those of the mean logits {_rounded(of_logits)}. One view may be very sure",
    )
    for scores in (of_probabilities, of_logits):
        first, second = scores.topk(2).values
        require(first - second > 1e-3, f"{_rounded(scores)} is a tie")


def _rounded(scores: torch.Tensor) -> list[float]:
    return [round(value, 3) for value in scores.tolist()]
