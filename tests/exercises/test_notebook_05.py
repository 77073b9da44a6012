"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import pytest

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_05 import check_1, check_2, check_3


def pairs(order):
    return [(i, j) for j in range(len(order)) for i in range(j)]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda order, reach: sum(order[i] < order[j] for i, j in pairs(order)),  # however far apart
        lambda order, reach: sum(order[i] < order[j] for i, j in pairs(order) if j - i < reach),
        lambda order, reach: sum(order[i] > order[j] for i, j in pairs(order) if j - i <= reach),  # turned ones
        lambda order, reach: sum(0 < order[j] - order[i] <= reach for i, j in pairs(order)),  # reach in frames
        lambda order, reach: sum(order[i] < order[i + 1] for i in range(len(order) - 1)),  # neighbours only
    ],
)
def test_counts_of_other_pairs_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="pairs stand in their true order"):
        check_1(wrong)


def by_replacing(names, turn):
    turned = [turn(name) for name in names]
    return [names.index(name) if name in names else index for index, name in enumerate(turned)]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda names: by_replacing(names, lambda name: name.replace("left", "right").replace("right", "left")),
        lambda names: by_replacing(
            names, lambda name: name.replace("left", "*").replace("right", "left").replace("*", "right")
        ),
        lambda names: list(range(len(names))),
    ],
)
def test_names_that_are_turned_letter_by_letter_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the mirrored classes are"):
        check_2(wrong)


@pytest.mark.parametrize("wrong", [lambda kernel: kernel, lambda kernel: -kernel, lambda kernel: kernel.roll(1)])
def test_kernels_that_do_not_exchange_past_and_future_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the output for K = 3"):
        check_3(wrong)
