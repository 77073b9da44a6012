"""Which list was tested: results name it, cards keep lists apart; without labels there are classes and no accuracy."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tanet import checkpoint, cli, evaluate
from tanet.data import load_list, write_list
from tanet.evaluate import result_page
from tanet.evaluate.report import summarize
from tanet.model import build
from tanet.runtime import sha256
from tanet.share import model_card

TESTED = 4  # videos of each list here


@pytest.fixture(scope="module")
def videos(something_root, something_recipe):
    """[(name below the root, None, label)] of some validation videos."""
    samples = load_list(something_recipe, something_root, "val").samples[:TESTED]
    return [(sample.path.relative_to(something_root).as_posix(), None, sample.label) for sample in samples]


@pytest.fixture(scope="module")
def weights(tmp_path_factory, something_root, something_recipe):
    """A network that nothing has trained, as a checkpoint that says it was trained on the training list."""
    torch.manual_seed(0)
    data = {"train": {"sha256": load_list(something_recipe, something_root, "train").digest()}}
    path = tmp_path_factory.mktemp("weights") / "last.pth"
    state = {"model": build(something_recipe).state_dict(), "recipe": something_recipe.to_json(), "data": data}
    checkpoint.save(path, state)
    return path


def test_a_list_without_labels_gives_scores_and_best_classes_and_no_accuracy(
    tmp_path, weights, something_root, videos, capsys
):
    known, unknown = tmp_path / "val.txt", tmp_path / "test.txt"
    write_list(known, videos)
    write_list(unknown, [(name, None, None) for name, _, _ in videos])
    with_labels = evaluate.run(weights, something_root, val_list=known)
    options = ["--data-root", str(something_root), "--val-list", str(unknown), "--out", str(tmp_path / "result.json")]
    cli.main(["evaluate", str(weights), *options])
    result = json.loads((tmp_path / "result.json").read_text())
    names = with_labels["class_names"]
    assert not {"top1", "top5", "mean_class_accuracy", "per_class", "confusion"} & result.keys()
    assert result["tested"] == result["listed"] == TESTED
    for row, other in zip(result["per_video"], with_labels["per_video"], strict=True):
        assert row["label"] is None and row["scores"] == other["scores"] and row["path"] == other["path"]
        assert [each["probability"] for each in row["top5"]] == sorted(row["scores"], reverse=True)[:5]
        assert row["top5"][0]["class"] == names[other["predicted"]]
        assert all(row["scores"][names.index(each["class"])] == each["probability"] for each in row["top5"])
    page = capsys.readouterr().out
    assert page.strip() == (tmp_path / "result.md").read_text().strip()
    assert "no labels, so no accuracy is known" in page and "top-1" not in page and "interval" not in page
    assert all(f"| {name} | {row['top5'][0]['class']}" in page for (name, *_), row in zip(videos, result["per_video"]))


def test_a_list_of_names_alone_is_a_list_without_labels(tmp_path, weights, something_root, videos):
    (tmp_path / "test.txt").write_text("".join(f"{name}\r\n" for name, *_ in videos))
    result = evaluate.run(weights, something_root, val_list=tmp_path / "test.txt")
    assert [row["path"] for row in result["per_video"]] == [name for name, *_ in videos]
    assert "top1" not in result


def test_scores_that_are_no_numbers_have_no_best_classes(something_root, something_recipe):
    videos = load_list(something_recipe, something_root, "val")
    samples = tuple(replace(sample, label=None) for sample in videos.samples[:2])
    scores = np.full((2, 8), np.nan, np.float32)
    scores[1, 3] = 0.5
    rows = summarize(scores, replace(videos, samples=samples), something_root)["per_video"]
    assert [row["top5"] for row in rows] == [[], [{"class": videos.class_names[3], "probability": 0.5}]]


def test_a_page_shows_some_videos_without_labels_and_says_how_many_there_are(tmp_path, weights, something_root, videos):
    write_list(tmp_path / "test.txt", [(name, None, None) for name, *_ in videos])
    result = evaluate.run(weights, something_root, val_list=tmp_path / "test.txt")
    rows = [{**result["per_video"][0], "path": str(index)} for index in range(50)]
    page = result_page(result | {"per_video": rows, "tested": 50, "listed": 50})
    assert "| 19 | " in page and "| 20 | " not in page
    assert "30 more videos, in the JSON file" in page and "50 of 50 videos" in page


def test_forward_and_reversed_lists_give_results_that_can_be_told_apart(tmp_path, weights, something_root, videos):
    results = []
    for name, rows in (("forward", videos), ("reversed", [(path, None, 7 - label) for path, _, label in videos])):
        write_list(tmp_path / name / "val.txt", rows)  # of the same name
        results.append(evaluate.run(weights, something_root, val_list=tmp_path / name / "val.txt"))
        assert results[-1]["list"] == {
            "name": "val.txt",
            "videos": TESTED,
            "sha256": sha256(tmp_path / name / "val.txt"),
            "remarks": [],
        }
        assert f"List val.txt, sha256 {results[-1]['list']['sha256'][:16]}..., 4 videos." in result_page(results[-1])
    older = {key: value for key, value in results[0].items() if key != "list"}
    accurate = results[0] | {"protocol": "sth-accurate"}
    card = model_card(with_history(checkpoint.read(weights)), [*results, accurate, older], "0")
    headings = [line for line in card.splitlines() if line.startswith(("### ", "#### "))]
    lists = [f"### List: val.txt, sha256 {result['list']['sha256'][:16]}..., 4 videos" for result in results]
    page, other_page = "#### demo_something, sth-efficient", "#### demo_something, sth-accurate"
    unnamed = "### List: not named in the result, which an older version wrote"
    assert headings == [lists[0], page, other_page, lists[1], page, unnamed, page]


def with_history(stored):
    """The checkpoint with what a model card says of its training."""
    lists = {split: {"videos": 1, "sha256": "0" * 64} for split in ("train", "val")}
    rest = {"history": [], "data": lists, "sums": [0], "numerics": {"precision": "float32"}}
    return replace(stored, rest=rest)


def test_the_publishers_annotations_are_named_as_a_list_is(weights, something_root):
    result = evaluate.run(weights, something_root, subset=2)
    name = "something-something-v1-validation.csv"
    assert result["list"]["name"] == name and result["list"]["sha256"] == sha256(something_root / name)
    assert (result["tested"], result["list"]["videos"]) == (2, 16)


def test_a_page_says_what_is_odd_about_the_list(tmp_path, weights, something_root, something_recipe, videos):
    write_list(tmp_path / "val.txt", [*videos, videos[0]])
    page = result_page(evaluate.run(weights, something_root, val_list=tmp_path / "val.txt"))
    assert f"- LIST: videos listed more than once: 1 ({something_root / videos[0][0]})." in page
    trained_on = load_list(something_recipe, something_root, "train").samples
    rows = [(sample.path.relative_to(something_root).as_posix(), None, sample.label) for sample in trained_on]
    write_list(tmp_path / "val.txt", rows)
    result = evaluate.run(weights, something_root, val_list=tmp_path / "val.txt", subset=2)
    assert "- LIST: these are the videos that the checkpoint was trained on." in result_page(result)


def test_paths_of_a_test_may_begin_in_the_home_folder(monkeypatch, tmp_path, weights, something_root, videos):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(something_root)
    shutil.copy(weights, tmp_path)
    write_list(tmp_path / "val.txt", videos)
    result = evaluate.run("~/last.pth", "~/data", out="~/new/result.json", val_list="~/val.txt")
    assert json.loads((tmp_path / "new/result.json").read_text()) == result
    assert [row["path"] for row in result["per_video"]] == [name for name, *_ in videos]
    assert not (tmp_path / "~").exists()  # a folder of that name, made where the test ran
