"""A run's folder: recipe.json, metrics.jsonl, checkpoints/{last,previous,best}.pth. Whoever shows or resumes a run reads it.

metrics.jsonl has a line every few steps (with "step") and one an epoch (without). Every line says how far the run was:
`epoch`, counted from 1, and `clips`, those of this epoch that were done. A checkpoint says the same, so that lines written
after it can be told and dropped. skipped.jsonl, see tanet.train.skips, likewise.
"""

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from tanet import checkpoint
from tanet.checkpoint import Checkpoint
from tanet.data import VideoList
from tanet.errors import CheckpointError, RunInUse
from tanet.recipes import Recipe
from tanet.runtime import write_text

LAST = Path("checkpoints", "last.pth")
PREVIOUS = Path("checkpoints", "previous.pth")
BEST = Path("checkpoints", "best.pth")
METRICS, SKIPPED = "metrics.jsonl", "skipped.jsonl"


def read_metrics(run_dir: str | os.PathLike, steps: bool | None = False) -> list[dict]:
    """The rows of a run's metrics.jsonl, one an epoch, or with `steps` one every few steps, or with None both, as they lie
    there; empty if there is none yet."""
    rows = read_lines(Path(run_dir) / METRICS)
    return [row for row in rows if steps is None or ("step" in row) == steps]


def read_lines(path: Path) -> list[dict]:
    """The rows of a file of JSON lines, one that a kill cut short left out; empty if there is no such file."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]  # the last may be cut short


def append_metrics(run_dir: Path, row: dict) -> None:
    with open(run_dir / METRICS, "a") as file:
        file.write(json.dumps(row) + "\n")


@contextmanager
def locked(run_dir: Path, wait: float = 60.0) -> Iterator[None]:
    """Nobody else trains in the folder during the block; after `wait` seconds RunInUse says who does.

    A training whose starter was killed needs a while to notice, save and leave. The lock goes with its process.
    """
    path, deadline = run_dir / ".lock", time.monotonic() + wait
    with open(path, "a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise RunInUse(
                        f"{run_dir}: another training is running in it ({file.read() or 'unknown'}); stop that one, or wait"
                    ) from None
                time.sleep(0.2)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough: loading processes hold the file too


def check(run_dir: Path, recipe: Recipe, resume: str) -> None:
    """ValueError if the folder holds a run of another recipe, or any run with resume="never"."""
    stored = run_dir / "recipe.json"
    if not stored.exists():
        return
    if resume == "never":
        raise ValueError(f"{run_dir} holds a run already, and resume is never; choose another run_dir")
    found, wanted = json.loads(stored.read_text()), json.loads(recipe.to_json())
    found["workers"] = wanted["workers"]  # which decides nothing but the speed
    different = [
        f"{key}: {found.get(key)!r} there, {wanted.get(key)!r} here"
        for key in wanted.keys() | found.keys()
        if found.get(key) != wanted.get(key)
    ]
    if different:
        raise ValueError(
            f"{run_dir} holds a run of another recipe ({'; '.join(sorted(different))}); choose another run_dir"
        )


def newest(run_dir: Path) -> tuple[Checkpoint | None, str]:
    """The newest checkpoint that can be read, None if there is none, and what to say if it is not the last one written."""
    problem = ""
    for name in (LAST, PREVIOUS):
        if not (run_dir / name).exists():
            continue
        try:
            return checkpoint.read(run_dir / name), problem and f"{problem}; going on from {run_dir / name}"
        except CheckpointError as error:
            problem = str(error)
    if problem:
        raise CheckpointError(problem)
    return None, ""


def describe_lists(train: VideoList, val: VideoList) -> dict:
    """What a checkpoint keeps of the data, to know them again."""
    return {name: _described(videos) for name, videos in (("train", train), ("val", val))}


def _described(videos: VideoList) -> dict:
    names = [[sample.path.name, sample.label] for sample in videos.samples]
    return {
        "videos": len(videos),
        "sha256": sha256(json.dumps(names).encode()).hexdigest(),
        "classes": list(videos.class_names),
    }


def check_data(stored: Checkpoint, data: dict) -> None:
    """ValueError if a checkpoint's run was trained on other lists of videos."""
    for split, now in data.items():
        then = stored.rest["data"][split]
        if then != now:
            what = next(key for key in now if then[key] != now[key])
            what = {"sha256": "videos or labels", "videos": "numbers of videos"}.get(what, what)
            numbers = f"{then['videos']} there, {now['videos']} here"
            raise ValueError(
                f"{stored.path}: was trained on a {split} list with other {what} ({numbers}); choose another run_dir"
            )


def prepare(run_dir: Path, recipe: Recipe, missing: tuple[str, ...], stored: Checkpoint | None) -> None:
    """Makes the folder, or brings it to the state of the checkpoint `stored`: lines written after that go."""
    (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    write_text(run_dir / "recipe.json", recipe.to_json())  # other processes may be reading it
    if missing:
        write_text(run_dir / "missing.txt", "".join(f"{name}\n" for name in missing))
        print(f"{len(missing)} listed videos are not there and left out: {run_dir / 'missing.txt'}", flush=True)
    done = (stored.rest["epoch"] + 1, stored.rest["clips"]) if stored else (0, 0)
    history = stored.rest["history"] if stored else []
    rows = [row for row in read_metrics(run_dir, steps=True) if (row["epoch"], row["clips"]) <= done]
    _write_lines(run_dir / METRICS, sorted([*rows, *history], key=lambda row: (row["epoch"], "step" not in row)))
    if (run_dir / SKIPPED).exists():
        skipped = read_lines(run_dir / SKIPPED)
        _write_lines(run_dir / SKIPPED, [row for row in skipped if (row["epoch"], row["clips"]) <= done])


def _write_lines(path: Path, rows: list[dict]) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def save(run_dir: Path, state: dict, best: bool = False) -> None:
    """Writes the newest checkpoint and keeps the one before it; at no moment is there no whole one."""
    for name in (METRICS, SKIPPED):
        _sync(run_dir / name)  # what the checkpoint builds on is on the disk before it
    if best:
        checkpoint.write(run_dir / BEST, state)
    if (run_dir / LAST).exists():
        _copy(run_dir / LAST, run_dir / PREVIOUS)
    checkpoint.write(run_dir / LAST, state)


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:  # not every file system has links
        shutil.copyfile(source, partial)
    os.replace(partial, target)


def _sync(path: Path) -> None:
    if path.exists():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
