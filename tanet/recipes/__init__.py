"""What a training computes, as data, and what was published about it.

recipe        Recipe: its fields, their limits, JSON
presets       the published recipes and the demo's
source_texts  the texts of provenance
provenance    where the value of every field of a preset comes from
protocols     the published test protocols: which views of a video a test scores
published     the results to reproduce, with their sources and the settings that trained them
page          docs/recipes.md, which is made of the three above
"""

from tanet.recipes.page import recipes_page
from tanet.recipes.presets import (
    RECIPES,
    changes_of,
    demo_kinetics,
    demo_late,
    demo_near,
    demo_something,
    differences,
    get,
    in_style,
    k400_8f,
    k400_16f,
    sthv1_8f,
    sthv1_16f,
    sthv2_8f,
    sthv2_16f,
)
from tanet.recipes.protocols import PROTOCOLS, Protocol, ProtocolName, get_protocol
from tanet.recipes.provenance import ORIGINS, source_table, sources
from tanet.recipes.published import FULL_SETS, Published, published_results, published_table, settings_of
from tanet.recipes.recipe import SPEED_FIELDS, STYLES, WINDOW, Arch, Recipe, Style, Temporal, from_dict, from_json

__all__ = [
    "Arch",
    "FULL_SETS",
    "ORIGINS",
    "PROTOCOLS",
    "Protocol",
    "ProtocolName",
    "Published",
    "RECIPES",
    "Recipe",
    "SPEED_FIELDS",
    "STYLES",
    "Style",
    "Temporal",
    "WINDOW",
    "changes_of",
    "demo_kinetics",
    "demo_late",
    "demo_near",
    "demo_something",
    "differences",
    "from_dict",
    "from_json",
    "get",
    "get_protocol",
    "in_style",
    "k400_16f",
    "k400_8f",
    "published_results",
    "published_table",
    "recipes_page",
    "settings_of",
    "source_table",
    "sources",
    "sthv1_16f",
    "sthv1_8f",
    "sthv2_16f",
    "sthv2_8f",
]
