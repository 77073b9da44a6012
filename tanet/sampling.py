"""`tanet.data.sampling` by its short name: which frames of a video make a clip."""

from tanet.data import (
    dense_center,
    dense_clips,
    dense_train,
    uniform_center,
    uniform_frames,
    uniform_train,
)

__all__ = ["dense_center", "dense_clips", "dense_train", "uniform_center", "uniform_frames", "uniform_train"]
