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


@pytest.mark.parametrize(
    "wrong, message",
    [
        ([[3.0, 1.0], [2.0, 0.0]], "both name class 0"),
        ([[0.0, 0.0], [0.0, 0.0]], "both name class"),
        ([3.0, 1.0], r"\[views, classes\], got \[2\]"),
        ([[3.0, 1.0]], r"got \[1, 2\]"),
    ],
)
def test_logits_that_agree_or_are_no_views_are_refused(wrong, message):
    with pytest.raises(WrongAnswer, match=message):
        check_3(wrong)
