"""Where the time of a step goes, and how fast it could be."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure


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
    """Groups of bars {group: {series: height}}; a group may lack a series. `label` names the heights and their unit.

    One series alone has no legend: the title says what it is.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axis = figure.subplots()
    names = list(dict.fromkeys(name for heights in groups.values() for name in heights))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        offset = (number - (len(names) - 1) / 2) * width
        heights = {index + offset: group[name] for index, group in enumerate(groups.values()) if name in group}
        bars = axis.bar(list(heights), list(heights.values()), width, label=name, color=f"C{number}")
        axis.bar_label(bars, fmt=f"%.{digits}f", fontsize=8)
    axis.margins(y=0.1)  # room for the numbers above the bars
    axis.set_xticks(range(len(groups)), list(groups), fontsize=9)
    axis.set_ylabel(label)
    if len(names) > 1:
        axis.legend(fontsize=8)
    axis.set_title(title, fontsize=10)
    return figure
