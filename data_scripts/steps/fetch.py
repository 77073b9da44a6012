"""Fetches one file over HTTP: resumes where it was cut off, retries with growing waits, never joins two versions of a
file.

A file grows as NAME.part. NAME.part.json records which version of the remote file NAME.part is the beginning of. NAME
itself is whole or not there.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tanet.errors import DownloadError
from tanet.runtime import decode_text, read_json, write_text

CHUNK = 1 << 20  # bytes; an attempt that brings as many counts as progress
LONGEST_WAIT = 60.0  # seconds between two attempts


class _Interrupted(Exception):
    """An attempt failed, and the next one may not."""


@dataclass(frozen=True)
class Patience:
    """How long to try."""

    timeout: float = 60.0  # seconds without a byte before a connection is dropped
    retries: int = 8  # attempts in a row that may bring less than CHUNK
    wait: float = 1.0  # seconds before the first retry; doubled each time, up to LONGEST_WAIT


PATIENT = Patience()


def fetch(
    url: str, target: Path, patience: Patience = PATIENT, received: Callable[[int], None] = lambda size: None
) -> None:
    """Fetches one file, from where an earlier attempt left it, and calls `received(bytes that are there)` as it grows.
    Raises DownloadError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target)
    _persist(patience, lambda: _attempt(url, part, patience.timeout, received), lambda: file_size(part))
    os.replace(part, target)
    version_of(part).unlink(missing_ok=True)


def read_url(url: str, patience: Patience = PATIENT) -> str:
    """The content of a small text file. Raises DownloadError, or DataError if it is no text in UTF-8."""

    def attempt() -> bytes:
        with _open(url, {}, patience.timeout) as response:
            return b"".join(_chunks(url, response))

    return decode_text(_persist(patience, attempt), url)


def remote_size(url: str, patience: Patience = PATIENT) -> int | None:
    """The file's size in bytes by the server; None if the server does not give it. Raises DownloadError."""

    def attempt() -> int | None:
        with _open(url, {}, patience.timeout, "HEAD") as response:
            return _content_length(response) if response.status == 200 else None

    return _persist(patience, attempt)


def part_of(target: Path) -> Path:
    """The file that grows until it is whole."""
    return target.with_name(f"{target.name}.part")


def version_of(part: Path) -> Path:
    """The file that records which version a part belongs to."""
    return part.with_name(f"{part.name}.json")


def file_size(path: Path) -> int:
    """The file's size in bytes, 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0


def _persist(patience: Patience, attempt: Callable, progress: Callable[[], int] = lambda: 0):
    """Calls `attempt` until it returns, and returns that. An attempt that got further than all before it resets the
    count of failures. `progress` gives the bytes that have arrived."""
    failures, furthest = 0, progress()
    while True:
        try:
            return attempt()
        except _Interrupted as error:
            failures += 1
            if progress() >= furthest + CHUNK:
                failures, furthest = 1, progress()
            if failures > patience.retries:
                raise DownloadError(f"{error}; given up after {failures} attempts that brought nothing new") from None
            time.sleep(min(patience.wait * 2 ** (failures - 1), LONGEST_WAIT))


def _attempt(url: str, part: Path, timeout: float, received: Callable[[int], None]) -> None:
    """Makes `part` whole, or raises _Interrupted and leaves in it what arrived."""
    start, version = _beginning(url, part)
    if start and start == version["size"]:
        return
    headers = {}
    if start:
        headers["Range"] = f"bytes={start}-"
        # A weak ETag, W/"...", does not promise equal bytes, and HTTP forbids it in If-Range.
        condition = version["ETag"] if version["ETag"].startswith('"') else version["Last-Modified"]
        if condition:
            headers["If-Range"] = condition
    with _open(url, headers, timeout) as response:
        if not (start and _continues(response, start, version)):
            part.unlink(missing_ok=True)  # first: a part never lies beside the record of another version
            if response.status != 200:
                raise _Interrupted(f"{url}: the server does not continue the file ({response.status})")
            start = 0
            version = {"url": url, "size": _content_length(response), **_tags(response)}
            write_text(version_of(part), json.dumps(version) + "\n")
        with open(part, "ab") as file:
            for chunk in _chunks(url, response):
                file.write(chunk)
                start += len(chunk)
                received(start)
            file.flush()
            os.fsync(file.fileno())
    if version["size"] not in (None, start):
        raise _Interrupted(f"{url}: the connection ended after {start} of {version['size']} bytes")


def _beginning(url: str, part: Path) -> tuple[int, dict]:
    """How many bytes of the file are there, and their version; (0, {}) if the version is not known."""
    try:
        version = read_json(version_of(part))
    except (FileNotFoundError, ValueError):
        return 0, {}
    start = file_size(part)
    known = version["url"] == url and version["size"] is not None and start <= version["size"]
    return (start, version) if known else (0, {})


def _continues(response: HTTPResponse, start: int, version: dict) -> bool:
    """Whether the body continues that version at byte `start`: not every server heeds If-Range."""
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status != 206 or span is None or (int(span[1]), int(span[2])) != (start, version["size"]):
        return False
    return all(tag in ("", version[name]) for name, tag in _tags(response).items())  # a 206 may omit either


def _tags(response: HTTPResponse) -> dict[str, str]:
    return {name: response.headers.get(name, "") for name in ("ETag", "Last-Modified")}


def _content_length(response: HTTPResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _open(url: str, headers: dict[str, str], timeout: float, method: str = "GET") -> HTTPResponse | HTTPError:
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url}: not an address that begins with http:// or https://")
    plain = {"Accept-Encoding": "identity", "User-Agent": "tanet"}
    try:
        return urlopen(Request(url, headers=plain | headers, method=method), timeout=timeout)
    except HTTPError as error:
        if error.code == 416 or method == "HEAD" and error.code in (405, 501):
            return error
        message = f"{url}: the server says {error.code} {error.reason}"
        if 400 <= error.code < 500 and error.code not in (408, 429):  # another attempt gets the same answer
            raise DownloadError(message) from None
        raise _Interrupted(message) from None
    except (OSError, HTTPException) as error:
        raise _Interrupted(f"{url}: {_reason(error)}") from None


def _chunks(url: str, response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(CHUNK)  # what has arrived, without waiting for more
        except (OSError, HTTPException) as error:
            raise _Interrupted(f"{url}: {_reason(error)}") from None
        if chunk:
            yield chunk
        elif response.length:
            raise _Interrupted(f"{url}: the connection ended {response.length} bytes early")
        else:
            return


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__
