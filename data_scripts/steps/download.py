"""Fetches many files at once, on a disk that has room for them, and records their sizes and SHA-256 in
downloads.csv."""

import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from data_scripts.steps.fetch import (
    PATIENT,
    DownloadError,
    Patience,
    fetch,
    file_size,
    part_of,
    remote_size,
    version_of,
)
from tanet.prepare import read_table, write_table
from tanet.runtime import sha256, track

RECORDS = "downloads.csv"
COLUMNS = ("file", "size", "sha256", "url")
SPARE = 1 << 30  # bytes of disk that a download leaves free


def download(
    addresses: dict[str, str],
    folder: Path,
    patience: Patience = PATIENT,
    threads: int = 8,
    check: bool = False,
    dry_run: bool = False,
) -> None:
    """Fetches {file, relative to `folder`: address}. A file that has its recorded size is kept; with `check` its
    SHA-256 is compared too. `dry_run` only prints what would be done.

    Every file is tried, also after another one failed. Raises DownloadError, which lists the files that failed, or
    says that the disk is too small.
    """
    if threads < 1:
        raise ValueError(f"--threads {threads}: at least one is needed")
    records = {row["file"]: row for row in read_table(folder / RECORDS, COLUMNS)}
    complete = _complete_files(folder, [file for file in addresses if file in records], records, check, threads)
    answers = dict(
        _in_threads(
            lambda file: remote_size(addresses[file], patience),
            [file for file in addresses if file not in complete],
            threads,
        )
    )
    failures = {file: answer for file, answer in answers.items() if isinstance(answer, Exception)}
    sizes = {file: answer for file, answer in answers.items() if file not in failures}
    for file in _complete_unrecorded_files(folder, records, sizes):
        complete.add(file)
        if not dry_run:
            _record(folder, records, file, addresses[file], sha256(folder / file))
    waiting = [file for file in sizes if file not in complete]
    needed = sum(max(0, (sizes[file] or 0) - file_size(part_of(folder / file))) for file in waiting)
    if dry_run:
        _print_list(addresses, folder, complete, sizes, failures)
    unknown = sum(sizes[file] is None for file in waiting)
    print(
        f"{folder}: {len(addresses)} files, {len(complete)} of them there; {human(needed)} to fetch, "
        f"{human(_free_space(folder))} free"
        + (f"; the servers do not give the size of {unknown} files" if unknown else ""),
        flush=True,
    )
    if not dry_run:
        _check_space(folder, needed)
        failures |= _fetch_all(addresses, folder, waiting, sizes, records, patience, threads)
    if failures:
        reasons = "".join(f"\n  {file}: {error}" for file, error in sorted(failures.items()))
        raise DownloadError(
            f"{folder}: {len(failures)} of {len(addresses)} files failed; the same command tries them again{reasons}"
        )


def _complete_files(folder: Path, files: list[str], records: dict[str, dict], check: bool, threads: int) -> set[str]:
    """The recorded `files` that still are as recorded; prints a line for each of the others."""
    digests, complete = {}, set()
    if check:
        present = [file for file in files if (folder / file).exists()]
        hashing = _in_threads(lambda file: sha256(folder / file), present, threads)
        digests = dict(track(hashing, len(present), "sha256, files"))
    for file in files:
        path, size, digest = folder / file, records[file]["size"], records[file]["sha256"]
        if not path.exists():
            print(f"{path}: recorded in {RECORDS}, but gone; fetching it again", flush=True)
        elif str(file_size(path)) != size:
            print(f"{path}: {file_size(path)} bytes, {RECORDS} says {size}; fetching it again", flush=True)
        elif check and digests[file] != digest:
            print(f"{path}: sha256 {digests[file]}, {RECORDS} says {digest}; fetching it again", flush=True)
        else:
            complete.add(file)
    return complete


def _complete_unrecorded_files(folder: Path, records: dict[str, dict], sizes: dict[str, int | None]) -> list[str]:
    """The files without a record that have the server's size: copied there by hand, or fetched just before a kill.
    Prints a line for each that has another size."""
    complete = []
    for file in sorted(sizes):
        path = folder / file
        if file in records or not path.exists():
            continue
        if file_size(path) == sizes[file]:
            complete.append(file)
            continue
        server_size = "does not give a size" if sizes[file] is None else f"says {sizes[file]}"
        print(f"{path}: {file_size(path)} bytes, the server {server_size}; fetching it again", flush=True)
    return complete


def _print_list(addresses: dict[str, str], folder: Path, complete: set[str], sizes: dict, failures: dict) -> None:
    for file, address in addresses.items():
        if file in failures:
            state = "failed"
        elif file in complete:
            state = "there"
        else:
            state = human(sizes[file])
        print(f"{state:>12}  {folder / file}  {address}")


def _check_space(folder: Path, needed: int) -> None:
    if needed and needed + SPARE > _free_space(folder):
        raise DownloadError(
            f"{folder}: {human(needed)} needed and {human(SPARE)} to spare, {human(_free_space(folder))} free; make "
            "room there, or choose another folder"
        )


def _free_space(folder: Path) -> int:
    """Bytes free on the disk of the folder, which need not exist yet."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _fetch_all(
    addresses: dict[str, str],
    folder: Path,
    files: list[str],
    sizes: dict[str, int | None],
    records: dict[str, dict],
    patience: Patience,
    threads: int,
) -> dict[str, Exception]:
    """Fetches and records `files`; returns {file: error} of those that failed."""
    failures, received = {}, {file: file_size(part_of(folder / file)) for file in files}

    def fetch_one(file: str) -> str:
        fetch(addresses[file], folder / file, patience, lambda size: received.update({file: size}))
        return sha256(folder / file)

    def mebibytes() -> Iterator[None]:
        """Yields once for each MiB that has arrived."""
        shown = 0
        for file, result in _in_threads(fetch_one, files, threads, poll_seconds=0.2):
            if isinstance(result, Exception):
                failures[file] = result
            elif file is not None:
                _record(folder, records, file, addresses[file], result)
            for _ in range(shown, sum(received.values()) >> 20):
                shown += 1
                yield

    for _ in track(mebibytes(), sum(sizes[file] or 0 for file in files) >> 20, "download, MiB"):
        pass
    return failures


def _record(folder: Path, records: dict[str, dict], file: str, url: str, digest: str) -> None:
    version_of(part_of(folder / file)).unlink(missing_ok=True)  # a kill may have left it
    records[file] = {"file": file, "size": str(file_size(folder / file)), "sha256": digest, "url": url}
    write_table(folder / RECORDS, COLUMNS, [records[name] for name in sorted(records)])


def _in_threads(
    function: Callable, items: list[str], threads: int, poll_seconds: float | None = None
) -> Iterator[tuple]:
    """Yields (item, what `function` returned or raised) as they come; (None, None) after `poll_seconds` without any.

    The threads are daemons, so an interrupted program ends at once: a download may be killed at any moment anyway.
    """
    tasks, results = queue.SimpleQueue(), queue.SimpleQueue()
    for item in items:
        tasks.put(item)

    def work():
        while True:
            try:
                item = tasks.get_nowait()
            except queue.Empty:
                return
            try:
                results.put((item, function(item)))
            except Exception as error:  # reported by the caller; the other files go on
                results.put((item, error))

    for _ in range(min(threads, len(items))):
        threading.Thread(target=work, daemon=True).start()
    done = 0
    while done < len(items):
        try:
            yield results.get(timeout=poll_seconds)
            done += 1
        except queue.Empty:
            yield None, None


def human(size: int | None) -> str:
    """1234567 -> "1.2 MB"; None -> "size unknown"."""
    if size is None:
        return "size unknown"
    power = min(4, (len(str(size)) - 1) // 3)
    return f"{size / 1000**power:.{1 if power else 0}f} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
