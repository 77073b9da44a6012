"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import numpy as np
import pytest

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_07 import check_1, check_2, check_3


def without_net(name):
    return name.removeprefix("module.").removeprefix("base_model.").replace(".net.", ".")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda name: name,
        lambda name: without_net(name).replace("new_fc", "fc"),  # TAM keeps its names
        lambda name: without_net(name).replace(".tam.L", ".temporal.local_branch").replace("tam.G", "global_branch"),
    ],
)
def test_names_that_miss_a_part_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="is .* here, not"):
        check_1(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda scores, stored, listed: scores,
        lambda scores, stored, listed: scores[:, [listed.index(name) for name in stored]],  # the inverse
        lambda scores, stored, listed: np.sort(scores, 1),
    ],
)
def test_columns_in_another_order_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="must hold the scores of"):
        check_2(wrong)


def accuracy_left(confusion, listed, stored):
    return 100 * sum(confusion[stored.index(name), j] for j, name in enumerate(listed)) / confusion.sum()


@pytest.mark.parametrize(
    "wrong, kind",
    [
        (lambda confusion, listed, stored: accuracy_left(confusion, listed, listed), "another order, a perfect"),
        (
            lambda confusion, listed, stored: accuracy_left(confusion, stored, listed),
            "a network with mistakes",
        ),  # inverse
        (lambda confusion, listed, stored: accuracy_left(confusion, listed, stored) / 100, "the right order"),
        (
            lambda confusion, listed, stored: 100 * np.mean([a == b for a, b in zip(listed, stored)]),
            "another order, a",  # as if every class had equally many videos
        ),
    ],
)
def test_other_accuracies_are_refused(wrong, kind):
    check_3(accuracy_left)
    with pytest.raises(WrongAnswer, match=kind):
        check_3(wrong)
