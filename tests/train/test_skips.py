"""Videos that cannot be read while a network is trained or tested: named, skipped where asked, never replaced."""

import ctypes
import json
import os
import signal

import pytest
import torch
from support.children import HANG
from support.signals import stop_after

from tanet import evaluate, train
from tanet.data import Sample, load_list, loader, training_loader
from tanet.errors import LaunchError, Stopped, VideoError
from tanet.train import Options, run_folder

BROKEN = ("5", "36")  # a training and a validation video


@pytest.fixture(scope="module")
def damaged_root(tmp_path_factory, something_root):
    """The demo data, with all frames but the first of two videos cut short."""
    root = tmp_path_factory.mktemp("damaged")
    for path in something_root.glob("*.csv"):
        (root / path.name).write_text(path.read_text())
    folder = something_root / "20bn-something-something-v1"
    for path in folder.iterdir():
        target = root / folder.name / path.name
        target.parent.mkdir(exist_ok=True)
        if path.name not in BROKEN:
            target.symlink_to(path)
            continue
        target.mkdir()
        for frame in path.iterdir():
            whole = frame.read_bytes()
            (target / frame.name).write_bytes(whole if frame.stem == "00001" else whole[: len(whole) // 2])
    return root


@pytest.fixture(scope="module")
def recipe(something_recipe):
    return something_recipe.with_changes({"deterministic": True})


SKIP = {"on_error": "skip", "skip_limit": 0.1}


@pytest.fixture(scope="module")
def skipping_run(tmp_path_factory, damaged_root, recipe):
    run_dir = tmp_path_factory.mktemp("runs") / "skipping"
    return run_dir, train.fit(recipe, damaged_root, run_dir, **SKIP)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_by_default_the_first_ends_the_run_with_its_name(tmp_path, damaged_root, recipe, workers):
    with pytest.raises(VideoError) as failure:
        train.fit(recipe.with_changes({"workers": workers}), damaged_root, tmp_path / "run")
    said = str(failure.value)
    assert said.startswith(f"{damaged_root}/20bn-something-something-v1/5/0") and "Traceback" not in said
    assert "on_error=" in said and said.count("\n") == 0


@pytest.mark.slow
def test_a_skipped_video_is_counted_every_epoch_and_listed_with_its_reason(skipping_run, damaged_root):
    run_dir, history = skipping_run
    assert [(row["skipped"], row["val_skipped"]) for row in history] == [(1, 1), (1, 1)]
    listed = run_folder.read_lines(run_dir / "skipped.jsonl")
    assert [(row["epoch"], row["split"]) for row in listed] == [(1, "train"), (1, "val"), (2, "train"), (2, "val")]
    for row in listed:
        name = BROKEN[row["split"] == "val"]
        assert row["path"] == f"{damaged_root}/20bn-something-something-v1/{name}"
        assert row["reason"].startswith(row["path"]) and "JPEG" in row["reason"]


def test_nothing_takes_a_skipped_videos_place(something_root, damaged_root, recipe):
    """All other samples of the epoch are those of the whole data set, in the same batches."""
    whole, damaged = (
        list(training_loader(load_list(recipe, root, "train"), recipe)) for root in (something_root, damaged_root)
    )
    left_out = 4  # the list is in the order of the names
    assert [bad.index for part in damaged for bad in part[3]] == [left_out]
    for (clips, labels, indices, none), (clips_, labels_, indices_, _) in zip(whole, damaged, strict=True):
        keep = indices != left_out
        assert none == [] and torch.equal(indices[keep], indices_)
        assert torch.equal(clips[keep], clips_) and torch.equal(labels[keep], labels_)


@pytest.mark.slow
def test_more_than_the_limit_ends_the_run_and_says_where_they_are_listed(tmp_path, damaged_root, recipe):
    with pytest.raises(
        VideoError, match="1 of the 32 train videos cannot be read, more than skip_limit = 1.0%"
    ) as failure:
        train.fit(recipe, damaged_root, tmp_path / "run", on_error="skip")
    assert str(tmp_path / "run/skipped.jsonl") in str(failure.value)
    (row,) = run_folder.read_lines(tmp_path / "run/skipped.jsonl")
    assert row["path"].endswith("/5")


def test_a_batch_of_which_nothing_can_be_read_ends_the_run(tmp_path, damaged_root, recipe):
    with pytest.raises(VideoError, match="/5/0.*nor can any other video of its batch, of 1"):
        train.fit(recipe.with_changes({"clips_per_process": 1}), damaged_root, tmp_path / "run", **SKIP)


@pytest.mark.slow
def test_a_run_that_skips_resumes_bit_identically(tmp_path, monkeypatch, damaged_root, recipe, skipping_run):
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_after(patch, 6, signal.SIGTERM)
        train.fit(recipe, damaged_root, tmp_path / "run", **SKIP)
    train.fit(recipe, damaged_root, tmp_path / "run", **SKIP)
    kept = ("epoch", "split", "path", "reason")
    one, other = (
        [[row[key] for key in kept] for row in run_folder.read_lines(folder / "skipped.jsonl")]
        for folder in (tmp_path / "run", skipping_run[0])
    )
    assert one == other
    weights, weights_ = (run_folder.newest(folder)[0].weights for folder in (tmp_path / "run", skipping_run[0]))
    assert all(torch.equal(weights[key], weights_[key]) for key in weights)


@pytest.mark.slow
def test_a_list_of_skipped_videos_that_a_kill_cut_short_is_no_obstacle(tmp_path, monkeypatch, damaged_root, recipe):
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_after(patch, 6, signal.SIGTERM)
        train.fit(recipe, damaged_root, run_dir, **SKIP)
    skipped = run_dir / "skipped.jsonl"
    skipped.write_text(skipped.read_text()[:25])
    train.fit(recipe, damaged_root, run_dir, **SKIP)
    train.fit(recipe, damaged_root, run_dir, **SKIP)
    assert [(row["epoch"], row["split"]) for row in run_folder.read_lines(skipped)] == [(2, "val")]


@pytest.mark.slow
def test_processes_count_each_skipped_video_once(tmp_path, forked_workers, damaged_root, recipe):
    recipe = recipe.with_changes({"clips_per_process": 4})
    history = train.launch(recipe, damaged_root, tmp_path / "run", processes=2, **SKIP)
    assert [(row["skipped"], row["val_skipped"]) for row in history] == [(1, 1), (1, 1)]
    assert len(run_folder.read_lines(tmp_path / "run/skipped.jsonl")) == 4
    with pytest.raises(LaunchError, match=r"\Athe process of rank \d failed: .*VideoError.*/5/0"):
        train.launch(recipe, damaged_root, tmp_path / "other", processes=2)


@pytest.mark.parametrize(
    "wrong", [{"on_error": "ignore"}, {"skip_limit": 1.0}, {"missing": "no"}, {"save_minutes": -1.0}]
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Options(**wrong)


@pytest.mark.slow
def test_a_test_says_how_many_of_how_many_and_which_not(tmp_path, something_root, damaged_root, trained_run):
    weights, out = trained_run / "checkpoints/last.pth", tmp_path / "result.json"
    with pytest.raises(VideoError, match="/36/0.*on_error="):
        evaluate.run(weights, damaged_root, "sth-efficient", out)
    result = evaluate.run(weights, damaged_root, "sth-efficient", out, on_error="skip")
    whole = evaluate.run(weights, something_root, "sth-efficient")
    assert (result["tested"], result["listed"]) == (15, 16)
    (left_out,) = result["unreadable"]
    assert left_out["path"] == "20bn-something-something-v1/36" and "JPEG" in left_out["reason"]
    others = [row for row in whole["per_video"] if row["path"] != left_out["path"]]
    assert json.loads(out.read_text())["per_video"] == result["per_video"] == others
    page = out.with_suffix(".md").read_text()
    assert "| 15 of 16, a subset |" in page and "LEFT OUT: 1 video" in page and "v1/36" in page
    assert whole["unreadable"] == [] and whole["tested"] == 16


def hang(sample):
    """As a decoder in C that keeps the interpreter to itself."""
    ctypes.PyDLL(None).sleep(HANG)


def crash(sample):
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_process_that_dies_idle_accuses_no_video(something_root, recipe):
    videos = load_list(recipe, something_root, "train")
    batches = training_loader(videos, recipe.with_changes({"workers": 1}))
    batches.dataset.being_read[0] = 3  # as another loader's process would be at work
    with pytest.raises(RuntimeError, match="killed by signal") as failure, loader.explain_worker_failure(batches):
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")
    assert not isinstance(failure.value, VideoError)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [hang, crash])
def test_a_decoder_that_hangs_or_crashes_is_ended_and_its_file_named(
    tmp_path, monkeypatch, something_root, recipe, fault
):
    items = type(training_loader(load_list(recipe, something_root, "train"), recipe).dataset)
    open_sample, get_item, bad_index = Sample.open, items.__getitem__, 4  # the list is in the order of the names

    def open_or_fail(sample):
        return (fault if sample.path.name == "5" else open_sample)(sample)

    def get_in_time(dataset, key):
        loader.READ_SECONDS = 1 if key[1] == bad_index else HANG  # a good file may take long on a busy machine
        return get_item(dataset, key)

    monkeypatch.setattr(Sample, "open", open_or_fail)
    monkeypatch.setattr(items, "__getitem__", get_in_time)
    monkeypatch.setattr(loader, "READ_SECONDS", HANG)
    with pytest.raises(VideoError, match="20bn-something-something-v1/5: the .* that read it hung .*crashed"):
        train.fit(recipe.with_changes({"workers": 1}), something_root, tmp_path / "run", **SKIP)
