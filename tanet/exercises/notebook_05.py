"""Notebook 5, training on Something-Something."""

import torch

from tanet.data import mirrored_classes
from tanet.exercises.checking import exercise, require, require_close
from tanet.model import TemporalShift
from tanet.ops import aggregate_reference


@exercise(1)
def check_1(shift) -> None:
    """TSM's shift of one clip [T, C]: an eighth of the channels from the next frame, an eighth from the one before."""
    generator = torch.Generator().manual_seed(0)
    for frames, channels in ((4, 8), (8, 16), (5, 32)):
        clip = torch.randn(frames, channels, generator=generator)
        wanted = TemporalShift(frames)(clip[:, :, None, None])[:, :, 0, 0]
        require_close(shift(clip), wanted, f"the shifted clip [{frames}, {channels}]")


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
