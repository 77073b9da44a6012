"""The warning about frames of training videos that training never draws."""

from pathlib import Path

import numpy as np
import pytest
from support.footage import write_footage

from tanet import recipes
from tanet.data import Probe, Sample, sampling, short_clips, undrawn_frames

UNIFORM = recipes.get("sthv1_8f")
DENSE = recipes.get("k400_8f")


def listed(*lengths):
    """Samples whose list tells the number of frames; there are no files."""
    return tuple(Sample(Path(f"{index}"), 0, num_frames=n) for index, n in enumerate(lengths))


def probed(*lengths):
    probes = [Probe("h264", 96, 80, n, 0, "pyav", "") for n in lengths]
    # The list's number is only advice for a file, the probe's is right.
    return tuple(Sample(Path(f"{index}.mp4"), 0, probe, num_frames=64) for index, probe in enumerate(probes))


def drawn(recipe, n, times=400):
    """The frames that `times` draws take: what the warning must agree with."""
    rng = np.random.default_rng(0)
    if recipe.sampling == "dense":
        clips = [sampling.dense_train(n, recipe.num_frames, rng) for _ in range(times)]
    else:
        args = recipe.num_frames, rng, recipe.style, recipe.keep_tail
        clips = [sampling.uniform_train(n, *args) for _ in range(times)]
    return np.unique(clips)


@pytest.mark.parametrize("make", [listed, probed])
def test_uniform_training_is_warned_about_with_shares_of_videos_and_frames(make):
    text = undrawn_frames(make(8, 12, 15, 20, 24, 40, 40, 41, 80, 80), UNIFORM)
    # 4 + 7 + 4 + 1 of 360 frames
    assert text.startswith("warning: training never draws the last frames of 4 of 10 training videos (40%), 4% of all ")
    assert "the same 8 frames in every epoch from 2 of 10 training videos (20%), which have under 16" in text
    assert text.endswith("keep_tail=True (--set keep_tail=true) draws from all frames")
    assert "\n" not in text


@pytest.mark.parametrize("style", recipes.STYLES)
@pytest.mark.parametrize("num_frames", [7, 8, 16])
@pytest.mark.parametrize("n", [1, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 36])
def test_the_warning_agrees_with_what_uniform_training_draws(n, num_frames, style):
    recipe = recipes.in_style(UNIFORM, style).with_changes({"num_frames": num_frames})
    text, left_out = undrawn_frames(listed(n), recipe), n - len(drawn(recipe, n))
    assert (f", {left_out / n:.0%} of all frames" in text) if left_out else text == ""


@pytest.mark.parametrize("num_frames, longest", [(8, 56), (16, 60), (4, 48)])
def test_dense_training_is_warned_about_where_it_wraps_around(num_frames, longest):
    recipe = DENSE.with_changes({"num_frames": num_frames})
    assert undrawn_frames(listed(longest + 1, 300), recipe) == ""
    text = undrawn_frames(listed(longest, 300, 300), recipe)
    assert text.startswith("warning: 1 of 3 training videos (33%) are shorter than a clip")
    left_out = longest - len(drawn(recipe, longest))
    assert f"{left_out / longest:.0%} of their frames are never drawn" in text and "sampling=uniform" in text


def test_there_is_no_warning_where_every_frame_is_drawn():
    assert undrawn_frames(listed(8, 16, 24), UNIFORM) == ""
    every = UNIFORM.with_changes({"keep_tail": True})
    assert undrawn_frames(listed(*range(1, 60)), every) == ""
    assert all(len(drawn(every, n)) == n for n in range(1, 60)), "and so it is"
    assert undrawn_frames((), UNIFORM) == undrawn_frames((), DENSE) == ""


def test_videos_of_unknown_length_are_opened_without_their_decoder(tmp_path, monkeypatch):
    paths = [write_footage(tmp_path / f"{n}.mp4", frames=n) for n in (12, 40)]
    (tmp_path / "broken.mp4").write_bytes(b"")
    samples = tuple(Sample(path, 0) for path in (*paths, tmp_path / "broken.mp4", tmp_path / "absent.mp4"))
    monkeypatch.setattr(short_clips, "open_video", None)  # which may decode
    assert "of 1 of 2 training videos (50%), 8% of all frames" in undrawn_frames(samples, UNIFORM)


def test_of_many_videos_of_unknown_length_a_few_are_opened(monkeypatch, something_root):
    """A real data set has 240,000 videos. All lengths that the lists tell are counted, however many there are."""
    opened, open_video = [], short_clips.open_video
    monkeypatch.setattr(short_clips, "open_video", lambda path: opened.append(path) or open_video(path))
    monkeypatch.setattr(short_clips, "OPENED", 5)
    folder = next((something_root / "20bn-something-something-v1").iterdir())  # of 8, 16 or 24 frames
    samples = tuple(Sample(folder, 0) for _ in range(100))
    seven = UNIFORM.with_changes({"num_frames": 7})
    text = undrawn_frames(samples, seven)
    assert len(opened) == 5
    assert "of 5 of 5 training videos (100%)" in text
    assert text.endswith("(These are 5 of the 100 videos, drawn at random.)")
    assert undrawn_frames(samples, seven) == text
    assert "of 100 of 100 training videos" in undrawn_frames(listed(*[8] * 100), seven)
