"""Notebook 3, from a video on disk to a clip."""

import numpy as np
import torch

from tanet.data import sampling, three_crops
from tanet.exercises.checking import exercise, require, require_close


@exercise(1)
def check_1(whole_clips) -> None:
    """The share of a video's dense training clips in which no frame follows a later one, from n and T."""
    for total_frames in (10, 56, 57, 63, 64, 80, 300):
        for num_frames in (8, 16):
            draws = np.concatenate(
                [sampling.dense_train(total_frames, num_frames, np.random.default_rng(seed)) for seed in range(20)]
            )
            in_order = bool((np.diff(draws) > 0).all())
            got = whole_clips(total_frames, num_frames)
            require(
                bool(got) == in_order,
                f"a video of {total_frames} frames, a clip of {num_frames}: in order is {in_order}, not {got}. "
                "From the first to the last frame of a clip it is T - 1 steps of 64 // T frames",
            )


@exercise(2)
def check_2(segment_draws) -> None:
    """The frames that uniform training may draw for each segment, from n and T, with and without `keep_tail`."""
    for total_frames, num_frames in ((12, 8), (16, 8), (31, 8), (100, 16)):
        for keep_tail in (False, True):
            draws = np.concatenate(
                [
                    sampling.uniform_train(total_frames, num_frames, np.random.default_rng(seed), keep_tail=keep_tail)
                    for seed in range(400)
                ]
            )
            wanted = [np.unique(column).tolist() for column in draws.T]
            got = segment_draws(total_frames, num_frames, keep_tail)
            place = f"{total_frames} frames, T = {num_frames}, keep_tail {keep_tail}"
            require(len(got) == num_frames, f"{place}: {num_frames} segments, not {len(got)}")
            for segment, (frames, drawn) in enumerate(zip(got, wanted)):
                require(list(frames) == drawn, f"{place}: segment {segment} draws from {drawn}, not {list(frames)}")


@exercise(3)
def check_3(corners) -> None:
    """The corners (top, left) of MMAction2's three crops, in its order, from height, width and side."""
    for height, width in ((60, 80), (75, 56), (64, 64), (56, 99)):
        side = 56
        ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = torch.stack([ys, xs, ys])  # a frame whose pixels say where they are
        wanted = [(int(crop[0, 0, 0]), int(crop[1, 0, 0])) for crop in three_crops(places, side)]
        require_close(corners(height, width, side), torch.tensor(wanted), f"corners({height}, {width}, {side})")
