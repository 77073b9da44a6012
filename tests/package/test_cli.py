"""The command `tanet`: its commands, their help, their older names, and one line for what a user can cause."""

import argparse
import runpy
import subprocess
import sys

import pytest

from tanet import cli


def commands(parser=None, name="tanet"):
    """{"tanet train": its parser, ...}, those of commands within commands too."""
    parser = parser or cli._parser()
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    found = {name: parser}
    for action in nested:
        for word, command in action.choices.items():
            found |= commands(command, f"{name} {word}")
    return found


def test_the_commands():
    assert set(commands()) == {
        "tanet",
        "tanet train",
        "tanet evaluate",
        "tanet predict",
        "tanet data",
        "tanet data lists",
        "tanet data verify",
        "tanet data resize",
        "tanet export",
        "tanet summary",
        "tanet checkpoint",
        "tanet checkpoint inspect",
        "tanet checkpoint convert",
        "tanet checkpoint pack",
        "tanet checkpoint push",
    }


@pytest.mark.parametrize("name", commands())
def test_every_option_has_a_help_text(name):
    for action in commands()[name]._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, f"{name} {action.option_strings or action.dest}"


def test_options_of_the_same_name_have_the_same_help_text():
    texts = {}
    for name in ("tanet train", "tanet evaluate"):
        for action in commands()[name]._actions:
            if action.dest not in ("recipe", "help"):  # --recipe is required to train, and optional to test
                assert texts.setdefault(action.dest, action.help) == action.help


def run(module, *arguments, monkeypatch, capsys):
    """Runs `python -m module arguments` in this process; returns (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    code = 0
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as exit:
        code = exit.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    "module, words",
    [
        ("tanet", ["summary", "demo_kinetics"]),
        ("tanet.model", ["summary", "demo_kinetics"]),
        ("tanet", ["train", "--help"]),
        ("tanet.train", ["--help"]),
        ("tanet.evaluate", ["--help"]),
        ("tanet.checkpoint", ["convert", "--help"]),
    ],
)
def test_the_package_and_the_older_names_run_the_same_commands(module, words, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        by_module = run(module, *words, monkeypatch=patch, capsys=capsys)
    wing = module.partition(".")[2]
    full = words if wing in ("", "model") else [wing, *words]
    with monkeypatch.context() as patch:
        assert by_module == run("tanet", *full, monkeypatch=patch, capsys=capsys)
    assert by_module[0] == 0 and by_module[1] and not by_module[2]


TRAIN = ["train", "--recipe", "demo_something", "--data-root"]


@pytest.mark.parametrize(
    "words, named",
    [
        (["train", "--recipe", "k600", "--data-root", "x", "--run-dir", "y"], "k600"),
        ([*TRAIN, "missing-folder", "--run-dir", "run"], "missing-folder"),
        ([*TRAIN, ".", "--run-dir", "run", "--set", "epoch=3"], "epoch"),
        ([*TRAIN, ".", "--run-dir", "run", "--set", "epochs"], "epochs"),
        ([*TRAIN, ".", "--run-dir", "run", "--set", "lr=fast"], "lr"),
        ([*TRAIN, ".", "--run-dir", "run", "--set", "style=official"], "--style official"),
        ([*TRAIN, ".", "--run-dir", "run", "--skip-limit", "2"], "skip_limit"),
        ([*TRAIN, ".", "--run-dir", "run", "--gpus", "999"], "999"),
        ([*TRAIN, ".", "--run-dir", "run", "--processes", "0"], "processes"),
        (["evaluate", "missing.pth", "--data-root", "."], "missing.pth"),
        (["evaluate", "x.pth", "--data-root", ".", "--set", "lr=1"], "--recipe"),
        (["evaluate", "x.pth", "--data-root", ".", "--recipe", "k400_8f", "--set", "style=official"], "--style"),
        (["export", "--to", "onnx", "missing.pth", "out.onnx"], "missing.pth"),
        (["export", "--to", "torch", "x.pth", "gone/out.pt2"], "gone: no such folder"),
        (["export", "--to", "torch", "x.pth", "out.pt2", "--size", "8"], "at least 32"),
        (["export", "--to", "torch", "x.pth", "out.pt2", "--set", "temporal=tsm"], "--recipe"),
        (["summary", "k600"], "k600"),
        (["checkpoint", "inspect", "missing.pth"], "missing.pth"),
        (["checkpoint", "convert", "missing.pth", "out.pth"], "missing.pth"),
        (["checkpoint", "pack", "missing-run", "folder"], "missing-run"),
    ],
)
def test_an_error_of_the_user_is_one_line_and_exit_code_1(words, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        cli.main(words)
    captured = capsys.readouterr()
    assert exit.value.code == 1 and captured.out == ""
    assert captured.err.count("\n") == 1 and named in captured.err
    assert not list(tmp_path.iterdir())  # an error leaves nothing behind


def test_changes_of_a_recipe_are_json_or_plain_words():
    assert cli.parse_changes(["lr=0.1", "lr_steps=[3, 4]", "temporal=tsm", "init=a=b.pth"]) == {
        "lr": 0.1,
        "lr_steps": [3, 4],
        "temporal": "tsm",
        "init": "a=b.pth",
    }
    with pytest.raises(ValueError, match="FIELD=VALUE"):
        cli.parse_changes(["lr"])


@pytest.mark.slow
def test_importing_the_package_leaves_the_warning_filters_alone_and_torchs_compiler_where_it_is():
    """The compiler takes a second to import, in every process; torchvision brings it with it."""
    script = "import sys, torch, warnings; before = list(warnings.filters); import tanet, tanet.cli\n"
    script += "assert warnings.filters == before\n"
    script += "assert not {'torchvision', 'torch._dynamo'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [["-m", "tanet"], ["-m", "tanet.train"]])
def test_a_shell_gets_the_line_and_no_traceback(command, tmp_path):
    words = ["train"] if command[-1] == "tanet" else []
    options = ["--recipe", "demo_something", "--data-root", "missing-folder", "--run-dir", tmp_path / "run"]
    done = subprocess.run([sys.executable, *command, *words, *options], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "missing-folder" in done.stderr
