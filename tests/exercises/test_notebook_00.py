"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import math

import pytest
import torch

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_00 import check_1, check_2, check_3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda confusion: confusion.trace() / confusion.sum(),  # the right class
        lambda confusion: sum(confusion[i, i ^ 1] for i in range(len(confusion))) / confusion.sum(),  # only its partner
        lambda confusion: sum(confusion[i, i] + confusion[i, i ^ 1] for i in range(len(confusion))),  # a count
    ],
)
def test_other_shares_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the share"):
        check_1(wrong)


def rolled(features):
    """The last frame comes round to the first."""
    fold = features.shape[1] // 8
    moved = [features[:, :fold].roll(-1, 0), features[:, fold : 2 * fold].roll(1, 0), features[:, 2 * fold :]]
    return torch.cat(moved, 1)


def turned_round(features):
    fold = features.shape[1] // 8
    shifted = features.clone()
    shifted[:, : 2 * fold] = 0
    shifted[1:, :fold] = features[:-1, :fold]
    shifted[:-1, fold : 2 * fold] = features[1:, fold : 2 * fold]
    return shifted


@pytest.mark.parametrize("wrong", [rolled, turned_round, lambda features: features])
def test_other_shifts_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the shift of"):
        check_2(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda frames, taps: frames - 1,  # as if a block reached to one side
        lambda frames, taps: math.ceil((frames - 1) / taps),
        lambda frames, taps: (frames - 1) // (taps - 1),  # rounded down
    ],
)
def test_other_numbers_of_blocks_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="not the smallest number"):
        check_3(wrong)
