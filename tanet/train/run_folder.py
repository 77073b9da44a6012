"""A run's folder: recipe.json, metrics.jsonl, checkpoints/{last,previous,best}.pth. Views and resumed runs read it.

metrics.jsonl has one line every few steps (with "step") and one line an epoch (without). Every line gives the run's
position: `epoch`, counted from 1, and `clips`, the clips of that epoch that were done. A checkpoint holds its position,
too. A resumed run drops the lines that were written after its checkpoint, also in skipped.jsonl (tanet.train.skips).
"""

import dataclasses
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout

from tanet import checkpoint, runtime
from tanet.checkpoint import Checkpoint
from tanet.data import VideoList
from tanet.errors import CheckpointError, RunInUse
from tanet.recipes import RECIPES, SPEED_FIELDS, Recipe, from_json, get
from tanet.runtime import exists, read_text, user_path, write_text

LAST = Path("checkpoints", "last.pth")
PREVIOUS = Path("checkpoints", "previous.pth")
BEST = Path("checkpoints", "best.pth")
METRICS, SKIPPED = "metrics.jsonl", "skipped.jsonl"

# Seconds to wait for another training in the folder: one whose terminal was closed needs time to notice, save and exit.
LOCK_SECONDS = 60.0


def read_metrics(run_dir: str | os.PathLike, steps: bool | None = False) -> list[dict]:
    """The rows of a run's metrics.jsonl, in the file's order; an empty list if there is no file yet.

    `steps`: False gives the rows of epochs, True the rows of steps, None both.
    """
    rows = read_lines(user_path(run_dir) / METRICS)
    return [row for row in rows if steps is None or ("step" in row) == steps]


def read_lines(path: Path) -> list[dict]:
    """The rows of a file of JSON lines, except a last line that a kill cut short; an empty list if there is no file."""
    if not exists(path):
        return []
    return [json.loads(line) for line in read_text(path).splitlines(keepends=True) if line.endswith("\n")]


def append_metrics(run_dir: Path, row: dict) -> None:
    """Adds one line to metrics.jsonl."""
    with open(run_dir / METRICS, "a") as file:
        file.write(json.dumps(row) + "\n")


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Keeps other trainings out of the folder during the block.

    Waits LOCK_SECONDS for the lock, then raises RunInUse, which names the process that holds it. A killed process holds
    no lock. Some network disks have no locks, see tanet.runtime.locked.
    """
    lock, owner = run_dir / ".lock", run_dir / ".lock_owner"
    with ExitStack() as held:
        try:
            held.enter_context(runtime.locked(lock, LOCK_SECONDS))
        except Timeout:
            holder = read_text(owner) if exists(owner) else "unknown"
            raise RunInUse(
                f"{run_dir}: another training is running in it ({holder}); stop that one, or wait until it ends"
            ) from None
        try:
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def check(run_dir: Path, recipe: Recipe, resume: str) -> Recipe:
    """The recipe to train by: `recipe`, or that of the run in the folder, where the two may differ.

    ValueError if the folder holds a run of another recipe, or, with resume="never", if it holds a run at all, or if a
    new run has a contradictory schedule.
    """
    recipe_path = run_dir / "recipe.json"
    if not exists(recipe_path):
        recipe.check_schedule()
        return recipe
    if resume == "never":
        raise ValueError(f"{run_dir} holds a run already, and resume is never; choose another run_dir")
    try:
        stored = from_json(read_text(recipe_path))  # a field that an older version did not store: its default
    except ValueError as error:
        raise ValueError(f"{recipe_path}: {error}; choose another run_dir") from error
    kept = {name: getattr(stored, name) for name in _did_not_follow(stored, recipe)}
    recipe = dataclasses.replace(recipe, **kept)
    there, here = json.loads(stored.to_json()), json.loads(recipe.to_json())
    for field in SPEED_FIELDS:  # a resumed run may use others
        there[field] = here[field]
    different = [f"{key}: {there[key]!r} there, {here[key]!r} here" for key in here if there[key] != here[key]]
    if different:
        raise ValueError(
            f"{run_dir} holds a run of another recipe ({'; '.join(sorted(different))}); choose another run_dir"
        )
    return recipe


def _did_not_follow(stored: Recipe, recipe: Recipe) -> list[str]:
    """Fields that follow a change today and did not when an older version made `stored` by the same changes."""
    if recipe.name not in RECIPES:
        return []
    preset = get(recipe.name, recipe.style)
    followed = preset.with_changes({"epochs": recipe.epochs, "sampling": recipe.sampling})
    return [
        name
        for name in ("lr_steps", "warmup_epochs", "protocols")
        if getattr(recipe, name) == getattr(followed, name) and getattr(stored, name) == getattr(preset, name)
    ]


def newest(run_dir: Path) -> tuple[Checkpoint | None, str]:
    """The newest checkpoint that can be read, and a warning if it is not the last one written.

    Returns (None, "") if there is no checkpoint; raises CheckpointError if there are some, but none can be read.
    """
    problem = ""
    for path in (run_dir / LAST, run_dir / PREVIOUS):
        if not exists(path):
            continue
        try:
            stored = checkpoint.read(path)
        except CheckpointError as error:
            problem = str(error)
            continue
        warning = f"{problem}; going on from {path}" if problem else ""
        return stored, warning
    if problem:
        raise CheckpointError(problem)
    return None, ""


def describe_lists(train: VideoList, val: VideoList) -> dict:
    """What a checkpoint stores about the lists of videos, so that a resumed run can compare its own."""
    return {"train": _describe_list(train), "val": _describe_list(val)}


def _describe_list(videos: VideoList) -> dict:
    return {"videos": len(videos), "sha256": videos.digest(), "classes": list(videos.class_names)}


_DIFFERENCES = {"videos": "numbers of videos", "sha256": "videos or labels", "classes": "classes"}


def check_data(stored: Checkpoint, data: dict) -> None:
    """ValueError if the checkpoint's run was trained on other lists of videos than `data`, see `describe_lists`."""
    for split, here in data.items():
        there = stored.rest["data"][split]
        if there == here:
            continue
        difference = next(_DIFFERENCES[key] for key in here if there[key] != here[key])
        raise ValueError(
            f"{stored.path}: was trained on a {split} list with other {difference} ({there['videos']} there, "
            f"{here['videos']} here); choose another run_dir"
        )


def prepare(run_dir: Path, recipe: Recipe, missing: tuple[str, ...], stored: Checkpoint | None) -> None:
    """Fills a new folder, or takes a folder back to the checkpoint `stored`: lines written after it are dropped."""
    (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    write_text(run_dir / "recipe.json", recipe.to_json())  # whole or not at all: other processes may be reading it
    if missing:
        write_text(run_dir / "missing.txt", "".join(f"{name}\n" for name in missing))
        print(
            f"{len(missing)} listed videos do not exist and are left out; {run_dir / 'missing.txt'} names them",
            flush=True,
        )
    if stored is None:
        position, history = (0, 0), []
    else:
        position, history = (stored.rest["epoch"] + 1, stored.rest["clips"]), stored.rest["history"]
    rows = _rows_until(position, read_metrics(run_dir, steps=True))
    _write_lines(run_dir / METRICS, sorted([*rows, *history], key=lambda row: (row["epoch"], "step" not in row)))
    if exists(run_dir / SKIPPED):
        _write_lines(run_dir / SKIPPED, _rows_until(position, read_lines(run_dir / SKIPPED)))


def _rows_until(position: tuple[int, int], rows: list[dict]) -> list[dict]:
    """The rows written at or before `position`: (epoch counted from 1, clips of the epoch)."""
    return [row for row in rows if (row["epoch"], row["clips"]) <= position]


def _write_lines(path: Path, rows: list[dict]) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def save(run_dir: Path, state: dict, best: bool = False) -> None:
    """Writes the newest checkpoint and keeps the one before it. A whole checkpoint exists at every moment."""
    for name in (METRICS, SKIPPED):
        _sync(run_dir / name)  # a checkpoint on the disk must find the lines that belong to it
    if best:
        checkpoint.save(run_dir / BEST, state)
    if exists(run_dir / LAST):
        _copy(run_dir / LAST, run_dir / PREVIOUS)
    checkpoint.save(run_dir / LAST, state)


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:  # some file systems have no hard links
        shutil.copyfile(source, partial)
    os.replace(partial, target)


def _sync(path: Path) -> None:
    if exists(path):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
