"""Clips, importance maps and kernels."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import torch
from matplotlib.figure import Figure, FigureBase

from tanet.visualize.page import page_width


def filmstrip(clips: Mapping[str, torch.Tensor], titles: Sequence[str] | None = None, title: str = "") -> Figure:
    """Clips {label: uint8 [T, 3, H, W]} as rows of frames. `titles` of the columns: by default frame numbers.

    Labels and titles are broken into lines, so that a frame keeps its place and a label its size.
    """
    num_frames = max(len(clip) for clip in clips.values())
    width = 1.25 * num_frames + 1.2
    figure = Figure(figsize=(width, 1.3 * len(clips) + 0.4 + (0.35 if title else 0)), layout="constrained")
    axes = figure.subplots(len(clips), num_frames, squeeze=False)
    size = max(9, 0.85 * width)  # points: a page shows a wide figure smaller
    letters = int(130 / size)  # in a line as wide as a frame
    for row, (label, clip) in zip(axes, clips.items()):
        for axis in row:  # a shorter clip leaves some of them empty
            axis.set_axis_off()
        for axis, frame in zip(row, clip):
            axis.imshow(frame.permute(1, 2, 0).numpy())
        place = {"transform": row[0].transAxes, "ha": "right", "va": "center", "fontsize": size}
        row[0].text(-0.08, 0.5, _in_lines(label, letters), **place)
    for index, axis in enumerate(axes[0]):
        name = titles[index] if titles is not None else f"frame {index}"
        axis.set_title(_in_lines(name, letters), fontsize=size)
    if title:
        figure.suptitle(title, fontsize=size + 2)
    return figure


def _in_lines(text: str, letters: int) -> str:
    """Its own lines, each broken after so many letters."""
    return "\n".join(fill(line, letters) for line in text.split("\n"))


def importance_maps(maps: Mapping[str, torch.Tensor], title: str) -> Figure:
    """Importance maps {name: [C, T]} of the same channels, side by side on one colour scale.

    A row is the same channel in all maps: channels are sorted by their peak frame in the first map.
    """
    figure = Figure(figsize=(page_width(len(maps), each=2.4, beside=1), 3.6), layout="constrained")
    _draw_maps(figure, maps, same_channels=True)
    figure.suptitle(title, fontsize=11)
    return figure


def clip_and_maps(clip: torch.Tensor, maps: Mapping[str, torch.Tensor], title: str) -> Figure:
    """A clip, uint8 [T, 3, H, W], above its importance maps {block: [C, T]}."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2.6))
    for index, (axis, frame) in enumerate(zip(above.subplots(1, len(clip)), clip)):
        axis.imshow(frame.permute(1, 2, 0).numpy())
        axis.set_title(f"t = {index}", fontsize=9)
        axis.set_axis_off()
    above.suptitle(title, fontsize=11)
    _draw_maps(below, maps)
    return figure


def _draw_maps(figure: FigureBase, maps: Mapping[str, torch.Tensor], same_channels: bool = False) -> None:
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    first_name, first = next(iter(maps.items()))
    for axis, (name, values) in zip(axes, maps.items()):
        order = (first if same_channels else values).argmax(1).argsort(stable=True)
        image = axis.imshow(
            values[order].numpy(), aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest"
        )
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("frame t")
        axis.set_yticks([])  # rows are ranks, not the numbers of channels
    axes[0].set_ylabel(f"channel, by its peak in {first_name}" if same_channels else "channel, sorted by its peak")
    figure.colorbar(image, ax=list(axes), label="importance V (sigmoid, 0 to 1)")


def aggregation_kernels(kernels: Mapping[str, torch.Tensor], title: str, same_channels: bool = False) -> Figure:
    """Kernels {name: [C, K]}: the weights of every channel, sorted, and below them their mean over the channels.

    Each name has an order of its own, from past to future; with `same_channels` all have the order of the first, so
    that a row is the same channel in all of them.
    """
    figure = Figure(figsize=(page_width(len(kernels), each=2.1, beside=1), 4.6), layout="constrained")
    axes = figure.subplots(2, len(kernels), squeeze=False, height_ratios=(3, 1.2))
    first_name, first = next(iter(kernels.items()))
    for (upper, lower), (name, values) in zip(axes.T, kernels.items()):
        taps, sorted_by = values.shape[1], first if same_channels else values
        offsets = ["0" if k == taps // 2 else f"{k - taps // 2:+d}" for k in range(taps)]
        ordered = values[(sorted_by[:, -1] - sorted_by[:, 0]).argsort(stable=True)]
        image = upper.imshow(ordered.numpy(), aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        upper.set_title(name, fontsize=10)
        lower.bar(range(taps), values.mean(0).numpy(), color="tab:gray")
        lower.set_ylim(0, 1)
        lower.set_xlabel("frame offset")
        for axis in (upper, lower):
            axis.set_xticks(range(taps), offsets)
        upper.set_yticks([])  # rows are ranks, not the numbers of channels
    axes[0][0].set_ylabel("channel, past to future" + (f" in {first_name}" if same_channels else ""))
    axes[1][0].set_ylabel("mean weight")
    figure.colorbar(image, ax=list(axes[0]), label="weight W (softmax)")
    figure.suptitle(title, fontsize=11)
    return figure


def temporal_operator(matrix: torch.Tensor, title: str, label: str = "weight W[s - t + p] V[s]") -> Figure:
    """The matrix [T, T] by which TAM maps one channel's frames to its output frames. Zeros, off the band, are blank.

    label: what the values are, for matrices of another kind.
    """
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axis = figure.subplots()
    banded = np.ma.masked_equal(matrix.numpy(), 0)
    image = axis.imshow(banded, cmap="viridis", vmin=0)
    axis.set_xlabel("input frame s")
    axis.set_ylabel("output frame t")
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, label=label)
    return figure
