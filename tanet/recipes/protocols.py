"""Test protocols: which views of a video a test scores."""

from dataclasses import dataclass
from typing import Literal

ProtocolName = Literal["k400-dense", "sth-efficient", "sth-accurate"]


@dataclass(frozen=True)
class Protocol:
    """The views of a video: clips x crops. One crop is the centre of crop_size pixels; three crops have test_size."""

    name: ProtocolName
    sampling: str  # "dense" or "uniform"
    clips: int
    crops: int
    recipe: str  # the published recipe that it belongs to


PROTOCOLS = {
    "k400-dense": Protocol("k400-dense", "dense", clips=10, crops=3, recipe="k400_8f"),
    "sth-efficient": Protocol("sth-efficient", "uniform", clips=1, crops=1, recipe="sthv1_8f"),
    "sth-accurate": Protocol("sth-accurate", "uniform", clips=2, crops=3, recipe="sthv1_8f"),
}


def get_protocol(name: str) -> Protocol:
    """The protocol `name`. ValueError lists the known names if there is none."""
    if name not in PROTOCOLS:
        raise ValueError(f"no protocol {name!r}; there are: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
