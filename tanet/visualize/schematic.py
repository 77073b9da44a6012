"""Schematics of TAM and of the bottleneck around it, as SVG.

They are drawn from a run of the module itself: hooks tell which layers it calls, in which order, and the shapes that
come out. A module with other layers or sizes gets another drawing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch
from torch import nn

BOX, GAP, HEIGHT = 92, 13, 44  # width of a box, space to the next one, height
FIRST = 130  # where the branches of TAM begin
LOCAL, GLOBAL, ACTION, DATA, PLAIN = "#d9efdf", "#e4dff5", "#ffe9b8", "#e8eef6", "#f2f2f2"


@dataclass(frozen=True)
class Schematic:
    """A drawing. A notebook shows it when a cell ends with it."""

    title: str
    svg: str

    def __repr__(self) -> str:
        return f"Schematic({self.title!r})"

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.svg, encoding="utf-8")


@dataclass(frozen=True)
class _Call:
    """One call of a layer: its name in the module, what it got and what it returned."""

    name: str
    layer: nn.Module
    got: torch.Tensor
    returned: torch.Tensor


def tam_schematic(tam: nn.Module, frames: torch.Tensor) -> Schematic:
    """TAM: the mean over pixels, the two branches, and what their maps do. frames: [N*T, C, H, W], any values."""
    calls = _calls(tam, [pair for pair in tam.named_modules() if not list(pair[1].children())], frames)
    with torch.no_grad():
        theta, V, W = tam.theta(frames), tam.importance_map(frames), tam.aggregation_kernel(frames)
    n, c, t = theta.shape
    title = f"TAM: {n} clips of T = {t} frames, C = {c} channels, K = {W.shape[2]} taps"
    local_end, local = _branch(calls, "local_branch", 145, LOCAL, "local branch: which frames count")
    global_end, global_ = _branch(calls, "global_branch", 245, GLOBAL, "global branch: which neighbours to take")
    multiply, convolve = local_end - BOX, max(local_end, global_end) + GAP  # left ends of the boxes
    y, by_v, by_w = convolve + BOX + GAP, multiply + BOX / 2, convolve + BOX / 2
    parts = [
        _box(10, 45, "x", "frames", _shape(frames), DATA),
        _box(10, 195, "θ", "mean over H, W", _shape(theta), DATA),
        _arrow((10 + BOX / 2, 108), (10 + BOX / 2, 195)),
        *(_arrow((10 + BOX, 217), (FIRST - 12, 217), (FIRST - 12, row), (FIRST, row)) for row in (167, 267)),
        *local,
        *global_,
        _arrow((10 + BOX, 67), (multiply, 67)),
        _box(multiply, 45, "multiply", "each frame by V", "", ACTION),
        _arrow((multiply + BOX, 67), (convolve, 67)),
        _box(convolve, 45, "convolve", "over time by W", "", ACTION),
        _arrow((convolve + BOX, 67), (y, 67)),
        _box(y, 45, "y", "frames", _shape(calls[-1].returned), DATA),
        _arrow((by_v, 145), (by_v, 89)),
        _text(by_v + 6, 120, f"V {_shape(V)}", anchor="start", size=12),
        _arrow((global_end, 267), (by_w, 267), (by_w, 89)),
        _text(by_w + 6, 180, f"W {_shape(W)}", anchor="start", size=12),
    ]
    return _drawing(title, y + BOX + 10, 320, parts)


def bottleneck_schematic(block: nn.Module, frames: torch.Tensor) -> Schematic:
    """A bottleneck, layer by layer, with its shortcut, in two rows. frames: [N*T, C, H, W], any values."""
    calls = _calls(block, list(block.named_children()), frames)
    beside = [call for call in calls if call.name == "downsample"]
    cells, before = [("x", "frames", _shape(frames), DATA)], frames
    for call in calls[:-1]:
        if call in beside or isinstance(call.layer, nn.Identity):
            continue
        if call.got is not before:  # the sum of what came before and the shortcut
            cells.append(())
        is_temporal = call.name == "temporal"
        label, fill = (type(call.layer).__name__, ACTION) if is_temporal else (call.name, PLAIN)
        cells.append((label, _detail(call.layer), _shape(call.returned), fill))
        before = call.returned
    cells.append(("y", "frames", _shape(before), DATA))
    words = "shortcut: " + (", ".join(_words(layer) for layer in beside[0].layer) if beside else "x itself")
    columns = (len(cells) + 1) // 2
    parts = [part for index, cell in enumerate(cells) for part in _cell(index, cell, columns, words)]
    return _drawing(f"{type(block).__name__}: where its temporal module stands", 40 + columns * (BOX + GAP), 260, parts)


def _cell(index: int, cell: tuple, columns: int, shortcut: str) -> list[str]:
    """A box, or for an empty cell the sum with the shortcut, and the arrow that leads to it."""
    row, column = divmod(index, columns)
    x, y = 30 + column * (BOX + GAP), 40 + 100 * row
    middle, centre, begin = y + HEIGHT / 2, x + BOX / 2, x if cell else x + BOX / 2 - 11
    parts = []
    if index and column:
        parts.append(_arrow((x - GAP, middle), (begin, middle)))
    elif index:  # from the end of the row above
        end, between = x + columns * (BOX + GAP) - GAP, middle - 38
        above = (end, middle - 100), (end + 8, middle - 100), (end + 8, between)
        parts.append(_arrow(*above, (x - 10, between), (x - 10, middle), (x, middle)))
    if cell:
        return [*parts, _box(x, y, *cell)]
    parts.append(f'<circle cx="{centre}" cy="{middle}" r="11" fill="white" stroke="#333"/>')
    parts.append(_text(centre, middle + 6, "+", size=18))
    parts.append(
        f'<line x1="{centre + 11}" y1="{middle}" x2="{x + BOX}" y2="{middle}" stroke="#333" stroke-width="1.3"/>'
    )
    first, below = 40 + HEIGHT / 2, y + 80
    parts.append(_arrow((30, first), (10, first), (10, below), (centre, below), (centre, middle + 11)))
    parts.append(_text(30, below + 18, shortcut, size=12, anchor="start"))
    return parts


def _calls(module: nn.Module, layers: Iterable[tuple[str, nn.Module]], frames: torch.Tensor) -> list[_Call]:
    """The calls of `layers` while `module` processes `frames`, in their order, and the call of `module` itself."""
    calls, was_training = [], module.training
    hooks = [
        layer.register_forward_hook(
            lambda layer, got, returned, name=name: calls.append(_Call(name, layer, got[0], returned))
        )
        for name, layer in [*layers, ("", module)]
    ]
    module.eval()  # the running statistics stay as they are
    try:
        with torch.no_grad():
            module(frames)
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    return calls


def _branch(calls: list[_Call], name: str, y: float, fill: str, label: str) -> tuple[float, list[str]]:
    """The boxes of one branch from left to right, and where the last one ends."""
    parts, x = [_text(FIRST, y - 10, label, anchor="start", size=13)], FIRST
    for index, call in enumerate(call for call in calls if call.name.startswith(name)):
        if index:
            parts.append(_arrow((x, y + HEIGHT / 2), (x + GAP, y + HEIGHT / 2)))
            x += GAP
        parts.append(_box(x, y, type(call.layer).__name__, _detail(call.layer), _shape(call.returned), fill))
        x += BOX
    return x, parts


def _detail(layer: nn.Module) -> str:
    """What distinguishes a layer from others of its class, in a few words."""
    if isinstance(layer, nn.Conv1d):
        return f"width {layer.kernel_size[0]}, {layer.in_channels} → {layer.out_channels}"
    if isinstance(layer, nn.Conv2d):
        return f"{' x '.join(map(str, layer.kernel_size))}, {layer.in_channels} → {layer.out_channels}"
    if isinstance(layer, nn.Linear):
        return f"{layer.in_features} → {layer.out_features}"
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        return f"{layer.num_features}"
    return f"K = {layer.kernel_size}" if hasattr(layer, "kernel_size") else ""


def _words(layer: nn.Module) -> str:
    return f"{type(layer).__name__} {_detail(layer)}"


def _shape(values: torch.Tensor) -> str:
    return str(list(values.shape))


def _box(x: float, y: float, label: str, detail: str, shape: str, fill: str) -> str:
    """A box with a label and a detail in it, and a shape below it."""
    lines = [
        (y + (19 if detail else 27), label, 12, "#111"),
        (y + 36, detail, 10.5, "#333"),
        (y + 57, shape, 10, "#555"),
    ]
    texts = [_text(x + BOX / 2, height, words, size, color) for height, words, size, color in lines if words]
    return f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="5" fill="{fill}" stroke="#666"/>' + "".join(
        texts
    )


def _text(x: float, y: float, words: str, size: float = 13, color: str = "#111", anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{color}" text-anchor="{anchor}">{escape(words)}</text>'


def _arrow(*points: tuple[float, float]) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="#333" stroke-width="1.3" marker-end="url(#head)"/>'


def _drawing(title: str, width: float, height: float, parts: list[str]) -> Schematic:
    head = '<path d="M0,0 L8,4 L0,8 z" fill="#333"/>'
    size = 'markerWidth="8" markerHeight="8" refX="8" refY="4" orient="auto"'
    marker = f'<defs><marker id="head" {size}>{head}</marker></defs>'
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'style="max-width: 100%; background: white" font-family="sans-serif">'
    )
    lines = [opening, f"<title>{escape(title)}</title>", marker, _text(10, 20, title, size=14, anchor="start")]
    return Schematic(title, "\n".join([*lines, *parts, "</svg>"]))
