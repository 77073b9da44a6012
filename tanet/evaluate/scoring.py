"""Every video's scores under a protocol, shared among the processes of a test."""

from collections.abc import Callable, Iterable, Iterator
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
from tanet.runtime import Process, copy_to_cpu, delayed_by_one, to_device, track


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
    """Probabilities float32 [classes] of every video by its index; processes share the videos, all get the result.

    With `partial`, videos scored there keep those scores. A video that cannot be read is a VideoError, or with
    on_error="skip" the reason stands in the second dict. `batch` views are computed at a time, of several videos where
    each has fewer; by default as many as `views_at_once` says.
    """
    process, device = process or Process(0, 1, torch.device("cpu")), model.fc.weight.device
    scored = process.gather(partial.prepare() if partial and process.is_main else {})[0]
    if process.is_main and scored:
        print(f"{len(scored)} of {len(videos)} videos are scored already", flush=True)
    views, side = _views_of(protocol, recipe)
    batch = batch or views_at_once(recipe.num_frames, side, device)
    waiting = [group for group in _groups(len(videos), batch // views) if not scored.keys() >= set(group)]
    share = waiting[process.rank :: process.world_size]
    order = list(chain(*share))
    clips, use_gpu = _TestViews(videos, protocol, recipe), device.type == "cuda"
    items = make_loader(clips, videos, recipe.workers, False, use_gpu, sampler=order, batch_size=None)
    own, unreadable = {}, {}
    with explain_worker_failure(items):
        loaded = track(items, len(order), f"{protocol}, videos", quiet=not process.is_main)
        for group, bad, scores in delayed_by_one(_score_groups(model, loaded, share, recipe.style, batch), device):
            bad = {item.index: item for item in bad if item.index not in scored}
            if on_error == "raise":
                raise_unreadable(
                    list(bad.values()), '; on_error="skip" (--on-error skip) leaves such videos out and says so'
                )
            unreadable |= {index: item.reason for index, item in bad.items()}
            for index, row in zip(group, scores().numpy()):
                if index in scored or index in bad:
                    continue
                own[index] = row
                if partial:
                    partial.add(process.rank, index, row)
    for scores, reasons in process.gather((own, unreadable)):
        scored |= scores
        unreadable |= reasons
    return scored, unreadable


def _views_of(protocol: str, recipe: Recipe) -> tuple[int, int]:
    """How many views a video has, and their side in pixels."""
    chosen = get_protocol(protocol)
    return chosen.clips * chosen.crops, recipe.test_size if chosen.crops == 3 else recipe.crop_size


def _groups(count: int, size: int) -> list[range]:
    """The videos that are computed together: consecutive ones of the list.

    What is computed together decides the last bits of the scores. So groups follow from the list alone, and a group is
    computed whole, whoever does it, and even if a test that was killed had scored a part of it.
    """
    size = max(size, 1)
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


Begun = tuple[range, list[Unreadable], Callable[[], torch.Tensor]]


def _score_groups(model: TANet, items: Iterable, groups: list[range], style: str, batch: int) -> Iterator[Begun]:
    """Each group when its last video has come, with its videos that cannot be read, and what waits for its scores, float32
    [videos, classes].

    A video that cannot be read is computed as a black one, so that the scores of the others do not depend on it.
    """
    items = iter(items)
    for group in groups:
        found = list(islice(items, len(group)))
        bad = [item for item in found if isinstance(item, Unreadable)]
        if len(bad) == len(group):
            yield group, bad, lambda: torch.empty(0)
            continue
        black = torch.zeros_like(next(item for item in found if not isinstance(item, Unreadable)))
        views = [black if isinstance(item, Unreadable) else item for item in found]
        yield group, bad, copy_to_cpu(score_together(model, views, style, batch))
    for _ in items:  # lets the bar close
        pass


class _TestViews(Dataset):
    def __init__(self, videos: VideoList, protocol: str, recipe: Recipe):
        self.videos, self.protocol, self.recipe = videos, protocol, recipe

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> torch.Tensor:
        return test_views(self.videos.samples[index], self.protocol, self.recipe)


test_views.__test__ = False  # the name would make pytest collect it


MOST_VIEWS = 30  # computed at a time: a video's of the largest protocol
CPU_PIXELS = 2**19  # likewise, on a CPU: larger batches outgrow its caches, and take half as long again and more memory


def views_at_once(frames: int, side: int, device: torch.device) -> int:
    """How many views [T = frames, 3, S = side, S] are best computed at a time; it decides the last bits of the scores."""
    return MOST_VIEWS if device.type == "cuda" else min(MOST_VIEWS, max(1, CPU_PIXELS // (frames * side**2)))


def score_views(model: TANet, views: torch.Tensor, style: str = "mmaction2", batch: int | None = None) -> torch.Tensor:
    """uint8 views [V, T, 3, S, S] of one video -> probabilities [num_classes], float32 on the CPU.

    MMAction2 averages the views' probabilities, the official code their logits. `batch` views are computed at a time,
    by default as many as `views_at_once` says.
    """
    batch = batch or views_at_once(views.shape[1], views.shape[-1], model.fc.weight.device)
    return score_together(model, [views], style, batch)[0].cpu()


@torch.no_grad()
def score_together(model: TANet, videos: list[torch.Tensor], style: str, batch: int) -> torch.Tensor:
    """Views of several videos, each uint8 [V, T, 3, S, S] -> probabilities float32 [videos, num_classes] on the model's
    device, where they may still be under way."""
    views = torch.cat(to_device(model.fc.weight.device, *videos))
    logits = torch.cat([model(part).float() for part in views.split(batch)])
    logits = logits.unflatten(0, (len(videos), -1))  # [videos, V, classes]
    return logits.softmax(-1).mean(1) if style == "mmaction2" else logits.mean(1).softmax(-1)
