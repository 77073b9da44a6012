"""The moving picture of the README, made with the demo network."""

from os import PathLike
from pathlib import Path

import torch

from tanet import visualize
from tanet.checkpoint import load_model
from tanet.data import ValidationClips, load_list
from tanet.demo.runs import data_root, stored


def make_picture(path: str | PathLike, video: int = 4) -> None:
    """Writes a GIF: a validation video of demo Something, forwards and backwards, what the demo network says of it, and
    its importance maps.
    """
    model, recipe, class_names = load_model(stored("demo_something"))
    clip, *_ = ValidationClips(load_list(recipe, data_root(recipe), "val"), recipe)[video]
    rows = []
    for way, shown in (("forwards", clip), ("backwards", clip.flip(0))):
        with torch.no_grad():
            probabilities = model(shown[None]).softmax(1)[0]
        maps = {block: V[0] for block, (V, _) in model.temporal_maps(shown[None]).items()}
        best = probabilities.argmax()
        rows.append((f"{way}: “{class_names[best]}”, {100 * probabilities[best]:.1f}%", shown, maps))
    Path(path).write_bytes(visualize.moving_maps(rows))
