"""Notebook 0, Why time?"""

import torch

from tanet.exercises.checking import exercise, require, require_close


@exercise(1)
def check_1(pair_accuracy) -> None:
    """The share of clips in the blocks of pairs, from counts [C, C]."""
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 4, 8):
        confusion = torch.randint(1, 30, (classes, classes), generator=generator)
        blocks = confusion.view(classes // 2, 2, classes // 2, 2).sum((1, 3))
        require_close(pair_accuracy(confusion), blocks.trace() / confusion.sum(), f"of {classes} classes, the share")


@exercise(2)
def check_2(shift) -> None:
    """TSM's shift of one clip [T, C]."""
    generator = torch.Generator().manual_seed(1)
    for frames, channels in ((4, 8), (5, 24)):
        features = torch.randn(frames, channels, generator=generator)
        fold = channels // 8
        wanted = features.clone()
        wanted[:, :fold] = torch.cat([features[1:, :fold], torch.zeros(1, fold)])
        wanted[:, fold : 2 * fold] = torch.cat([torch.zeros(1, fold), features[:-1, fold : 2 * fold]])
        require_close(shift(features.clone()), wanted, f"the shift of [{frames}, {channels}]")


@exercise(3)
def check_3(blocks_needed) -> None:
    """The smallest number of blocks whose modules of K taps join the first and the last of T frames."""
    for num_frames, kernel_size in ((12, 3), (8, 3), (9, 5), (2, 3), (16, 7)):
        answer, blocks, seen = blocks_needed(num_frames, kernel_size), 0, 1
        while seen < num_frames:
            blocks, seen = blocks + 1, seen + kernel_size - 1
        require(answer == blocks, f"for T = {num_frames}, K = {kernel_size}: {answer} is not the smallest number")
