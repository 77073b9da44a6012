"""Notebook 1, TAM step by step."""

import torch

from tanet.exercises.checking import exercise, require_close
from tanet.ops import aggregate_reference


@exercise(1)
def check_1(temporal_matrix) -> None:
    """The matrix [T, T] of one channel, from V [T] and W [K]."""
    generator = torch.Generator().manual_seed(0)
    for taps in (1, 3, 5):
        importance = torch.rand(6, generator=generator)
        kernel = torch.rand(taps, generator=generator).softmax(0)
        unit_clips = torch.eye(6).view(6, 6, 1, 1, 1)  # clip s is one in frame s and zero elsewhere
        columns = aggregate_reference(
            unit_clips, importance.expand(6, 1, 6), kernel.expand(6, 1, taps)
        )  # clip s gives column s
        require_close(temporal_matrix(importance, kernel), columns.view(6, 6).T, f"for K = {taps}, M")


@exercise(2)
def check_2(before_sigmoid, before_softmax) -> None:
    """The gradients in front of V's sigmoid, from (dV, V), and of W's softmax, from (dW, W)."""
    generator = torch.Generator().manual_seed(1)
    for function, answer, shape, name in (
        (torch.sigmoid, before_sigmoid, (2, 4, 6), "the gradient before the sigmoid"),
        (lambda b: b.softmax(-1), before_softmax, (2, 4, 3), "the gradient before the softmax"),
    ):
        scores = torch.randn(shape, generator=generator).requires_grad_()
        grad_maps = torch.randn(shape, generator=generator)
        maps = function(scores)
        (wanted,) = torch.autograd.grad(maps, scores, grad_maps)
        require_close(answer(grad_maps, maps.detach()), wanted, name)


@exercise(3)
def check_3(stacked) -> None:
    """The kernel [5] that does in one step what two kernels [3] do one after the other, if V is 1."""
    generator = torch.Generator().manual_seed(2)
    first, second = torch.rand(2, 3, generator=generator).softmax(-1)
    impulse, ones = torch.eye(9)[4].view(1, 9, 1, 1, 1), torch.ones(1, 1, 9)
    once = aggregate_reference(impulse, ones, first.view(1, 1, 3))
    twice = aggregate_reference(once, ones, second.view(1, 1, 3)).flatten()  # y[t] = kernel[4 - t + 2]
    require_close(stacked(first, second), twice[2:7].flip(0), "the kernel")
