"""What was published about TANet: the results to reproduce, with their sources, as data.

Notebook 6 and the README's table are generated from here; nothing in this module was measured with this code.
"""

from dataclasses import dataclass

_MMACTION2 = "https://github.com/open-mmlab/mmaction2/tree/{}/configs/recognition/tanet"
SOURCES = {
    "MMAction2 0.x": _MMACTION2.format("0.x"),
    "MMAction2 0.x, authors' checkpoint": _MMACTION2.format("0.x"),
    "MMAction2 1.x": _MMACTION2.format("main"),
    "official": "https://github.com/liu-zhy/temporal-adaptive-module",
}
# Videos in the validation sets behind the figures.
FULL_SETS = {"kinetics": 19796, "something_v1": 11522, "something_v2": 24777}


@dataclass(frozen=True)
class Published:
    """One published result. Accuracies in per cent; the rest where the source has it."""

    recipe: str
    data: str
    protocol: str
    style: str  # whose sampling, resize, crops and averaging the figure was obtained with
    top1: float
    top5: float
    source: str  # a key of SOURCES
    parameters: float | None = None  # millions
    macs: float | None = None  # billions of multiply-accumulates, one clip at 256 x 256
    train_memory_mb: int | None = None  # of one GPU, 8 clips

    @property
    def url(self) -> str:
        return SOURCES[self.source]

    def percent(self, figure: str) -> str:
        """ "top1" or "top5" with as many digits as were published."""
        return f"{getattr(self, figure):.{1 if self.source == 'official' else 2}f}"


def published_results(
    recipe: str | None = None, protocol: str | None = None, style: str | None = None
) -> tuple[Published, ...]:
    """The published results, all of them or those of a recipe, protocol and style."""
    wanted = {"recipe": recipe, "protocol": protocol, "style": style}
    wanted = {field: value for field, value in wanted.items() if value is not None}
    return tuple(row for row in _ROWS if all(getattr(row, field) == value for field, value in wanted.items()))


def _rows(recipe: str, data: str, source: str, figures: dict[str, tuple[float, float]], style="mmaction2", **more):
    return [Published(recipe, data, protocol, style, *top, source, **more) for protocol, top in figures.items()]


def _all_rows() -> list[Published]:
    k400, v1, v2 = "Kinetics-400", "Something-Something V1", "Something-Something V2"
    old, tested, new, official = SOURCES
    dense, efficient, accurate = "k400-dense", "sth-efficient", "sth-accurate"
    size_8f = {"parameters": 25.6, "macs": 43.0}
    v1_8f, v1_16f = {"parameters": 25.1, "macs": 43.1}, {"parameters": 25.1, "macs": 86.1}
    return [
        *_rows("k400_8f", k400, old, {dense: (76.28, 92.60)}, train_memory_mb=7124),
        *_rows("k400_8f", k400, tested, {dense: (76.22, 92.53)}),
        *_rows("k400_8f", k400, new, {dense: (76.25, 92.41)}, **size_8f),
        *_rows("k400_8f", k400, official, {dense: (76.1, 92.3)}, "official"),
        *_rows("k400_16f", k400, official, {dense: (76.9, 92.9)}, "official"),
        *_rows("sthv1_8f", v1, old, {efficient: (47.34, 75.72), accurate: (49.58, 77.31)}, train_memory_mb=7127),
        *_rows("sthv1_8f", v1, new, {efficient: (46.98, 75.75), accurate: (49.71, 77.43)}, **v1_8f),
        *_rows("sthv1_8f", v1, official, {efficient: (46.5, 75.8)}, "official"),
        *_rows("sthv1_16f", v1, old, {efficient: (49.05, 77.90), accurate: (50.91, 79.13)}, train_memory_mb=7127),
        *_rows("sthv1_16f", v1, new, {efficient: (48.24, 78.16), accurate: (50.95, 79.28)}, **v1_16f),
        *_rows("sthv1_16f", v1, official, {efficient: (47.6, 77.7)}, "official"),
        *_rows("sthv2_8f", v2, official, {accurate: (62.7, 88.0)}, "official"),
        *_rows("sthv2_16f", v2, official, {accurate: (64.6, 89.5)}, "official"),
    ]


_ROWS = _all_rows()


def published_table() -> str:
    """`published_results()` as a Markdown table, with a column for what was measured with this code."""
    rows = [
        "| recipe | data | protocol | style | top-1 | top-5 | published by | measured here |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| `{row.recipe}` | {row.data} | {row.protocol} | {row.style} | {row.percent('top1')} | {row.percent('top5')} "
        f"| [{row.source}]({row.url}) | not run |"
        for row in published_results()
    ]
    return "\n".join(rows)
