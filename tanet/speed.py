"""Where a training step's time goes, by kind of operation, and figures of speed."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.profiler import ProfilerActivity, profile

from tanet.numerics import autocast

KINDS = ("convolutions of frames", "BatchNorm, ReLU, additions", "temporal modules", "all else")
COLORS = ("#9ecae1", "#c7e9c0", "#e6550d", "#d9d9d9")
# What else than convolutions belongs to the temporal modules: the passes over frames here, and of the published
# formulation the copies and the reweighting, the only ones of tensors with five dimensions. The branches' matrix products
# look like the classifier's and are as small: they count as the rest.
TEMPORAL = ("_Pool", "_Mix")
FIVE_DIMENSIONS = ("aten::copy_", "aten::mul")
NORMS = ("batch_norm", "relu", "threshold", "clamp_min", "aten::add")


def time_by_kind(model: nn.Module, clips: torch.Tensor, precision: str = "float32", steps: int = 3) -> dict[str, float]:
    """Milliseconds of a forward and backward pass of `model` on `clips`, mean of `steps` after one to warm up, by KINDS.

    `clips` of at least 64 pixels: where frames shrink to a row, they cannot be told from what the branches see.
    """
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * clips.is_cuda
    _passes(model, clips, precision, 1)
    with profile(activities=activities, record_shapes=True, acc_events=True) as found:
        _passes(model, clips, precision, steps)
    times = dict.fromkeys(KINDS, 0.0)
    for event in found.key_averages(group_by_input_shape=True):
        microseconds = event.self_device_time_total if clips.is_cuda else event.self_cpu_time_total
        times[_kind(event)] += microseconds / 1e3 / steps
    return times


def _passes(model: nn.Module, clips: torch.Tensor, precision: str, steps: int) -> None:
    for _ in range(steps):
        with autocast(clips.device, precision):
            loss = model(clips).float().sum()
        loss.backward()
        model.zero_grad(set_to_none=True)


def _kind(event) -> str:
    convolutions, norms, temporal, rest = KINDS
    if "conv" in event.key:
        return temporal if _is_of_tam(event.input_shapes) else convolutions
    is_5d = any(len(shape) == 5 and shape[2] != 3 for shape in event.input_shapes)  # nor the clips themselves
    if event.key.startswith(TEMPORAL) or event.key in FIVE_DIMENSIONS and is_5d:
        return temporal
    return norms if any(name in event.key for name in NORMS) else rest


def _is_of_tam(shapes: Sequence) -> bool:
    """A convolution along time: of a branch, over [N, C, T] or, as torch may have it, [N, C, 1, T]; or of the published
    formulation, with a kernel [N*C, 1, K, 1] of one channel a group."""
    over_time = len(shapes[0]) == 3 or len(shapes[0]) == 4 and shapes[0][2] == 1
    return over_time or any(len(shape) == 4 and shape[1] == 1 for shape in shapes)


def step_figure(times: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """A bar for each network, its step's milliseconds by kind: {network: {kind: ms}}."""
    figure = Figure(figsize=(9, 0.7 * len(times) + 1.6), layout="constrained")
    axis = figure.subplots()
    for row, by_kind in enumerate(times.values()):
        start = 0.0
        for kind, color in zip(KINDS, COLORS):
            axis.barh(row, by_kind[kind], left=start, color=color, label=kind if row == 0 else None)
            start += by_kind[kind]
        share = by_kind[KINDS[2]] / start
        axis.text(start, row, f" {start:.0f} ms, {100 * share:.0f}% in temporal modules", va="center", fontsize=8)
    axis.set_yticks(range(len(times)), list(times))
    axis.invert_yaxis()
    axis.set_xlabel("milliseconds of a training step (forward and backward)")
    axis.set_xlim(right=1.4 * max(sum(by_kind.values()) for by_kind in times.values()))
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.22), ncols=len(KINDS), fontsize=8, frameon=False)
    axis.set_title(title, fontsize=10)
    return figure


def roofline_figure(points: Mapping[str, tuple[float, float]], bandwidth: float, peak: float, title: str) -> Figure:
    """What memory and arithmetic allow, and what was reached: {name: (FLOP per byte, GFLOP/s)}; `bandwidth` in GB/s,
    `peak` in GFLOP/s."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    intensities = torch.logspace(-2, 3, 200)
    axis.plot(intensities, (bandwidth * intensities).clamp(max=peak), color="black", lw=1.5)
    axis.text(0.06, 0.015 * bandwidth, f"memory: {bandwidth:.0f} GB/s", fontsize=8)
    axis.text(2 * peak / bandwidth, 1.15 * peak, f"arithmetic: {peak:.0f} GFLOP/s", fontsize=8)
    for name, (intensity, speed) in points.items():
        axis.plot(intensity, speed, "o", label=f"{name}: {100 * speed / min(peak, bandwidth * intensity):.0f}% of the roof")
    axis.set(xscale="log", yscale="log", xlabel="operations per byte that must be moved (FLOP/byte)", ylabel="GFLOP/s")
    axis.set_ylim(top=3 * peak)
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8, loc="lower right")
    axis.grid(alpha=0.3)
    return figure


def ladder_figure(rungs: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Ratios of time to the first rung: {rung: {column: ratio}}, a group of bars a rung."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.axhline(1, color="black", lw=0.8)
    columns = list(next(iter(rungs.values())))
    width = 0.8 / len(columns)
    for place, column in enumerate(columns):
        heights = [rung[column] for rung in rungs.values()]
        at = [index + (place - (len(columns) - 1) / 2) * width for index in range(len(rungs))]
        bars = axis.bar(at, heights, width, label=column, color=f"C{place}")
        axis.bar_label(bars, [f"{height:.2f}" for height in heights], fontsize=7)
    axis.set_xticks(range(len(rungs)), list(rungs), fontsize=9)
    axis.set_ylabel("time, published = 1")
    axis.legend(fontsize=8)
    axis.set_title(title, fontsize=10)
    return figure
