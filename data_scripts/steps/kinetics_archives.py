"""Kinetics-400's archives: their addresses, and the folders that their videos go to."""

import os
import shutil
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from data_scripts.steps.archives import ArchiveError, extract_tar
from data_scripts.steps.download import human
from data_scripts.steps.fetch import PATIENT, Patience, read_url
from tanet.errors import DataError
from tanet.prepare import Failure, read_table, run_in_workers, write_table
from tanet.runtime import read_text, track, user_path

BASE_URL = "https://s3.amazonaws.com/kinetics/400"  # the CVDF's bucket
REPLACEMENT = "replacement_for_corrupted_k400.tgz"
EXTRACTED = "extracted.csv"
COLUMNS = ("archive", "size", "files")


def addresses(split: str, archive_list: str, base_url: str = BASE_URL, patience: Patience = PATIENT) -> dict[str, str]:
    """{file below the archives' folder: address} of a split's archives. `archive_list` is a file or an address, with
    the address of an archive on each line. `base_url` replaces the CVDF's in these."""
    if archive_list.startswith(("http://", "https://")):
        text = read_url(archive_list, patience)
    else:
        text = read_text(user_path(archive_list))
    archives = {}
    for number, line in enumerate(text.splitlines(), 1):
        url = line.strip()
        if not url:
            continue
        if url.startswith(BASE_URL):
            url = base_url + url.removeprefix(BASE_URL)
        name = PurePosixPath(urlsplit(url).path).name
        if not url.startswith(("http://", "https://")) or not name.endswith((".tar.gz", ".tgz")):
            raise DataError(f"{archive_list}, line {number}: expected the address of a .tar.gz archive, got {url!r}")
        if f"{split}/{name}" in archives:
            raise DataError(f"{archive_list}, line {number}: {name} is listed twice")
        archives[f"{split}/{name}"] = url
    return archives


def extract(root: Path, archives: Path, splits: list[str], processes: int) -> None:
    """Unpacks {split}/*.tar.gz below `archives`, each into ROOT/{split}/NAME/, then the replacement over the corrupted
    videos. Tries all archives; ArchiveError lists those that failed."""
    paths = {f"{split}/{path.name}": path for split in splits for path in sorted((archives / split).glob("*.t*gz"))}
    if not paths:
        raise FileNotFoundError(f"{archives}: no .tar.gz archives below {' or '.join(splits)}; download them first")
    records = {row["archive"]: row for row in read_table(root / EXTRACTED, COLUMNS)}
    waiting = [name for name, path in paths.items() if not _is_recorded(records, name, path)]
    print(f"{root}: {len(paths)} archives, {len(paths) - len(waiting)} of them extracted", flush=True)
    _check_space(root, sum(paths[name].stat().st_size for name in waiting))
    if waiting and records.pop(REPLACEMENT, None):
        _write_records(root, records)  # these archives may hold corrupted videos: the replacement must follow again
    failures = {}
    results = run_in_workers(partial(_extract_archive, root), [(name, paths[name]) for name in waiting], processes)
    for (name, path), result in track(results, len(waiting), "extract, archives"):
        if isinstance(result, int):
            _record(root, records, name, path, result)
        else:
            failures[name] = f"{path}: {result}" if isinstance(result, Failure) else result
    _extract_replacement(root, archives, splits, records, failures)
    if failures:
        reasons = "".join(f"\n  {failures[name]}" for name in sorted(failures))
        raise ArchiveError(f"{archives}: {len(failures)} of {len(paths)} archives are not extracted{reasons}")


def _extract_archive(root: Path, archive: tuple[str, Path]) -> int | str:
    """The number of files in an archive, or why it cannot be unpacked."""
    name, path = archive
    try:
        return extract_tar(path, root / name.partition(".")[0])
    except ArchiveError as error:
        return str(error)


def _extract_replacement(
    root: Path, archives: Path, splits: list[str], records: dict[str, dict], failures: dict[str, str]
) -> None:
    """Unpacks the replacement, a flat folder of videos of all splits, over the videos that it replaces."""
    # The publisher's own script puts it into a folder.
    archive = next(
        (path for path in (archives / REPLACEMENT, archives / "replacement" / REPLACEMENT) if path.exists()), None
    )
    if archive is None:
        print(f"{archives / REPLACEMENT}: not there; corrupted videos are not replaced", flush=True)
        return
    if _is_recorded(records, REPLACEMENT, archive):
        return
    paths = {}
    for split in splits:
        paths |= {name: root / split / "replacement" / name for name in _annotated(root, split)}
        paths |= {path.name: path for path in (root / split).rglob("*.mp4")}
    try:
        count = extract_tar(archive, root, choose_path=paths.get, overwrite=True)
    except ArchiveError as error:
        failures[REPLACEMENT] = str(error)
    else:
        _record(root, records, REPLACEMENT, archive, count)


def _record(root: Path, records: dict[str, dict], name: str, path: Path, files: int) -> None:
    os.sync()  # the files are on the disk before the record says so
    records[name] = {"archive": name, "size": str(path.stat().st_size), "files": files}
    _write_records(root, records)


def _write_records(root: Path, records: dict[str, dict]) -> None:
    write_table(root / EXTRACTED, COLUMNS, [records[name] for name in sorted(records)])


def _is_recorded(records: dict[str, dict], name: str, path: Path) -> bool:
    return name in records and records[name]["size"] == str(path.stat().st_size)


def _check_space(root: Path, needed: int) -> None:
    """Videos do not shrink in an archive, so they need as much as their archives."""
    free = shutil.disk_usage(root).free
    if needed > free:
        raise ArchiveError(
            f"{root}: {human(needed)} needed, {human(free)} free; make room there, or choose another root"
        )


def annotations(root: Path, split: str) -> list[dict[str, str]]:
    """The rows of ROOT/annotations/SPLIT.csv; [] if there is no such file. DataError names a file of another form."""
    path = root / "annotations" / f"{split}.csv"
    if not path.exists():
        return []
    rows = read_table(path)
    if not {"youtube_id", "time_start", "time_end"} <= set(rows[0] if rows else ()):
        raise DataError(
            f"{path}, line 1: expected a header with youtube_id, time_start and time_end, and videos below it"
        )
    return rows


def _annotated(root: Path, split: str) -> list[str]:
    """The file names of a split's videos."""
    names = []
    for line, row in enumerate(annotations(root, split), 2):
        try:
            start, end = int(float(row["time_start"])), int(float(row["time_end"]))
        except (TypeError, ValueError):
            path = root / "annotations" / f"{split}.csv"
            raise DataError(f"{path}, line {line}: expected time_start and time_end in seconds") from None
        names.append(f"{row['youtube_id']}_{start:06d}_{end:06d}.mp4")
    return names
