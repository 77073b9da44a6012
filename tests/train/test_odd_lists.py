"""What a training says of its lists of videos, and paths below the home folder."""

import pytest

from tanet import cli, train
from tanet.data import write_list
from tanet.train import read_metrics

pytestmark = pytest.mark.slow  # trains


def test_a_training_says_what_is_odd_about_its_lists_and_takes_paths_below_the_home_folder(
    monkeypatch, tmp_path, something_root, something_recipe, capsys
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(something_root)
    write_list(tmp_path / "train.txt", [(str(index), None, 0) for index in (1, 2, 3, 4, 5, 6, 7, 8, 8)])
    write_list(tmp_path / "val.txt", [("7", None, 0), ("33", None, 1)])
    options = ["--set=epochs=1", "--set=lr_steps=[]", "--set=workers=0"]
    paths = ["--data-root=~/data", "--run-dir=~/run", "--train-list=~/train.txt", "--val-list=~/val.txt"]
    cli.main(["train", "--recipe", "demo_something", *options, *paths])
    output = capsys.readouterr().out.splitlines()
    folder = tmp_path / "data/20bn-something-something-v1"
    assert f"{tmp_path}/train.txt: videos listed more than once: 1 ({folder}/8)" in output
    assert f"videos both in the list for training and in that for validation: 1 ({folder}/7)" in output
    assert len(read_metrics("~/run")) == 1 and (tmp_path / "run/checkpoints/last.pth").exists()
    recipe = something_recipe.with_changes({"epochs": 1, "lr_steps": []})
    assert train.launch(recipe, "~/data", "~/run", train_list="~/train.txt", val_list="~/val.txt")  # is finished
    assert not (tmp_path / "~").exists()
