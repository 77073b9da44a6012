"""Something-Something comes as an archive that is cut into parts; V2's parts may lie in zip files. Joins and unpacks
them."""

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO

from data_scripts.steps.archives import ArchiveError, extract_tar
from tanet.runtime import atomic_write, read_json, track, write_text

SITE = "its publisher, Qualcomm (developer.qualcomm.com/software/ai-datasets/something-something)"
RECORD = "extracted.json"
JOINED = (".tar.gz", ".tgz", ".tar", "")  # how the name of an archive ends whose parts were joined by hand


def extract(version: str, parts_folder: Path, root: Path) -> int:
    """Unpacks the archive whose parts lie in `parts_folder` into `root`; returns its number of files, 0 if that was
    done before. An interrupted run resumes. FileNotFoundError or ArchiveError name a part."""
    print("Something-Something is for research only; by using it you agree to its publisher's terms.", flush=True)
    if version == "v2":
        _extract_annotations(parts_folder, root)
    with ExitStack() as zips:
        parts = _parts(version, parts_folder, zips)
        sizes = {name: size for name, size, _ in parts}
        videos = root / f"20bn-something-something-{version}"
        if videos.is_dir() and _recorded_sizes(root) == sizes:
            print(f"{root}: extracted already", flush=True)
            return 0
        root.mkdir(parents=True, exist_ok=True)
        joined = _Joined(f"{parts_folder / parts[0][0]} and the parts after it", [opener for *_, opener in parts])
        try:
            count = extract_tar(joined, root)
        except ArchiveError as error:
            raise ArchiveError(
                f"{error}. This came up in {joined.part_name}, part {joined.part_number} of {len(parts)}; if the "
                "publisher has more parts, get those, too"
            ) from error
    os.sync()  # the files are on the disk before the record says so
    write_text(root / RECORD, json.dumps(sizes) + "\n")
    print(f"{root}: {count} files", flush=True)
    return count


def _recorded_sizes(root: Path) -> dict[str, int]:
    """{part: bytes} of the parts that were unpacked before; {} if none were, or if the record is damaged."""
    try:
        return read_json(root / RECORD)
    except (FileNotFoundError, ValueError):
        return {}


def _extract_annotations(folder: Path, root: Path) -> None:
    """Unpacks the zip file of annotations that V2's newer distribution has. Its shorter names become those of the older
    distribution. Files that are there are kept."""
    for path in sorted(folder.glob("20bn-something-something-*labels*.zip")):
        with ExitStack() as zips:
            archive = _open_zip(path, zips)
            for name in ("labels", "train", "validation"):
                target = root / f"something-something-v2-{name}.json"
                member = next(
                    (member for member in archive.namelist() if member.split("/")[-1] == f"{name}.json"), None
                )
                if member is not None and not target.exists():
                    root.mkdir(parents=True, exist_ok=True)
                    with atomic_write(target) as file:
                        file.write(archive.read(member))


Part = tuple[str, int, Callable[[], BinaryIO]]  # name, size in bytes, how to open it


def _parts(version: str, folder: Path, zips: ExitStack) -> list[Part]:
    """The parts in order, from files or from inside zip files."""
    base = f"20bn-something-something-{version}"
    pattern = re.compile(rf"(?:.*/)?{base}-(\d\d)")
    parts = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if match := pattern.fullmatch(path.name):
            parts[int(match[1])] = (path.name, path.stat().st_size, partial(open, path, "rb"))
        elif version == "v2" and path.name.startswith(base) and path.suffix == ".zip":
            for number, part in _in_zip(path, pattern, zips):
                parts.setdefault(number, part)
    joined = [path for suffix in JOINED if (path := folder / f"{base}{suffix}").is_file()]
    if joined and not parts:
        return [(joined[0].name, joined[0].stat().st_size, partial(open, joined[0], "rb"))]
    if not parts:
        zipped = f", or {base}-00.zip and {base}-01.zip" if version == "v2" else ""
        raise FileNotFoundError(f"{folder}: no parts {base}-00, {base}-01, ...{zipped}; they come from {SITE}")
    gap = next((number for number in range(max(parts)) if number not in parts), None)
    if gap is not None:
        raise FileNotFoundError(
            f"{folder}: {base}-{gap:02d} is missing, {base}-{max(parts):02d} is there; they come from {SITE}"
        )
    return [parts[number] for number in sorted(parts)]


def _in_zip(path: Path, pattern: re.Pattern, zips: ExitStack) -> Iterator[tuple[int, Part]]:
    """The parts in a zip file, with their numbers."""
    archive = _open_zip(path, zips)
    for member in archive.infolist():
        if match := pattern.fullmatch(member.filename):
            yield int(match[1]), (f"{path.name} ({member.filename})", member.file_size, partial(archive.open, member))


def _open_zip(path: Path, zips: ExitStack) -> zipfile.ZipFile:
    try:
        return zips.enter_context(zipfile.ZipFile(path))
    except zipfile.BadZipFile as error:
        raise ArchiveError(
            f"{path}: not a zip file, or cut short ({error}); get it again. If it is a part itself, take .zip off its "
            "name"
        ) from None


class _Joined(io.RawIOBase):
    """A stream of one file after the other. `part_name` and `part_number`, from 1, tell which one is being read."""

    def __init__(self, name: str, openers: list[Callable[[], BinaryIO]]):
        self.name = name
        self._files = track(_open_in_turn(openers), len(openers), "extract, parts")
        self._file = next(self._files)
        self.part_name, self.part_number = self._file.name, 1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while self._file is not None:
            try:
                data = self._file.read(len(buffer))
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise ArchiveError(f"{self._file.name}: damaged or cut short ({error}); get it again") from error
            if data:
                buffer[: len(data)] = data
                return len(data)
            self._file = next(self._files, None)
            if self._file is not None:
                self.part_name, self.part_number = self._file.name, self.part_number + 1
        return 0


def _open_in_turn(openers: list[Callable[[], BinaryIO]]) -> Iterator[BinaryIO]:
    for opener in openers:
        with opener() as file:
            yield file
