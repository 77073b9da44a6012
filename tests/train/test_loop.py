import dataclasses
import json
import math
import re
from functools import partial

import pytest
import torch
from support.signals import stop_after

from tanet import checkpoint, cli, recipes, tanet_tiny, train
from tanet.checkpoint import from_ours
from tanet.data import load_list, validation_loader
from tanet.errors import CheckpointError, Stopped
from tanet.evaluate import validate
from tanet.ops import use
from tanet.runtime import Process
from tanet.train import learning_rate, loop, messages, parameter_groups, run_folder, state

ALONE = Process(0, 1, torch.device("cpu"))
SPEED = {"clips_per_second", "data_wait", "peak_memory_mib"}  # what differs from run to run
ONE_GPU_TOO_MANY = (torch.cuda.device_count() if torch.cuda.is_available() else 0) + 1


def computed(history):
    return [{key: value for key, value in row.items() if key not in SPEED} for row in history]


def same_weights(one, other):
    one, other = (checkpoint.read(run / "checkpoints/last.pth").weights for run in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def multipliers(recipe) -> dict[str, tuple[float, float]]:
    """Parameter name -> (multiplier of the rate, weight decay)."""
    model = tanet_tiny(8)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, recipe)
    found = [(names[id(p)], (g["lr_scale"], g["weight_decay"])) for g in groups for p in g["params"]]
    assert len(found) == len(dict(found)) == len(names)  # every parameter once
    return dict(found)


@pytest.mark.parametrize("style, tams_linear", [("mmaction2", 1.0), ("official", 5.0)])
def test_parameters_get_the_published_multipliers(something_recipe, style, tams_linear):
    recipe = something_recipe.with_changes({"param_groups": style, "classifier_lr": 5.0, "weight_decay": 0.01})
    for name, found in multipliers(recipe).items():
        if name == "fc.weight":
            wanted = 5.0, 0.01
        elif name == "fc.bias":
            wanted = 10.0, 0.0
        elif any(part in name for part in ("bn", "downsample.1", "branch.1.")):
            wanted = 1.0, 0.0
        elif "global_branch" in name:
            wanted = tams_linear, 0.01
        else:
            assert name.endswith("weight")
            wanted = 1.0, 0.01
        assert found == wanted, name


def test_other_biases_get_twice_the_rate_and_no_decay(something_recipe):
    model = tanet_tiny(8)
    model.conv1 = torch.nn.Conv2d(3, 16, 7, 2, 3)  # the only convolution with a bias
    groups = parameter_groups(model, something_recipe)
    (group,) = [g for g in groups if any(p is model.conv1.bias for p in g["params"])]
    assert (group["lr_scale"], group["weight_decay"]) == (2.0, 0.0)


def test_learning_rate_follows_batch_steps_and_warm_up(something_recipe):
    changes = {"lr": 0.01, "lr_batch": 64, "lr_steps": [30, 40, 45], "warmup_epochs": 0, "epochs": 50}
    recipe = something_recipe.with_changes(changes)

    def at(progress, batch=64, **changes):
        return learning_rate(recipe.with_changes(changes), progress, batch)

    wanted = {0: 0.01, 29: 0.01, 29.99: 0.01, 30: 1e-3, 39: 1e-3, 40: 1e-4, 44: 1e-4, 45: 1e-5, 49: 1e-5}
    assert {p: at(p) for p in wanted} == pytest.approx(wanted)
    assert [at(0, 8), at(0, 128), at(31, 128)] == pytest.approx([0.00125, 0.02, 0.002])
    assert [at(p, warmup_epochs=2) for p in (0, 0.5, 1, 2, 3)] == pytest.approx([0, 0.0025, 0.005, 0.01, 0.01])


def test_a_run_leaves_its_recipe_its_metrics_and_its_checkpoints(trained_run, something_recipe):
    lines = [json.loads(line) for line in (trained_run / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in lines if "step" not in row]
    assert [row["epoch"] for row in rows] == [1, 2] and train.read_metrics(trained_run) == rows
    for row in rows:
        assert all(math.isfinite(value) for value in row.values())
        assert (
            all(0 <= row[key] <= 100 for key in ("top1", "val_top1", "val_top5")) and row["val_top1"] <= row["val_top5"]
        )
        assert 0 <= row["data_wait"] <= 1
    # lr_steps = (1,), warm-up of half an epoch
    assert [row["lr"] for row in rows] == pytest.approx([something_recipe.lr, something_recipe.lr / 10])
    assert (trained_run / "recipe.json").read_text() == something_recipe.to_json()
    assert sorted(p.name for p in trained_run.rglob("*") if p.is_file()) == [
        "best.pth",
        "last.pth",
        "metrics.jsonl",
        "previous.pth",
        "recipe.json",
    ]


def test_the_best_checkpoint_is_of_the_epoch_with_the_best_validation(trained_run):
    history = checkpoint.read(trained_run / "checkpoints/best.pth").rest["history"]
    assert history[-1]["val_top1"] == max(row["val_top1"] for row in train.read_metrics(trained_run))


def test_recorded_validation_is_that_of_the_stored_network(trained_run, something_root, something_recipe):
    model, recipe, class_names = checkpoint.load_model(trained_run / "checkpoints/last.pth")
    videos = load_list(recipe, something_root, "val")
    assert recipe == something_recipe and class_names == videos.class_names
    again = validate(model, validation_loader(videos, recipe), ALONE, "float32")
    assert again == pytest.approx({key: train.read_metrics(trained_run)[-1][key] for key in again}, rel=1e-5)


@pytest.mark.slow
def test_training_learns_what_only_the_order_of_frames_tells(tmp_path, something_root, something_recipe):
    """Not how well: that the loss on 32 clips seen again and again falls well below chance, log 8 = 2.08."""
    recipe = something_recipe.with_changes({"epochs": 12, "lr_steps": [], "dropout": 0.0, "flip": "none"})
    assert train.fit(recipe, something_root, tmp_path / "run")[-1]["loss"] < 1.6


def interrupt_in(monkeypatch, name, epoch):
    """Ctrl-C when tanet.train.loop reaches `name` in this epoch, counted from 0."""
    original, calls = getattr(loop, name), []

    def stop(*arguments):
        calls.append(1)
        if len(calls) > epoch:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(loop, name, stop)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["validate", "_print_epoch"])
def test_an_interrupted_run_goes_on_bit_identically(
    tmp_path, monkeypatch, trained_run, something_root, something_recipe, where
):
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_in(patch, where, epoch=1)
        train.fit(something_recipe, something_root, run_dir)
    assert len(train.read_metrics(run_dir)) == (1 if where == "validate" else 2)
    history = train.fit(something_recipe, something_root, run_dir)
    assert computed(history) == computed(train.read_metrics(trained_run)) == computed(train.read_metrics(run_dir))
    assert same_weights(run_dir, trained_run)
    one, other = (
        checkpoint.read(r / "checkpoints/last.pth").rest["optimizer"]["state"] for r in (run_dir, trained_run)
    )
    assert all(torch.equal(one[i]["momentum_buffer"], other[i]["momentum_buffer"]) for i in other)


@pytest.mark.slow
def test_rows_without_a_checkpoint_are_dropped_on_resuming(tmp_path, trained_run, something_root, something_recipe):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "recipe.json").write_text(something_recipe.to_json())
    (run_dir / "metrics.jsonl").write_text('{"epoch": 1, "loss": -1}\n')
    train.fit(something_recipe, something_root, run_dir)
    assert computed(train.read_metrics(run_dir)) == computed(train.read_metrics(trained_run))


@pytest.mark.slow
def test_best_checkpoint_is_there_after_an_interruption_between_the_two_files(
    tmp_path, monkeypatch, something_root, something_recipe
):
    """Whichever of last.pth and best.pth is written first."""
    run_dir, recipe, saved = tmp_path / "run", something_recipe.with_changes({"epochs": 1, "lr_steps": []}), []
    original = checkpoint.save
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def stop(path, state):
            if saved:
                raise KeyboardInterrupt
            saved.append(path)
            original(path, state)

        patch.setattr(checkpoint, "save", stop)
        train.fit(recipe, something_root, run_dir)
    train.fit(recipe, something_root, run_dir)
    assert (run_dir / "checkpoints/best.pth").exists()


def test_a_finished_run_returns_its_metrics_without_training(
    monkeypatch, trained_run, something_root, something_recipe
):
    def training(*_):
        raise AssertionError("trains")

    monkeypatch.setattr(loop, "train_epoch", training)
    before = {p: p.read_bytes() for p in trained_run.rglob("*") if p.is_file()}
    assert train.fit(something_recipe, something_root, trained_run) == train.read_metrics(trained_run)
    assert {p: p.read_bytes() for p in trained_run.rglob("*") if p.is_file()} == before


def test_another_recipe_in_the_same_folder_is_refused_naming_the_field(trained_run, something_root, something_recipe):
    before = (trained_run / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match="weight_decay: 0.0001 there, 0.01 here.*choose another run_dir"):
        train.fit(something_recipe.with_changes({"weight_decay": 0.01}), something_root, trained_run)
    assert (trained_run / "metrics.jsonl").read_bytes() == before


def test_a_field_that_an_older_version_did_not_store_has_its_default(tmp_path, something_recipe):
    stored = json.loads(something_recipe.to_json())
    del stored["batchnorm_statistics"]
    (tmp_path / "recipe.json").write_text(json.dumps(stored))
    run_folder.check(tmp_path, something_recipe, "auto")
    changed = something_recipe.with_changes({"batchnorm_statistics": "mean"})
    with pytest.raises(ValueError, match="batchnorm_statistics: 'first' there, 'mean' here.*choose another run_dir"):
        run_folder.check(tmp_path, changed, "auto")


OLD = {  # changes of k400_8f -> what an older version made of the fields that follow them today
    "epochs": ({"epochs": 50}, {"lr_steps": (50, 75, 90)}),
    "epochs and warm-up": ({"epochs": 50, "warmup_epochs": 1.0}, {"lr_steps": (50, 75, 90)}),
    "sampling": ({"sampling": "uniform"}, {"protocols": ("k400-dense",)}),
    "both": ({"epochs": 50, "sampling": "uniform"}, {"lr_steps": (50, 75, 90), "protocols": ("k400-dense",)}),
}


@pytest.mark.parametrize("case", OLD)
def test_a_run_of_an_older_version_goes_on_as_it_was_begun(tmp_path, case):
    changes, left_behind = OLD[case]
    recipe = recipes.get("k400_8f").with_changes(changes)
    stored = dataclasses.replace(recipe, **left_behind)
    (tmp_path / "recipe.json").write_text(stored.to_json())
    assert stored != recipe and run_folder.check(tmp_path, recipe, "auto") == stored
    assert run_folder.check(tmp_path, stored, "auto") == stored  # asked for by name
    with pytest.raises(ValueError, match="lr: 0.01 there, 0.02 here"):
        run_folder.check(tmp_path, dataclasses.replace(recipe, lr=0.02), "auto")


def test_other_steps_than_the_stored_ones_are_refused(tmp_path):
    stored = dataclasses.replace(recipes.get("k400_8f"), epochs=50)
    (tmp_path / "recipe.json").write_text(stored.to_json())
    with pytest.raises(ValueError, match=r"lr_steps: \[50, 75, 90\] there, \[20, 40\] here"):
        run_folder.check(tmp_path, dataclasses.replace(stored, lr_steps=(20, 40)), "auto")


@pytest.mark.slow
def test_a_run_that_was_begun_without_its_steps_is_resumed_and_says_so(
    tmp_path, something_root, something_recipe, capsys
):
    """By the same changes as before it goes on with its own steps."""
    preset = recipes.get("demo_something")
    changes = {"epochs": 1, "workers": 0, "clips_per_process": 4}
    stored = dataclasses.replace(preset.with_changes(changes), lr_steps=preset.lr_steps)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "recipe.json").write_text(stored.to_json())
    train.fit(preset.with_changes(changes), something_root, run_dir)
    assert "run run: goes on with its own lr_steps (7,)" in capsys.readouterr().out
    assert (run_dir / "recipe.json").read_text() == stored.to_json()
    assert checkpoint.read(run_dir / "checkpoints/last.pth").recipe == stored


def test_a_contradictory_schedule_is_refused_before_anything_is_written(tmp_path, something_root, something_recipe):
    for changes in ({"lr_steps": [2]}, {"lr_steps": [1], "warmup_epochs": 1.5}):
        with pytest.raises(ValueError, match="recipe field (lr_steps|warmup_epochs): "):
            train.fit(something_recipe.with_changes(changes), something_root, tmp_path / "run")
    assert not (tmp_path / "run").exists()


SIDES = {
    "swap": (["Left", "Right"], ""),
    "plain": (
        ["Left", "Right", "Up"],
        "2 of 3 class names say left.*flip=plain keeps.*flip=swap swaps it: Left, R",
    ),
    "none": (["Left", "Up"], ""),
}


@pytest.mark.parametrize("flip", SIDES)
def test_what_flips_do_to_directions_is_said(flip):
    names, words = SIDES[flip]
    said = messages._flips(flip, tuple(names))
    assert re.search(words, said) if words else said == ""
    if flip == "swap":
        assert "1 of 3 class names" in messages._flips(flip, ("Left", "Right", "swipe_left"))
        assert messages._flips(flip, ("Left", "Right", "swipe_left")).endswith("keep the label: swipe_left")


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}'])
def test_a_stored_recipe_that_is_none_is_refused_naming_the_file(tmp_path, something_recipe, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(ValueError, match=f"{tmp_path}/recipe.json: .*choose another run_dir"):
        run_folder.check(tmp_path, something_recipe, "auto")


def test_gpus_that_are_not_there_are_an_error_before_anything_is_written(tmp_path, something_root, something_recipe):
    with pytest.raises(RuntimeError, match=f"{ONE_GPU_TOO_MANY} GPU.*gpus=0"):
        train.launch(something_recipe, something_root, tmp_path / "run", gpus=ONE_GPU_TOO_MANY)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_fit_on_a_gpu_that_is_not_there_is_an_error(tmp_path, something_root, something_recipe):
    with pytest.raises(RuntimeError, match="1 GPU.*0 found"):
        train.fit(something_recipe, something_root, tmp_path / "run", use_gpu=True)
    assert not (tmp_path / "run").exists()


def test_a_missing_data_root_is_an_error_before_anything_is_written(tmp_path, something_recipe):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train.fit(something_recipe, tmp_path / "nowhere", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_or_unfitting_init_is_an_error_before_anything_is_written(
    tmp_path, trained_run, something_root, something_recipe
):
    with pytest.raises(FileNotFoundError, match="none.pth"):
        train.fit(something_recipe.with_changes({"init": str(tmp_path / "none.pth")}), something_root, tmp_path / "run")
    init = {"init": str(trained_run / "checkpoints/last.pth"), "temporal": "none"}
    with pytest.raises(CheckpointError, match="do not fit"):
        train.fit(something_recipe.with_changes(init), something_root, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_missing_videos_are_an_error_or_left_out_and_put_on_record(tmp_path, something_root, something_recipe):
    root = tmp_path / "data"
    root.mkdir()
    for path in something_root.glob("*.csv"):
        (root / path.name).write_text(path.read_text())
    (root / "20bn-something-something-v1").mkdir()
    for path in (something_root / "20bn-something-something-v1").iterdir():
        if path.name not in ("3", "40"):
            (root / "20bn-something-something-v1" / path.name).symlink_to(path)
    recipe = something_recipe.with_changes({"epochs": 1, "lr_steps": []})
    with pytest.raises(FileNotFoundError, match="/3: listed, but not there"):
        train.fit(recipe, root, tmp_path / "run")
    train.fit(recipe, root, tmp_path / "run", missing="skip")
    assert (tmp_path / "run/missing.txt").read_text().split() == ["3", "40"]


@pytest.mark.slow
def test_training_starts_from_a_checkpoint_and_resumes_without_it(
    tmp_path, trained_run, something_root, something_recipe
):
    start = tmp_path / "start.pth"
    start.write_bytes((trained_run / "checkpoints/last.pth").read_bytes())
    recipe = something_recipe.with_changes({"init": str(start), "epochs": 1, "lr": 1e-12, "lr_steps": []})
    history = train.fit(recipe, something_root, tmp_path / "run")
    begun, ended = (checkpoint.read(path).weights for path in (start, tmp_path / "run/checkpoints/last.pth"))
    torch.testing.assert_close(ended["fc.weight"], begun["fc.weight"])
    start.unlink()
    assert train.fit(recipe, something_root, tmp_path / "run") == history


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_training_keeps_the_pixel_mean_of_the_file_that_it_starts_from(tmp_path, something_recipe, ema):
    torch.manual_seed(0)
    published = {"state_dict": from_ours(tanet_tiny(8).state_dict(), "mmaction2"), "meta": {"mmengine_version": "1"}}
    torch.save(published, tmp_path / "published.pth")
    recipe = something_recipe.with_changes({"init": str(tmp_path / "published.pth"), "ema": ema})
    begun = state.begin(recipe, tuple("abcdefgh"), {}, tmp_path, ALONE, None)
    (tmp_path / "checkpoints").mkdir()
    state.save(begun)
    stored = checkpoint.read(tmp_path / "checkpoints/last.pth")
    assert stored.pixel_mean == (123.675, 116.28, 103.5)
    resumed = state.begin(recipe, tuple("abcdefgh"), {}, tmp_path, ALONE, stored)
    for training in (begun, resumed):
        for model in (training.model, training.tested):
            assert model.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.5])


@pytest.mark.slow
def test_training_starts_from_a_published_file_without_its_classifier(
    tmp_path, capsys, trained_run, something_root, something_recipe
):
    """Its classes are not known to be these: the classifier starts anew, the rest is taken over, and it is said."""
    weights = checkpoint.read(trained_run / "checkpoints/last.pth").weights
    torch.save({"state_dict": from_ours(weights, "mmaction2")}, tmp_path / "published.pth")
    changes = {"init": str(tmp_path / "published.pth"), "epochs": 1, "lr": 1e-12, "lr_steps": []}
    train.fit(something_recipe.with_changes(changes), something_root, tmp_path / "run")
    ended = checkpoint.read(tmp_path / "run/checkpoints/last.pth").weights
    torch.testing.assert_close(ended["layer4.0.conv3.weight"], weights["layer4.0.conv3.weight"])
    assert (ended["fc.weight"] - weights["fc.weight"]).abs().max() > 1e-3
    assert "published.pth: layout mmaction2" in capsys.readouterr().out


@pytest.mark.slow
def test_an_epoch_on_every_device_and_kind_of_data(tmp_path, device, kinetics_root, kinetics_recipe):
    recipe = kinetics_recipe.with_changes({"epochs": 1, "lr_steps": [], "workers": 1})
    (row,) = train.fit(recipe, kinetics_root, tmp_path / "run", use_gpu=device == "cuda")
    assert math.isfinite(row["loss"]) and row["peak_memory_mib"] > 1


@pytest.mark.slow
def test_auto_takes_the_fastest_says_so_and_trains_alike(
    tmp_path, capsys, device, trained_run, something_root, something_recipe
):
    changes = {"precision": "auto", "memory_format": "auto", "epochs": 1, "lr_steps": []}
    recipe = something_recipe.with_changes(changes)
    (row,) = train.fit(recipe, something_root, tmp_path / "run", use_gpu=device == "cuda")
    said = capsys.readouterr().out
    assert all(f"{p} {f} " in said for p in ("float32", "bfloat16") for f in ("contiguous", "channels_last"))
    assert "taking" in said
    assert row["loss"] == pytest.approx(train.read_metrics(trained_run)[0]["loss"], rel=0.1)


@pytest.mark.slow
def test_a_compiled_training_is_the_same_training_and_resumes(
    tmp_path, capsys, monkeypatch, something_root, something_recipe, trained_run
):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # traced, not compiled: quicker
    recipe = something_recipe.with_changes({"compile": "on"})
    with pytest.raises(Stopped), monkeypatch.context() as patch:
        stop_after(patch, 5)
        train.fit(recipe, something_root, tmp_path / "run")
    assert "compiled" in capsys.readouterr().out
    found = computed(train.fit(recipe, something_root, tmp_path / "run"))
    for row, wanted in zip(found, computed(train.read_metrics(trained_run)), strict=True):
        assert row == pytest.approx(wanted, rel=1e-2, abs=1e-2)  # rounding, after eight steps


@pytest.mark.slow
def test_the_plain_path_trains_alike(tmp_path, something_root, something_recipe, trained_run):
    with use("plain"):
        found = computed(train.fit(something_recipe, something_root, tmp_path / "run"))
    for row, wanted in zip(found, computed(train.read_metrics(trained_run)), strict=True):
        assert row == pytest.approx(wanted, rel=1e-2, abs=1e-2)  # rounding, after eight steps


@pytest.mark.slow
def test_where_compiling_fails_a_line_says_so_and_training_goes_on(
    tmp_path, capsys, monkeypatch, something_root, something_recipe
):
    class Fails(torch.nn.Module):
        def forward(self, clips):
            raise RuntimeError("no compiler was found\nand much more")

    monkeypatch.setattr(torch, "compile", lambda model: Fails())
    recipe = something_recipe.with_changes({"compile": "on", "epochs": 1, "lr_steps": []})
    assert len(train.fit(recipe, something_root, tmp_path / "run")) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "compile" in line]
    assert lines == ["torch.compile fails here, training goes without it: no compiler was found"]


def test_a_network_that_yields_nan_scores_nothing(something_root, something_recipe):
    model = tanet_tiny(8)
    torch.nn.init.constant_(model.fc.bias, math.nan)
    videos = load_list(something_recipe, something_root, "val")
    row = validate(model, validation_loader(videos, something_recipe), ALONE, "float32")
    assert row["val_top1"] == 0 and row["val_top5"] == 0


@pytest.mark.slow
def test_training_that_diverges_stops_with_advice(tmp_path, something_root, something_recipe):
    recipe = something_recipe.with_changes({"lr": 1e30, "warmup_epochs": 0, "clip_grad_norm": 1e30})
    with pytest.raises(FloatingPointError, match="epoch 1.*lower lr"):
        train.fit(recipe, something_root, tmp_path / "run")


@pytest.mark.slow
def test_command_line_trains_with_changed_fields(tmp_path, capsys, something_root):
    run_dir = tmp_path / "run"
    changes = ["epochs=1", "lr_steps=[]", "workers=0", "temporal=tsm", "lr=0.01"]
    flags = [flag for change in changes for flag in ("--set", change)]
    cli.main(
        ["train", "--recipe", "demo_something", "--data-root", str(something_root), "--run-dir", str(run_dir), *flags]
    )
    recipe = json.loads((run_dir / "recipe.json").read_text())
    assert (recipe["epochs"], recipe["temporal"], recipe["lr"], recipe["lr_steps"]) == (1, "tsm", 0.01, [])
    assert len(train.read_metrics(run_dir)) == 1
    assert "epoch 1/1: loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, message",
    [
        ("epoch=1", "unknown recipe field.* epoch; there are"),
        ("epochs=many", "epochs must be int"),
        ("epochs", "FIELD=VALUE"),
        ("num_classes=9", "8 classes in the label file"),
        ("clips_per_process=64", "32 training videos do not fill"),
    ],
)
def test_command_line_says_in_a_line_what_is_wrong_before_anything_is_written(
    tmp_path, capsys, something_root, change, message
):
    arguments = ["--recipe", "demo_something", "--data-root", str(something_root), "--run-dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", *arguments, "--set", change])
    said = capsys.readouterr().err
    assert ended.value.code == 1 and re.search(message, said) and said.count("\n") == 1
    assert not (tmp_path / "run").exists()
