"""Writes the lists that training reads, and what probing tells of the listed videos.

ROOT/lists/{train,val}.txt   MMAction2's format: `path label`, for folders of frames `path num_frames label`
ROOT/lists/unreadable.txt    videos that cannot be opened, with the reason; the lists hold them all the same
ROOT/probes.csv              of every video file: codec, size, frames, which decoder reads it, and why
"""

import time
from functools import partial
from pathlib import Path

from data_scripts.steps.workers import Failure, run_in_workers
from tanet.data import Probe, describe_readers, probe, read_probes, write_list, write_probes
from tanet.errors import VideoError
from tanet.runtime import track, write_text

LISTS = "lists"
UNREADABLE = "unreadable.txt"
SAVE_EVERY = 60.0  # seconds between two writes of probes.csv
PROBE_SECONDS = 60.0  # time limit of a file

ListRow = tuple[str, int | None, int]  # path below the root, number of frames if it is a folder of frames, label


def write_lists(root: Path, split_rows: dict[str, list[ListRow]], processes: int) -> None:
    """Writes the list of each split, and probes.csv. A file that was probed at its present size is not probed again."""
    for split, rows in split_rows.items():
        write_list(root / LISTS / f"{split}.txt", rows)
    files = [name for rows in split_rows.values() for name, num_frames, _ in rows if num_frames is None]
    if not files:
        return
    probes, failures = _probe_all(root, files, processes)
    write_text(root / LISTS / UNREADABLE, "".join(f"{name}: {failures[name]}\n" for name in sorted(failures)))
    unopened = f"; {len(failures)} more cannot be opened ({LISTS}/{UNREADABLE})" if failures else ""
    print(describe_readers(probes.values()) + unopened, flush=True)


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
