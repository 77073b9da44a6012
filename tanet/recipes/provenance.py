"""Where the value of every field of every preset comes from, in both styles, as data.

`sources(name, style)` gives a text for each field and `source_table(name, style)` puts them beside the values. A text
begins with one of ORIGINS:

MMAction2 0.x, MMAction2 1.x  the TANet configurations of that version of MMAction2
official                      the authors' repository: its README, scripts and defaults
paper                         "TAM: Temporal Adaptive Module for Video Recognition", ICCV 2021
ours                          this project, with the reason

"Official alike" behind an MMAction2 source means that the authors' repository has the same value.
"""

import dataclasses

from tanet.recipes import source_texts as texts
from tanet.recipes.presets import get
from tanet.recipes.recipe import STYLES

ORIGINS = ("MMAction2 0.x and 1.x", "MMAction2 0.x", "MMAction2 1.x", "official", "paper", "ours")

_SOURCES = {
    "own_8f": texts.OWN_8F,
    "own_tiny": texts.OWN_TINY,
    "demo_kinetics": texts.DEMO_KINETICS,
    "demo_something": texts.DEMO_SOMETHING,
    "demo_late": texts.DEMO_LATE,
    "demo_near": texts.DEMO_LATE,
    "k400_8f": texts.K400_8F,
    "k400_16f": texts.K400_16F,
    "sthv1_8f": texts.STHV1_8F,
    "sthv1_16f": texts.STHV1_16F,
    "sthv2_8f": texts.STHV2_8F,
    "sthv2_16f": texts.STHV2_16F,
}
# Fields with another source in the style that is not the preset's own.
_OTHER_STYLE = {
    "own_8f": texts.TO_OFFICIAL,
    "own_tiny": {**texts.TO_OFFICIAL, "short_side": "ours: small frames, for a CPU"},
    "demo_kinetics": {**texts.TO_OFFICIAL, **texts.DEMO_SIZE},
    "demo_something": {**texts.V1_OFFICIAL, **texts.DEMO_SIZE},
    "demo_late": {**texts.V1_OFFICIAL, "short_side": texts.DEMO_LATE["short_side"]},
    "demo_near": {**texts.V1_OFFICIAL, "short_side": texts.DEMO_LATE["short_side"]},
    "k400_8f": texts.TO_OFFICIAL,
    "k400_16f": texts.K400_16F_MMACTION2,
    "sthv1_8f": texts.V1_OFFICIAL,
    "sthv1_16f": texts.STHV1_16F_OFFICIAL,
    "sthv2_8f": texts.V2_MMACTION2,
    "sthv2_16f": texts.V2_MMACTION2,
}
# What a reader must know of a preset whose values have several sources.
_REMARKS = {
    "k400_16f": "Mixed: the authors publish this network without a script; the settings are those of their 8-frame "
    "script. MMAction2 has no 16-frame configuration for Kinetics.",
    "sthv1_16f": "Mixed: MMAction2 0.x and 1.x train this network with the same rate per clip, in other batches. The "
    "rate and batch here are 1.x's; its published rows name the changes that make them 0.x's. The authors publish it "
    "without a script; in their style the settings are those of their 8-frame script.",
    "sthv2_16f": "Mixed: the authors publish this network without a script; the settings are those of their 8-frame "
    "script.",
}


def other_style(name: str) -> str:
    """The style that is not the own one of the preset `name`."""
    (other,) = (style for style in STYLES if style != get(name).style)
    return other


def sources(name: str, style: str | None = None) -> dict[str, str]:
    """Field -> where its value comes from, for the preset `name` in its own style or in `style`.

    ValueError if there is no such preset or style.
    """
    recipe = get(name, style)
    changed = _OTHER_STYLE[name] if recipe.style == other_style(name) else {}
    return {**_SOURCES[name], **changed}


def source_table(name: str, style: str | None = None) -> str:
    """The preset's fields, values and sources as a Markdown table, below a remark if the preset mixes sources.

    In its own style or in `style`.
    """
    table = _table(name, style, list(sources(name, style)))
    return f"{_REMARKS[name]}\n\n{table}" if name in _REMARKS else table


def style_table(name: str) -> str:
    """The fields of the preset `name` that have another value or source in the other style, as a Markdown table."""
    return _table(name, other_style(name), [field for field in _SOURCES[name] if field in _OTHER_STYLE[name]])


def _table(name: str, style: str | None, fields: list[str]) -> str:
    values, said = dataclasses.asdict(get(name, style)), sources(name, style)
    rows = [f"| `{field}` | `{values[field]}` | {said[field]} |" for field in fields]
    return "\n".join(["| field | value | source |", "|---|---|---|", *rows])
