"""Opens and reads every video of a data set where training and testing would, in workers that may hang or crash.

ROOT/verify.csv has a row for each video. Its `verdict` is ok, bad (cannot be read right), hangs or crashes.
ROOT/lists/SPLIT.verified.txt is the list of a split with the videos that are ok.
"""

import csv
import io
import os
import stat
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

from tanet.data import LISTS, SPLITS, STAT_THREADS, Row, open_video, probe, read_rows, write_list
from tanet.errors import DataError, VideoError
from tanet.prepare.common import write_table
from tanet.prepare.workers import Failure, run_in_workers
from tanet.runtime import decode_text, file_status, track

TABLE = "verify.csv"


@dataclass(frozen=True)
class Verdict:
    """Whether a video can be read; a row of verify.csv. Fields that are not known are 0 or empty."""

    path: str  # below the root
    verdict: str  # "ok", "bad", "hangs" or "crashes"
    reason: str
    frames: int
    size: int  # bytes of the file; of a folder of frames, of all its files
    codec: str  # FFmpeg's name; of a folder of frames "jpeg" or "png"


COLUMNS = tuple(field.name for field in fields(Verdict))


def verify(
    root: Path,
    paths: list[Path],
    choose_frames: Callable[[int], list[int]],
    processes: int,
    seconds: float = 60.0,
    again: bool = False,
    check: Callable | None = None,
) -> dict[Path, Verdict]:
    """Reads the frames `choose_frames(number of frames)` of each video; returns the verdicts. The function must be
    importable.

    `seconds`: time limit of a video. A video that was verified at its present size is not read again, unless `again`. A
    folder with fewer frames than ROOT/lists says is bad. `check` reads a video, by default as `check_video` does.
    """
    names, expected = {path.relative_to(root).as_posix() for path in paths}, _listed_frames(root)
    rows = _read_verdicts(root)
    verdicts = {} if again else _unchanged(root, [row for row in rows if row.path in names])
    waiting = [path for path in paths if path not in verdicts]
    print(f"{root}: {len(paths)} videos, {len(verdicts)} of them verified already", flush=True)
    other_rows = [row for row in rows if row.path not in names]
    _write_verdicts(root, [*other_rows, *verdicts.values()])  # a row that a kill cut short must go before more follow
    jobs = [(path, expected.get(path)) for path in waiting]
    results = run_in_workers(check or partial(check_video, choose_frames), jobs, processes, seconds)
    with open(root / TABLE, "a", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        for (path, _), result in track(results, len(jobs), "verify, videos"):
            verdicts[path] = _verdict(path.relative_to(root).as_posix(), _size(path), result)
            table.writerow(asdict(verdicts[path]))
            file.flush()
    _write_verdicts(root, [*other_rows, *verdicts.values()])
    _write_verified_lists(root)
    print(_summary(verdicts), flush=True)
    return {path: verdicts[path] for path in paths}


def check_video(choose_frames: Callable[[int], list[int]], job: tuple[Path, int | None]) -> tuple[str, int, str]:
    """Reads the video of a job: its path, and how many frames it must have. Returns (what is wrong or "", number of
    frames, codec)."""
    path, expected_frames = job
    frames, codec = 0, ""
    try:
        properties = None if path.is_dir() else probe(path)
        codec = "" if properties is None else properties.codec
        with open_video(path, properties) as video:
            frames, codec = len(video), codec or video.reader_name
            if properties is None and expected_frames is not None and frames < expected_frames:
                raise VideoError(f"{path}: {frames} frames in it, {expected_frames} by the list; some are missing")
            video.frames(choose_frames(frames))
    except ImportError:  # no decoder is installed: no fault of the video
        raise
    except Exception as error:  # a decoder may raise anything on a damaged file, and the other videos must be read
        kind = "" if isinstance(error, VideoError) else f"{type(error).__name__}: "
        reason = str(error).removeprefix(f"{path}: ").replace(os.path.join(path, ""), "")  # data may move
        return kind + reason, frames, codec
    return "", frames, codec


def _verdict(name: str, size: int, result: tuple | Failure) -> Verdict:
    if isinstance(result, Failure):
        verdict = "hangs" if result.hung else "crashes"
        return Verdict(name, verdict, result.reason, frames=0, size=size, codec="")
    reason, frames, codec = result
    verdict = "bad" if reason else "ok"
    return Verdict(name, verdict, reason.replace("\n", " "), frames, size, codec)


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder; -1 if it is not there."""
    status = file_status(path)
    if status is None:
        return -1
    return sum(entry.stat().st_size for entry in os.scandir(path)) if stat.S_ISDIR(status.st_mode) else status.st_size


def _read_verdicts(root: Path) -> list[Verdict]:
    """The rows of verify.csv, without one that a kill cut short."""
    path = root / TABLE
    if not path.exists():
        return []
    rows = csv.DictReader(io.StringIO(decode_text(path.read_bytes().rpartition(b"\n")[0], path)))
    try:
        return [Verdict(**{**row, "frames": int(row["frames"]), "size": int(row["size"])}) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}, line {rows.line_num}: not a verdict; remove the file to verify again") from None


def _unchanged(root: Path, rows: list[Verdict]) -> dict[Path, Verdict]:
    """The verdicts on videos whose size has not changed since."""
    paths = [root / row.path for row in rows]
    with ThreadPoolExecutor(STAT_THREADS) as pool:  # over a network each call waits for an answer
        sizes = pool.map(_size, paths)
        return {path: row for path, row, size in zip(paths, rows, sizes) if row.size == size}


def _write_verdicts(root: Path, rows: list[Verdict]) -> None:
    write_table(root / TABLE, COLUMNS, [asdict(row) for row in sorted(rows, key=lambda row: row.path)])


def _read_lists(root: Path) -> dict[Path, list[Row]]:
    paths = [root / LISTS / f"{split}.txt" for split in SPLITS]
    return {path: read_rows(path) for path in paths if path.exists() and path.stat().st_size}


def _listed_frames(root: Path) -> dict[Path, int]:
    """{folder: number of frames} by the lists."""
    return {root / row.name: row.num_frames for rows in _read_lists(root).values() for row in rows if row.num_frames}


def _write_verified_lists(root: Path) -> None:
    """For each list whose videos all have verdicts: the list of those that are ok."""
    verdicts = {row.path: row.verdict for row in _read_verdicts(root)}
    for path, rows in _read_lists(root).items():
        if all(row.name in verdicts for row in rows):
            write_list(path.with_suffix(".verified.txt"), [row for row in rows if verdicts[row.name] == "ok"])


def _summary(verdicts: dict[Path, Verdict]) -> str:
    counts = Counter(row.verdict for row in verdicts.values())
    good = counts.pop("ok", 0)
    if not counts:
        return f"{good} of {len(verdicts)} videos are good"
    others = "".join(f"; {count} {verdict}" for verdict, count in sorted(counts.items()))
    return f"{good} of {len(verdicts)} videos are good{others}, see {TABLE}"
