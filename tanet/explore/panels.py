"""The figures of a playback, beside those of the video as it is. The controls show them, and a notebook without."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from tanet import visualize
from tanet.explore.explorer import Explorer, Reading
from tanet.explore.playback import Playback

COMPARED = 2  # classes that a panel shows, of the video as it is and of the playback


@dataclass(frozen=True)
class View:
    """What somebody looks at."""

    playback: Playback
    place: int  # of the frame that is marked, from 0
    block: str
    channel: int


def frames_panel(explorer: Explorer, view: View) -> Figure:
    """The clip as it is played, with its frames and their times in the video."""
    reading = explorer.read(view.playback)
    titles = []
    for place, (frame, seconds) in enumerate(zip(reading.prediction.frames[0], reading.prediction.seconds[0])):
        mark = "▼ " if place == view.place else ""
        time = "" if np.isnan(seconds) else f", {seconds:.2f} s"
        titles.append(f"{mark}t = {place}\nframe {frame}{time}")
    return visualize.filmstrip({"": reading.clip}, titles)


def maps_panel(explorer: Explorer, view: View) -> Figure:
    """The importance map of a block of each stage: of the view's block, and of the last ones of the other stages."""
    reading = explorer.read(view.playback)
    stages = {block.partition(".")[0]: block for block in explorer.blocks}  # the last block of each stage
    stages[view.block.partition(".")[0]] = view.block
    shown = {block: reading.maps[block] for block in stages.values()}
    like = {block: explorer.original.maps[block] for block in shown}
    title = f"Importance maps, {view.playback}"
    return visualize.stage_maps(shown, like, (view.block, view.channel), title)


def channel_panel(explorer: Explorer, view: View) -> Figure:
    """Importance over time and kernel of the view's channel, grey for the video as it is."""
    readings = _compared(explorer, view)
    importance = {label: reading.maps[view.block][view.channel] for label, reading in readings.items()}
    kernels = {label: reading.kernels[view.block][view.channel] for label, reading in readings.items()}
    return visualize.one_channel(importance, kernels, f"{view.block}, channel {view.channel}")


def kernels_panel(explorer: Explorer, view: View) -> Figure:
    """The kernels of all channels of the view's block, for the playback and for the video as it is."""
    kernels = {label: reading.kernels[view.block] for label, reading in _compared(explorer, view).items()}
    return visualize.aggregation_kernels(kernels, f"Aggregation kernels, {view.block}", same_channels=True)


def classes_panel(explorer: Explorer, view: View) -> Figure:
    """The likeliest classes of the video as it is and of the playback: by each frame, and of the clip."""
    reading = explorer.read(view.playback)
    rows = (explorer.original.prediction.probabilities, reading.prediction.probabilities)
    likeliest = [int(index) for row in rows for index in np.argsort(-row, kind="stable")[:COMPARED]]
    names = {index: reading.prediction.class_name(index) for index in dict.fromkeys(likeliest)}
    over_time = {name: reading.over_time[:, index] for index, name in names.items()}
    totals = {name: float(reading.prediction.probabilities[index]) for index, name in names.items()}
    return visualize.class_probabilities(over_time, totals, f"Probabilities, {view.playback}")


# Each panel, and which fields of the view it depends on.
PANELS: dict[str, tuple[Callable[[Explorer, View], Figure], tuple[str, ...]]] = {
    "frames": (frames_panel, ("playback", "place")),
    "classes": (classes_panel, ("playback",)),
    "maps": (maps_panel, ("playback", "block", "channel")),
    "channel": (channel_panel, ("playback", "block", "channel")),
    "kernels": (kernels_panel, ("playback", "block")),
}


def _compared(explorer: Explorer, view: View) -> dict[str, Reading]:
    """The video as it is, and the playback, if it is another one."""
    return {str(reading.playback): reading for reading in (explorer.original, explorer.read(view.playback))}
