"""Clips that play, alone or beside their importance maps."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

Row = tuple[str, torch.Tensor, Mapping[str, torch.Tensor]]


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
    return _gif(strip, rate)


def moving_maps(rows: Sequence[Row], rate: float = 2.5, dpi: int = 100) -> bytes:
    """Clips that play beside their importance maps, as an animated GIF. A frame around a column says which one is seen.

    Each row is (title, clip as uint8 [T, 3, H, W], {block: map [C, T]}), with one T and the same blocks in all rows.
    Channels stand in the order of their peaks in the first row, so that a channel is at one height in all rows.
    """
    orders = {block: values.argmax(1).argsort(stable=True) for block, values in rows[0][2].items()}
    pages = [_drawn(_page(rows, orders, index), dpi) for index in range(len(rows[0][1]))]
    palette = Image.fromarray(np.concatenate([np.asarray(page) for page in pages])).quantize(256)
    # One palette for all, so that what stands still does not flicker.
    return _gif([page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages], rate)


def _page(rows: Sequence[Row], orders: Mapping[str, torch.Tensor], index: int) -> Figure:
    """The figure of frame `index`."""
    figure = Figure(figsize=(2 + 1.5 * len(orders), 2.2 * len(rows)), layout="constrained")
    for part, (title, clip, maps) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows):
        part.suptitle(title, x=0.01, ha="left", fontsize=10)
        axes = part.subplots(1, 1 + len(orders), width_ratios=[1.4] + [1] * len(orders))
        axes[0].imshow(clip[index].permute(1, 2, 0).numpy())
        axes[0].set_title(f"frame {index}", fontsize=9)
        for axis, (block, order) in zip(axes[1:], orders.items()):
            axis.imshow(maps[block][order].numpy(), aspect="auto", vmin=0, vmax=1, interpolation="nearest")
            axis.add_patch(Rectangle((index - 0.5, -0.5), 1, len(order), fill=False, edgecolor="red", linewidth=2))
            axis.set_title(block, fontsize=9)
        axes[1].set_ylabel("channel", fontsize=9)
        for axis in axes:
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def _drawn(figure: Figure, dpi: int) -> Image.Image:
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _gif(pages: Sequence[Image.Image], rate: float) -> bytes:
    target = io.BytesIO()
    times = [1000 / rate] * (len(pages) - 1) + [3000 / rate]  # a pause shows where the clip ends
    pages[0].save(target, "gif", save_all=True, append_images=pages[1:], duration=times, loop=0)
    return target.getvalue()


def _enlarged(frame: torch.Tensor, pixels: int) -> np.ndarray:
    height, width = frame.shape[1:]
    image = Image.fromarray(frame.permute(1, 2, 0).numpy())
    return np.asarray(image.resize((round(width * pixels / height), pixels), Image.Resampling.NEAREST))
