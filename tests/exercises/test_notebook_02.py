"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import pytest
import torch

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_02 import check_1, check_2, check_3


def frozen(first_tap, last_tap):
    def answer(weight, theta, num_frames):
        taps = torch.einsum("ock,c->ok", weight, theta)
        output = taps.sum(1, keepdim=True).repeat(1, num_frames)
        output[:, 0] -= taps[:, first_tap]
        output[:, -1] -= taps[:, last_tap]
        return output

    return answer


@pytest.mark.parametrize(
    "wrong",
    [
        frozen(2, 0),  # the kernel turned round
        frozen(1, 1),
        lambda weight, theta, frames: torch.einsum("ock,c->o", weight, theta)[:, None].expand(-1, frames),  # no padding
    ],
)
def test_maps_of_a_frozen_clip_with_the_wrong_ends_are_refused(wrong):
    check_1(frozen(0, 2))
    with pytest.raises(WrongAnswer, match="for T = 2, the output"):
        check_1(wrong)


def in_place(V, W):
    V -= V.mean(0) - V.mean((0, 2))[:, None]
    return V, None


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (lambda V, W: (V - V.mean(0), None), "V"),  # the channel's level is gone, too
        (lambda V, W: (V - V.mean((0, 2), keepdim=True), None), "V"),
        (lambda V, W: (V.mean(2, keepdim=True), None), "V must be"),
        (lambda V, W: (V - V.mean(0) + V.mean((0, 2))[:, None], W), "return None for it"),
        (lambda V, W: V - V.mean(0) + V.mean((0, 2))[:, None], "return two values"),
        (in_place, "make a new tensor"),
    ],
)
def test_changes_that_take_out_more_or_less_are_refused(wrong, hint):
    check_2(lambda V, W: (V - V.mean(0) + V.mean((0, 2))[:, None], None))
    with pytest.raises(WrongAnswer, match=hint):
        check_2(wrong)


def difference(a, b):
    return (a.mean(0) - b.mean(0)).abs().mean(1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a, b, count: difference(a, b).topk(count).values.mean(),  # chosen and shown on all
        lambda a, b, count: difference(a[::2], b[::2]).topk(count).values.mean(),
        lambda a, b, count: difference(a[1::2], b[1::2]).topk(count).values.mean(),
        lambda a, b, count: difference(a[1::2], b[1::2]).mean(),
        lambda a, b, count: difference(a[::2], b[::2])[difference(a[1::2], b[1::2]).topk(count).indices].mean(),
    ],
)
def test_differences_that_are_chosen_or_of_other_clips_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="for 1 channels, the difference"):
        check_3(wrong)
