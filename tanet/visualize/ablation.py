"""What each part of a network is good for."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from tanet.visualize.page import page_width


def module_figure(results: Mapping[str, Mapping[str, Sequence[float]]], chance: Mapping[str, float]) -> Figure:
    """Top-1 in per cent {data set: {module: [of each seed]}}: one panel a set, one row a module, one dot a seed.

    chance: what guessing gets on each set, the dashed line. The same modules in every set.
    """
    modules = list(next(iter(results.values())))
    figure = Figure(
        figsize=(page_width(len(results), each=2.5, beside=1.6), 0.36 * len(modules) + 1.3), layout="constrained"
    )
    axes = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axis, (name, by_module) in zip(axes, results.items()):
        for row, module in enumerate(modules):
            values = by_module[module]
            axis.plot(values, [row] * len(values), "o", color="C0", alpha=0.5, markersize=6)
            axis.plot(np.mean(values), row, "|", color="black", markersize=14)
        axis.axvline(chance[name], color="grey", ls="--", lw=1)
        axis.set(xlim=(0, 103), title=name, xlabel="top-1, per cent")
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(modules)), modules)
    axes[0].invert_yaxis()
    return figure


def curves_by_module(curves: Mapping[str, Sequence[Sequence[float]]], title: str) -> Figure:
    """Validation top-1 in per cent {module: [[of each epoch] of each seed]}: the mean of the seeds, and their range."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axis = figure.subplots()
    for index, (module, seeds) in enumerate(curves.items()):
        values = np.asarray(seeds)  # [seeds, epochs]
        epochs = np.arange(1, values.shape[1] + 1)
        axis.plot(epochs, values.mean(0), "-o", markersize=3, color=f"C{index}", label=module)
        axis.fill_between(epochs, values.min(0), values.max(0), color=f"C{index}", alpha=0.15, lw=0)
    axis.set(xlabel="epoch", ylabel="validation top-1, per cent", ylim=(0, 103), title=title)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
