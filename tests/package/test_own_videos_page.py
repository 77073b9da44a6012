"""docs/own_videos.md, as a new user types it: from a folder of videos to the class of one clip."""

import re
import shutil
import subprocess

import pytest
import torch
from support.commands import commands_in
from support.paths import ROOT

from tanet import cli, demo, load_model, recipes
from tanet.checkpoint import layouts
from tanet.data import load_list
from tanet.demo import HOME_CLASSES, make_home_videos
from tanet.model import build
from tanet.train import read_metrics

PAGE = (ROOT / "docs" / "own_videos.md").read_text()
# What makes the trainings short; own_8f becomes own_tiny, the GPU a CPU, and the published file one made here.
SHORT = ["--set", "short_side=32", "--set", "crop_size=32", "--set", "test_size=32", "--set", "epochs=1"]
SHORT += ["--set", "warmup_epochs=0.5", "--set", "workers=0", "--set", "clips_per_process=4"]


def commands_of_the_page() -> list[list[str]]:
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [words for block in blocks for words in commands_in(block)]


def made_short(words: list[str]) -> list[str]:
    if words[1] != "train":
        return words[1:]
    instead = {"own_8f": "own_tiny", "--gpus": "--processes", "init=mmaction2-k400-8f": "init=k400.pth"}
    small = [instead.get(word, word) for word in words[1:]]
    return small + SHORT


@pytest.mark.slow
def test_the_commands_of_the_page_end_in_a_prediction(tmp_path, monkeypatch, capsys):
    """With weights of 400 classes in MMAction2's names in the place of a published file."""
    monkeypatch.chdir(tmp_path)
    make_home_videos(tmp_path / "videos", people=("anna", "ben", "cleo"))
    shutil.copy(next((tmp_path / "videos").glob("*/ben-01.*")), "clip.mp4")
    published = recipes.get("own_tiny").with_changes({"num_classes": 400})
    torch.save({"state_dict": layouts.from_ours(build(published).state_dict(), "mmaction2")}, "k400.pth")
    for words in commands_of_the_page():
        if words[0] == "rm":
            subprocess.run(words, check=True)
        else:
            cli.main(made_short(words))
    said = capsys.readouterr().out
    last = said[said.rindex("clip.mp4") :]
    assert all(name in last for name in HOME_CLASSES) and len(re.findall(r"\d+\.\d%", last)) == len(HOME_CLASSES)
    small = load_list(recipes.get("own_tiny"), tmp_path / "videos-256", "train")
    assert len(small) == 16 and all(sample.path.suffix in (".mp4", "") for sample in small.samples)
    assert (tmp_path / "videos" / "overview.png").stat().st_size > 1000 and "| lift | 4 | 2 |" in said
    assert "starting from k400.pth" in said and len(read_metrics("runs/small")) == 1
    sides = [
        {
            sample.path.stem.partition("-")[0]
            for sample in load_list(recipes.get("own_tiny"), tmp_path / "videos", split).samples
        }
        for split in ("train", "val")
    ]
    assert sides[0] and sides[1] and not sides[0] & sides[1]  # one person is on one side


def test_every_recipe_field_of_the_page_can_be_set():
    fields = re.findall(r"^\| `(\w+=[^`]+)` \|", PAGE, flags=re.MULTILINE)
    assert len(fields) >= 7
    for field in fields:
        recipes.get("own_8f").with_changes(cli.parse_changes([field.replace('"', "")]))


def train_steps(root, run_dir, init: str, *changes: str) -> float:
    """The best validation accuracy of a short training, in per cent."""
    sizes = {"short_side": 56, "crop_size": 48, "test_size": 48}
    settings = [f"{name}={value}" for name, value in sizes.items()] + [
        "workers=0",
        "epochs=4",
        f"init={init}",
        *changes,
    ]
    arguments = [word for setting in settings for word in ("--set", setting)]
    cli.main(["train", "--recipe", "own_tiny", "--data-root", str(root), "--run-dir", str(run_dir), *arguments])
    return max(row["val_top1"] for row in read_metrics(run_dir))


@pytest.mark.slow
def test_fine_tuning_a_published_layout_beats_random_weights(tmp_path):
    """The demo network, saved with 400 classes as MMAction2 does, knows motion; its classifier is made anew."""
    model, _, _ = load_model(demo.stored("demo_something"))
    weights = model.state_dict()
    for name in ("fc.weight", "fc.bias"):
        weights[name] = weights[name].repeat_interleave(50, 0)  # 8 classes, 50 rows each
    torch.save({"state_dict": layouts.from_ours(weights, "mmaction2")}, tmp_path / "published.pth")
    five = HOME_CLASSES | {"lower": ("y", True)}
    root = make_home_videos(tmp_path / "videos", takes=4, classes=five)
    cli.main(["data", "lists", str(root), "--group-by", r"/(\w+)-", "--processes", "1"])
    tuned = train_steps(root, tmp_path / "tuned", tmp_path / "published.pth", "lr=0.02", "classifier_lr=5.0")
    random = train_steps(root, tmp_path / "random", "none")
    assert tuned >= 75 and tuned >= random + 15


@pytest.mark.slow
def test_a_split_by_folders_is_trained_tested_and_predicted_without_lists(tmp_path, capsys):
    """train/CLASS/* and val/CLASS/*, with nothing beside them."""
    made = make_home_videos(tmp_path / "made", people=("anna", "ben", "cleo"))
    for path in sorted(made.glob("*/*")):
        target = (
            tmp_path / "videos" / ("val" if path.name.startswith("cleo") else "train") / path.parent.name / path.name
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    root, run_dir = str(tmp_path / "videos"), str(tmp_path / "run")
    cli.main(["train", "--recipe", "own_tiny", "--data-root", root, "--run-dir", run_dir, *SHORT])
    cli.main(["evaluate", f"{run_dir}/checkpoints/last.pth", "--data-root", root])
    said = capsys.readouterr().out
    assert "8 of 8" in said and "List val, sha256 " in said
    cli.main(["predict", f"{root}/val/lift", "--weights", f"{run_dir}/checkpoints/last.pth", "--top", "1"])
    assert capsys.readouterr().out.count("cleo-") == 2
