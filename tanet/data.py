"""The clips of an annotation list, for training and for validation while training.

What sample i looks like in epoch e under seed s depends on (s, e, i) alone.
"""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tanet import sampling
from tanet.lists import DataError, VideoList, load_list  # noqa: F401, who wants clips wants their list
from tanet.reading import loader
from tanet.recipes import Recipe
from tanet.transforms import center_crop, mirrored_classes, resize_short_side, training_clip


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


class EpochBatches(Sampler):
    """Batches of (epoch, index) keys for one process out of `world_size`; set `epoch` and `start` before iterating.

    A shuffled epoch is cut into steps of batch_size * accumulation * world_size clips. Of a step each process takes every
    world_size-th clip, in `accumulation` batches, so that the clips of a step do not depend on how it is shared. `start`:
    how many clips of the epoch are done already. The clips left over at the end wait for another epoch's shuffle.
    """

    def __init__(
        self, num_samples: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, accumulation: int = 1
    ):
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.rank, self.world_size, self.accumulation = rank, world_size, accumulation
        self.epoch = self.start = 0
        self.step_clips = batch_size * accumulation * world_size
        if self.steps == 0:
            raise DataError(f"{num_samples} training videos do not fill one step of {self.step_clips} clips")

    @property
    def steps(self) -> int:
        """How many steps are left of the epoch."""
        return (self.num_samples - self.start) // self.step_clips

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def __iter__(self):
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_samples)[self.start :]
        for step in range(self.steps):
            mine = order[step * self.step_clips : (step + 1) * self.step_clips][self.rank :: self.world_size]
            for first in range(0, len(mine), self.batch_size):
                yield [(self.epoch, int(index)) for index in mine[first : first + self.batch_size]]


def training_loader(
    videos: VideoList, recipe: Recipe, rank: int = 0, world_size: int = 1, use_gpu: bool = False
) -> DataLoader:
    """Batches (clips uint8 [N, T, 3, S, S], labels int64 [N], indices int64 [N], unreadable), see tanet.reading; set
    `batch_sampler.epoch`. With `use_gpu` they lie in pinned memory, for tanet.transfer."""
    batches = EpochBatches(
        len(videos), recipe.clips_per_process, recipe.seed, rank, world_size, recipe.accumulation
    )
    return loader(TrainingClips(videos, recipe), videos, recipe.workers, use_gpu=use_gpu, batch_sampler=batches)


def validation_loader(
    videos: VideoList, recipe: Recipe, rank: int = 0, world_size: int = 1, use_gpu: bool = False
) -> DataLoader:
    """Each process's share of the validation clips: every world_size-th, none twice, none left out."""
    share = range(rank, len(videos), world_size)
    clips = ValidationClips(videos, recipe)
    size = 4 * recipe.clips_per_process
    return loader(clips, videos, recipe.workers, use_gpu=use_gpu, sampler=share, batch_size=size)
