"""Pictures that move: a figure for each frame of a clip, and all of them as a GIF."""

from collections.abc import Mapping, Sequence
from os import PathLike

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

Row = tuple[str, torch.Tensor, Mapping[str, torch.Tensor]]


def moving_maps(rows: Sequence[Row]) -> list[Figure]:
    """Clips that play beside their importance maps; a frame around a column says which frame is seen.

    Each row is (title, clip as uint8 [T, 3, H, W], {block: map [C, T]}), with one T and the same blocks in all rows.
    Channels stand in the order of their peaks in the first row, so that a channel is at one height in all rows.
    Returns T figures.
    """
    orders = {block: values.argmax(1).argsort(stable=True) for block, values in rows[0][2].items()}
    return [_page(rows, orders, index) for index in range(len(rows[0][1]))]


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


def save_gif(figures: Sequence[Figure], path: str | PathLike, seconds: float = 0.4, dpi: int = 100) -> None:
    """Writes figures of one size as a GIF that repeats for ever and shows each for `seconds`."""
    pages = []
    for figure in figures:
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pages.append(Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB"))
    palette = pages[0].quantize(128)  # one for all, so that what stands still does not flicker
    pages = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=round(1000 * seconds), loop=0)
