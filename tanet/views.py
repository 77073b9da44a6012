"""Views of a video, the clips and crops that a protocol scores, and the video's score from theirs."""

import os

import numpy as np
import torch

from tanet import recipes, sampling
from tanet.lists import Sample
from tanet.model import TANet
from tanet.protocols import Protocol, get_protocol
from tanet.recipes import Recipe
from tanet.transfer import to_device
from tanet.transforms import center_crop, resize_short_side, three_crops
from tanet.video import open_video


def test_views(
    source: str | os.PathLike | Sample, protocol: str, recipe: Recipe | None = None
) -> torch.Tensor:
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


test_views.__test__ = False  # the name would make pytest collect it


def _test_indices(protocol: Protocol, recipe: Recipe, total_frames: int) -> np.ndarray:
    if protocol.sampling == "dense":
        return sampling.dense_clips(total_frames, recipe.num_frames, protocol.clips)
    return sampling.uniform_frames(total_frames, recipe.num_frames, protocol.clips == 2, recipe.style)


MOST_VIEWS = 30  # computed at a time: a video's of the largest protocol
CPU_PIXELS = 2**19  # likewise, on a CPU: larger batches outgrow its caches, and take half as long again and more memory


def views_at_once(frames: int, side: int, device: torch.device) -> int:
    """How many views [T = frames, 3, S = side, S] are best computed at a time; it decides the last bits of the scores."""
    return MOST_VIEWS if device.type == "cuda" else min(MOST_VIEWS, max(1, CPU_PIXELS // (frames * side**2)))


def score_views(
    model: TANet, views: torch.Tensor, style: str = "mmaction2", batch: int | None = None
) -> torch.Tensor:
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
