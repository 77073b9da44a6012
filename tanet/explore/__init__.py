"""One video played to one network in many ways: what the network then sees, computes and answers.

playback  at which speed and in which order the frames are played
explorer  a video and a network: its frames, importance maps, kernels and probabilities for each playback
panels    the figures of that
controls  sliders and buttons in a notebook, which only choose what the panels show
"""

from tanet.explore.controls import SPEEDS, Controls
from tanet.explore.explorer import Explorer, Reading
from tanet.explore.panels import (
    PANELS,
    View,
    channel_panel,
    classes_panel,
    frames_panel,
    kernels_panel,
    maps_panel,
)
from tanet.explore.playback import Playback

__all__ = [
    "Controls",
    "Explorer",
    "PANELS",
    "Playback",
    "Reading",
    "SPEEDS",
    "View",
    "channel_panel",
    "classes_panel",
    "frames_panel",
    "kernels_panel",
    "maps_panel",
]
