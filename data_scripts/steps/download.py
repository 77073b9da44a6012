"""Fetching many files: in parallel, on a disk that has room for them, sizes and SHA-256 kept in downloads.csv."""

import queue
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from data_scripts.steps.fetch import PATIENT, DownloadError, Patience, fetch, length_of, mark_of, part_of, remote_size
from data_scripts.steps.tables import read_table, write_table
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
    """Fetches {file, relative to `folder`: address}. What is there already, of its recorded size, is kept; with `check`
    its SHA-256 is compared too. `dry_run` only says what would be done.

    Each file is tried, whatever happens to the others; DownloadError lists those that failed, or says that the disk is
    too small.
    """
    records = {row["file"]: row for row in read_table(folder / RECORDS)}
    there = _there(folder, [file for file in addresses if file in records], records, check, threads)
    absent = [file for file in addresses if file not in there]
    asked = dict(_in_threads(lambda file: remote_size(addresses[file], patience), absent, threads))
    failures = {file: size for file, size in asked.items() if isinstance(size, Exception)}
    sizes = {file: size for file, size in asked.items() if file not in failures}
    strangers = [file for file in sizes if file not in records and (folder / file).exists()]
    for file in _welcome(folder, strangers, sizes):
        there.add(file)
        if not dry_run:
            _record(folder, records, file, addresses[file], sha256(folder / file))
    waiting = [file for file in sizes if file not in there]
    needed = sum(max(0, (sizes[file] or 0) - length_of(part_of(folder / file))) for file in waiting)
    if dry_run:
        _list(addresses, folder, there, sizes, failures)
    unknown = sum(sizes[file] is None for file in waiting)
    print(
        f"{folder}: {len(addresses)} files, {len(there)} of them there; {human(needed)} to fetch, {human(_free(folder))} free"
        + (f"; of {unknown} files the servers do not say the size" if unknown else ""),
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


def _there(folder: Path, files: list[str], records: dict[str, dict], check: bool, threads: int) -> set[str]:
    """Those of the recorded `files` that are as they were recorded; says which are not."""
    digests, there = {}, set()
    if check:
        present = [file for file in files if (folder / file).exists()]
        checking = _in_threads(lambda file: sha256(folder / file), present, threads)
        digests = dict(track(checking, len(present), "sha256, files"))
    for file in files:
        path, size, digest = folder / file, records[file]["size"], records[file]["sha256"]
        if not path.exists():
            print(f"{path}: recorded in {RECORDS}, but gone; it is fetched anew", flush=True)
        elif length_of(path) != int(size):
            print(f"{path}: {length_of(path)} bytes, {RECORDS} says {size}; it is fetched anew", flush=True)
        elif check and digests[file] != digest:
            print(f"{path}: sha256 {digests[file]}, {RECORDS} says {digest}; it is fetched anew", flush=True)
        else:
            there.add(file)
    return there


def _welcome(folder: Path, strangers: list[str], sizes: dict[str, int | None]) -> list[str]:
    """Files that nobody recorded, brought by other means or fetched just before a kill: those of the server's size."""
    fitting = [file for file in strangers if length_of(folder / file) == sizes[file]]
    for file in sorted(set(strangers) - set(fitting)):
        size = "does not say how many" if sizes[file] is None else f"says {sizes[file]}"
        print(f"{folder / file}: {length_of(folder / file)} bytes, the server {size}; it is fetched anew", flush=True)
    return fitting


def _list(addresses: dict[str, str], folder: Path, there: set[str], sizes: dict, failures: dict) -> None:
    for file, address in addresses.items():
        size = "failed" if file in failures else "there" if file in there else human(sizes[file])
        print(f"{size:>12}  {folder / file}  {address}")


def _check_space(folder: Path, needed: int) -> None:
    if needed and needed + SPARE > _free(folder):
        raise DownloadError(
            f"{folder}: {human(needed)} needed and {human(SPARE)} to spare, {human(_free(folder))} free; make room there, or "
            "choose another folder"
        )


def _free(folder: Path) -> int:
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
    """Fetches and records `files`; returns what failed."""
    failures, received = {}, {file: length_of(part_of(folder / file)) for file in files}

    def fetch_one(file: str) -> str:
        fetch(addresses[file], folder / file, patience, lambda length: received.update({file: length}))
        return sha256(folder / file)

    def mebibytes() -> Iterator[None]:
        shown = 0
        for file, result in _in_threads(fetch_one, files, threads, every=0.2):
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
    mark_of(part_of(folder / file)).unlink(missing_ok=True)  # a kill may have left it
    records[file] = {"file": file, "size": length_of(folder / file), "sha256": digest, "url": url}
    write_table(folder / RECORDS, COLUMNS, [records[name] for name in sorted(records)])


def _in_threads(function: Callable, items: Iterable, threads: int, every: float | None = None) -> Iterator[tuple]:
    """(item, what `function` returned or raised) as they come; (None, None) after `every` seconds without any.

    Daemon threads, so that an interrupted program leaves at once: it may be killed at any moment anyway.
    """
    tasks, results, items = queue.SimpleQueue(), queue.SimpleQueue(), list(items)
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
            except Exception as error:  # whatever it is, it is reported and the other files go on
                results.put((item, error))

    for _ in range(min(threads, len(items))):
        threading.Thread(target=work, daemon=True).start()
    done = 0
    while done < len(items):
        try:
            yield results.get(timeout=every)
            done += 1
        except queue.Empty:
            yield None, None


def human(size: int | None) -> str:
    """1234567 -> "1.2 MB"; None -> "size unknown"."""
    if size is None:
        return "size unknown"
    power = min(4, (len(str(size)) - 1) // 3)
    return f"{size / 1000**power:.{1 if power else 0}f} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
