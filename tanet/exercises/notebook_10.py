"""Notebook 10, which part of TAM does what?"""

import torch

from tanet.exercises.checking import exercise, require, require_close
from tanet.model import TAM


@exercise(1)
def check_1(tam_parameters) -> None:
    """The number of parameters of a TAM, from C, T, K, alpha and beta."""
    for sizes in ((16, 8, 3, 2, 4), (64, 12, 5, 1, 2), (128, 16, 1, 4, 8)):
        channels, num_frames, kernel_size, alpha, beta = sizes
        module = TAM(channels, num_frames, kernel_size, alpha, beta)
        wanted = sum(weight.numel() for weight in module.parameters())
        answer = tam_parameters(channels, num_frames, kernel_size, alpha, beta)
        require(answer == wanted, f"C, T, K, alpha, beta = {sizes}: {answer}, but TAM has {wanted} parameters")


@exercise(2)
def check_2(mean_difference) -> None:
    """Two modules' top-1 of the same seeds -> the mean of the differences, and the standard error of that mean."""
    generator = torch.Generator().manual_seed(0)
    for seeds in (3, 5):
        first, second = 90 + 5 * torch.randn(2, seeds, generator=generator)
        differences = first - second
        wanted = torch.stack([differences.mean(), differences.std() / seeds**0.5])
        require_close(mean_difference(first.tolist(), second.tolist()), wanted, "(mean, standard error)", 1e-4)


@exercise(3)
def check_3(can_join) -> None:
    """Whether fixed taps join a movement that ends at frame `end` with a lamp at frame `lamp`."""
    for blocks, kernel_size, end, lamp in (
        (4, 3, 2, 11),
        (4, 5, 2, 11),
        (5, 3, 2, 11),
        (4, 3, 2, 10),
        (4, 3, 2, 9),
        (1, 7, 0, 7),
    ):
        reach = blocks * (kernel_size // 2)
        wanted = any(abs(t - end) <= reach and abs(t - lamp) <= reach for t in range(lamp + 1))
        answer = can_join(blocks, kernel_size, end, lamp)
        case = f"{blocks} blocks, K = {kernel_size}, frames {end} and {lamp}"
        require(bool(answer) == wanted, f"{case}: {bool(answer)}, but it is {wanted}")
