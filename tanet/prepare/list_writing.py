"""Writes the lists that training reads, and what probing tells of the listed videos.

ROOT/lists/{train,val}.txt   MMAction2's format: `path label`, for folders of frames `path num_frames label`
ROOT/lists/unreadable.txt    videos that cannot be opened, with the reason; the lists hold them all the same
ROOT/probes.csv              of every video file: codec, size, frames, which decoder reads it, and why
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tanet.data import (
    LISTS,
    STAT_THREADS,
    Probe,
    describe_frames,
    describe_readers,
    probe,
    read_frame_names,
    read_probes,
    write_list,
    write_probes,
)
from tanet.errors import VideoError
from tanet.prepare.workers import Failure, run_in_workers
from tanet.runtime import track, write_text

UNREADABLE = "unreadable.txt"
SAVE_EVERY = 60.0  # seconds between two writes of probes.csv
PROBE_SECONDS = 60.0  # time limit of a file

LabelledVideo = tuple[str, int]  # path below the root, label


def write_lists(root: Path, videos: dict[str, list[LabelledVideo]], processes: int) -> None:
    """Writes the list of each split, and probes.csv. A file that was probed at its present size is not probed again.

    A list of folders of frames has their numbers of frames; not if it has video files, too, because all lines of a list
    have one format. A folder whose frames cannot be counted has 0 there, and its reason in unreadable.txt.
    """
    names = [name for split in videos.values() for name, _ in split]
    with ThreadPoolExecutor(STAT_THREADS) as pool:  # over a network each call waits for an answer
        is_folder = list(pool.map(os.path.isdir, (root / name for name in names)))
    folders = [name for name, of_frames in zip(names, is_folder) if of_frames]
    files = [name for name, of_frames in zip(names, is_folder) if not of_frames]
    counts, failures = _count_frames(root, folders)
    for split, rows in videos.items():
        has_files = any(name not in counts for name, _ in rows)
        write_list(
            root / LISTS / f"{split}.txt", [(name, None if has_files else counts[name], label) for name, label in rows]
        )
    said = []
    if files:
        probes, failed = _probe_all(root, files, processes)
        failures |= failed
        said.append(describe_readers(probes.values()))
    if folders:
        naming = describe_frames(root / name for name in folders)
        said.append(f"{len(counts)} folders of frames" + (f"; {naming}" if naming else ""))
    write_text(root / LISTS / UNREADABLE, "".join(f"{name}: {failures[name]}\n" for name in sorted(failures)))
    unopened = f"; {len(failures)} more cannot be opened ({LISTS}/{UNREADABLE})" if failures else ""
    print("; ".join(said) + unopened, flush=True)


def _count_frames(root: Path, folders: list[str]) -> tuple[dict[str, int], dict[str, str]]:
    """{folder: number of frames}, 0 for those whose frames cannot be counted, and {folder: reason} of these."""

    def count(name: str) -> int | str:
        try:
            return read_frame_names(root / name).count
        except VideoError as error:
            return str(error).removeprefix(f"{root / name}: ")

    with ThreadPoolExecutor(STAT_THREADS) as pool:
        results = dict(zip(folders, pool.map(count, folders)))
    failures = {name: result for name, result in results.items() if isinstance(result, str)}
    return {name: 0 if name in failures else result for name, result in results.items()}, failures


def _probe_all(root: Path, files: list[str], processes: int) -> tuple[dict[str, Probe], dict[str, str]]:
    """{file: probe} of those that can be probed, {file: reason} of the others."""
    known = read_probes(root)
    sizes = {name: (root / name).stat().st_size for name in files}
    waiting = [name for name in files if name not in known or known[name][0] != sizes[name]]
    failures, saved = {}, time.monotonic()
    results = run_in_workers(partial(_probe_one, root), waiting, processes, PROBE_SECONDS)
    for name, result in track(results, len(waiting), "probe, videos"):
        if isinstance(result, Probe):
            known[name] = (sizes[name], result)
        else:
            failures[name] = result.reason if isinstance(result, Failure) else result
            known.pop(name, None)
        if time.monotonic() - saved > SAVE_EVERY:
            write_probes(root, known)
            saved = time.monotonic()
    write_probes(root, known)
    return {name: known[name][1] for name in files if name in known}, failures


def _probe_one(root: Path, name: str) -> Probe | str:
    """The file's probe, or why it cannot be probed."""
    try:
        return probe(root / name)
    except VideoError as error:
        return str(error).removeprefix(f"{root / name}: ")
