"""Every video's scores under a protocol, shared among the processes of a test."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import torch
from torch.utils.data import Dataset

from tanet.data import (
    Unreadable,
    VideoList,
    explain_worker_failure,
    make_loader,
    raise_unreadable,
    test_views,
)
from tanet.evaluate.partial import PartialScores
from tanet.model import TANet
from tanet.recipes import Recipe, get_protocol
from tanet.runtime import CapturedForward, Process, copy_to_cpu, delayed_by_one, to_device, track

Forward = Callable[[torch.Tensor], torch.Tensor]  # views uint8 [V, T, 3, S, S] -> outputs [V, D], such as logits
Combine = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]  # outputs [videos, V, D] -> tensors [videos, ...]


def score_videos(
    model: TANet,
    videos: VideoList,
    protocol: str,
    recipe: Recipe,
    process: Process | None = None,
    partial: PartialScores | None = None,
    on_error: str = "raise",
    batch: int | None = None,
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Scores every video; returns index -> probabilities float32 [classes], and index -> reason of unreadable videos.

    The processes share the videos, and all of them get the whole result. Videos scored in `partial` keep those scores.
    A video that cannot be read raises VideoError; with on_error="skip" it is in the second dict instead. `batch` views
    are computed at a time, of several videos where one has fewer views; by default as many as `views_at_once` says.
    """
    process = process or Process(0, 1, torch.device("cpu"))
    device = model.fc.weight.device
    scored = process.gather(partial.prepare() if partial and process.is_main else {})[0]
    if process.is_main and scored:
        print(f"{len(scored)} of {len(videos)} videos are scored already", flush=True)
    views, side = views_of(protocol, recipe)
    batch = batch or views_at_once(recipe.num_frames, side, device)
    size = max(batch // views, 1)
    unfinished_groups = [group for group in groups_of(len(videos), size) if not scored.keys() >= set(group)]
    groups = unfinished_groups[process.rank :: process.world_size]
    order = list(chain(*groups))
    items = make_loader(
        _TestViews(videos, protocol, recipe),
        videos,
        recipe.workers,
        batches=False,
        use_gpu=device.type == "cuda",
        item_bytes=views * recipe.num_frames * 3 * side**2,
        sampler=order,
        batch_size=None,
    )
    new_scores, unreadable, forward = {}, {}, CapturedForward(model)

    def average(logits: torch.Tensor) -> tuple[torch.Tensor]:
        return (average_views(logits, recipe.style),)

    with explain_worker_failure(items):
        loaded = track(items, len(order), f"{protocol}, videos", quiet=not process.is_main)
        for scoring in delayed_by_one(compute_groups(forward, device, loaded, groups, size, batch, average), device):
            new_unreadable = [item for item in scoring.unreadable if item.index not in scored]
            if on_error == "raise":
                raise_unreadable(
                    new_unreadable, '; on_error="skip" (--on-error skip) leaves such videos out and says so'
                )
            unreadable.update({item.index: item.reason for item in new_unreadable})
            for index, (row,) in scoring.results():
                if index in scored or index in unreadable:
                    continue
                new_scores[index] = row.numpy()
                if partial:
                    partial.add(process.rank, index, row.numpy())
    for scores, reasons in process.gather((new_scores, unreadable)):
        scored.update(scores)
        unreadable.update(reasons)
    return scored, unreadable


def views_of(protocol: str, recipe: Recipe) -> tuple[int, int]:
    """How many views a video has, and their side in pixels."""
    chosen = get_protocol(protocol)
    side = recipe.test_size if chosen.crops == 3 else recipe.crop_size
    return chosen.clips * chosen.crops, side


def groups_of(count: int, size: int) -> list[range]:
    """The videos that are computed together, `size` of them: consecutive ones of the list.

    A group is always computed whole, by any process, even if a killed test had scored a part of it.
    """
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


@dataclass(frozen=True)
class ComputedGroup:
    """A group of videos that is being computed."""

    group: range  # the videos' indices
    unreadable: list[Unreadable]
    tensors: list[
        Callable[[], torch.Tensor]
    ]  # each waits for a tensor [videos, ...] on the CPU; [] if none is readable

    def results(self) -> Iterator[tuple[int, tuple[torch.Tensor, ...]]]:
        """Waits; the index of each readable video with its rows of the tensors."""
        left_out = {item.index for item in self.unreadable}
        tensors = [wait() for wait in self.tensors]
        for index, rows in zip(self.group, zip(*tensors)):
            if index not in left_out:
                yield index, rows


def compute_groups(
    forward: Forward,
    device: torch.device,
    items: Iterable,
    groups: list[range],
    size: int,
    batch: int,
    combine: Combine,
) -> Iterator[ComputedGroup]:
    """Starts computing each group as soon as its last video is loaded.

    `items`: each video's views uint8 [V, T, 3, S, S], or Unreadable. How many views are computed together decides the
    last bits of their outputs, what they show does not. So a group is always computed as `size` videos: black ones
    stand for those that cannot be read, and fill the last group. A video's scores then depend on that video alone.
    """
    items = iter(items)
    for group in groups:
        views = list(islice(items, len(group)))
        unreadable = [item for item in views if isinstance(item, Unreadable)]
        readable = [item for item in views if not isinstance(item, Unreadable)]
        if not readable:
            yield ComputedGroup(group, unreadable, [])
            continue
        black = torch.zeros_like(readable[0])
        views = [black if isinstance(item, Unreadable) else item for item in views]
        views += [black] * (size - len(views))
        tensors = combine(compute_views(forward, device, views, batch))
        yield ComputedGroup(group, unreadable, [copy_to_cpu(tensor[: len(group)]) for tensor in tensors])
    for _ in items:  # no item is left; this lets the progress bar close
        pass


class _TestViews(Dataset):
    """The views of every video by its index, uint8 [V, T, 3, S, S]."""

    def __init__(self, videos: VideoList, protocol: str, recipe: Recipe):
        self.videos, self.protocol, self.recipe = videos, protocol, recipe

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> torch.Tensor:
        return test_views(self.videos.samples[index], self.protocol, self.recipe)


test_views.__test__ = False  # the name would make pytest collect it


MOST_VIEWS = 30  # computed at a time: a video's of the largest protocol
CPU_PIXELS = 2**19  # computed at a time on a CPU; larger batches outgrow its caches: half as long again, more memory


def views_at_once(frames: int, side: int, device: torch.device) -> int:
    """How many views [T = frames, 3, S = side, S] to compute at a time. It decides the last bits of the scores."""
    if device.type == "cuda":
        return MOST_VIEWS
    return min(MOST_VIEWS, max(1, CPU_PIXELS // (frames * side**2)))


def score_views(model: TANet, views: torch.Tensor, style: str = "mmaction2", batch: int | None = None) -> torch.Tensor:
    """uint8 views [V, T, 3, S, S] of one video -> probabilities [num_classes], float32 on the CPU.

    MMAction2 averages the views' probabilities, the official code their logits. `batch` views are computed at a time,
    by default as many as `views_at_once` says.
    """
    device = model.fc.weight.device
    batch = batch or views_at_once(views.shape[1], views.shape[-1], device)
    return average_views(compute_views(model, device, [views], batch), style)[0].cpu()


@torch.no_grad()
def compute_views(forward: Forward, device: torch.device, videos: list[torch.Tensor], batch: int) -> torch.Tensor:
    """Views of several videos, each uint8 [V, T, 3, S, S] -> outputs float32 [videos, V, D].

    `forward`: the model on `device`, or its CapturedForward. The result is on the device. On a GPU it may still be
    being computed when this function returns.
    """
    views = torch.cat(to_device(device, *videos))
    outputs = torch.cat([forward(part).float() for part in views.split(batch)])
    return outputs.unflatten(0, (len(videos), -1))


def average_views(logits: torch.Tensor, style: str) -> torch.Tensor:
    """Logits of views [..., V, num_classes] -> probabilities [..., num_classes]."""
    return logits.softmax(-1).mean(-2) if style == "mmaction2" else logits.mean(-2).softmax(-1)
