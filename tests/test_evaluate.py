import json

import numpy as np
import pytest
import torch
from PIL import Image

from tanet import evaluate, recipes, tanet_tiny
from tanet.sampling import dense_clips, uniform_frames

NAN = float("nan")


def test_metrics_by_hand():
    scores = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6]])
    result = evaluate.metrics(scores, [0, 0, 1, 1])
    assert result["top1"] == 50 and result["top5"] == 100
    assert result["class_accuracy"] == {0: 50, 1: 50} and result["mean_class_accuracy"] == 50
    assert result["confusion"] == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_mean_class_accuracy_weighs_classes_alike_and_ignores_those_that_do_not_occur():
    scores = np.eye(4)[[0, 0, 0, 0, 2]]
    result = evaluate.metrics(scores, [0, 0, 0, 2, 2])
    assert result["top1"] == 80
    assert result["class_accuracy"] == {0: 100, 2: 50} and result["mean_class_accuracy"] == 75


@pytest.mark.parametrize("place, top1, top5", [(0, 100, 100), (1, 0, 100), (4, 0, 100), (5, 0, 0), (9, 0, 0)])
def test_top5_counts_the_first_five_places(place, top1, top5):
    scores = np.linspace(1, 0, 10)[None]
    result = evaluate.metrics(scores, [place])
    assert (result["top1"], result["top5"]) == (top1, top5)


@pytest.mark.parametrize("label", [0, 3, 7])
def test_scores_that_are_all_the_same_score_nothing(label):
    result = evaluate.metrics(np.full((1, 8), 0.125), [label])
    assert result["top1"] == 0 and result["top5"] == 0


@pytest.mark.parametrize("classes", [4, 8])
@pytest.mark.parametrize("label", [0, 2])
def test_nan_never_ranks_first_nor_among_the_first_five(classes, label):
    everywhere = np.full((1, classes), NAN)
    own = np.linspace(0, 1, classes)[None].copy()
    own[0, label] = NAN
    for scores in (everywhere, own):
        result = evaluate.metrics(scores, [label])
        assert (result["top1"], result["top5"], result["mean_class_accuracy"]) == (0, 0, 0)


def test_nan_elsewhere_leaves_the_rank_among_numbers():
    assert evaluate.metrics(np.array([[NAN, 0.4, 0.6]]), [2])["top1"] == 100


@pytest.mark.parametrize("scores, label", [([[0.5, 0.5]], 0), ([[NAN, NAN]], 0), ([[NAN, NAN]], 1), ([[0.2, 0.8]], 1)])
def test_confusion_counts_as_right_exactly_what_top1_counts(scores, label):
    result = evaluate.metrics(np.array(scores), [label])
    assert 100 * np.trace(result["confusion"]) == result["top1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """100 frames: red grows from left to right, green with the frame's index."""
    path = tmp_path_factory.mktemp("frames")
    frame = np.zeros((56, 112, 3), np.uint8)
    frame[..., 0] = np.linspace(0, 255, 112)
    for i in range(100):
        frame[..., 1] = 2 * i
        Image.fromarray(frame).save(path / f"{i + 1:05d}.jpg", quality=95, subsampling=0)
    return path


def shown(views):
    """The frames' indices [views, T] and the order of the views' places from left to right."""
    indices = (views[:, :, 1].float().mean((-2, -1)) / 2).round().int().numpy()
    return indices, views[:, 0, 0].float().mean((-2, -1))


PROTOCOLS = {
    "k400-dense": (10, 3, 256, lambda: dense_clips(100, 8)),
    "sth-efficient": (1, 1, 224, lambda: uniform_frames(100, 8)),
    "sth-accurate": (2, 3, 256, lambda: uniform_frames(100, 8, twice=True)),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_views_are_ordered_by_crop_then_clip_then_frame(folder, protocol):
    clips, crops, size, indices = PROTOCOLS[protocol]
    views = evaluate.test_views(folder, protocol)
    assert views.shape == (crops * clips, 8, 3, size, size) and views.dtype == torch.uint8
    found, place = shown(views)
    assert np.abs(found - np.tile(indices(), (crops, 1))).max() <= 1  # JPEG may be half a level off
    place = place.view(crops, clips)
    torch.testing.assert_close(place, place[:, :1].expand(crops, clips), atol=1, rtol=0)
    if crops == 3:
        left, right, middle = place[:, 0]
        assert left < middle < right


def test_views_follow_the_recipe(folder):
    recipe = recipes.get("demo_kinetics").with_changes({"num_frames": 16})
    assert evaluate.test_views(folder, "k400-dense", recipe).shape == (30, 16, 3, 48, 48)
    assert evaluate.test_views(folder, "sth-efficient", recipe).shape == (1, 16, 3, 48, 48)
    official = recipe.with_changes({"style": "official", "sampling": "uniform"})
    found, _ = shown(evaluate.test_views(folder, "sth-accurate", official))
    assert np.abs(found[:2] - uniform_frames(100, 16, twice=True, style="official")).max() <= 1


def test_unknown_protocol_is_refused_with_those_there_are(folder):
    with pytest.raises(ValueError, match="'k400'.*k400-dense, sth-efficient, sth-accurate"):
        evaluate.test_views(folder, "k400")


@torch.no_grad()
@pytest.mark.parametrize("style", ["mmaction2", "official"])
def test_views_are_averaged_in_the_style_of_the_code_base(device, style):
    torch.manual_seed(0)
    model = tanet_tiny(5, num_frames=2).to(device).eval()
    torch.nn.init.normal_(model.fc.weight)
    views = torch.randint(0, 256, (7, 2, 3, 48, 48), dtype=torch.uint8)
    logits = torch.stack([model(view[None].to(device))[0] for view in views]).cpu()
    wanted = logits.softmax(1).mean(0) if style == "mmaction2" else logits.mean(0).softmax(0)
    for batch in (1, 3, 30):
        torch.testing.assert_close(evaluate.score_views(model, views, style, batch), wanted, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def weights(trained_run):
    return trained_run / "checkpoints/last.pth"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_result_is_written_and_its_numbers_agree(tmp_path, weights, something_root, protocol):
    result = evaluate.run(weights, something_root, protocol, tmp_path / "new/result.json")
    assert json.loads((tmp_path / "new/result.json").read_text()) == result
    confusion = np.array(result["confusion"])
    rows = result["per_video"]
    assert result["protocol"] == protocol and result["recipe"] == "demo_something" and result["videos"] == "16 of 16"
    assert confusion.sum() == len(rows) == 16
    assert result["top1"] == pytest.approx(100 * np.trace(confusion) / 16)
    assert result["top1"] == pytest.approx(100 * np.mean([row["label"] == row["predicted"] for row in rows]))
    assert result["top1"] <= result["top5"] <= 100
    assert all(0 <= row["probability"] <= 1 for row in rows)
    assert result["mean_class_accuracy"] == pytest.approx(np.mean([row["accuracy"] for row in result["per_class"]]))
    for row in result["per_class"]:
        index = result["class_names"].index(row["class"])
        assert row["videos"] == confusion[index].sum() == 2
        assert row["accuracy"] == pytest.approx(100 * confusion[index, index] / 2)


@torch.no_grad()
def test_probabilities_are_those_of_the_views(weights, something_root):
    from tanet import load_model

    row = evaluate.run(weights, something_root, "sth-accurate")["per_video"][3]
    model, recipe, _ = load_model(weights)
    scores = model(evaluate.test_views(row["path"], "sth-accurate", recipe)).softmax(1).mean(0)
    assert row["predicted"] == scores.argmax().item()
    assert row["probability"] == pytest.approx(scores[row["label"]].item(), rel=1e-4)


def test_the_recipes_first_protocol_is_the_default_and_the_command_line_says_the_numbers(
    tmp_path, capsys, weights, something_root
):
    out = tmp_path / "result.json"
    evaluate.main([str(weights), "--data-root", str(something_root), "--out", str(out)])
    result = json.loads(out.read_text())
    assert result["protocol"] == "sth-efficient"
    assert f"top-1 {result['top1']:.2f}%" in capsys.readouterr().out


def test_unknown_protocol_and_missing_data_are_refused_before_anything_is_written(tmp_path, weights, something_root):
    with pytest.raises(ValueError, match="no protocol 'ten-crop'"):
        evaluate.run(weights, something_root, "ten-crop", tmp_path / "result.json")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate.run(weights, tmp_path / "nowhere", out=tmp_path / "result.json")
    assert not list(tmp_path.iterdir())


def relinked(something_root, target):
    """The same data set, its small files copied and its videos linked."""
    target.mkdir()
    for path in something_root.glob("*.csv"):
        (target / path.name).write_text(path.read_text())
    videos = target / "20bn-something-something-v1"
    videos.mkdir()
    for path in (something_root / videos.name).iterdir():
        (videos / path.name).symlink_to(path)
    return target


def test_another_order_of_classes_is_refused(tmp_path, weights, something_root):
    root = relinked(something_root, tmp_path / "data")
    labels = root / "something-something-v1-labels.csv"
    labels.write_text("\n".join(sorted(labels.read_text().splitlines())))
    with pytest.raises(ValueError, match="another order.*last.pth"):
        evaluate.run(weights, root)


def test_missing_videos_are_an_error_or_counted(tmp_path, weights, something_root):
    root = relinked(something_root, tmp_path / "data")
    (root / "20bn-something-something-v1/34").unlink()
    with pytest.raises(FileNotFoundError, match="34"):
        evaluate.run(weights, root)
    result = evaluate.run(weights, root, missing="skip")
    assert result["videos"] == "15 of 16" and len(result["per_video"]) == 15
