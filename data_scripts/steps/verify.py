"""Every video of a data set opened and read where training and testing would, in processes that may hang or crash.

ROOT/verify.csv has a row a video: `verdict` ok, bad (an error that says what), hangs or crashes; ROOT/lists/SPLIT.verified.txt
is the list of a split without the others.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

from data_scripts.steps.probing import LISTS
from data_scripts.steps.tables import write_table
from data_scripts.steps.workers import Failure, in_processes
from tanet.data import SPLITS, STAT_THREADS, Row, open_video, probe, read_rows, write_list
from tanet.errors import DataError, VideoError
from tanet.runtime import track

TABLE = "verify.csv"


@dataclass(frozen=True)
class Verdict:
    """What became of reading a video; fields that nobody could find out are 0 or empty."""

    path: str  # below the root
    verdict: str  # "ok", "bad", "hangs" or "crashes"
    reason: str
    frames: int
    size: int  # bytes of a file; of a folder of frames, of all of them
    codec: str  # FFmpeg's name; "jpeg" of a folder of frames


COLUMNS = tuple(field.name for field in fields(Verdict))


def verify(
    root: Path,
    paths: list[Path],
    indices: Callable[[int], list[int]],
    processes: int,
    seconds: float = 60.0,
    again: bool = False,
    check: Callable | None = None,
) -> dict[Path, Verdict]:
    """Reads of each video the frames `indices(total_frames)`, a function that lives in a module; returns the verdicts.

    A video may take so many `seconds`. Videos that were verified at their present size are not read again, unless `again`.
    A folder with fewer frames than ROOT/lists says is bad. `check`: what reads a video, `check_video` by default.
    """
    names, expected = {path.relative_to(root).as_posix(): path for path in paths}, _listed_frames(root)
    rows = _rows(root)
    known = {} if again else _unchanged(root, [row for row in rows if row.path in names])
    waiting = [path for path in paths if path not in known]
    print(f"{root}: {len(paths)} videos, {len(known)} of them verified already", flush=True)
    others = [row for row in rows if row.path not in names]
    _write(root, [*others, *known.values()])  # whole lines only, before more are added
    jobs = [(path, expected.get(path)) for path in waiting]
    work = in_processes(check or partial(check_video, indices), jobs, processes, seconds)
    with open(root / TABLE, "a", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        for job, result in track(work, len(jobs), "verify, videos"):
            path, _ = job
            known[path] = _verdict(path.relative_to(root).as_posix(), _size(path), result)
            table.writerow(asdict(known[path]))
            file.flush()
    _write(root, [*others, *known.values()])
    _write_verified_lists(root)
    print(_summary(known), flush=True)
    return {path: known[path] for path in paths}


def check_video(indices: Callable[[int], list[int]], job: tuple[Path, int | None]) -> tuple[str, int, str]:
    """(what is wrong or "", frames, codec) of the video of a job: its path, and how many frames it must have."""
    path, expected = job
    frames, codec = 0, ""
    try:
        found = None if path.is_dir() else probe(path)
        codec = found.codec if found else "jpeg"
        with open_video(path, found) as video:
            frames = len(video)
            if expected is not None and frames < expected:
                raise VideoError(f"{path}: {frames} frames in it, {expected} by the list; some are missing")
            video.frames(indices(frames))
    except ImportError:  # no decoder at all
        raise
    except Exception as error:  # a decoder may raise anything on a damaged file, and the others must go on
        kind = "" if isinstance(error, VideoError) else f"{type(error).__name__}: "
        said = str(error).removeprefix(f"{path}: ").replace(os.path.join(path, ""), "")  # data may move
        return kind + said, frames, codec
    return "", frames, codec


def _verdict(name: str, size: int, result: tuple | Failure) -> Verdict:
    if isinstance(result, Failure):
        return Verdict(name, "hangs" if result.hung else "crashes", result.reason, 0, size, "")
    reason, frames, codec = result
    return Verdict(name, "bad" if reason else "ok", reason.replace("\n", " "), frames, size, codec)


def _size(path: Path) -> int:
    """Bytes; -1 if it is not there."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(path)) if path.is_dir() else path.stat().st_size
    except OSError:
        return -1


def _rows(root: Path) -> list[Verdict]:
    """The rows of verify.csv but for one that a kill cut short."""
    path = root / TABLE
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0].decode()
    rows = csv.DictReader(io.StringIO(whole, newline=""))
    try:
        return [Verdict(**row | {"frames": int(row["frames"]), "size": int(row["size"])}) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}, line {rows.line_num}: not a verdict; remove the file to verify again") from None


def _unchanged(root: Path, rows: list[Verdict]) -> dict[Path, Verdict]:
    """The verdicts on videos that have the size they had."""
    paths = [root / row.path for row in rows]
    with ThreadPoolExecutor(STAT_THREADS) as pool:  # over a network each waits for an answer
        sizes = pool.map(_size, paths)
        return {path: row for path, row, size in zip(paths, rows, sizes) if row.size == size}


def _write(root: Path, rows: list[Verdict]) -> None:
    write_table(root / TABLE, COLUMNS, [asdict(row) for row in sorted(rows, key=lambda row: row.path)])


def _lists(root: Path) -> dict[Path, list[Row]]:
    paths = [root / LISTS / f"{split}.txt" for split in SPLITS]
    return {path: read_rows(path) for path in paths if path.exists() and path.stat().st_size}


def _listed_frames(root: Path) -> dict[Path, int]:
    """How many frames the lists say that folders have."""
    return {root / row.name: row.num_frames for rows in _lists(root).values() for row in rows if row.num_frames}


def _write_verified_lists(root: Path) -> None:
    """A list without the bad ones for each list of which every video has a verdict."""
    verdicts = {row.path: row.verdict for row in _rows(root)}
    for path, rows in _lists(root).items():
        if all(row.name in verdicts for row in rows):
            write_list(path.with_suffix(".verified.txt"), [row for row in rows if verdicts[row.name] == "ok"])


def _summary(verdicts: dict[Path, Verdict]) -> str:
    counts = Counter(row.verdict for row in verdicts.values())
    good = counts.pop("ok", 0)
    others = "".join(f"; {count} {verdict}" for verdict, count in sorted(counts.items()))
    return f"{good} of {len(verdicts)} videos are good{others}" + (f", see {TABLE}" if others else "")
