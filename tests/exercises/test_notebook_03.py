"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import pytest

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_03 import check_1, check_2, check_3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda n, T: n >= 64,  # the window
        lambda n, T: n >= 57,  # whatever T is
        lambda n, T: n >= (T - 1) * (64 // T),  # one frame too few
    ],
)
def test_lengths_that_are_a_little_off_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="in order is"):
        check_1(wrong)


def published(n, T):
    return [list(range(i * (n // T), (i + 1) * (n // T))) for i in range(T)]


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda n, T, keep_tail: published(n, T), "keep_tail True: segment"),
        (lambda n, T, keep_tail: [list(range(i * n // T, (i + 1) * n // T)) for i in range(T)], "keep_tail False"),
        (lambda n, T, keep_tail: published(n, T)[:-1], "8 segments, not 7"),
    ],
)
def test_segments_that_do_not_depend_on_keep_tail_are_refused(wrong, message):
    with pytest.raises(WrongAnswer, match=message):
        check_2(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda h, w, s: [((h - s) // 2, 0), ((h - s) // 2, (w - s) // 2), ((h - s) // 2, w - s)],  # left, middle, right
        lambda h, w, s: [((h - s) // 2, 0), ((h - s) // 2, w - s), ((h - s) // 2, (w - s) // 2)],  # to the very edge
        lambda h, w, s: [((h - s) // 2, x * ((w - s) // 2)) for x in (0, 2, 1)],  # also of a frame that is higher
    ],
)
def test_corners_in_another_order_or_place_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="corners"):
        check_3(wrong)
