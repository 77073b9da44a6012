"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import pytest
import torch

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_05 import check_1, check_2, check_3


def shift(clip, first, second):
    eighth = clip.shape[1] // 8
    shifted = clip.clone()
    shifted[:, : 2 * eighth] = 0
    for part, step in ((slice(eighth), first), (slice(eighth, 2 * eighth), second)):
        target, source = (slice(1, None), slice(-1)) if step < 0 else (slice(-1), slice(1, None))
        shifted[target, part] = clip[source, part]
    return shifted


@pytest.mark.parametrize(
    "wrong",
    [
        lambda clip: shift(clip, -1, 1),  # past and future exchanged
        lambda clip: shift(clip, 1, 1),
        lambda clip: torch.cat([clip.roll(-1, 0)[:, :1], clip[:, 1:]], 1),  # wraps around
        lambda clip: clip,
    ],
)
def test_shifts_of_other_channels_or_directions_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the shifted clip"):
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
