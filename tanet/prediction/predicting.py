"""Videos in, classes with probabilities out: for a whole video, and for each clip of it over time.

A video has the same scores, to the bit, as in a test of the same checkpoint by the same protocol
(tanet.evaluate.run): the views, the batches and the averages are those of the test.
"""

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from tanet import checkpoint, recipes
from tanet.checkpoint import Checkpoint, classifier_names, published_names
from tanet.data import (
    LABEL_FILES,
    OWN_LABELS,
    Sample,
    Unreadable,
    VideoList,
    class_index,
    explain_worker_failure,
    frame_seconds,
    make_loader,
    raise_unreadable,
    views_of_video,
)
from tanet.errors import CheckpointError
from tanet.evaluate import average_views, compute_groups, groups_of, views_at_once, views_of
from tanet.prediction.sources import find_videos
from tanet.recipes import Protocol, Recipe, get_protocol
from tanet.runtime import CapturedForward, delayed_by_one, process_group, repeatable, track, user_path


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says of a video."""

    path: str
    probabilities: np.ndarray  # float32 [classes], of the whole video
    clips: np.ndarray  # float32 [clips, classes], of each clip of the protocol, in the order of time
    frames: np.ndarray  # int64 [clips, T], the frames of each clip
    seconds: np.ndarray  # float64 [clips, T], when they are shown; NaN where nothing tells
    class_names: tuple[str, ...] | None = None  # in the order of the probabilities; None if nothing names them
    features: np.ndarray | None = None  # float32 [C], what the classifier sees, averaged over the views, if asked for

    def top(self, count: int = 5, clip: int | None = None) -> list[tuple[str, float]]:
        """The `count` likeliest classes with their probabilities, of the video or of one of its clips."""
        values = self.probabilities if clip is None else self.clips[clip]
        order = np.argsort(-values, kind="stable")[:count]
        return [(self.class_name(index), float(values[index])) for index in order]

    def class_name(self, index: int) -> str:
        """The name of a class; "class 7" if nothing names the classes."""
        return self.class_names[index] if self.class_names else f"class {index}"


class Predictor:
    """A checkpoint, ready for videos.

    `weights`: a file of any layout, a Checkpoint, or a published name, see tanet.checkpoint.PUBLISHED_FILES.
    `protocol`: which clips and crops are scored; by default the first of the recipe.
    `recipe`: needed where the file does not name its own and several fit. `style`: another one than the file's.
    `labels`: a label file, one class a line in the published order, for weights that do not name their classes. Without
    it a network for Kinetics-400 gets the published names. `about_names` says so, or which file would name the classes.
    `use_gpu`: computes on a GPU.

    Raises FileNotFoundError, CheckpointError, DataError, DownloadError or ValueError.
    """

    def __init__(
        self,
        weights: str | os.PathLike | Checkpoint,
        protocol: str | None = None,
        recipe: Recipe | None = None,
        style: str | None = None,
        labels: str | os.PathLike | None = None,
        use_gpu: bool = False,
    ):
        if protocol is not None:
            get_protocol(protocol)  # an unknown one is an error before anything is read
        stored = weights if isinstance(weights, Checkpoint) else checkpoint.read(weights)
        recipe = checkpoint.recipe_of(stored, recipe)
        self.recipe = recipes.in_style(recipe, style) if style else recipe
        self.protocol = get_protocol(protocol or self.recipe.protocols[0])
        self.class_names, self.about_names = _class_names(stored, self.recipe, labels)
        self.model, _, _ = checkpoint.load_model(stored, self.recipe)
        self.use_gpu = use_gpu

    def predict(self, video: str | os.PathLike, features: bool = False) -> Prediction:
        """The prediction for one video file or folder of frames. Raises what `find_videos` raises, and VideoError."""
        videos = find_videos([video])
        if len(videos) > 1:
            raise ValueError(f"{video}: {len(videos)} videos; use predict_many for a folder or a pattern")
        (prediction,) = self.predict_many(videos, features, quiet=True)
        return prediction

    def predict_many(
        self, videos: Sequence[str | os.PathLike], features: bool = False, on_error: str = "raise", quiet: bool = False
    ) -> Iterator[Prediction | Unreadable]:
        """Predictions for videos, see `find_videos`, in their order, each as soon as it is computed.

        A video that cannot be read raises VideoError; with on_error="skip" an Unreadable comes in its place. Workers
        decode while the network computes. The progress goes to stderr, unless `quiet`.
        """
        samples = tuple(Sample(Path(video), 0) for video in videos)
        with process_group(self.use_gpu, self.recipe.workers) as process, repeatable(process.device):
            self.model.to(process.device, memory_format=torch.channels_last)
            yield from self._predict(
                VideoList(samples, self.class_names or ()), process.device, features, on_error, quiet
            )

    def _predict(
        self, videos: VideoList, device: torch.device, features: bool, on_error: str, quiet: bool
    ) -> Iterator[Prediction | Unreadable]:
        views, side = views_of(self.protocol.name, self.recipe)
        batch = views_at_once(self.recipe.num_frames, side, device)
        size = max(batch // views, 1)
        items = make_loader(
            _TimedViews(videos, self.protocol.name, self.recipe),
            videos,
            self.recipe.workers,
            batches=False,
            use_gpu=device.type == "cuda",
            batch_size=None,
        )
        forward = CapturedForward(_WithFeatures(self.model) if features else self.model)
        combine = partial(_combine, self.model.num_classes, self.protocol, self.recipe.style)
        with explain_worker_failure(items):
            times = {}
            loaded = _keep_times(track(items, len(videos), f"{self.protocol.name}, videos", quiet, sys.stderr), times)
            groups = groups_of(len(videos), size)
            for group in delayed_by_one(compute_groups(forward, device, loaded, groups, size, batch, combine), device):
                if on_error == "raise":
                    raise_unreadable(group.unreadable)
                results = {item.index: item for item in group.unreadable}
                for index, (probabilities, clips, *rest) in group.results():
                    frames, seconds = times.pop(index)
                    results[index] = Prediction(
                        path=str(videos.samples[index].path),
                        probabilities=probabilities.numpy(),
                        clips=clips.numpy(),
                        frames=frames,
                        seconds=seconds,
                        class_names=self.class_names,
                        features=rest[0].numpy() if features else None,
                    )
                yield from (results[index] for index in group.group)


def predict(
    video: str | os.PathLike, weights: str | os.PathLike | Checkpoint | Predictor, features: bool = False, **options
) -> Prediction:
    """The classes of one video, a file or a folder of frames, with their probabilities.

    `weights` and `options`: as for Predictor. For many videos make one Predictor and use its `predict_many`.

        prediction = tanet.predict("clip.mp4", "runs/mine/checkpoints/best.pth")
        prediction.top(5)  # [("class", 0.93), ...]
    """
    predictor = weights if isinstance(weights, Predictor) else Predictor(weights, **options)
    return predictor.predict(video, features)


def _class_names(
    stored: Checkpoint, recipe: Recipe, labels: str | os.PathLike | None
) -> tuple[tuple[str, ...] | None, str | None]:
    """Names in the order of the classifier: the checkpoint's own, checked against `labels`, or those of `labels`.

    Where neither gives any, those of Kinetics-400 if it is that, and a line for the user.
    """
    if labels is None and stored.class_names is not None:
        return stored.class_names, None
    if labels is None:
        if names := published_names(recipe):
            return names, "class names: those of Kinetics-400, as torchvision lists them; --labels FILE gives others"
        file = LABEL_FILES.get(recipe.dataset, OWN_LABELS)
        return None, f"class names: none in the weights; --labels FILE gives them, where FILE is the data's {file}"
    index = class_index(user_path(labels))
    listed = tuple(sorted(index, key=index.get))
    if len(listed) != recipe.num_classes:
        raise CheckpointError(
            f"{stored.path}: the weights are for {recipe.num_classes} classes, {labels} names {len(listed)}"
        )
    return classifier_names(stored, recipe, listed), None


class _TimedViews(Dataset):
    """The views of every video, uint8 [V, T, 3, S, S], with the frames and seconds of its clips, each [clips, T]."""

    def __init__(self, videos: VideoList, protocol: str, recipe: Recipe):
        self.videos, self.protocol, self.recipe = videos, protocol, recipe

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        with self.videos.samples[index].open() as video:
            views, frames = views_of_video(video, self.protocol, self.recipe)
            return views, frames, frame_seconds(video, frames)


def _keep_times(items: Iterator, times: dict) -> Iterator[torch.Tensor | Unreadable]:
    """The views alone; frames and seconds go into `times`, by the video's index."""
    for index, item in enumerate(items):
        if isinstance(item, Unreadable):
            yield item
        else:
            times[index] = np.asarray(item[1]), np.asarray(item[2])
            yield item[0]


class _WithFeatures(nn.Module):
    """The network with its features: clips -> [N, num_classes + C], logits and pooled features side by side."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        features = self.model.forward_features(clips)  # [N*T, C, H, W]
        pooled = features.mean((2, 3)).unflatten(0, (-1, self.model.num_frames)).mean(1)  # [N, C]
        return torch.cat([self.model.forward_head(features), pooled], 1)


def _combine(num_classes: int, protocol: Protocol, style: str, outputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Outputs of views [videos, V, D] -> probabilities of videos and of their clips, and features if there are any."""
    logits, features = outputs[..., :num_classes].contiguous(), outputs[..., num_classes:]
    of_clips = logits.unflatten(1, (protocol.crops, protocol.clips)).transpose(1, 2)  # [videos, clips, crops, classes]
    results = (average_views(logits, style), average_views(of_clips, style))
    return (*results, features.mean(1)) if features.shape[-1] else results
