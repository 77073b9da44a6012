"""Figures of clips, maps, kernels and results.

Each function takes tensors or numbers and returns a matplotlib figure. Nothing is computed here that belongs to a
network: the maps and kernels that are drawn come from its forward pass. Figures are made without pyplot, so no state is
kept. A notebook shows a figure by naming it on the last line of a cell.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Rectangle


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


def importance_maps(maps: Mapping[str, torch.Tensor], title: str) -> Figure:
    """Importance maps {name: [C, T]} side by side on one colour scale. Channels are sorted by their peak frame."""
    figure = Figure(figsize=(2.4 * len(maps) + 1, 3.6), layout="constrained")
    _draw_maps(figure, maps)
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


def _draw_maps(figure: FigureBase, maps: Mapping[str, torch.Tensor]) -> None:
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for axis, (name, values) in zip(axes, maps.items()):
        values = values[values.argmax(1).argsort(stable=True)]
        image = axis.imshow(values.numpy(), aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        axis.set_title(name, fontsize=10)
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


def frame_choices(choices: Mapping[str, np.ndarray], total_frames: int) -> Figure:
    """The frames of a video that ways of sampling take, {label: indices [clips, T]}: a row of dots for each clip."""
    rows = [(label, clip) for label, clips in choices.items() for clip in clips]
    figure = Figure(figsize=(9, 0.24 * len(rows) + 0.9), layout="constrained")
    axis = figure.subplots()
    colors = {label: f"C{i}" for i, label in enumerate(choices)}
    for y, (label, clip) in enumerate(rows):
        axis.plot(clip, np.full(len(clip), y), "o-", color=colors[label], markersize=4, linewidth=0.6)
    labels = [label for label, _ in rows]
    axis.set_yticks([labels.index(label) for label in choices], list(choices))
    axis.set_xlim(-1, total_frames)
    axis.invert_yaxis()
    axis.set_xlabel(f"frame of the video (it has {total_frames})")
    return figure


def crop_boxes(frame: torch.Tensor, boxes: Mapping[str, Sequence[tuple[int, int, int, int]]]) -> Figure:
    """Crop boxes {label: [(top, left, height, width)]} and their centres on a frame, uint8 [3, H, W]; a panel each."""
    figure = Figure(figsize=(3.4 * len(boxes), 3.2), layout="constrained")
    axes = figure.subplots(1, len(boxes), squeeze=False)[0]
    for axis, (label, group) in zip(axes, boxes.items()):
        axis.imshow(frame.permute(1, 2, 0).numpy())
        for index, (top, left, height, width) in enumerate(group):
            color = f"C{index % 10}"
            corner = left - 0.5, top - 0.5
            axis.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=color, linewidth=1.5))
            axis.plot(left + width / 2 - 0.5, top + height / 2 - 0.5, "o", color=color, markersize=4)
        axis.set_title(label, fontsize=10)
        axis.set_xlabel("x, pixels")
        axis.set_ylabel("y, pixels")
    return figure


def frame_difference(frames: Mapping[str, torch.Tensor], title: str) -> Figure:
    """Two frames {name: uint8 [3, H, W]} of one size, and their difference in grey levels, mean of RGB."""
    (left_name, left_frame), (right_name, right_frame) = frames.items()
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for axis, name, frame in ((left, left_name, left_frame), (right, right_name, right_frame)):
        axis.imshow(frame.permute(1, 2, 0).numpy())
        axis.set_title(name, fontsize=10)
    difference = (left_frame.float() - right_frame.float()).abs().mean(0)
    image = middle.imshow(difference.numpy(), cmap="magma", vmin=0)
    middle.set_title("difference", fontsize=10)
    figure.colorbar(image, ax=middle, label="grey levels", shrink=0.85)
    for axis in (left, middle, right):
        axis.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=11)
    return figure


def learning_curves(runs: Mapping[str, Sequence[dict]]) -> Figure:
    """Loss and top-1 over the epochs of runs {name: epoch rows of metrics.jsonl}: training dashed, validation solid."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    figure.suptitle("Training (dashed) and validation", fontsize=11)
    left, right = figure.subplots(1, 2)
    for index, (name, rows) in enumerate(runs.items()):
        color, epochs = f"C{index}", [row["epoch"] for row in rows]
        for axis, train, val in ((left, "loss", "val_loss"), (right, "top1", "val_top1")):
            axis.plot(epochs, [row[train] for row in rows], "--", color=color, label=f"{name}, training")
            axis.plot(epochs, [row[val] for row in rows], "-o", markersize=4, color=color, label=f"{name}, validation")
    left.set_ylabel("cross-entropy loss")
    right.set_ylabel("top-1, per cent")
    right.set_ylim(0, 101)
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    right.legend(fontsize=8)
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
    counts = np.asarray(confusion, float)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    if len(names) <= 20:
        axis.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        for (i, j), value in np.ndenumerate(share):
            if value >= 0.5:
                axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8, color="w" if value > 50 else "k")
    axis.set_xlabel("taken for")
    axis.set_ylabel("true class")
    axis.set_title(title, fontsize=11)
    figure.colorbar(image, label="per cent of the true class's videos")
    return figure


def step_figure(times: Mapping[str, Mapping[str, float]], title: str, highlight: str) -> Figure:
    """The time of a training step {network: {kind of work: ms}} as bars. The kind `highlight` is orange."""
    figure = Figure(figsize=(9, 0.7 * len(times) + 1.6), layout="constrained")
    axis = figure.subplots()
    kinds = list(next(iter(times.values())))
    others = [kind for kind in kinds if kind != highlight]
    colors = dict(zip(others, ("#9ecae1", "#c7e9c0", "#d9d9d9"))) | {highlight: "#e6550d"}
    for row, by_kind in enumerate(times.values()):
        start = 0.0
        for kind in kinds:
            axis.barh(row, by_kind[kind], left=start, color=colors[kind], label=kind if row == 0 else None)
            start += by_kind[kind]
        share = by_kind[highlight] / start
        axis.text(start, row, f" {start:.0f} ms, {100 * share:.0f}% in {highlight}", va="center", fontsize=8)
    axis.set_yticks(range(len(times)), list(times))
    axis.invert_yaxis()
    axis.set_xlabel("milliseconds of a training step (forward and backward)")
    axis.set_xlim(right=1.4 * max(sum(by_kind.values()) for by_kind in times.values()))
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.22), ncols=len(kinds), fontsize=8, frameon=False)
    axis.set_title(title, fontsize=10)
    return figure


def roofline_figure(points: Mapping[str, tuple[float, float]], bandwidth: float, peak: float, title: str) -> Figure:
    """The speeds of functions {name: (FLOP per byte, GFLOP/s)} below the roof that memory and arithmetic set.

    `bandwidth` is in GB/s, `peak` in GFLOP/s.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    intensities = torch.logspace(-2, 3, 200)
    axis.plot(intensities, (bandwidth * intensities).clamp(max=peak), color="black", lw=1.5)
    axis.text(0.06, 0.015 * bandwidth, f"memory: {bandwidth:.0f} GB/s", fontsize=8)
    axis.text(2 * peak / bandwidth, 1.15 * peak, f"arithmetic: {peak:.0f} GFLOP/s", fontsize=8)
    for name, (intensity, speed) in points.items():
        roof = min(peak, bandwidth * intensity)
        axis.plot(intensity, speed, "o", label=f"{name}: {100 * speed / roof:.0f}% of the roof")
    axis.set(xscale="log", yscale="log", xlabel="operations per byte that must be moved (FLOP/byte)", ylabel="GFLOP/s")
    axis.set_ylim(top=3 * peak)
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8, loc="lower right")
    axis.grid(alpha=0.3)
    return figure


def ladder_figure(rungs: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Ratios of time to the first rung, {rung: {column: ratio}}: a group of bars for each rung."""
    figure = bars_figure(rungs, title, "time, published = 1", digits=2)
    figure.axes[0].axhline(1, color="black", lw=0.8)
    return figure


def bars_figure(groups: Mapping[str, Mapping[str, float]], title: str, label: str, digits: int = 0) -> Figure:
    """Groups of bars {group: {series: height}}; a group may lack a series. `label` names the heights and their unit."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axis = figure.subplots()
    names = list(dict.fromkeys(name for heights in groups.values() for name in heights))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        offset = (number - (len(names) - 1) / 2) * width
        heights = {index + offset: group[name] for index, group in enumerate(groups.values()) if name in group}
        bars = axis.bar(list(heights), list(heights.values()), width, label=name, color=f"C{number}")
        axis.bar_label(bars, fmt=f"%.{digits}f", fontsize=7)
    axis.set_xticks(range(len(groups)), list(groups), fontsize=9)
    axis.set_ylabel(label)
    axis.legend(fontsize=8)
    axis.set_title(title, fontsize=10)
    return figure
