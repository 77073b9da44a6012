"""Metrics while a training runs, in the programs that people watch: TensorBoard, Weights & Biases, MLflow, or your own.

A tracker is a class: `tracker(run)` makes it before the first step, `on_row(row)` gets each row of metrics.jsonl as
soon as it is written, `close()` ends it. Only the main process has trackers. A resumed run makes them anew, with the
rows that it has: the rows behind the checkpoint that it resumes from are void, and come again.
"""

import dataclasses
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from tanet.recipes import Recipe
from tanet.runtime import read_text, write_text

PLACE = {"epoch", "clips", "progress", "step"}  # the fields of a row that say where it belongs; the others are measured


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of its training."""

    run_dir: Path
    recipe: Recipe
    epoch_clips: int  # clips of an epoch
    rows: Sequence[dict]  # those that a resumed run has already

    def scalars(self, row: dict) -> tuple[int, dict[str, float]]:
        """The clips trained on up to a row, and what was measured: {"step/loss": ...} or {"epoch/val_top1": ...}."""
        kind = "step" if "step" in row else "epoch"
        return round(row["progress"] * self.epoch_clips), {f"{kind}/{name}": row[name] for name in row.keys() - PLACE}


class Tracker(Protocol):
    def on_row(self, row: dict) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Writes scalars into run_dir/tensorboard. A resumed run writes those that it has again, in their place."""

    def __init__(self, run: TrackedRun):
        from torch.utils.tensorboard import SummaryWriter  # here: the import takes a second

        self.run, self.writer = run, SummaryWriter(str(run.run_dir / "tensorboard"), purge_step=0)
        for row in run.rows:
            self.on_row(row)

    def on_row(self, row: dict) -> None:
        clips, scalars = self.run.scalars(row)
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, clips)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """Logs to Weights & Biases, project WANDB_PROJECT or "tanet"; WANDB_MODE=offline keeps it in run_dir/wandb."""

    def __init__(self, run: TrackedRun):
        import wandb

        self.run = run
        self.wandb_run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "tanet"),
            name=run.run_dir.name,
            dir=str(run.run_dir),
            id=_stored_id(run, "wandb", lambda: uuid.uuid4().hex),
            resume="allow",
            config=dataclasses.asdict(run.recipe),
        )

    def on_row(self, row: dict) -> None:
        clips, scalars = self.run.scalars(row)
        self.wandb_run.log(scalars, step=clips)

    def close(self) -> None:
        self.wandb_run.finish()


class MLflow:
    """Logs to MLflow, where MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say."""

    def __init__(self, run: TrackedRun):
        import mlflow

        self.run, self.mlflow = run, mlflow
        is_new = not _id_file(run, "mlflow").exists()
        self.id = _stored_id(run, "mlflow", lambda: self._start(run_name=run.run_dir.name))
        if is_new:
            mlflow.log_params(dataclasses.asdict(run.recipe))
        else:
            self._start(run_id=self.id)

    def _start(self, **options: str) -> str:
        return self.mlflow.start_run(**options).info.run_id

    def on_row(self, row: dict) -> None:
        clips, scalars = self.run.scalars(row)
        self.mlflow.log_metrics(scalars, step=clips)

    def close(self) -> None:
        self.mlflow.end_run()


TRACKERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow-skinny"}


def check_trackers(trackers: Sequence[str | Callable[[TrackedRun], Tracker]]) -> None:
    """ValueError for an unknown name; ModuleNotFoundError if a package that one needs is not installed."""
    for tracker in trackers:
        if not isinstance(tracker, str):
            continue
        if tracker not in TRACKERS:
            raise ValueError(f"no tracker {tracker!r}; there are {', '.join(TRACKERS)}, or a class of your own")
        if find_spec(tracker) is None:
            raise ModuleNotFoundError(
                f"the tracker {tracker} needs a package that is not installed: pip install {PACKAGES[tracker]}"
            )


def _id_file(run: TrackedRun, name: str) -> Path:
    return run.run_dir / f"{name}.id"


def _stored_id(run: TrackedRun, name: str, make: Callable[[], str]) -> str:
    """The id by which a service knows this run: that of the run's folder, or a new one."""
    path = _id_file(run, name)
    if not path.exists():
        write_text(path, make())
    return read_text(path)
