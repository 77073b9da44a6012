import itertools

import numpy as np
import pytest
import torch
from prediction.conftest import write_weights

from tanet import Predictor, recipes
from tanet.data import FrameFolder, center_clip, class_names_at, test_views
from tanet.errors import VideoError
from tanet.explore import Explorer


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """The frames that folders of frames decode from now on, one after another."""
    frames, original = [], FrameFolder._decode
    monkeypatch.setattr(
        FrameFolder, "_decode", lambda self, indices: (frames.extend(indices), original(self, indices))[1]
    )
    return frames


def test_as_it_is_the_network_says_what_it_says_without_an_explorer(explorer, predictor, long_video):
    reading, expected = explorer.original, predictor.predict(long_video)
    assert torch.equal(reading.clip, test_views(long_video, "sth-efficient", predictor.recipe)[0])
    assert reading.prediction.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert reading.prediction.frames.tolist() == expected.frames.tolist()
    assert reading.prediction.class_names == predictor.class_names


def test_a_playback_changes_the_clip_and_all_that_follows_is_computed_from_it(explorer, predictor):
    reading = explorer.read(explorer.normal.reversed())
    assert torch.equal(reading.clip, explorer.original.clip.flip(0))
    model = predictor.model
    for block, (V, W) in model.temporal_maps(reading.clip[None]).items():
        assert torch.equal(reading.maps[block], V[0]) and torch.equal(reading.kernels[block], W[0])
        assert not torch.allclose(reading.maps[block], explorer.original.maps[block], atol=1e-4)
    with torch.no_grad():
        features = model.forward_head(model.forward_features(reading.clip[None]), pre_logits=True)  # [1, T, C]
        scores = model.fc(features)[0]
    torch.testing.assert_close(reading.over_time, scores.softmax(1), atol=1e-5, rtol=0)
    assert reading.prediction.probabilities == pytest.approx(scores.mean(0).softmax(0).numpy(), abs=1e-5)


def test_a_frozen_clip_is_equally_important_in_its_inner_frames(explorer):
    V = explorer.read(explorer.normal.frozen(3)).maps["layer1.0"]
    assert torch.allclose(V[:, 1:-1], V[:, 1:2].expand(-1, 6), atol=1e-5)
    assert not torch.allclose(V, V[:, 1:2].expand(-1, 8), atol=1e-5)  # zeros beyond the ends


def test_frames_are_decoded_once_and_only_those_that_are_played(predictor, long_video, decoded):
    explorer = Explorer(predictor, long_video)
    base = center_clip(24, predictor.recipe)
    assert decoded == base.tolist()
    for playback in (explorer.normal.reversed(), explorer.normal.shuffled(0), explorer.normal.dropped(2)):
        explorer.read(playback)
    assert decoded == base.tolist()
    half = explorer.read(explorer.normal.at_speed(0.5)).prediction.frames[0]
    assert sorted(decoded) == sorted({*base.tolist(), *half.tolist()})


def test_a_playback_that_came_before_is_not_computed_again(explorer, predictor):
    passes = []
    hook = predictor.model.conv1.register_forward_hook(lambda *_: passes.append(1))
    try:
        first = explorer.read(explorer.normal.reversed())
        explorer.read(explorer.normal.frozen(1))
        assert len(passes) == 2
        assert explorer.read(explorer.normal.frozen(2).frozen(5)).playback.order == (2,) * 8
        assert explorer.read(explorer.normal.reversed()) is first
        assert explorer.read(first.playback.reversed()) is explorer.original
    finally:
        hook.remove()
    assert len(passes) == 3


def test_channels_are_sorted_by_the_frame_at_which_they_peak(explorer):
    peaks = {block: explorer.original.maps[block].argmax(1) for block in explorer.blocks}
    for block, peak in peaks.items():
        channels = explorer.channels_by_peak(block)
        assert sorted(channels) == list(range(len(peak)))
        assert all(peak[before] <= peak[after] for before, after in itertools.pairwise(channels))


def test_the_liveliest_channel_has_the_largest_range_of_importance(explorer):
    for block in explorer.blocks:
        ranges = np.ptp(explorer.original.maps[block].numpy(), axis=1)
        assert ranges[explorer.liveliest_channel(block)] == ranges.max()


def test_a_video_file_tells_when_its_frames_are_shown(predictor, kinetics_root):
    video = sorted(kinetics_root.glob("val/*/*.mp4"))[0]
    explorer = Explorer(predictor, video)
    seconds = explorer.read(explorer.normal.at_speed(0.5).reversed()).prediction.seconds[0]
    assert (np.diff(seconds) < 0).all() and 0 < seconds[-1] < explorer.original.prediction.seconds[0, -1]


def test_networks_without_maps_are_refused(tmp_path, something_root, long_video):
    recipe = recipes.demo_something().with_changes({"temporal": "tsm"})
    weights = write_weights(tmp_path / "tsm.pth", recipe, class_names_at("something_v1", something_root))
    with pytest.raises(ValueError, match="temporal='tsm' has no importance maps"):
        Explorer(Predictor(weights), long_video)


def test_a_folder_of_several_videos_is_refused(predictor, something_root):
    with pytest.raises(ValueError, match="48 videos; explore one of them"):
        Explorer(predictor, something_root / "20bn-something-something-v1")


def test_a_broken_video_is_named(predictor, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match="broken.mp4"):
        Explorer(predictor, tmp_path / "broken.mp4")
