"""The clips of an annotation list, for training and for validation while training.

What sample i looks like in epoch e under seed s depends on (s, e, i) alone.
"""

import os

import numpy as np
import torch
from torch.utils.data import Dataset

from tanet import recipes
from tanet.data import sampling
from tanet.data.lists import Sample, VideoList
from tanet.data.transforms import center_crop, mirrored_classes, resize_short_side, three_crops, training_clip
from tanet.data.video import open_video
from tanet.recipes import Protocol, Recipe, get_protocol


class TrainingClips(Dataset):
    """Random clips for training. Item (epoch, index) -> (clip uint8 [T, 3, S, S], label, index)."""

    def __init__(self, videos: VideoList, recipe: Recipe):
        self.videos, self.recipe = videos, recipe
        self.mirrored = mirrored_classes(list(videos.class_names))

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int, int]:
        epoch, index = key
        recipe, sample = self.recipe, self.videos.samples[index]
        rng = np.random.default_rng((recipe.seed, epoch, index))
        with sample.open() as video:
            if recipe.sampling == "dense":
                indices = sampling.dense_train(len(video), recipe.num_frames, rng)
            else:
                indices = sampling.uniform_train(len(video), recipe.num_frames, rng, recipe.style)
            frames = video.frames(indices[0])
        clip, flipped = training_clip(frames, recipe, rng)
        label = self.mirrored[sample.label] if flipped and recipe.flip == "swap" else sample.label
        return clip, label, index


class ValidationClips(Dataset):
    """One centred clip and crop of each video, nothing random. Item index -> (clip uint8 [T, 3, S, S], label, index)."""

    def __init__(self, videos: VideoList, recipe: Recipe):
        self.videos, self.recipe = videos, recipe

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        recipe, sample = self.recipe, self.videos.samples[index]
        with sample.open() as video:
            if recipe.sampling == "dense":
                indices = sampling.dense_center(len(video), recipe.num_frames)
            else:
                indices = sampling.uniform_center(len(video), recipe.num_frames, recipe.style)
            frames = video.frames(indices[0])
        frames = resize_short_side(frames, recipe.short_side, recipe.style)
        return center_crop(frames, recipe.crop_size, recipe.style).contiguous(), sample.label, index


def test_views(source: str | os.PathLike | Sample, protocol: str, recipe: Recipe | None = None) -> torch.Tensor:
    """A video's views -> uint8 [views, T, 3, S, S], ordered by crop, then clip, as published.

    `recipe` gives T, sizes and style; by default the published recipe of the protocol. Each frame is decoded, resized and
    cropped once, however many views share it.
    """
    chosen = get_protocol(protocol)
    recipe = recipe or recipes.get(chosen.recipe)
    with source.open() if isinstance(source, Sample) else open_video(source) as video:
        indices = _test_indices(chosen, recipe, len(video))  # [clips, T]
        unique, where = np.unique(indices, return_inverse=True)
        frames = video.frames(unique)  # [U, 3, H, W]
    frames = resize_short_side(frames, recipe.short_side, recipe.style)
    if chosen.crops == 3:
        crops = three_crops(frames, recipe.test_size, recipe.style)  # [3, U, 3, S, S]
    else:
        crops = center_crop(frames, recipe.crop_size, recipe.style)[None]
    return crops[:, torch.from_numpy(where.reshape(indices.shape))].flatten(0, 1)


def _test_indices(protocol: Protocol, recipe: Recipe, total_frames: int) -> np.ndarray:
    if protocol.sampling == "dense":
        return sampling.dense_clips(total_frames, recipe.num_frames, protocol.clips)
    return sampling.uniform_frames(total_frames, recipe.num_frames, protocol.clips == 2, recipe.style)
