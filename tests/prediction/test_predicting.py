import dataclasses
import json
import shutil

import numpy as np
import pytest
import safetensors
import torch
from prediction.conftest import write_weights
from support.footage import write_footage

import tanet
from tanet import Predictor, checkpoint, cli, evaluate, load_model, recipes
from tanet.data import LABEL_FILES, Unreadable, class_names_at, dense_clips, uniform_frames
from tanet.errors import CheckpointError, DataError, VideoError


@pytest.fixture(scope="module")
def clip(something_root):
    return something_root / "20bn-something-something-v1/3"


@pytest.fixture
def bare_weights(tmp_path):
    """Weights that name no classes and no recipe."""
    return write_weights(tmp_path / "theirs.pth", recipes.demo_something(), None)


@pytest.mark.parametrize("style", ["mmaction2", "official"])
@pytest.mark.parametrize("protocol", ["sth-efficient", "sth-accurate"])
def test_a_video_has_the_scores_of_the_test_to_the_bit(something_weights, something_root, protocol, style):
    """In the test it is computed together with others, here alone, and with others."""
    rows = evaluate.run(something_weights, something_root, protocol, style=style)["per_video"]
    paths = [something_root / row["path"] for row in rows]
    alone = tanet.predict(paths[5], something_weights, protocol=protocol, style=style)
    together = Predictor(something_weights, protocol, style=style).predict_many(paths[3:8])
    assert alone.probabilities.tolist() == np.array(rows[5]["scores"], np.float32).tolist()
    for row, prediction in zip(rows[3:8], together):
        assert prediction.probabilities.tolist() == np.array(row["scores"], np.float32).tolist()


@pytest.mark.slow
def test_so_has_a_video_file_by_the_protocol_of_kinetics(kinetics_weights, kinetics_root):
    rows = evaluate.run(kinetics_weights, kinetics_root)["per_video"][:2]
    for row in rows:
        prediction = tanet.predict(kinetics_root / row["path"], kinetics_weights)
        assert prediction.probabilities.tolist() == np.array(row["scores"], np.float32).tolist()


def test_other_orders_of_classes_are_given_by_name(tmp_path, something_weights, something_root, clip):
    """The official layout has its classes sorted: the same network, the same answer."""
    labels, names = something_root / LABEL_FILES["something_v1"], class_names_at("something_v1", something_root)
    own = tanet.predict(clip, something_weights, style="official")
    checkpoint.convert(something_weights, tmp_path / "ours.pth", "official", listed=names)
    content, _ = checkpoint.read_file(tmp_path / "ours.pth")
    torch.save({"state_dict": content["state_dict"]}, tmp_path / "theirs.pth")
    theirs = tanet.predict(clip, tmp_path / "theirs.pth", labels=labels, recipe=recipes.demo_something())
    assert theirs.class_names == tuple(sorted(names)) != names
    assert [name for name, _ in theirs.top(8)] == [name for name, _ in own.top(8)]
    assert [value for _, value in theirs.top(8)] == pytest.approx([value for _, value in own.top(8)], rel=1e-5)


@torch.no_grad()
def test_each_clip_is_scored_by_its_crops(something_weights, clip):
    prediction = tanet.predict(clip, something_weights, protocol="sth-accurate")
    model, recipe, _ = load_model(something_weights)
    views = model(evaluate.test_views(clip, "sth-accurate", recipe)).softmax(1)  # [crops * clips, classes]
    for index in range(2):
        np.testing.assert_allclose(prediction.clips[index], views[index::2].mean(0), rtol=1e-4)
    assert not np.allclose(prediction.clips[0], prediction.clips[1])
    np.testing.assert_allclose(prediction.clips.mean(0), prediction.probabilities, rtol=1e-5)
    count = len(list(clip.iterdir()))
    assert prediction.frames.tolist() == uniform_frames(count, 8, twice=True).tolist()
    assert np.isnan(prediction.seconds).all()  # a folder of frames has no times


@pytest.mark.parametrize("kind, suffix", [("h264-closed", ".mp4"), ("vp9", ".webm"), ("variable-rate", ".mp4")])
def test_the_clips_times_are_those_of_their_frames(tmp_path, kinetics_weights, kind, suffix):
    """Footage of 25 frames a second; with a variable rate the times lie between those of twice and half of it."""
    path = write_footage(tmp_path / f"clip{suffix}", kind, frames=100)
    prediction = tanet.predict(path, kinetics_weights)
    assert prediction.frames.tolist() == dense_clips(100, 8).tolist() and prediction.clips.shape == (10, 8)
    if kind != "variable-rate":
        np.testing.assert_allclose(prediction.seconds, prediction.frames / 25, atol=1e-3)
    assert (np.diff(prediction.seconds) > 0).all() and prediction.seconds[0, 0] == 0
    first_frames = dict(zip(prediction.frames.ravel().tolist(), prediction.seconds.ravel().tolist()))
    assert len(first_frames) == len(set(first_frames.values()))  # one time a frame, in whatever clip


def test_features_are_what_the_classifier_averages(something_weights, clip):
    plain, prediction = (tanet.predict(clip, something_weights, features=wanted) for wanted in (False, True))
    assert plain.features is None and prediction.features.shape == (512,)
    assert prediction.probabilities.tolist() == plain.probabilities.tolist()
    model, _, _ = load_model(something_weights)
    logits = model.fc(torch.from_numpy(prediction.features))  # of one view: the classifier is linear
    np.testing.assert_allclose(logits.softmax(0).detach(), prediction.probabilities, rtol=1e-4)


def test_workers_decode_to_the_same_predictions(something_weights, something_root):
    paths = sorted((something_root / "20bn-something-something-v1").iterdir())[:5]
    recipe = recipes.demo_something()
    found = [
        [
            row.probabilities.tolist()
            for row in Predictor(something_weights, recipe=recipe.with_changes(change)).predict_many(paths)
        ]
        for change in ({"workers": 0}, {"workers": 1})
    ]
    assert found[0] == found[1]


def test_a_video_that_cannot_be_read_is_an_error_or_named_in_its_place(tmp_path, something_weights, clip):
    empty, broken = tmp_path / "empty.mp4", tmp_path / "broken"
    empty.write_bytes(b"")
    shutil.copytree(clip, broken)
    (broken / "00002.jpg").write_bytes(b"no picture")
    predictor = Predictor(something_weights)
    with pytest.raises(VideoError, match="empty.mp4: empty"):
        list(predictor.predict_many([clip, empty]))
    first, *unreadable, last = predictor.predict_many([clip, empty, broken, clip], on_error="skip")
    assert [type(row) for row in unreadable] == [Unreadable, Unreadable]
    assert "empty.mp4" in unreadable[0].reason and "broken" in unreadable[1].reason
    assert first.probabilities.tolist() == last.probabilities.tolist()


def test_a_video_shorter_than_a_clip_is_predicted(tmp_path, kinetics_weights):
    prediction = tanet.predict(write_footage(tmp_path / "short.mp4", frames=3), kinetics_weights)
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5) and prediction.frames.max() == 2


def test_without_names_classes_have_numbers_and_a_label_file_names_them(
    bare_weights, something_weights, something_root, clip
):
    named = tanet.predict(clip, something_weights)
    with_recipe = {"recipe": recipes.demo_something()}
    bare = tanet.predict(clip, bare_weights, **with_recipe)
    names = class_names_at("something_v1", something_root)
    assert bare.class_names is None
    assert [name for name, _ in bare.top(3)] == [f"class {names.index(name)}" for name, _ in named.top(3)]
    labelled = tanet.predict(clip, bare_weights, labels=something_root / LABEL_FILES["something_v1"], **with_recipe)
    assert labelled.top(8) == named.top(8)


def test_a_network_for_kinetics_400_gets_the_published_names(tmp_path, capsys, clip):
    recipe = recipes.demo_kinetics().with_changes({"num_classes": 400, "workers": 0})
    weights = write_weights(tmp_path / "theirs.pth", recipe, None)
    names = Predictor(weights, recipe=recipe).class_names
    assert names[0] == "abseiling" and names[-1] == "zumba" and list(names) == sorted(set(names)) and len(names) == 400
    words = (clip, "--weights", weights, "--recipe", "demo_kinetics", "--set", "num_classes=400", "--top", "400")
    printed = command(capsys, *words)
    assert {line.split("%  ")[1] for line in printed.out.splitlines()[1:]} == set(names)
    assert "class names: those of Kinetics-400" in printed.err
    (tmp_path / "mine.txt").write_text("".join(f"{index:03d}\n" for index in range(400)))
    printed = command(capsys, *words, "--labels", tmp_path / "mine.txt")
    assert {line.split("%  ")[1] for line in printed.out.splitlines()[1:]} == {f"{index:03d}" for index in range(400)}
    assert "class names" not in printed.err


def test_where_nothing_names_the_classes_the_command_says_which_file_does(capsys, bare_weights, something_root, clip):
    words = (clip, "--weights", bare_weights, "--recipe", "demo_something", "--json")
    printed = command(capsys, *words)
    assert json.loads(printed.out)["top"][0]["class"].startswith("class ")
    assert "--labels FILE gives them, where FILE is the data's something-something-v1-labels.csv" in printed.err
    assert "class names" not in command(capsys, *words, "--labels", something_root / LABEL_FILES["something_v1"]).err


def test_labels_of_other_classes_are_refused(tmp_path, bare_weights, something_weights, clip):
    labels = tmp_path / "labels.txt"
    labels.write_text("walking\nrunning\n")
    with pytest.raises(CheckpointError, match="theirs.pth: the weights are for 8 classes, .*labels.txt names 2"):
        tanet.predict(clip, bare_weights, labels=labels, recipe=recipes.demo_something())
    labels.write_text("".join(f"class {letter}\n" for letter in "abcdefgh"))
    with pytest.raises(CheckpointError, match="something.pth: was trained on other classes"):
        tanet.predict(clip, something_weights, labels=labels)
    labels.write_text("walking\nwalking\n")
    with pytest.raises(DataError, match="labels.txt: .*listed twice"):
        tanet.predict(clip, bare_weights, labels=labels, recipe=recipes.demo_something())


def test_what_several_recipes_fit_is_asked_for(bare_weights, clip):
    with pytest.raises(CheckpointError, match="theirs.pth: .*Recipes that fit: .*--recipe"):
        tanet.predict(clip, bare_weights)


def test_top_gives_no_more_classes_than_there_are_and_ties_in_their_order():
    prediction = tanet.prediction.Prediction(
        "clip", np.array([0.25, 0.5, 0.25], np.float32), np.zeros((1, 3)), np.zeros((1, 8)), np.zeros((1, 8))
    )
    assert prediction.top(9) == [("class 1", 0.5), ("class 0", 0.25), ("class 2", 0.25)]
    assert dataclasses.replace(prediction, class_names=("a", "b", "c")).top(1) == [("b", 0.5)]


def command(capsys, *words):
    """What `tanet predict` prints; SystemExit with its one line if it fails."""
    cli.main(["predict", *map(str, words)])
    return capsys.readouterr()


def test_the_command_prints_the_likeliest_classes_of_each_video(capsys, something_weights, something_root):
    folder = something_root / "20bn-something-something-v1"
    printed = command(capsys, folder / "1", folder / "2", "--weights", something_weights, "--top", "2", "--clips").out
    expected = []
    for name in ("1", "2"):
        prediction = tanet.predict(folder / name, something_weights)
        (best, first), (second, next_one) = prediction.top(2)
        span = f"frames {prediction.frames.min()} to {prediction.frames.max()}"
        expected += [f"{folder / name}", f"  {first:6.1%}  {best}", f"  {next_one:6.1%}  {second}"]
        expected += [f"    {span:>20}  {first:6.1%}  {best}"]
    assert printed.splitlines() == expected


def test_json_is_a_line_a_video_and_nothing_else(capsys, monkeypatch, something_weights, something_root):
    monkeypatch.setattr("tanet.runtime.progress.LINE_EVERY", -1)  # the progress is shown at every video
    folder = something_root / "20bn-something-something-v1"
    sources = [folder / name for name in "123"]
    printed = command(capsys, *sources, "--weights", something_weights, "--protocol", "sth-accurate", "--json")
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert [row["path"] for row in rows] == [str(source) for source in sources]
    assert "sth-accurate, videos: 1 of 3" in printed.err
    prediction = tanet.predict(sources[2], something_weights, protocol="sth-accurate")
    assert [(entry["class"], entry["probability"]) for entry in rows[2]["top"]] == prediction.top(5)
    assert [clip["frames"] for clip in rows[2]["clips"]] == prediction.frames.tolist()
    assert rows[2]["clips"][1]["top"][0]["probability"] == float(prediction.clips[1].max())
    assert rows[2]["clips"][0]["seconds"] == [None] * 8


def test_the_command_writes_features(tmp_path, capsys, something_weights, something_root):
    folder = something_root / "20bn-something-something-v1"
    empty = tmp_path / "empty.mp4"
    empty.touch()
    words = (folder / "1", empty, folder / "2", "--weights", something_weights, "--on-error", "skip", "--features")
    said = command(capsys, *words, tmp_path / "features.npy").err
    command(capsys, *words, tmp_path / "features.safetensors")
    assert f"left out: {empty}" in said
    features = np.load(tmp_path / "features.npy")
    wanted = [tanet.predict(folder / name, something_weights, features=True).features for name in "12"]
    assert features.dtype == np.float32 and np.array_equal(features, np.stack(wanted))
    with safetensors.safe_open(tmp_path / "features.safetensors", "np") as file:
        assert np.array_equal(file.get_tensor("features"), features)
        assert json.loads(file.metadata()["paths"]) == [str(folder / "1"), str(folder / "2")]


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere.mp4", "--weights", "W"], "nowhere.mp4: no such file or folder"),
        (["clip", "--weights", "nowhere.pth"], "nowhere.pth: no such"),
        (["clip", "--weights", "mmaction2-k600"], "mmaction2-k600: .*there are mmaction2-k400-8f, "),
        (["clip", "--weights", "W", "--top", "0"], "--top must be at least 1"),
        (["clip", "--weights", "W", "--features", "f.csv"], r"f.csv: .*\.npy or \.safetensors"),
        (["clip", "--weights", "W", "--features", "nowhere/f.npy"], "nowhere/f.npy: the folder nowhere does not exist"),
        (["clip", "--weights", "W", "--window", "64"], "--window is for a camera"),
        (["clip", "camera:0", "--weights", "W"], "predicted alone"),
        (["empty.mp4", "--weights", "W", "--on-error", "skip"], "none of the 1 videos can be read"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, monkeypatch, capsys, something_weights, clip, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.mp4").touch()
    places = {"W": str(something_weights), "clip": str(clip)}
    with pytest.raises(SystemExit) as ended:
        command(capsys, *(places.get(word, word) for word in words))
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(said[-1])


def test_several_videos_are_no_single_one(something_weights, something_root):
    with pytest.raises(ValueError, match="48 videos; use predict_many"):
        tanet.predict(something_root / "20bn-something-something-v1", something_weights)
