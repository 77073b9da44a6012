"""Notebook 8, speed."""

import torch

from tanet.exercises.checking import exercise, require_close
from tanet.ops import aggregate_reference


@exercise(1)
def check_1(attainable) -> None:
    """The roofline: operations a second, from the operations, the bytes moved, and the two roofs of a machine."""
    for operations, moved in ((6e9, 8e9), (6e9, 32e9), (2e12, 1e9), (1e11, 1e10)):
        for peak, bandwidth in ((1e12, 2e11), (6e13, 4e12)):
            wanted = operations / max(operations / peak, moved / bandwidth)
            name = (
                f"{operations:.0e} operations, {moved:.0e} bytes, peak {peak:.0e}, bandwidth {bandwidth:.0e}: the speed"
            )
            require_close(
                attainable(operations, moved, peak, bandwidth) / wanted, 1.0, f"{name}, as a share of the right one,"
            )


@exercise(2)
def check_2(gradient_of_x) -> None:
    """dx [N, T, C, H, W] from dy, V [N, C, T] and W [N, C, 3], without autograd."""
    generator = torch.Generator().manual_seed(0)
    for n, t, c in ((1, 4, 2), (2, 6, 3)):
        x, dy = torch.randn(2, n, t, c, 2, 2, generator=generator, dtype=torch.double)
        V = torch.rand(n, c, t, generator=generator, dtype=torch.double)
        W = torch.rand(n, c, 3, generator=generator, dtype=torch.double).softmax(-1)
        x.requires_grad_()
        (wanted,) = torch.autograd.grad(aggregate_reference(x, V, W), x, dy)
        require_close(gradient_of_x(dy, V, W), wanted, "dx", tolerance=1e-9)


@exercise(3)
def check_3(step_time) -> None:
    """When the last kernel ends, from the durations of the kernels in order and the time of one launch."""
    generator = torch.Generator().manual_seed(1)
    cases = [[5.0] * 4, [0.5] * 6, [10.0, 0.1, 0.1, 0.1], [0.1] * 20 + [30.0]]
    cases += [(10 * torch.rand(12, generator=generator) ** 3).tolist() for _ in range(4)]
    for durations in cases:
        for launch in (1.0, 3.0):
            ends = 0.0
            for number, duration in enumerate(durations, 1):
                ends = max(ends, number * launch) + duration
            name = f"launches of {launch}, kernels {[round(duration, 1) for duration in durations]}: the time"
            require_close(step_time(durations, launch), ends, name, tolerance=1e-4)
