"""List files that training reads, and what probing the listed videos tells, stored beside them.

ROOT/lists/{train,val}.txt   MMAction2's format: `path label`, for folders of frames `path num_frames label`
ROOT/lists/unreadable.txt    videos that cannot be opened, with the reason; they are listed all the same
ROOT/probes.csv              of every video file: codec, size, frames, which decoder reads it, and why
"""

import time
from functools import partial
from pathlib import Path

from data_scripts.steps.workers import Failure, in_processes
from tanet.data import Probe, describe_readers, probe, read_probes, write_list, write_probes
from tanet.errors import VideoError
from tanet.runtime import track, write_text

LISTS = "lists"
UNREADABLE = "unreadable.txt"
SAVE_EVERY = 60.0  # seconds between two writings of probes.csv
PROBE_SECONDS = 60.0  # that probing one file may take

ListRow = tuple[str, int | None, int]  # path below the root, number of frames if it is a folder of them, label


def write_lists(root: Path, split_rows: dict[str, list[ListRow]], processes: int) -> None:
    """Writes a list for each split and probes.csv; files that are probed already, at their size, are not probed again."""
    for split, rows in split_rows.items():
        write_list(root / LISTS / f"{split}.txt", rows)
    files = [name for rows in split_rows.values() for name, num_frames, _ in rows if num_frames is None]
    if files:
        probes, failures = _probe_all(root, files, processes)
        write_text(root / LISTS / UNREADABLE, "".join(f"{name}: {failures[name]}\n" for name in sorted(failures)))
        unopened = f"; {len(failures)} more cannot be opened ({LISTS}/{UNREADABLE})" if failures else ""
        print(describe_readers(probes.values()) + unopened, flush=True)


def _probe_all(root: Path, files: list[str], processes: int) -> tuple[dict[str, Probe], dict[str, str]]:
    """What is known of the `files` afterwards, and why the others cannot be probed."""
    known = read_probes(root)
    sizes = {name: (root / name).stat().st_size for name in files}
    waiting = [name for name in files if name not in known or known[name][0] != sizes[name]]
    failures, saved = {}, time.monotonic()
    work = in_processes(partial(_probe_one, root), waiting, processes, PROBE_SECONDS)
    for name, result in track(work, len(waiting), "probe, videos"):
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
    """What is in the file, or why that cannot be told."""
    try:
        return probe(root / name)
    except VideoError as error:
        return str(error).removeprefix(f"{root / name}: ")
