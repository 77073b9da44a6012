"""How maps and kernels differ: between clips, channels, classes, and from what no clip decides."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import torch
from matplotlib.figure import Figure

from tanet.visualize.page import page_width


def share_bars(shares: Mapping[str, Mapping[str, Mapping[str, float]]], title: str) -> Figure:
    """Shares in per cent {panel: {bar: {part: share}}} as bars that are put together of the same parts."""
    figure = Figure(figsize=(page_width(len(shares), each=4.2, beside=1), 3.3), layout="constrained")
    axes = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for axis, (name, bars) in zip(axes, shares.items()):
        bottom = np.zeros(len(bars))
        for part in next(iter(bars.values())):
            heights = np.array([bar[part] for bar in bars.values()])
            axis.bar(range(len(bars)), heights, 0.7, bottom=bottom, label=part)
            for x, (low, height) in enumerate(zip(bottom, heights)):
                if height >= 6:
                    axis.text(x, low + height / 2, f"{height:.0f}", ha="center", va="center", fontsize=8, color="white")
            bottom += heights
        axis.set_xticks(range(len(bars)), list(bars), fontsize=8)
        axis.set_title(name, fontsize=10)
    axes[0].set_ylabel("per cent of the variance")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def deviations(maps: Mapping[str, torch.Tensor], title: str, label: str) -> Figure:
    """Maps {name: [C, T]} of the same channels, around 0, side by side; one scale, and the first map's order of rows.

    Blue is below 0, red above.
    """
    figure = Figure(figsize=(page_width(len(maps), each=2.6, beside=1), 3.6), layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    first = next(iter(maps.values()))
    order = first.argmax(1).argsort(stable=True)
    limit = max(values.abs().max().item() for values in maps.values())
    for axis, (name, values) in zip(axes, maps.items()):
        image = axis.imshow(
            values[order].numpy(), aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
        )
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("frame t")
        axis.set_yticks([])  # rows are ranks, not the numbers of channels
    axes[0].set_ylabel("channel, sorted by the first map's peak")
    figure.colorbar(image, ax=list(axes), label=label)
    figure.suptitle(title, fontsize=11)
    return figure


def temporal_operators(matrices: Mapping[str, torch.Tensor], title: str) -> Figure:
    """Matrices {name: [T, T]} from input frames to output frames, side by side on one scale; zeros are blank."""
    figure = Figure(figsize=(page_width(len(matrices), each=2.5, beside=0.9), 3.1), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)  # keeps the title off the names, which may have two lines
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    largest = max(matrix.max().item() for matrix in matrices.values())
    for axis, (name, matrix) in zip(axes, matrices.items()):
        image = axis.imshow(np.ma.masked_equal(matrix.numpy(), 0), cmap="viridis", vmin=0, vmax=largest)
        axis.set_title(fill(name, 24), fontsize=9)
        axis.set_xlabel("input frame s")
    axes[0].set_ylabel("output frame t")
    figure.colorbar(image, ax=list(axes), label="W[s - t + p] V[s]", shrink=0.85)
    figure.suptitle(title, fontsize=11)
    return figure


def value_distributions(values: Mapping[str, Mapping[str, torch.Tensor]], title: str, ylabel: str) -> Figure:
    """Values in 0 to 1 {panel: {name: tensor}} as violins: all values between lowest and highest, the median marked."""
    figure = Figure(figsize=(page_width(len(values), each=2.6, beside=0.6), 3.0), layout="constrained")
    axes = figure.subplots(1, len(values), sharey=True, squeeze=False)[0]
    for axis, (panel, named) in zip(axes, values.items()):
        axis.violinplot([tensor.flatten().numpy() for tensor in named.values()], showmedians=True, points=60)
        axis.set_xticks(range(1, len(named) + 1), list(named))
        axis.set_title(panel, fontsize=10)
        axis.set_ylim(0, 1)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel(ylabel)
    figure.suptitle(title, fontsize=11)
    return figure


def curves_with_bands(
    curves: Mapping[str, Mapping[str, tuple[torch.Tensor, torch.Tensor]]], title: str, ylabel: str
) -> Figure:
    """Curves {panel: {line: (mean [T], half the width of its band [T])}} over the frames. Each panel has its scale."""
    figure = Figure(figsize=(page_width(len(curves), each=2.9, beside=0.6), 3.3), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (name, lines) in zip(axes, curves.items()):
        for index, (label, (mean, half)) in enumerate(lines.items()):
            low, high = (mean - half).numpy(), (mean + half).numpy()
            axis.plot(mean.numpy(), marker="o", markersize=3, color=f"C{index}", label=label)
            axis.fill_between(range(len(mean)), low, high, color=f"C{index}", alpha=0.25, lw=0)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("frame t")
    axes[0].set_ylabel(ylabel)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def accuracies(
    results: Mapping[str, Mapping[str, tuple[float, Sequence[float]]]], title: str, chance: Mapping[str, float]
) -> Figure:
    """Top-1 in per cent {panel: {row: (accuracy, [low, high])}} as dots with their intervals; the same rows in all.

    chance: what guessing gets in each panel, the dashed line.
    """
    rows = list(next(iter(results.values())))
    figure = Figure(figsize=(3.3 * len(results) + 2.2, 0.34 * len(rows) + 1.3), layout="constrained")
    axes = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axis, (name, named) in zip(axes, results.items()):
        for row, (top1, (low, high)) in enumerate(named.values()):
            axis.plot([low, high], [row, row], color="C0", lw=2, alpha=0.5)
            axis.plot(top1, row, "o", color="C0", markersize=6)
        axis.axvline(chance[name], color="grey", ls="--", lw=1)
        axis.set(xlim=(0, 103), xlabel="top-1, per cent")
        axis.set_title(name, fontsize=10)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(rows)), rows, fontsize=9)
    axes[0].invert_yaxis()
    figure.suptitle(title, fontsize=11)
    return figure
