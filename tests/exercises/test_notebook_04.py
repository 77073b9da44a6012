"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_04 import check_1, check_2, check_3


def rate(lr, progress, steps, warmup):
    falls = sum(progress >= step for step in steps)
    return lr * 0.1**falls * min(1.0, progress / warmup if warmup else 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda lr, progress, steps, warmup: rate(lr, progress, steps, 0),
        lambda lr, progress, steps, warmup: rate(lr, progress, [], warmup),
        lambda lr, progress, steps, warmup: rate(lr, progress - 0.01, steps, warmup),  # falls a step late
        lambda lr, progress, steps, warmup: progress / warmup if progress < warmup else rate(lr, progress, steps, 0),
    ],
)
def test_rates_that_leave_out_a_rule_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the rate after"):
        check_1(wrong)


def gradients(network, batches, weight):
    network.zero_grad()
    for clips, labels in batches:
        (cross_entropy(network(clips), labels) * weight(labels, batches)).backward()
    return [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda network, batches: gradients(network, batches, lambda labels, batches: 1.0),  # the sum of the means
        lambda network, batches: gradients(network, batches, lambda labels, batches: 1 / len(batches)),
        lambda network, batches: gradients(network, batches[-1:], lambda labels, batches: 1.0),  # zero_grad every time
    ],
)
def test_gradients_that_weight_the_batches_wrongly_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the gradient of the"):
        check_2(wrong)


def decayed(means, momentum):
    running = torch.zeros(())
    for mean in means:
        running = momentum * running + (1 - momentum) * mean
    return running


@pytest.mark.parametrize("wrong", [lambda means, momentum: means.mean(), decayed, lambda means, momentum: means[-1]])
def test_means_of_another_kind_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the running mean after"):
        check_3(wrong)
