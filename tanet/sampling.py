"""The functions that choose the frames of a clip, by the short name `tanet.sampling`; tanet.data has them."""

from tanet.data import (
    dense_center,
    dense_clips,
    dense_train,
    uniform_center,
    uniform_frames,
    uniform_train,
)

__all__ = ["dense_center", "dense_clips", "dense_train", "uniform_center", "uniform_frames", "uniform_train"]
