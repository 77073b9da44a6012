"""What was published about TANet: the results to reproduce, with their sources, as data.

docs/results.md, notebook 6 and the README show it. None of its figures was measured with this code.
"""

from dataclasses import dataclass, field

from tanet.recipes.presets import get
from tanet.recipes.recipe import Recipe

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
    """One published result: accuracies in per cent, and the network's size where the source gives it."""

    recipe: str
    data: str
    protocol: str
    style: str  # the code base whose sampling, resize, crops and averaging gave the figure
    top1: float
    top5: float
    source: str  # a key of SOURCES
    trained_style: str = ""  # the code base whose settings trained the network; "": that of `style`
    changes: dict = field(default_factory=dict)  # fields of those settings that differ from the preset's
    script: bool = True  # False: the source publishes no settings; those here are of its 8-frame script
    parameters: float | None = None  # millions
    macs: float | None = None  # billions of multiply-accumulates, one clip at 256 x 256
    train_memory_mb: int | None = None  # of one GPU with its clips_per_process

    @property
    def url(self) -> str:
        return SOURCES[self.source]

    @property
    def options(self) -> str:
        """The options of `tanet train`, after `--recipe`, that give the settings of the training."""
        changes = [f"--set {name}={value}" for name, value in self.changes.items()]
        return " ".join([f"--style {self.trained_style or self.style}", *changes])

    @property
    def settings(self) -> str:
        """The options as Markdown, with a word where the source publishes no settings."""
        return f"`{self.options}`" + ("" if self.script else ", no script published")

    def percent(self, figure: str) -> str:
        """The accuracy `figure`, "top1" or "top5", with as many digits as were published."""
        digits = 1 if self.source == "official" else 2
        return f"{getattr(self, figure):.{digits}f}"


def published_results(
    recipe: str | None = None, protocol: str | None = None, style: str | None = None
) -> tuple[Published, ...]:
    """The published results: all of them, or those of the given recipe, protocol and style."""
    matches = []
    for row in _ROWS:
        if recipe is not None and row.recipe != recipe:
            continue
        if protocol is not None and row.protocol != protocol:
            continue
        if style is not None and row.style != style:
            continue
        matches.append(row)
    return tuple(matches)


def settings_of(row: Published) -> Recipe:
    """The recipe with the settings that trained the network of a published result."""
    return get(row.recipe, row.trained_style or row.style).with_changes(row.changes)


_K400, _V1, _V2 = "Kinetics-400", "Something-Something V1", "Something-Something V2"
_MEAN = {"changes": {"batchnorm_statistics": "mean"}}  # MMAction2 1.x
_K400_SIZE_8F = {"parameters": 25.6, "macs": 43.0, **_MEAN}
_V1_SIZE_8F = {"parameters": 25.1, "macs": 43.1, **_MEAN}
_V1_SIZE_16F = {"parameters": 25.1, "macs": 86.1}
_AUTHORS = {"trained_style": "official"}  # their checkpoint, tested by MMAction2
_V1_16F_0X = {
    "changes": {"lr": 0.005, "lr_batch": 32, "clips_per_process": 4, "batchnorm_statistics": "first"},
    "train_memory_mb": 7127,
}
_ROWS = (
    # recipe, data, protocol, style, top-1, top-5, source
    Published("k400_8f", _K400, "k400-dense", "mmaction2", 76.28, 92.60, "MMAction2 0.x", train_memory_mb=7124),
    Published(
        "k400_8f", _K400, "k400-dense", "mmaction2", 76.22, 92.53, "MMAction2 0.x, authors' checkpoint", **_AUTHORS
    ),
    Published("k400_8f", _K400, "k400-dense", "mmaction2", 76.25, 92.41, "MMAction2 1.x", **_K400_SIZE_8F),
    Published("k400_8f", _K400, "k400-dense", "official", 76.1, 92.3, "official"),
    Published("k400_16f", _K400, "k400-dense", "official", 76.9, 92.9, "official", script=False),
    Published("sthv1_8f", _V1, "sth-efficient", "mmaction2", 47.34, 75.72, "MMAction2 0.x", train_memory_mb=7127),
    Published("sthv1_8f", _V1, "sth-accurate", "mmaction2", 49.58, 77.31, "MMAction2 0.x", train_memory_mb=7127),
    Published("sthv1_8f", _V1, "sth-efficient", "mmaction2", 46.98, 75.75, "MMAction2 1.x", **_V1_SIZE_8F),
    Published("sthv1_8f", _V1, "sth-accurate", "mmaction2", 49.71, 77.43, "MMAction2 1.x", **_V1_SIZE_8F),
    Published("sthv1_8f", _V1, "sth-efficient", "official", 46.5, 75.8, "official"),
    Published("sthv1_16f", _V1, "sth-efficient", "mmaction2", 49.05, 77.90, "MMAction2 0.x", **_V1_16F_0X),
    Published("sthv1_16f", _V1, "sth-accurate", "mmaction2", 50.91, 79.13, "MMAction2 0.x", **_V1_16F_0X),
    Published("sthv1_16f", _V1, "sth-efficient", "mmaction2", 48.24, 78.16, "MMAction2 1.x", **_V1_SIZE_16F),
    Published("sthv1_16f", _V1, "sth-accurate", "mmaction2", 50.95, 79.28, "MMAction2 1.x", **_V1_SIZE_16F),
    Published("sthv1_16f", _V1, "sth-efficient", "official", 47.6, 77.7, "official", script=False),
    Published("sthv2_8f", _V2, "sth-accurate", "official", 62.7, 88.0, "official"),
    Published("sthv2_16f", _V2, "sth-accurate", "official", 64.6, 89.5, "official", script=False),
)


def published_table() -> str:
    """`published_results()` as a Markdown table, with a column for what was measured with this code."""
    rows = [
        "| recipe | trained with | protocol | style | top-1 | top-5 | published by | measured here |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| `{row.recipe}` | {row.settings} | {row.protocol} | {row.style} "
        f"| {row.percent('top1')} | {row.percent('top5')} | [{row.source}]({row.url}) | not run |"
        for row in published_results()
    ]
    return "\n".join(rows)
