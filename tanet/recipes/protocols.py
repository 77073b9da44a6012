"""Test protocols: which views of a video are scored."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """Views of a video: clips x crops. One crop is the centre at the recipe's crop_size, three are at its test_size."""

    name: str
    sampling: str  # "dense" or "uniform"
    clips: int
    crops: int
    recipe: str  # the published recipe it belongs to


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("k400-dense", "dense", clips=10, crops=3, recipe="k400_8f"),
        Protocol("sth-efficient", "uniform", clips=1, crops=1, recipe="sthv1_8f"),
        Protocol("sth-accurate", "uniform", clips=2, crops=3, recipe="sthv1_8f"),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name; ValueError lists the names there are."""
    if name not in PROTOCOLS:
        raise ValueError(f"no protocol {name!r}; there are: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
