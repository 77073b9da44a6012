"""Sliders and buttons in a notebook. They choose a view, tanet.explore.panels draws it, the explorer computes it.

A change draws only the panels that depend on it, and computes only what the explorer has not computed before.
"""

import html
import io
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from tanet.errors import VideoError
from tanet.explore.explorer import Explorer
from tanet.explore.panels import PANELS, View
from tanet.explore.playback import Playback
from tanet.prediction import Predictor

SPEEDS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
TOP, DPI = 3, 80  # classes that are named, pixels an inch


class Controls:
    """Sliders, buttons and the panels that follow them, for a front end with ipywidgets: display `box`.

    `videos`: {name: file or folder of frames} to choose from; the first one is shown first, an uploaded one joins them.
    Raises what Explorer raises for the first video. A later one that cannot be read is named in `message`, and what was
    shown before stays.
    """

    def __init__(self, predictor: Predictor, videos: Mapping[str, str | os.PathLike]):
        self._predictor, self._videos = predictor, dict(videos)
        self._name, path = next(iter(self._videos.items()))
        self._folder = tempfile.TemporaryDirectory(prefix="tanet-explore-")  # for uploaded videos
        self._shuffles, self._drawn, self._following = 0, {}, False
        self.explorer = Explorer(predictor, path)
        block = self.explorer.blocks[0]
        place = self.explorer.recipe.num_frames // 2
        self.view = View(self.explorer.normal, place, block, self.explorer.liveliest_channel(block))
        self._make_widgets()
        self._follow()
        self._show()

    def _make_widgets(self) -> None:
        import ipywidgets as w  # not at the top: without a notebook nothing needs it

        late = {"continuous_update": False}  # a slider reports where it is left, not every place on its way
        self.video = w.Dropdown(options=list(self._videos), description="video", layout=w.Layout(width="450px"))
        self.upload = w.FileUpload(accept="video/*,.avi,.mkv", description="your video")
        self.speed = w.SelectionSlider(options=SPEEDS, value=1.0, description="speed", **late)
        self.frame = w.IntSlider(max=self.explorer.recipe.num_frames - 1, description="frame ▼", **late)
        self.stage = w.SelectionSlider(options=self.explorer.blocks, description="stage", **late)
        self.channel = w.SelectionSlider(options=[self.view.channel], description="channel", **late)
        self.buttons = {
            "reverse": w.Button(description="reverse"),
            "freeze": w.Button(description="freeze at ▼"),
            "shuffle": w.Button(description="shuffle"),
            "drop": w.Button(description="drop frame ▼"),
            "reset": w.Button(description="reset"),
        }
        self.named, self.message = w.HTML(), w.HTML(layout=w.Layout(min_height="28px"))
        own_size = w.Layout(max_width="100%", align_self="flex-start")
        self.images = {panel: w.Image(format="png", layout=own_size) for panel in PANELS}
        self._connect()
        pair = [self.images["classes"], self.images["channel"]]
        for image in pair:
            image.layout = w.Layout(max_width="49%", align_self="flex-start")
        self.box = w.VBox(
            [
                w.HBox([self.video, self.upload]),
                w.HBox([self.speed, self.frame]),
                w.HBox(list(self.buttons.values())),
                self.message,
                self.named,
                self.images["frames"],
                w.HBox([self.stage, self.channel]),
                self.images["maps"],
                w.HBox(pair),
                self.images["kernels"],
            ]
        )
        self.message.add_class("tanet-message")
        self.named.add_class("tanet-named")
        for panel, image in self.images.items():
            image.add_class(f"tanet-{panel}")

    def _connect(self) -> None:
        changes: dict[str, Callable[[Playback], Playback]] = {
            "reverse": lambda played: played.reversed(),
            "freeze": lambda played: played.frozen(self.view.place),
            "shuffle": self._shuffled,
            "drop": lambda played: played.dropped(self.view.place),
            "reset": lambda played: self.explorer.normal,
        }
        for name, change in changes.items():
            self.buttons[name].on_click(lambda _, change=change: self._change(playback=change(self.view.playback)))
        self._on_value(self.speed, lambda speed: self._change(playback=self.view.playback.at_speed(speed)))
        self._on_value(self.frame, lambda place: self._change(place=place))
        self._on_value(self.stage, self._choose_block)
        self._on_value(self.channel, lambda channel: self._change(channel=channel))
        self._on_value(self.video, lambda name: self._load(name, self._videos[name]))
        self._on_value(self.upload, self._keep_upload)

    def _on_value(self, widget, react: Callable) -> None:
        """Calls `react` with a new value that somebody chose, not with one by which the widget follows the view."""
        widget.observe(lambda change: None if self._following else react(change.new), "value")

    def _shuffled(self, played: Playback) -> Playback:
        self._shuffles += 1
        return played.shuffled(self._shuffles)

    def _choose_block(self, block: str) -> None:
        self._change(block=block, channel=self.explorer.liveliest_channel(block))

    def _change(self, **fields) -> None:
        """Another view; the one before if a frame that it needs cannot be decoded."""
        before, self.view = self.view, replace(self.view, **fields)
        self._follow()
        self._say("computing ...")
        try:
            self._show()
        except VideoError as error:
            self.view = before
            self._follow()
            self._say(error)
        else:
            self._say("")

    def _load(self, name: str, path: str | os.PathLike) -> None:
        """Another video, as it is; the one before if it cannot be read."""
        self._say("reading ...")
        try:
            explorer = Explorer(self._predictor, path)
        except (VideoError, ValueError, OSError) as error:
            self._follow()
            self._say(error)
            return
        self._videos[name], self._name = path, name
        self.explorer, self._drawn = explorer, {}
        self._change(playback=explorer.normal)

    def _keep_upload(self, files) -> None:
        """Files as FileUpload gives them, with `name` and `content`. They stay on this machine as long as `self`."""
        for file in files:
            name = Path(file["name"]).name
            path = Path(tempfile.mkdtemp(dir=self._folder.name)) / name
            path.write_bytes(file["content"])
            self._load(name, path)

    def _follow(self) -> None:
        """The widgets show the view, whoever changed it."""
        self._following = True
        try:
            self.video.options, self.video.value = list(self._videos), self._name
            self.speed.value, self.frame.value = self.view.playback.speed, self.view.place
            self.stage.value = self.view.block
            self.channel.options = self.explorer.channels_by_peak(self.view.block)
            self.channel.value = self.view.channel
        finally:
            self._following = False

    def _show(self) -> None:
        """Draws the panels that the last change concerns."""
        prediction = self.explorer.read(self.view.playback).prediction
        (first, probability), *others = [(html.escape(name), value) for name, value in prediction.top(TOP)]
        rest = ", ".join(f"{name} {value:.0%}" for name, value in others)
        self.named.value = f"{self.view.playback}: <b>{first}</b> {probability:.0%}; then {rest}"
        for panel, (draw, fields) in PANELS.items():
            key = tuple(getattr(self.view, field) for field in fields)
            if self._drawn.get(panel) != key:
                self.images[panel].value = _png(draw(self.explorer, self.view))
                self._drawn[panel] = key

    def _say(self, message: object) -> None:
        self.message.value = html.escape(str(message))


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()
