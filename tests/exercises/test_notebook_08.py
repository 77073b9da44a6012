"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import pytest

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_08 import check_1, check_2, check_3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda operations, moved, peak, bandwidth: peak,
        lambda operations, moved, peak, bandwidth: bandwidth * operations / moved,
        lambda operations, moved, peak, bandwidth: max(peak, bandwidth * operations / moved),
        lambda operations, moved, peak, bandwidth: min(peak, bandwidth * moved / operations),
    ],
)
def test_roofs_that_are_no_minimum_of_both_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the speed, as a share"):
        check_1(wrong)


def gradient(dy, V, W, taps, with_importance=True):
    total = 0 * dy
    for k, offset in zip(taps, (-1, 0, 1)):  # dy at s - 1, s, s + 1
        moved = 0 * dy
        for s in range(dy.shape[1]):
            if 0 <= s + offset < dy.shape[1]:
                moved[:, s] = dy[:, s + offset]
        total = total + W[:, None, :, k, None, None] * moved
    return total * V.transpose(1, 2)[..., None, None] if with_importance else total


def test_the_gradient_with_the_taps_from_the_other_side_is_right(capsys):
    check_2(lambda dy, V, W: gradient(dy, V, W, (2, 1, 0)))
    assert capsys.readouterr().out == "exercise 2: right\n"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda dy, V, W: gradient(dy, V, W, (0, 1, 2)),  # the kernel of the forward pass
        lambda dy, V, W: gradient(dy, V, W, (2, 1, 0), with_importance=False),
        lambda dy, V, W: dy * V.transpose(1, 2)[..., None, None],
    ],
)
def test_gradients_that_do_not_mirror_the_kernel_or_forget_v_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="dx"):
        check_2(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda durations, launch: sum(durations),
        lambda durations, launch: len(durations) * launch + sum(durations),  # Python would wait for the GPU
        lambda durations, launch: max(len(durations) * launch, sum(durations)),
        lambda durations, launch: launch + sum(max(duration, launch) for duration in durations),
    ],
)
def test_times_without_a_queue_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the time is"):
        check_3(wrong)
