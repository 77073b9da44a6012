"""Clips, importance maps and kernels."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure, FigureBase


def filmstrip(clips: Mapping[str, torch.Tensor], titles: Sequence[str] | None = None) -> Figure:
    """Clips {label: uint8 [T, 3, H, W]} as rows of frames. `titles` of the columns: by default frame numbers."""
    num_frames = max(len(clip) for clip in clips.values())
    figure = Figure(figsize=(1.25 * num_frames + 1.2, 1.3 * len(clips) + 0.4), layout="constrained")
    axes = figure.subplots(len(clips), num_frames, squeeze=False)
    for row, (label, clip) in zip(axes, clips.items()):
        for axis in row:  # a shorter clip leaves some of them empty
            axis.set_axis_off()
        for axis, frame in zip(row, clip):
            axis.imshow(frame.permute(1, 2, 0).numpy())
        row[0].text(-0.08, 0.5, label, transform=row[0].transAxes, ha="right", va="center", fontsize=9)
    for index, axis in enumerate(axes[0]):
        axis.set_title(titles[index] if titles is not None else f"frame {index}", fontsize=8)
    return figure


def importance_maps(
    maps: Mapping[str, torch.Tensor],
    title: str,
    like: Mapping[str, torch.Tensor] | None = None,
    marked: tuple[str, int] | None = None,
) -> Figure:
    """Importance maps {name: [C, T]} side by side on one colour scale.

    Channels are sorted by their peak frame, in `maps` or in other maps `like` them, so that a channel keeps its row
    when the clip changes. `marked`: (name, channel) whose row gets a red mark.
    """
    figure = Figure(figsize=(2.4 * len(maps) + 1, 3.6), layout="constrained")
    _draw_maps(figure, maps, like or maps, marked)
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
    _draw_maps(below, maps, maps)
    return figure


def _draw_maps(
    figure: FigureBase,
    maps: Mapping[str, torch.Tensor],
    like: Mapping[str, torch.Tensor],
    marked: tuple[str, int] | None = None,
) -> None:
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for axis, (name, values) in zip(axes, maps.items()):
        order = like[name].argmax(1).argsort(stable=True)
        image = axis.imshow(
            values[order].numpy(), aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest"
        )
        axis.set_title(name, fontsize=10)
        if marked is not None and name == marked[0]:
            row = order.tolist().index(marked[1])
            axis.plot([-0.5, values.shape[1] - 0.5], [row, row], ">", color="tab:red", markersize=8, clip_on=False)
            axis.set_title(name, fontsize=10, color="tab:red", weight="bold")
        axis.set_xlabel("frame t")
    axes[0].set_ylabel("channel, sorted by its peak")
    figure.colorbar(image, ax=list(axes), label="importance V (sigmoid, 0 to 1)")


def importance_over_time(curves: Mapping[str, Mapping[str, torch.Tensor]], title: str, ylabel: str) -> Figure:
    """Curves {panel: {line: [T]}}, with a line for each clip, class or channel. Each panel has its own scale."""
    figure = Figure(figsize=(2.9 * len(curves) + 0.6, 3.2), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (name, lines) in zip(axes, curves.items()):
        for label, values in lines.items():
            axis.plot(values.numpy(), marker="o", markersize=3, label=label)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("frame t")
    axes[0].set_ylabel(ylabel)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def aggregation_kernels(kernels: Mapping[str, torch.Tensor], title: str) -> Figure:
    """Kernels {name: [C, K]}: the weights of every channel, sorted, and below them their mean over the channels."""
    figure = Figure(figsize=(2.1 * len(kernels) + 1, 4.6), layout="constrained")
    axes = figure.subplots(2, len(kernels), squeeze=False, height_ratios=(3, 1.2))
    for (upper, lower), (name, values) in zip(axes.T, kernels.items()):
        taps = values.shape[1]
        offsets = ["0" if k == taps // 2 else f"{k - taps // 2:+d}" for k in range(taps)]
        ordered = values[(values[:, -1] - values[:, 0]).argsort()].numpy()
        image = upper.imshow(ordered, aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        upper.set_title(name, fontsize=10)
        lower.bar(range(taps), values.mean(0).numpy(), color="tab:gray")
        lower.set_ylim(0, 1)
        lower.set_xlabel("frame offset")
        for axis in (upper, lower):
            axis.set_xticks(range(taps), offsets)
    axes[0][0].set_ylabel("channel, past to future")
    axes[1][0].set_ylabel("mean weight")
    figure.colorbar(image, ax=list(axes[0]), label="weight W (softmax)")
    figure.suptitle(title, fontsize=11)
    return figure


def one_channel(importance: Mapping[str, torch.Tensor], kernels: Mapping[str, torch.Tensor], title: str) -> Figure:
    """One channel under several clips: its importance {clip: [T]} over the frames, its kernel {clip: [K]} as bars."""
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    for number, (label, values) in enumerate(importance.items()):
        left.plot(values.numpy(), marker="o", markersize=3, color=_shade(number, len(importance)), label=label)
    left.set(ylim=(0, 1), xlabel="frame t", ylabel="importance V")
    taps = len(next(iter(kernels.values())))
    width = 0.8 / len(kernels)
    for number, values in enumerate(kernels.values()):
        places = np.arange(taps) + (number - (len(kernels) - 1) / 2) * width
        right.bar(places, values.numpy(), width, color=_shade(number, len(kernels)))
    right.set_xticks(range(taps), [f"{k - taps // 2:+d}" if k != taps // 2 else "0" for k in range(taps)])
    right.set(ylim=(0, 1), xlabel="frame offset", ylabel="weight W")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _shade(number: int, count: int) -> str:
    """Grey for what the last one is compared with."""
    return "tab:blue" if number == count - 1 else "0.65"


def class_probabilities(over_time: Mapping[str, torch.Tensor], totals: Mapping[str, float], title: str) -> Figure:
    """Probabilities of classes {name: [T]} by each frame, beside those of the whole clip, {name: number}."""
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2.4, 1), sharey=True)
    for number, (name, values) in enumerate(over_time.items()):
        left.plot(values.numpy(), marker="o", markersize=3, color=f"C{number}", label=name)
        right.bar(number, totals[name], color=f"C{number}")
    left.set(ylim=(0, 1.02), xlabel="frame t", ylabel="probability", title="each frame")
    right.set(xticks=[], title="clip")
    for axis in (left, right):
        axis.title.set_fontsize(9)
    figure.legend(loc="outside lower center", ncols=1, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def temporal_operator(matrix: torch.Tensor, title: str) -> Figure:
    """The matrix [T, T] by which TAM maps one channel's frames to its output frames. Zeros, off the band, are blank."""
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axis = figure.subplots()
    banded = np.ma.masked_equal(matrix.numpy(), 0)
    image = axis.imshow(banded, cmap="viridis", vmin=0)
    axis.set_xlabel("input frame s")
    axis.set_ylabel("output frame t")
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, label="weight W[s - t + p] V[s]")
    return figure
