"""What trackers get: all that metrics.jsonl holds, through a kill, and nothing before everything is checked."""

import dataclasses
import json

import pytest

from tanet import cli, train
from tanet.train import TrackedRun, loop, run_folder, trackers
from tanet.train.trackers import PLACE, MLflow, WeightsAndBiases


def rows_as_scalars(run_dir, epoch_clips):
    """{name: [(clips, value)]} of metrics.jsonl."""
    found = {}
    for row in run_folder.read_metrics(run_dir, steps=None):
        kind, clips = (
            ("step", (row["epoch"] - 1) * epoch_clips + row["clips"])
            if "step" in row
            else ("epoch", row["epoch"] * epoch_clips)
        )
        for name in row.keys() - PLACE:
            found.setdefault(f"{kind}/{name}", []).append((clips, pytest.approx(row[name], rel=1e-6)))
    return found


def tensorboard_scalars(run_dir):
    """{tag: [(clips, value)]} as TensorBoard reads them."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reading.EventAccumulator(str(run_dir / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


class Noted:
    """A tracker of one's own; `made` are all of them."""

    made = []

    def __init__(self, run):
        self.run, self.rows, self.closed = run, [], False
        self.made.append(self)

    def on_row(self, row):
        assert not self.closed
        self.rows.append(row)

    def close(self):
        self.closed = True


@pytest.mark.slow
def test_trackers_get_what_metrics_jsonl_holds_also_after_a_kill(
    tmp_path, monkeypatch, something_root, something_recipe
):
    """The kill comes two lines after the last checkpoint: those lines are void."""
    run_dir, recorded = tmp_path / "run", []
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    monkeypatch.setattr(Noted, "made", [])

    class Killed(BaseException):
        pass

    original = run_folder.append_metrics

    def append(run_dir, row):
        original(run_dir, row)
        recorded.append(row)
        if len(recorded) == 7:  # 4 steps, an epoch, and 2 steps of the next
            raise Killed

    how = {"trackers": ("tensorboard", Noted)}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run_folder, "append_metrics", append)
        train.fit(something_recipe, something_root, run_dir, **how)
    assert len(tensorboard_scalars(run_dir)["step/loss"]) > 4
    train.fit(something_recipe, something_root, run_dir, **how)
    assert tensorboard_scalars(run_dir) == rows_as_scalars(run_dir, 32)
    assert [clips for clips, _ in tensorboard_scalars(run_dir)["step/loss"]] == [8 * i for i in range(1, 9)]
    killed, resumed = Noted.made
    assert killed.closed and resumed.closed and killed.run.rows == []
    assert killed.rows == recorded[:6]  # the row of the kill itself had not come
    assert [*resumed.run.rows, *resumed.rows] == run_folder.read_metrics(run_dir, steps=None)
    assert resumed.run.recipe == something_recipe and resumed.run.epoch_clips == 32


@pytest.mark.slow
def test_a_tracker_that_fails_ends_the_training_and_the_others_are_closed(
    tmp_path, monkeypatch, something_root, something_recipe
):
    monkeypatch.setattr(Noted, "made", [])

    class Failing(Noted):
        def __init__(self, run):
            raise OSError("no room for metrics")

    with pytest.raises(OSError, match="no room"):
        train.fit(something_recipe, something_root, tmp_path / "run", trackers=(Noted, Failing))
    assert Noted.made[0].closed


@pytest.mark.parametrize(
    "name, package", [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow-skinny")]
)
def test_without_the_package_nothing_begins(tmp_path, monkeypatch, something_root, something_recipe, name, package):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=f"the tracker {name} needs .*pip install {package}$"):
        train.fit(something_recipe, something_root, tmp_path / "run", trackers=(name,))
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_refused_with_those_there_are(tmp_path, something_root, something_recipe):
    with pytest.raises(ValueError, match="no tracker 'comet'; there are tensorboard, wandb, mlflow"):
        train.fit(something_recipe, something_root, tmp_path / "run", trackers=("comet",))


def test_the_command_hands_the_names_on(monkeypatch):
    given = []
    monkeypatch.setattr(train, "launch", lambda *arguments, **options: given.append(options))
    words = ["train", "--recipe", "demo_something", "--data-root", "D", "--run-dir", "R"]
    cli.main([*words, "--track", "tensorboard", "--track", "mlflow"])
    cli.main(words)
    assert [options["trackers"] for options in given] == [["tensorboard", "mlflow"], []]


ROWS = (
    {"epoch": 1, "clips": 16, "progress": 0.5, "step": True, "loss": 2.0, "lr": 0.1},
    {"epoch": 1, "clips": 32, "progress": 1.0, "loss": 1.75, "val_top1": 12.5},
    {"epoch": 2, "clips": 16, "progress": 1.5, "step": True, "loss": 1.5, "lr": 0.1},
)
SCALARS = {
    16: {"step/loss": 2.0, "step/lr": 0.1},
    32: {"epoch/loss": 1.75, "epoch/val_top1": 12.5},
    48: {"step/loss": 1.5, "step/lr": 0.1},
}


@pytest.fixture
def run(tmp_path, something_recipe):
    (tmp_path / "own-run").mkdir()
    return TrackedRun(tmp_path / "own-run", something_recipe, 32, [])


def track(tracker, run, *parts):
    """Each part is the rows between a start of the training and its stop."""
    for rows in parts:
        made = tracker(run)
        for row in rows:
            made.on_row(row)
        made.close()
        run = dataclasses.replace(run, rows=[*run.rows, *rows])


def wandb_records(run):
    """The records of W&B's offline files: a log in blocks of 32 KiB, each part behind its checksum, length and kind."""
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="wandb is not installed")
    pytest.importorskip("wandb").teardown()  # its service writes the files; it has when it has ended
    for path in sorted(run.run_dir.glob("wandb/offline-run-*/run-*.wandb")):
        data, offset, record = path.read_bytes(), 7, b""
        while offset + 7 <= len(data):
            left = 2**15 - offset % 2**15
            if left < 7:  # no header fits into the rest of the block
                offset += left
                continue
            length, kind = int.from_bytes(data[offset + 4 : offset + 6], "little"), data[offset + 6]
            record += data[offset + 7 : offset + 7 + length]
            offset += 7 + length
            if kind in (1, 4):  # whole, or the last part
                yield messages.Record.FromString(record)
                record = b""


@pytest.mark.slow
def test_weights_and_biases_gets_the_rows_offline(run, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'tanet[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    track(WeightsAndBiases, run, ROWS)
    found, config, ids = {}, {}, set()
    for record in wandb_records(run):
        if record.HasField("run"):
            ids.add((record.run.run_id, record.run.project, record.run.display_name))
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        if items:
            step = record.history.step.num
            found[step] = {name: value for name, value in items.items() if not name.startswith("_")}
    assert found == SCALARS
    assert ids == {((run.run_dir / "wandb.id").read_text(), "tanet", "own-run")}
    assert config["lr"] == run.recipe.lr and config["arch"] == "tanet_tiny"


@pytest.mark.slow
def test_weights_and_biases_knows_a_resumed_run_again(run, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'tanet[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    track(WeightsAndBiases, run, ROWS[:2], ROWS[2:])
    assert len({record.run.run_id for record in wandb_records(run) if record.HasField("run")}) == 1


@pytest.mark.slow
def test_mlflow_gets_the_rows_in_its_folder_also_when_a_run_is_resumed(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'tanet[mlflow]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}/mlruns")
    track(MLflow, run, ROWS[:2], ROWS[2:])
    client = mlflow.MlflowClient()
    (stored,) = client.search_runs([client.get_experiment_by_name("Default").experiment_id])
    assert stored.info.run_id == (run.run_dir / "mlflow.id").read_text() and stored.info.run_name == "own-run"
    assert stored.data.params["lr"] == str(run.recipe.lr)
    found = {}
    for name in stored.data.metrics:
        for metric in client.get_metric_history(stored.info.run_id, name):
            found.setdefault(metric.step, {})[name] = metric.value
    assert found == SCALARS
