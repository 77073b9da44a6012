"""Notebook 7, from published checkpoints."""

import string

import numpy as np
import torch

from tanet.checkpoint import layouts
from tanet.exercises.checking import exercise, require, require_close
from tanet.model import build
from tanet.recipes import get

LISTS = [[f"class {letter}" for letter in string.ascii_lowercase[:count]] for count in (3, 8, 20)]


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
    for listed in LISTS:
        count, stored = len(listed), list(rng.permutation(listed))
        scores = rng.random((5, count))
        got = np.asarray(in_label_order(scores, stored, listed))
        require(got.shape == scores.shape, f"scores {list(scores.shape)} stay so, not {list(got.shape)}")
        for column, name in enumerate(listed):
            right = np.array_equal(got[:, column], scores[:, stored.index(name)])
            require(right, f"{count} classes: column {column} must hold the scores of {name!r}")


@exercise(3)
def check_3(accuracy_left) -> None:
    """Top-1 in per cent of a test that takes row r for class listed[r], from the confusion of the right test."""
    rng = np.random.default_rng(0)
    for listed in LISTS:
        count, mixed = len(listed), list(rng.permutation(listed))
        perfect = np.diag(rng.integers(5, 50, count))
        for stored, confusion, kind in (
            (listed, perfect, "the right order, a perfect network"),
            (mixed, perfect, "another order, a perfect network"),
            (mixed, perfect + rng.integers(0, 9, perfect.shape), "another order, a network with mistakes"),
        ):
            row_of = {name: row for row, name in enumerate(stored)}
            taken = sum(confusion[row_of[name], column] for column, name in enumerate(listed))
            wanted = torch.tensor(100 * taken / confusion.sum())
            require_close(accuracy_left(confusion, listed, stored), wanted, f"{count} classes, {kind}: top-1")
