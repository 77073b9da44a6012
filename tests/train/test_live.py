"""What somebody at JupyterLab sees of a training."""

import os
from contextlib import redirect_stdout

import numpy as np
import pytest
from support.children import wait_until
from support.signals import stop_after

from tanet import train, visualize
from tanet.errors import Stopped
from tanet.runtime import write_text
from tanet.train import fit, live, loop, run_folder


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """What the outputs of a cell showed, one list each; the kernel is JupyterLab's.

    shown.txt says how many different bars there were after the first, so that a training can wait for them.
    """
    import IPython.display

    shown = []

    class Handle:
        def __init__(self, first):
            self.history = [first]
            shown.append(self.history)

        def update(self, content):
            self.history.append(content)
            if self.history is shown[0]:
                write_text(tmp_path / "shown.txt", str(len({bar.data for bar in self.history}) - 1))

    monkeypatch.setattr(IPython.display, "display", lambda content, display_id: Handle(content))
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    monkeypatch.setattr(live, "_in_cell", lambda: True)
    monkeypatch.setattr(live, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(live, "DRAW_EVERY", 0.2)
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    return shown


def fit_and_wait_for_the_view(recipe, data_root, run_dir, **options):
    """A training with a line for every step, which goes on only when the view has shown the line before.

    It runs in each process of a training, where the fixtures' changes are not known.
    """
    original, lines, shown = run_folder.append_metrics, [], run_dir.parent / "shown.txt"

    def append(run_dir, row):
        lines.append(1)
        original(run_dir, row)
        stamp = len(lines) * 10**9  # lines may follow each other faster than a file system's clock ticks
        os.utime(run_dir / run_folder.METRICS, ns=(stamp, stamp))
        wait_until(lambda: shown.exists() and int(shown.read_text()) >= len(lines))

    with pytest.MonkeyPatch.context() as patch, open(run_dir.parent / "printed.txt", "a") as printed:
        patch.setattr(loop, "LOG_STEPS", 1)
        patch.setattr(run_folder, "append_metrics", append)
        with redirect_stdout(printed):  # of forked workers, nothing else keeps it
            return fit(recipe, data_root, run_dir, **options)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_in_jupyterlab_a_bar_and_curves_follow_the_training(
    tmp_path, capfd, monkeypatch, outputs, forked_workers, something_root, something_recipe, processes
):
    monkeypatch.setattr(loop, "fit", fit_and_wait_for_the_view)
    recipe = something_recipe.with_changes({"clips_per_process": 8 // processes})
    train.launch(recipe, something_root, tmp_path / "run", processes=processes)
    bars, curves = outputs
    said = [bar.data for bar in bars]
    assert "preparing the training" in said[0] and len(set(said)) == 1 + 2 * (4 + 1)  # a bar for every line
    shares = [float(bar.partition('value="')[2].partition('"')[0]) for bar in said]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    rows = run_folder.read_metrics(tmp_path / "run")
    assert f"epoch 2 of 2, loss {rows[-1]['loss']:.3f}" in said[-1]
    assert f"validation top-1 {rows[-1]['val_top1']:.1f}%" in said[-1]
    assert len(curves) >= 2 and all(image.data.startswith(b"\x89PNG") for image in curves[1:])
    printed = capfd.readouterr().out + (tmp_path / "printed.txt").read_text()
    assert "epoch 1/2" not in printed  # it would say the same twice


@pytest.mark.slow
def test_an_interrupted_cell_keeps_the_last_state_shown(
    tmp_path, monkeypatch, outputs, something_root, something_recipe
):
    stop_after(monkeypatch, 6)
    with pytest.raises(Stopped):
        train.launch(something_recipe, something_root, tmp_path / "run")
    assert 'value="0.7500"' in outputs[0][-1].data  # 1 epoch and 16 of 32 clips, of 2 epochs


@pytest.mark.slow
def test_outside_jupyterlab_there_are_lines(tmp_path, capfd, something_root, something_recipe):
    train.launch(something_recipe, something_root, tmp_path / "run")
    assert capfd.readouterr().out.count("validation top-1") == 2


@pytest.mark.slow
def test_a_shell_command_in_a_cell_has_lines_too(tmp_path, capfd, monkeypatch, something_root, something_recipe):
    """!python -m tanet.train has the notebook's environment, but no outputs to show things in."""
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    train.launch(something_recipe.with_changes({"epochs": 1, "lr_steps": []}), something_root, tmp_path / "run")
    assert capfd.readouterr().out.count("validation top-1") == 1


@pytest.mark.slow
def test_a_view_that_fails_does_not_end_the_training(tmp_path, monkeypatch, outputs, something_root, something_recipe):
    def fails(rows):
        raise OSError("cannot draw")

    monkeypatch.setattr(visualize, "training_curves", fails)
    with pytest.warns(UserWarning, match="the live view failed: OSError: cannot draw"):
        assert len(train.launch(something_recipe, something_root, tmp_path / "run")) == 2


def test_the_curves_show_every_row(trained_run):
    steps = [
        {
            "epoch": 1,
            "clips": 8 * step,
            "progress": step / 4,
            "step": True,
            "loss": 2 - step / 4,
            "top1": 10 * step,
            "clips_per_second": 5.0,
        }
        for step in range(1, 5)
    ]
    epochs = run_folder.read_metrics(trained_run)
    loss, top1, speed = visualize.training_curves([*steps, *epochs]).axes
    for axis, train_name, val_name in ((loss, "loss", "val_loss"), (top1, "top1", "val_top1")):
        training, validation = axis.lines
        assert training.get_xydata().tolist() == [[row["progress"], row[train_name]] for row in steps]
        assert validation.get_xydata().tolist() == [[row["progress"], row[val_name]] for row in epochs]
    assert np.array_equal(speed.lines[0].get_ydata(), [5.0] * 4)


def test_the_curves_of_steps_show_rate_loss_and_norm_of_steps_alone(trained_run):
    epochs = run_folder.read_metrics(trained_run)
    steps = [row | {"step": True, "progress": row["progress"] / 2} for row in epochs]
    rate, loss, norm = visualize.step_curves([*steps, *epochs], clip_norm=20.0).axes
    for axis, field in ((rate, "lr"), (loss, "loss"), (norm, "grad_norm")):
        assert axis.lines[-1].get_xydata().tolist() == [[row["progress"], row[field]] for row in steps]
    assert set(norm.lines[0].get_ydata()) == {20.0} and norm.get_ylim()[1] > 20  # where gradients are clipped
