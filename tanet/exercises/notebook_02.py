"""Notebook 2, importance maps of a trained network."""

import torch

from tanet.exercises.checking import exercise, require, require_close


@exercise(1)
def check_1(frozen) -> None:
    """What the local branch's first convolution [O, C, 3] gives for equal frames of features [C], [O, T]."""
    generator = torch.Generator().manual_seed(0)
    for frames in (2, 5, 8):
        weight = torch.randn(3, 4, 3, generator=generator)
        theta = torch.randn(4, generator=generator)
        clip = theta[:, None].expand(-1, frames)  # [C, T]
        wanted = torch.nn.functional.conv1d(clip, weight, padding=1)
        require_close(frozen(weight, theta, frames), wanted, f"for T = {frames}, the output")


@exercise(2)
def check_2(without_shared) -> None:
    """The change that takes out of V [M, C, T] what all clips do over time, and leaves W alone."""
    generator = torch.Generator().manual_seed(1)
    for size in ((6, 4, 8), (3, 2, 5)):
        V = torch.rand(size, generator=generator)
        W = torch.rand(*size[:2], 3, generator=generator).softmax(-1)
        before = V.clone()
        answer = without_shared(V, W)
        require(
            isinstance(answer, tuple) and len(answer) == 2, "return two values: what replaces V, and what replaces W"
        )
        require(answer[1] is None, "W should compute itself, from what it gets: return None for it")
        require(torch.equal(V, before), "V itself should stay as it is: make a new tensor")
        shared = V.mean(0) - V.mean((0, 2))[:, None]  # [C, T]
        require_close(answer[0], V - shared, "V")


@exercise(3)
def check_3(held_out_difference) -> None:
    """Channels [C] chosen on the clips with even numbers, their difference measured on those with odd numbers."""
    generator = torch.Generator().manual_seed(2)
    for count in (1, 3):
        a, b = torch.rand(9, 6, 4, generator=generator), torch.rand(12, 6, 4, generator=generator)
        chosen_on, measured_on = ((a[start::2].mean(0) - b[start::2].mean(0)).abs().mean(1) for start in (0, 1))
        channels = chosen_on.topk(count).indices
        require_close(
            held_out_difference(a, b, count), measured_on[channels].mean(), f"for {count} channels, the difference"
        )
