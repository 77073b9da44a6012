"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import math

import pytest

from tanet.evaluate import paired_p
from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_06 import check_1, check_2, check_3


def one_sided(only_first, only_second):
    count = only_first + only_second
    return sum(math.comb(count, k) for k in range(min(only_first, only_second) + 1)) / 2**count


@pytest.mark.parametrize(
    "wrong",
    [
        one_sided,
        lambda a, b: 2 * one_sided(a, b),  # above 1 where both counts are equal
        lambda a, b: 2 * math.comb(a + b, a) / 2 ** (a + b),  # this split alone, none more uneven
        lambda a, b: (a - b) ** 2 / (a + b),  # the statistic, not its p
    ],
)
def test_other_numbers_than_p_are_refused(wrong):
    check_1(paired_p)
    with pytest.raises(WrongAnswer, match="videos, p is"):
        check_1(wrong)


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (lambda a, h: math.floor(1.96**2 * a * (100 - a) / h**2 - 1), "too wide"),
        (lambda a, h: math.ceil(1.96**2 * a * (100 - a) / h**2) + 1, "fewer would do"),
        (lambda a, h: math.ceil(1.96**2 * 2500 / h**2), "fewer would do"),  # as if every accuracy were 50%
        (lambda a, h: 1.96**2 * a * (100 - a) / h**2, "whole"),
    ],
)
def test_too_few_and_too_many_videos_are_refused(wrong, hint):
    check_2(lambda a, h: math.ceil(1.96**2 * a * (100 - a) / h**2 - 1e-6))
    with pytest.raises(WrongAnswer, match=hint):
        check_2(wrong)


@pytest.mark.parametrize(
    "wrong, hint",
    [
        ([[1.0, 0, 0], [0, 1, 0]], "tie"),
        ([[5.0, 0, 0], [0, 1, 0]], "both means name class 0"),
        ([[8.0, 0], [-12, 1]], r"got shape \[2, 2\]"),
        ([[8.0, 0, 0], [-math.inf, 1, 0]], "finite"),
    ],
)
def test_views_that_do_not_disagree_are_refused(wrong, hint):
    with pytest.raises(WrongAnswer, match=hint):
        check_3(wrong)
