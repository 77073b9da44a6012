import threading
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from prediction.conftest import write_weights
from support.fileserver import Page, serve
from support.footage import read_numbers, write_footage

from tanet import Predictor, cli, recipes
from tanet.data import center_view, dense_center, open_video, uniform_center
from tanet.errors import VideoError
from tanet.prediction import is_stream, predict_stream, streams


@pytest.fixture(scope="module")
def predictor(kinetics_weights):
    return Predictor(kinetics_weights)


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Numbered frames: three windows of 64 and 8 frames more."""
    return write_footage(tmp_path_factory.mktemp("footage") / "clip.mp4", frames=200)


@torch.no_grad()
def test_each_window_of_an_address_is_predicted_as_its_middle_clip(predictor, footage):
    with serve({"clip.mp4": Page(footage.read_bytes())}) as (address, _):
        predictions = list(predict_stream(predictor, f"{address}/clip.mp4"))
    assert len(predictions) == 3
    for window, prediction in enumerate(predictions):
        frames = 64 * window + dense_center(64, 8)
        assert prediction.frames.tolist() == frames.tolist()
        np.testing.assert_allclose(prediction.seconds, frames / 25, atol=1e-3)
        with open_video(footage) as video:
            view = center_view(video.frames(frames[0]), predictor.recipe)
        wanted = predictor.model(view[None]).softmax(1)[0]
        np.testing.assert_allclose(prediction.probabilities, wanted, atol=1e-5)
        assert prediction.class_names == predictor.class_names


def test_another_window_and_uniform_sampling(something_weights, footage):
    predictions = list(predict_stream(Predictor(something_weights), f"file://{footage}", window=40))
    assert len(predictions) == 5
    assert predictions[4].frames.tolist() == (160 + uniform_center(40, 8)).tolist()


@pytest.mark.parametrize("rotation", [0, 90])
def test_the_frames_are_the_files_own_upright(tmp_path, rotation):
    path = write_footage(tmp_path / "clip.mp4", frames=20, rotation=rotation)
    with av.open(str(path)) as container:
        (window,) = streams._windows(container, "clip", 20, np.array([3, 12, 19]))
    with open_video(path) as video:
        assert torch.equal(window.frames, video.frames([3, 12, 19]))
    assert read_numbers(window.frames) == [3, 12, 19]


def windows(*numbers):
    return [streams._Window(number, None, None) for number in numbers]


def test_a_source_without_an_end_gives_its_newest_window(monkeypatch):
    """The source makes 6 windows while the first one is being computed: 5 are left out, the last one is not."""
    computing, made = threading.Event(), threading.Event()

    def source():
        yield from windows(0)
        computing.wait(60)
        yield from windows(1, 2, 3, 4, 5, 6)
        made.set()

    seen = streams._beside(source(), drop=True)
    assert next(seen).first == 0
    computing.set()
    assert made.wait(60)
    assert [window.first for window in seen] == [6]


def test_a_source_with_an_end_waits_and_loses_nothing():
    assert [window.first for window in streams._beside(iter(windows(*range(9))), drop=False)] == list(range(9))


@pytest.mark.parametrize("drop", [False, True])
def test_an_error_of_the_source_comes_after_its_windows(drop):
    def source():
        yield from windows(0)
        raise VideoError("camera:0: broke off")

    seen = streams._beside(source(), drop)
    assert next(seen).first == 0
    with pytest.raises(VideoError, match="broke off"):
        next(seen)


def test_who_stops_looking_ends_the_thread():
    def endless():
        while True:
            yield from windows(0)

    before = threading.active_count()
    for drop in (False, True):
        seen = streams._beside(endless(), drop)
        next(seen)
        seen.close()
    assert threading.active_count() == before


def test_a_picture_that_changes_size_is_an_error(monkeypatch):
    frames = [av.VideoFrame(width, 48, "rgb24") for width in (64, 64, 80)]
    stream = SimpleNamespace(thread_type="")
    container = SimpleNamespace(streams=SimpleNamespace(best=lambda kind: stream), decode=lambda stream: iter(frames))
    with pytest.raises(VideoError, match="camera:0: its frames change size before frame 3"):
        list(streams._windows(container, "camera:0", 3, np.array([0, 2])))


def test_a_stream_that_breaks_off_or_is_too_short_is_named(tmp_path, predictor):
    short = write_footage(tmp_path / "short.mp4", frames=30)
    with pytest.raises(VideoError, match="file:.*short.mp4: ended after 30 frames, a window needs 64"):
        list(predict_stream(predictor, f"file://{short}"))
    with serve({}) as (address, _), pytest.raises(VideoError, match=r"gone.mp4: this stream cannot be opened \(.*404"):
        list(predict_stream(predictor, f"{address}/gone.mp4"))
    with pytest.raises(ValueError, match="a window of 7 frames, the network takes 8"):
        list(predict_stream(predictor, f"file://{short}", window=7))


def test_sound_is_no_video(tmp_path, predictor):
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="sound.wav: no video in it"):
        list(predict_stream(predictor, f"file://{tmp_path}/sound.wav"))


def test_what_is_a_stream():
    for source in ("camera:0", "/dev/video1", "rtsp://host/1", "http://host/clip.mp4"):
        assert is_stream(source)
    for source in ("clip.mp4", "camera", "C:\\clips\\1.mp4", "videos/camera:0.mp4", "/dev/shm/clip.mp4"):
        assert not is_stream(source)


@pytest.mark.skipif("__import__('glob').glob('/dev/video*')", reason="there is a camera here")
def test_the_command_says_that_a_camera_is_not_there(capsys, kinetics_weights):
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "camera:0", "--weights", str(kinetics_weights)])
    said = capsys.readouterr().err
    assert ended.value.code == 1 and said.count("\n") == 1
    assert said.startswith("camera:0: this camera cannot be opened") and "there is no camera here" in said


def test_the_command_prints_each_window(capsys, predictor, kinetics_weights, footage):
    cli.main(["predict", f"file://{footage}", "--weights", str(kinetics_weights), "--top", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    for prediction, line, best in zip(predict_stream(predictor, f"file://{footage}"), lines[::2], lines[1::2]):
        name, probability = prediction.top(1)[0]
        assert line == f"file://{footage}, {prediction.seconds.min():.2f} to {prediction.seconds.max():.2f} s"
        assert best == f"  {probability:6.1%}  {name}"


def test_a_network_of_a_published_tsm_takes_its_recipe_from_options(tmp_path, capsys, footage):
    """Its weights fit any number of frames: --recipe and --set say which."""
    recipe = recipes.demo_kinetics().with_changes({"temporal": "tsm"})
    weights = write_weights(tmp_path / "tsm.safetensors", recipe, ("a", "b", "c", "d", "e", "f", "g", "h"))
    words = [str(footage), "--weights", str(weights), "--recipe", "demo_kinetics", "--set"]
    cli.main(["predict", *words, "temporal=tsm", "--protocol", "sth-efficient"])
    assert capsys.readouterr().out.startswith(f"{footage}\n")
    with pytest.raises(SystemExit):
        cli.main(["predict", *words, "temporal=none", "--protocol", "sth-efficient"])
    assert "TSM" in capsys.readouterr().err
