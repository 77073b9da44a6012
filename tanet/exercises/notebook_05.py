"""Notebook 5, training on Something-Something."""

import torch

from tanet.data import mirrored_classes
from tanet.exercises.checking import exercise, require, require_close
from tanet.ops import aggregate_reference


@exercise(1)
def check_1(kept_within) -> None:
    """The number of pairs of frames that stand in their true order, at most `reach` places apart."""
    generator = torch.Generator().manual_seed(0)
    orders = [[*range(8)], [*reversed(range(8))]] + [torch.randperm(8, generator=generator).tolist() for _ in range(4)]
    for order in orders:
        for reach in (7, 1, 2, 3):
            wanted = sum(order[i] < order[j] for i in range(8) for j in range(i + 1, 8) if j - i <= reach)
            got = kept_within(order, reach)
            require(got == wanted, f"{order}, reach {reach}: {wanted} pairs stand in their true order, not {got}")


@exercise(2)
def check_2(mirrored) -> None:
    """The index of each class's mirror image, from the names of the classes."""
    for names in (
        ["Pushing something from left to right", "Pushing something from right to left", "Moving something up"],
        ["turn right", "jump", "turn left"],
        ["Pulling left", "Opening"],  # nobody's mirror image: its own
        ["bright", "bleft", "left over right", "right over left"],
    ):
        wanted = mirrored_classes(names)
        got = list(mirrored(names))
        require(got == wanted, f"{names}: the mirrored classes are {wanted}, not {got}")


@exercise(3)
def check_3(kernel_of_reversed) -> None:
    """The kernel that does to a clip played backwards what `kernel` does to the clip, played backwards."""
    generator = torch.Generator().manual_seed(1)
    for taps in (3, 5, 7):
        kernel = torch.rand(taps, generator=generator).softmax(0)
        clip, ones = torch.randn(1, 9, 1, 1, 1, generator=generator), torch.ones(1, 1, 9)
        forwards = aggregate_reference(clip, ones, kernel.view(1, 1, taps))
        other = torch.as_tensor(kernel_of_reversed(kernel))
        require(other.shape == kernel.shape, f"a kernel of {taps} taps, not of shape {list(other.shape)}")
        backwards = aggregate_reference(clip.flip(1), ones, other.view(1, 1, taps))
        require_close(backwards.flip(1).flatten(), forwards.flatten(), f"the output for K = {taps}")
