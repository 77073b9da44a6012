"""Every video's scores under a protocol, shared among the processes of a test."""

import numpy as np
import torch
from torch.utils.data import Dataset

from tanet.distributed import Process
from tanet.lists import VideoList
from tanet.model import TANet
from tanet.partial import PartialScores
from tanet.progress import track
from tanet.reading import Unreadable, culprits_named, loader, refuse
from tanet.recipes import Recipe
from tanet.views import score_views, test_views


def score_videos(
    model: TANet,
    videos: VideoList,
    protocol: str,
    recipe: Recipe,
    process: Process | None = None,
    partial: PartialScores | None = None,
    on_error: str = "raise",
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Probabilities float32 [classes] of every video by its index; processes share the videos, all get the result.

    With `partial`, videos scored there are not scored again. A video that cannot be read is a VideoError, or with
    on_error="skip" the reason stands in the second dict.
    """
    process = process or Process(0, 1, torch.device("cpu"))
    scored = process.gather(partial.prepare() if partial and process.is_main else {})[0]
    waiting = [index for index in range(len(videos)) if index not in scored]
    if process.is_main and scored:
        print(f"{len(scored)} of {len(videos)} videos are scored already", flush=True)
    share = waiting[process.rank :: process.world_size]
    batches = loader(_TestViews(videos, protocol, recipe), videos, recipe.workers, False, sampler=share, batch_size=None)
    own, unreadable = {}, {}
    with culprits_named(batches):
        for item in track(batches, len(share), f"{protocol}, videos", quiet=not process.is_main):
            if isinstance(item, Unreadable):
                if on_error == "raise":
                    refuse([item], '; on_error="skip" (--on-error skip) leaves such videos out and says so')
                unreadable[item.index] = item.reason
                continue
            index, views = item
            own[index] = score_views(model, views, recipe.style).numpy()
            if partial:
                partial.add(process.rank, index, own[index])
    for scores, reasons in process.gather((own, unreadable)):
        scored |= scores
        unreadable |= reasons
    return scored, unreadable


class _TestViews(Dataset):
    def __init__(self, videos: VideoList, protocol: str, recipe: Recipe):
        self.videos, self.protocol, self.recipe = videos, protocol, recipe

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor]:
        return index, test_views(self.videos.samples[index], self.protocol, self.recipe)
