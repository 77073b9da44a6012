"""Which frames and which pixels a network gets."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator


def frame_choices(choices: Mapping[str, np.ndarray], total_frames: int, title: str) -> Figure:
    """The frames of a video that ways of sampling take, {label: indices [clips, T]}: a row of dots for each clip."""
    rows = [(label, clip) for label, clips in choices.items() for clip in clips]
    figure = Figure(figsize=(9, 0.24 * len(rows) + 1.2), layout="constrained")
    axis = figure.subplots()
    colors = {label: f"C{i}" for i, label in enumerate(choices)}
    for y, (label, clip) in enumerate(rows):
        axis.plot(clip, np.full(len(clip), y), "o-", color=colors[label], markersize=4, linewidth=0.6)
    labels = [label for label, _ in rows]
    axis.set_yticks([labels.index(label) for label in choices], list(choices))
    axis.set_xlim(-1, total_frames)
    axis.invert_yaxis()
    axis.set_xlabel(f"frame of the video (it has {total_frames})")
    axis.set_title(title, fontsize=11)
    return figure


def crop_boxes(
    frame: torch.Tensor, boxes: Mapping[str, Sequence[tuple[int, int, int, int]]], only_centers: Sequence[str] = ()
) -> Figure:
    """Crop boxes {label: [(top, left, height, width)]} and their centres on a frame, uint8 [3, H, W]; a panel each.

    Many boxes hide each other: of the labels in `only_centers` the centres are drawn, and the first box alone. Boxes
    are drawn a little inside their edges, each a little further, so that edges in one place stay apart.
    """
    figure = Figure(figsize=(4.4 * len(boxes), 3.4), layout="constrained")
    axes = figure.subplots(1, len(boxes), squeeze=False)[0]
    height, width = frame.shape[-2:]
    gap = max(height, width) / 100
    for axis, (label, group) in zip(axes, boxes.items()):
        axis.imshow(frame.permute(1, 2, 0).numpy())
        for index, box in enumerate(group):
            color = f"C{index % 10}" if label not in only_centers else "w"
            axis.plot(*_center(box), "o", color=color, markersize=6, markeredgecolor="k")
            if index == 0 or label not in only_centers:
                axis.add_patch(_rectangle(box, gap * (index + 0.5), color))
        axis.set(title=label, xlabel="x, pixels", ylabel="y, pixels")
        axis.set(xlim=(-2 * gap, width + 2 * gap), ylim=(height + 2 * gap, -2 * gap))
    return figure


def _center(box: tuple[int, int, int, int]) -> tuple[float, float]:
    top, left, height, width = box
    return left + width / 2 - 0.5, top + height / 2 - 0.5


def _rectangle(box: tuple[int, int, int, int], inside: float, color: str) -> Rectangle:
    top, left, height, width = box
    corner = left - 0.5 + inside, top - 0.5 + inside
    return Rectangle(corner, width - 2 * inside, height - 2 * inside, fill=False, edgecolor=color, linewidth=2)


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


def data_overview(overview, title: str) -> Figure:
    """A tanet.data.Overview: the videos of each class in both splits, and the distribution of their lengths."""
    names = overview.class_names
    figure = Figure(figsize=(10, max(3.2, 0.22 * min(len(names), 60) + 1.4)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    start = np.zeros(len(names))
    for split, color, label in (("train", "C0", "training"), ("val", "C1", "validation")):
        counts = np.array(overview.counts(split))
        left.barh(range(len(names)), counts, left=start, color=color, label=label)
        start += counts
    left.set_yticks(range(len(names)), names, fontsize=8)
    if len(names) > 60:  # names would overlap
        left.set_yticks([])
    left.invert_yaxis()
    left.set(xlabel="videos", title="Videos of each class", xlim=(0, 1.3 * max(1, start.max())))
    left.legend(fontsize=8, loc="upper right")
    lengths = [video.frames for video in overview.videos]
    counts, *_ = right.hist(lengths, bins=min(30, max(1, len(set(lengths)))), color="C7")
    right.set_ylim(0, 1.3 * max(1, counts.max()))  # room for the legend
    right.axvline(overview.num_frames, color="C3", linewidth=1.5, label=f"T = {overview.num_frames}, frames of a clip")
    right.set(xlabel="frames of a video", ylabel="videos", title="Lengths")
    right.set_xlim(left=0)
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend(fontsize=8)
    figure.suptitle(title, fontsize=11)
    return figure
