"""Clips of listed videos: for training, for validation during training, and for testing.

A training clip depends on (seed, epoch, index) alone, whatever the number of workers, ranks and restarts.
"""

import os

import numpy as np
import torch
from torch.utils.data import Dataset

from tanet import recipes
from tanet.data import sampling
from tanet.data.lists import Sample, VideoList
from tanet.data.transforms import center_crop, mirrored_classes, resize_short_side, three_crops, training_clip
from tanet.data.video import DecordFile, FrameFolder, PyAVFile, open_video
from tanet.recipes import Protocol, Recipe, get_protocol

Video = DecordFile | PyAVFile | FrameFolder


class TrainingClips(Dataset):
    """Random clips for training. Item (epoch, index) -> (clip uint8 [T, 3, S, S], label, index).

    The key of a video's second clip in an epoch is (epoch, index, 1), and so on.

    With `recipe.flip == "swap"` a mirrored clip has the label of the mirrored class, see `mirrored_classes`. Reading an
    item raises VideoError if its video cannot be read.
    """

    def __init__(self, videos: VideoList, recipe: Recipe):
        self.videos, self.recipe = videos, recipe
        self.mirrored = mirrored_classes(list(videos.class_names))

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: tuple[int, ...]) -> tuple[torch.Tensor, int, int]:
        index = key[1]
        recipe, sample = self.recipe, self.videos.samples[index]
        rng = np.random.default_rng((recipe.seed, *key))
        with sample.open() as video:
            if recipe.sampling == "dense":
                indices = sampling.dense_train(len(video), recipe.num_frames, rng)
            else:
                indices = sampling.uniform_train(len(video), recipe.num_frames, rng, recipe.style, recipe.keep_tail)
            frames = video.frames(indices[0])
        clip, flipped = training_clip(frames, recipe, rng)
        label = sample.label
        if flipped and recipe.flip == "swap":
            label = self.mirrored[label]
        return clip, label, index


class ValidationClips(Dataset):
    """One clip of each video, with a centre crop. Item index -> (clip uint8 [T, 3, S, S], label, index).

    Nothing is random. Reading an item raises VideoError if its video cannot be read.
    """

    def __init__(self, videos: VideoList, recipe: Recipe):
        self.videos, self.recipe = videos, recipe

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        sample = self.videos.samples[index]
        with sample.open() as video:
            frames = video.frames(center_clip(len(video), self.recipe))
        return center_view(frames, self.recipe), sample.label, index


def center_clip(total_frames: int, recipe: Recipe) -> np.ndarray:
    """The frames of the clip in the middle of a video, int64 [T]."""
    if recipe.sampling == "dense":
        return sampling.dense_center(total_frames, recipe.num_frames)[0]
    return sampling.uniform_center(total_frames, recipe.num_frames, recipe.style)[0]


def center_view(frames: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """A clip's frames uint8 [T, 3, H, W], resized -> their centre crop, uint8 [T, 3, S, S]."""
    frames = resize_short_side(frames, recipe.short_side, recipe.style)
    return center_crop(frames, recipe.crop_size, recipe.style).contiguous()


def test_views(source: str | os.PathLike | Sample, protocol: str, recipe: Recipe | None = None) -> torch.Tensor:
    """All views of a video for testing -> uint8 [views, T, 3, S, S], ordered by crop, then by clip, as published.

    `source`: a video file, a folder of frames, or a Sample. `protocol`: a name that tanet.recipes knows, such as
    "k400-dense". `recipe` gives T, sizes and style; the default is the published recipe of the protocol. Each frame is
    decoded, resized and cropped once, however many views share it. Raises VideoError if the video cannot be read.
    """
    recipe = recipe or recipes.get(get_protocol(protocol).recipe)
    opened = source.open() if isinstance(source, Sample) else open_video(source)
    with opened as video:
        return views_of_video(video, protocol, recipe)[0]


def views_of_video(video: Video, protocol: str, recipe: Recipe) -> tuple[torch.Tensor, np.ndarray]:
    """The views of an opened video, as `test_views` gives them, and the frames of each clip, int64 [clips, T]."""
    chosen = get_protocol(protocol)
    indices = _test_indices(chosen, recipe, len(video))  # [clips, T]
    unique, inverse = np.unique(indices, return_inverse=True)
    frames = resize_short_side(video.frames(unique), recipe.short_side, recipe.style)  # [U, 3, H, W]
    if chosen.crops == 3:
        crops = three_crops(frames, recipe.test_size, recipe.style)  # [3, U, 3, S, S]
    else:
        crops = center_crop(frames, recipe.crop_size, recipe.style)[None]  # [1, U, 3, S, S]
    frame_of_view = torch.from_numpy(inverse.reshape(indices.shape))  # [clips, T], indices into U
    return crops[:, frame_of_view].flatten(0, 1), indices


def _test_indices(protocol: Protocol, recipe: Recipe, total_frames: int) -> np.ndarray:
    if protocol.sampling == "dense":
        return sampling.dense_clips(total_frames, recipe.num_frames, protocol.clips)
    return sampling.uniform_frames(total_frames, recipe.num_frames, protocol.clips == 2, recipe.style)
