"""Clips that play."""

import io
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image


def moving_picture(clips: Mapping[str, torch.Tensor], pixels: int = 144, rate: float = 5, gap: int = 6) -> bytes:
    """Clips {name: uint8 [T, 3, H, W]} side by side, as an animated GIF that plays for ever.

    pixels: height of each clip. rate: frames a second. gap: pixels between clips. A shorter clip waits at its last
    frame. The names are not drawn: say them in the text. `IPython.display.Image(data=...)` shows it.
    """
    frames = max(len(clip) for clip in clips.values())
    strip = []
    for index in range(frames):
        tiles = [_enlarged(clip[min(index, len(clip) - 1)], pixels) for clip in clips.values()]
        space = np.full((pixels, gap, 3), 255, np.uint8)
        row = [part for tile in tiles for part in (tile, space)][:-1]
        strip.append(Image.fromarray(np.concatenate(row, 1)))
    target = io.BytesIO()
    times = [1000 / rate] * (frames - 1) + [3000 / rate]  # a pause shows where the clip ends
    strip[0].save(target, "gif", save_all=True, append_images=strip[1:], duration=times, loop=0)
    return target.getvalue()


def _enlarged(frame: torch.Tensor, pixels: int) -> np.ndarray:
    height, width = frame.shape[1:]
    image = Image.fromarray(frame.permute(1, 2, 0).numpy())
    return np.asarray(image.resize((round(width * pixels / height), pixels), Image.Resampling.NEAREST))
