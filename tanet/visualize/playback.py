"""One clip played in other ways: maps whose rows stay, one channel, probabilities frame by frame."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure

from tanet.visualize.page import page_width


def stage_maps(
    maps: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor], marked: tuple[str, int], title: str
) -> Figure:
    """Importance maps {block: [C, T]} side by side on one colour scale; `marked`: (block, channel), in red.

    The channels of a block are sorted by their peak frames in `like`, the maps of the clip as it is. So a channel keeps
    its row when the clip changes.
    """
    figure = Figure(figsize=(page_width(len(maps), each=2.4, beside=1), 3.6), layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for axis, (block, values) in zip(axes, maps.items()):
        order = like[block].argmax(1).argsort(stable=True)
        image = axis.imshow(values[order].numpy(), aspect="auto", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(block, fontsize=10)
        axis.set_xlabel("frame t")
        axis.set_yticks([])  # rows are ranks, not the numbers of channels
        if block == marked[0]:
            row = order.tolist().index(marked[1])
            axis.plot([-0.5, values.shape[1] - 0.5], [row, row], ">", color="tab:red", markersize=8, clip_on=False)
            axis.set_title(block, fontsize=10, color="tab:red", weight="bold")
    axes[0].set_ylabel("channel, by its peak as it is")
    figure.colorbar(image, ax=list(axes), label="importance V (sigmoid, 0 to 1)")
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
