"""How a training went, and what its network confuses."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tanet.visualize.page import page_width


def learning_curves(runs: Mapping[str, Sequence[dict]]) -> Figure:
    """Loss and top-1 over the epochs of runs {name: epoch rows of metrics.jsonl}: training dashed, validation solid."""
    figure = Figure(figsize=(9, 3.7), layout="constrained")
    figure.suptitle("Training (dashed) and validation (solid)", fontsize=11)
    left, right = figure.subplots(1, 2)
    for index, (name, rows) in enumerate(runs.items()):
        color, epochs = f"C{index}", [row["epoch"] for row in rows]
        for axis, train, val in ((left, "loss", "val_loss"), (right, "top1", "val_top1")):
            axis.plot(epochs, [row[train] for row in rows], "--", color=color)
            axis.plot(epochs, [row[val] for row in rows], "-o", markersize=4, color=color, label=name)
    left.set_ylabel("cross-entropy loss")
    right.set_ylabel("top-1, per cent")
    right.set_ylim(0, 101)
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


def step_curves(rows: Sequence[dict], clip_norm: float) -> Figure:
    """Learning rate, loss and gradient norm over a training, from the rows of metrics.jsonl that stand for steps.

    `clip_norm` is the norm at which gradients are clipped, drawn as a line.
    """
    steps = [row for row in rows if "step" in row]
    figure = Figure(figsize=(11, 3), layout="constrained")
    panels = figure.subplots(1, 3)
    panels[2].axhline(clip_norm, color="k", linestyle=":", linewidth=1, label="clipped above")
    panels[2].legend(fontsize=8)
    names = {"lr": "learning rate", "loss": "cross-entropy loss", "grad_norm": "norm of the gradient"}
    for index, (axis, field) in enumerate(zip(panels, names)):
        axis.plot(*_over_progress(steps, field), ".-", color=f"C{index}", markersize=4, linewidth=1)
        axis.set(title=names[field], xlabel="epochs done", xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
    figure.suptitle("Training; losses and norms are means since the dot before", fontsize=11)
    return figure


def training_curves(rows: Sequence[dict]) -> Figure:
    """Loss, top-1 and speed of a training that may still run, from all rows of its metrics.jsonl."""
    steps = [row for row in rows if "step" in row]
    epochs = [row for row in rows if "step" not in row]
    figure = Figure(figsize=(11, 3), layout="constrained")
    panels = figure.subplots(1, 3)
    for axis, train, val in zip(panels, ("loss", "top1"), ("val_loss", "val_top1")):
        axis.plot(*_over_progress(steps, train), color="C0", linewidth=1, label="training, a line every few steps")
        axis.plot(*_over_progress(epochs, val), "o-", color="C1", markersize=4, label="validation")
    panels[0].set_ylabel("cross-entropy loss")
    panels[1].set_ylabel("top-1, per cent")
    panels[1].set_ylim(0, 101)
    panels[0].legend(fontsize=7)
    panels[2].plot(*_over_progress(steps, "clips_per_second"), color="C2", linewidth=1)
    panels[2].set_ylabel("clips/s")
    panels[2].set_ylim(bottom=0)
    for axis, title in zip(panels, ("loss", "accuracy", "speed since the epoch began")):
        axis.set_title(title, fontsize=10)
        axis.set_xlim(left=0)
        axis.set_xlabel("epochs done")
        axis.grid(alpha=0.3)
    return figure


def _over_progress(rows: Sequence[dict], field: str) -> tuple[list[float], list[float]]:
    return [row["progress"] for row in rows], [row[field] for row in rows]


def confusion_matrix(confusion: Sequence[Sequence[int]], names: Sequence[str], title: str) -> Figure:
    """Counts [classes, classes] as shares of each true class (row), in per cent; as text, too, up to 20 classes."""
    return confusion_matrices({title: confusion}, names)


def confusion_matrices(
    confusions: Mapping[str, Sequence[Sequence[int]]], names: Sequence[str], pairs: Sequence[tuple[int, int]] = ()
) -> Figure:
    """Counts {title: [classes, classes]} side by side, as `confusion_matrix` draws one.

    pairs: (class, the next class) that stand together; their 2 x 2 blocks are framed.
    """
    figure = Figure(figsize=(page_width(len(confusions), each=3.8, beside=3.4), 5.6), layout="constrained")
    few = len(names) <= 10  # then there is room for two lines
    labels = [fill(name, max(22, 2 * len(name) // 3)) for name in names] if few else names
    size = 9 if few else 7
    axes = figure.subplots(1, len(confusions), sharey=True, squeeze=False)[0]
    for axis, (title, confusion) in zip(axes, confusions.items()):
        counts = np.asarray(confusion, float)
        share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
        image = axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
        if len(names) <= 20:
            axis.set_xticks(range(len(names)), labels, rotation=90, fontsize=size)
            axis.set_yticks(range(len(names)), labels, fontsize=size)
            for (i, j), value in np.ndenumerate(share):
                if value >= 0.5:
                    color = "w" if value > 50 else "k"
                    axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=size, color=color)
        for first, _ in pairs:
            axis.add_patch(Rectangle((first - 0.5, first - 0.5), 2, 2, fill=False, edgecolor="tab:orange", linewidth=2))
        axis.set_xlabel("taken for")
        axis.set_title(title, fontsize=11)
    axes[0].set_ylabel("true class")
    figure.colorbar(image, ax=list(axes), label="per cent of the true class's videos")
    return figure
