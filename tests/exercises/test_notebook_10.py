"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import statistics

import pytest

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_10 import check_1, check_2, check_3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda c, t, k, a, b: 4 * c * c // b + t * a * t + a * t * k,  # without BatchNorm
        lambda c, t, k, a, b: c * (4 * c // b + 2 // b + t * a * t + a * t * k),  # a global branch for each channel
    ],
)
def test_other_numbers_of_parameters_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="but TAM has"):
        check_1(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda first, second: (statistics.mean(first) - statistics.mean(second), statistics.stdev(first)),
        lambda first, second: (
            statistics.mean(first) - statistics.mean(second),
            statistics.stdev([a - b for a, b in zip(first, second)]),  # of one difference, not of the mean
        ),
    ],
)
def test_other_errors_of_a_mean_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="standard error"):
        check_2(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda blocks, taps, end, lamp: lamp - end <= blocks * (taps // 2),  # as if one of the two stayed in its place
        lambda blocks, taps, end, lamp: lamp - end <= blocks * taps,
    ],
)
def test_other_views_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="but it is"):
        check_3(wrong)
