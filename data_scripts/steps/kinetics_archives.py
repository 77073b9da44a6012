"""Kinetics-400's archives: where they are fetched from, and what becomes of each."""

import os
import shutil
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from data_scripts.steps.archives import ArchiveError, try_to_extract
from data_scripts.steps.download import human
from data_scripts.steps.fetch import PATIENT, Patience, read_text
from data_scripts.steps.tables import read_table, write_table
from data_scripts.steps.workers import in_processes
from tanet.errors import DataError
from tanet.runtime import track

BASE_URL = "https://s3.amazonaws.com/kinetics/400"  # the CVDF's bucket
REPLACEMENT = "replacement_for_corrupted_k400.tgz"
EXTRACTED = "extracted.csv"


def addresses(split: str, where: str, base_url: str = BASE_URL, patience: Patience = PATIENT) -> dict[str, str]:
    """{file below the archives' folder: address} of a split's archives, by the archive list `where`, a file or an address.
    With another `base_url`, the CVDF's addresses in the list are looked for there."""
    is_address = where.startswith(("http://", "https://"))
    text = read_text(where, patience) if is_address else Path(where).read_text()
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        url = line.strip()
        if not url:
            continue
        if url.startswith(BASE_URL):
            url = base_url + url.removeprefix(BASE_URL)
        name = PurePosixPath(urlsplit(url).path).name
        if not url.startswith(("http://", "https://")) or not name.endswith((".tar.gz", ".tgz")):
            raise DataError(f"{where}, line {number}: expected the address of a .tar.gz archive, got {url!r}")
        if f"{split}/{name}" in found:
            raise DataError(f"{where}, line {number}: {name} stands there twice")
        found[f"{split}/{name}"] = url
    return found


def extract(root: Path, archives: Path, splits: list[str], processes: int) -> None:
    """Unpacks {split}/*.tar.gz below `archives`, each into ROOT/{split}/NAME/, then the replacement over the corrupted
    videos. All are tried; ArchiveError lists those that failed."""
    found = {f"{split}/{path.name}": path for split in splits for path in sorted((archives / split).glob("*.t*gz"))}
    if not found:
        raise FileNotFoundError(f"{archives}: no .tar.gz archives below {' or '.join(splits)}; download them first")
    records = {row["archive"]: row for row in read_table(root / EXTRACTED)}
    waiting = [name for name, path in found.items() if not _is_recorded(records, name, path)]
    print(f"{root}: {len(found)} archives, {len(found) - len(waiting)} of them extracted", flush=True)
    _check_space(root, sum(found[name].stat().st_size for name in waiting))
    if waiting and records.pop(REPLACEMENT, None):
        _write_records(root, records)  # what comes now may be corrupted: the replacement is due again after it
    jobs = {(path, root / name.partition(".")[0]): name for name, path in found.items() if name in waiting}
    failures = {}
    for job, result in track(in_processes(try_to_extract, jobs, processes), len(jobs), "extract, archives"):
        _record(root, records, jobs[job], job[0], result, failures)
    replacement = archives / REPLACEMENT
    if not replacement.exists():
        print(f"{replacement}: not there; corrupted videos are not replaced", flush=True)
    elif not _is_recorded(records, REPLACEMENT, replacement):
        _record(root, records, REPLACEMENT, replacement, _replace(replacement, root, splits), failures)
    if failures:
        reasons = "".join(f"\n  {failures[name]}" for name in sorted(failures))
        raise ArchiveError(f"{archives}: {len(failures)} of {len(found)} archives are not extracted{reasons}")


def _replace(archive: Path, root: Path, splits: list[str]) -> int | str:
    """Unpacks the replacement, a flat folder of videos of all splits, over the videos it replaces."""
    places = {}
    for split in splits:
        places |= {name: root / split / "replacement" / name for name in _annotated(root, split)}
        places |= {path.name: path for path in (root / split).rglob("*.mp4")}
    return try_to_extract((archive, root, places.get, True))


def _record(root: Path, records: dict, name: str, path: Path, result, failures: dict[str, str]) -> None:
    if not isinstance(result, int):
        failures[name] = str(result)
        return
    os.sync()  # the files are on the disk before the record says so
    records[name] = {"archive": name, "size": path.stat().st_size, "files": result}
    _write_records(root, records)


def _write_records(root: Path, records: dict[str, dict]) -> None:
    write_table(root / EXTRACTED, ("archive", "size", "files"), [records[name] for name in sorted(records)])


def _is_recorded(records: dict[str, dict], name: str, path: Path) -> bool:
    return name in records and int(records[name]["size"]) == path.stat().st_size


def _check_space(root: Path, needed: int) -> None:
    """Videos do not shrink in an archive: what they need is their archives' size."""
    free = shutil.disk_usage(root).free
    if needed > free:
        raise ArchiveError(
            f"{root}: {human(needed)} needed, {human(free)} free; make room there, or choose another root"
        )


def annotations(root: Path, split: str) -> list[dict[str, str]]:
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
    rows = [
        (row["youtube_id"], int(float(row["time_start"])), int(float(row["time_end"])))
        for row in annotations(root, split)
    ]
    return [f"{name}_{start:06d}_{end:06d}.mp4" for name, start, end in rows]
