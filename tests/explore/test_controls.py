"""The sliders and buttons without a browser: a value that is set here is what a browser would have set."""

from datetime import datetime

import pytest

from tanet.explore import PANELS, Controls
from tanet.explore import controls as module

pytest.importorskip("ipywidgets", reason="ipywidgets is not installed: pip install 'tanet[notebooks]'")


@pytest.fixture
def videos(something_root, long_video) -> dict:
    return {"long": long_video, "other": next(path for path in long_video.parent.iterdir() if path != long_video)}


@pytest.fixture
def without_drawing(monkeypatch):
    """In the place of a picture is what test_panels.py shows that it depends on. Drawing takes a second a change."""

    def written(explorer, view, fields):
        return repr((explorer.path, [getattr(view, field) for field in fields])).encode()

    panels = {
        panel: (lambda explorer, view, fields=fields: written(explorer, view, fields), fields)
        for panel, (_, fields) in PANELS.items()
    }
    monkeypatch.setattr(module, "PANELS", panels)
    monkeypatch.setattr(module, "_png", bytes)


@pytest.fixture
def controls(predictor, videos, without_drawing) -> Controls:
    return Controls(predictor, videos)


def pictures(controls):
    return {panel: bytes(image.value) for panel, image in controls.images.items()}


def changed(controls, before):
    return {panel for panel, picture in pictures(controls).items() if picture != before[panel]}


def upload(controls, name, content):
    file = {"name": name, "content": memoryview(content), "size": len(content), "type": ""}
    controls.upload.value = (file | {"last_modified": datetime(2026, 1, 1)},)


@pytest.mark.slow  # draws
def test_all_panels_are_pictures_that_follow_the_buttons(predictor, videos):
    controls = Controls(predictor, videos)
    before = pictures(controls)
    assert all(picture.startswith(b"\x89PNG") for picture in before.values())
    controls.buttons["reverse"].click()
    assert changed(controls, before) == set(PANELS)
    assert all(picture.startswith(b"\x89PNG") for picture in pictures(controls).values())


def test_at_first_a_video_is_shown_as_it_is(controls):
    assert controls.named.value.startswith("as it is: <b>") and not controls.message.value
    assert (controls.video.value, controls.speed.value, controls.frame.value) == ("long", 1.0, 4)
    assert controls.channel.value == controls.explorer.liveliest_channel("layer1.0")


def test_buttons_play_the_video_in_other_ways(controls):
    normal = controls.explorer.normal
    for button, expected in (
        ("reverse", normal.reversed()),
        ("reset", normal),
        ("freeze", normal.frozen(4)),
        ("reset", normal),
        ("drop", normal.dropped(4)),
    ):
        before = pictures(controls)
        controls.buttons[button].click()
        assert controls.view.playback == expected
        assert controls.named.value.startswith(f"{expected}: ")
        assert "frames" in changed(controls, before)


def test_every_shuffle_is_another_one(controls):
    orders = set()
    for _ in range(4):
        controls.buttons["reset"].click()
        controls.buttons["shuffle"].click()
        orders.add(controls.view.playback.order)
    assert len(orders) == 4


def test_the_frame_slider_says_what_is_frozen_and_dropped(controls):
    controls.frame.value = 1
    controls.buttons["drop"].click()
    controls.buttons["freeze"].click()
    assert controls.view.playback.order == (0,) * 8


def test_reset_moves_the_speed_slider_back(controls):
    controls.speed.value = 0.5
    assert controls.view.playback.speed == 0.5
    controls.buttons["reset"].click()
    assert (controls.speed.value, controls.view.playback) == (1.0, controls.explorer.normal)


def test_a_slider_draws_only_what_follows_it(controls):
    before = pictures(controls)
    controls.frame.value = 2
    assert changed(controls, before) == {"frames"}
    before = pictures(controls)
    controls.channel.index = (controls.channel.index + 1) % 16
    assert changed(controls, before) == {"maps", "channel"}
    assert controls.view.channel == controls.channel.value
    before = pictures(controls)
    controls.stage.value = "layer4.0"
    assert changed(controls, before) == {"maps", "channel", "kernels"}


def test_another_stage_has_its_own_channels(controls):
    controls.stage.value = "layer4.0"
    assert len(controls.channel.options) == 128
    assert controls.channel.value == controls.view.channel == controls.explorer.liveliest_channel("layer4.0")


def test_another_video_is_shown_as_it_is_on_the_same_stage(controls):
    controls.stage.value = "layer2.0"
    controls.buttons["reverse"].click()
    before = pictures(controls)
    controls.video.value = "other"
    assert changed(controls, before) == set(PANELS)
    assert controls.explorer.path == controls._videos["other"]
    assert (controls.view.playback, controls.view.block) == (controls.explorer.normal, "layer2.0")


def test_an_uploaded_video_joins_the_others(controls, kinetics_root):
    video = sorted(kinetics_root.glob("val/*/*.mp4"))[0]
    upload(controls, "../mine.mp4", video.read_bytes())
    assert controls.video.value == "mine.mp4" and list(controls.video.options) == ["long", "other", "mine.mp4"]
    assert controls.explorer.path.read_bytes() == video.read_bytes()
    controls.video.value = "long"
    controls.video.value = "mine.mp4"
    assert controls.explorer.path.name == "mine.mp4" and not controls.message.value


def test_what_is_no_video_is_named_and_what_was_shown_stays(controls, long_video):
    controls.buttons["reverse"].click()
    before, view = pictures(controls), controls.view
    upload(controls, "<b>.mp4", b"no video")
    assert "&lt;b&gt;.mp4" in controls.message.value
    assert (controls.video.value, list(controls.video.options)) == ("long", ["long", "other"])
    assert controls.view == view and pictures(controls) == before
    controls.buttons["reset"].click()
    assert not controls.message.value and controls.explorer.path == long_video


def test_a_video_that_is_gone_leaves_the_one_before(controls, tmp_path):
    controls._videos["gone"] = tmp_path / "gone.mp4"
    controls._follow()
    controls.video.value = "gone"
    assert "gone.mp4" in controls.message.value and controls.video.value == "long"


def test_a_frame_that_cannot_be_decoded_leaves_the_playback_before(predictor, long_video, tmp_path, without_drawing):
    folder = tmp_path / "video"
    folder.mkdir()
    for picture in long_video.iterdir():
        (folder / picture.name).write_bytes(picture.read_bytes())
    controls = Controls(predictor, {"video": folder})
    used = set(controls.explorer.original.prediction.frames[0].tolist())
    for number in set(range(24)) - used:
        (folder / f"{number + 1:05d}.jpg").write_bytes(b"broken")
    controls.speed.value = 0.5
    assert "cannot be read as JPEG" in controls.message.value
    assert (controls.speed.value, controls.view.playback) == (1.0, controls.explorer.normal)
