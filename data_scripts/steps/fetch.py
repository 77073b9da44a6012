"""One file over HTTP: continued where it was cut off, tried again with growing waits, never glued to another version.

A file grows as NAME.part. NAME.part.json beside it says which version of the remote file that is the beginning of. NAME
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

from tanet.runtime import write_text

CHUNK = 1 << 20  # bytes; also how much further an attempt must come to count as progress
LONGEST_WAIT = 60.0  # seconds between two attempts


class DownloadError(RuntimeError):
    """A file that cannot be fetched, or no room for it; the message begins with its address or path."""


class _Interrupted(Exception):
    """An attempt that failed in a way that another one may not."""


@dataclass(frozen=True)
class Patience:
    timeout: float = 60.0  # seconds without a byte, after which a connection is dropped
    retries: int = 8  # attempts in a row that may bring nothing new
    wait: float = 1.0  # seconds before the first retry; doubled each time, up to LONGEST_WAIT


PATIENT = Patience()


def fetch(
    url: str, target: Path, patience: Patience = PATIENT, received: Callable[[int], None] = lambda length: None
) -> None:
    """Fetches one file, from where an earlier attempt left it; `received` is told how many bytes are there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target)
    _persist(patience, lambda: _attempt(url, part, patience.timeout, received), lambda: length_of(part))
    os.replace(part, target)
    mark_of(part).unlink(missing_ok=True)


def read_text(url: str, patience: Patience = PATIENT) -> str:
    """A small text file's content."""

    def attempt() -> str:
        with _open(url, {}, patience.timeout) as response:
            return b"".join(_chunks(url, response)).decode(errors="replace")

    return _persist(patience, attempt)


def remote_size(url: str, patience: Patience = PATIENT) -> int | None:
    """How many bytes the server says the file has; None if it does not say."""

    def attempt() -> int | None:
        with _open(url, {}, patience.timeout, "HEAD") as response:
            return _content_length(response) if response.status == 200 else None

    return _persist(patience, attempt)


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def mark_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def length_of(path: Path) -> int:
    """The file's size in bytes, 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0


def _persist(patience: Patience, attempt: Callable, reached: Callable[[], int] = lambda: 0):
    """What `attempt` returns, once it does. Attempts that came further than all before them do not count as failures."""
    failures, furthest = 0, reached()
    while True:
        try:
            return attempt()
        except _Interrupted as error:
            failures += 1
            if reached() >= furthest + CHUNK:
                failures, furthest = 1, reached()
            if failures > patience.retries:
                raise DownloadError(f"{error}; given up after {failures} attempts that brought nothing new") from None
            time.sleep(min(patience.wait * 2 ** (failures - 1), LONGEST_WAIT))


def _attempt(url: str, part: Path, timeout: float, received: Callable[[int], None]) -> None:
    """Makes `part` whole, or raises _Interrupted with what came so far in it."""
    start, version = _beginning(url, part)
    if start and start == version["size"]:
        return
    headers = {}
    if start:
        # A weak ETag, W/"...", vouches for no bytes, and servers may not be asked by it.
        condition = version["ETag"] if version["ETag"].startswith('"') else version["Last-Modified"]
        headers = {"Range": f"bytes={start}-"} | ({"If-Range": condition} if condition else {})
    with _open(url, headers, timeout) as response:
        if not (start and _continues(response, start, version)):
            part.unlink(missing_ok=True)  # before the mark: a beginning never stands beside another file's
            if response.status != 200:
                raise _Interrupted(f"{url}: the server does not continue the file ({response.status})")
            start = 0
            version = {"url": url, "size": _content_length(response), **_tags(response)}
            write_text(mark_of(part), json.dumps(version) + "\n")
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
    """How many bytes of the file are there, and of which version of it; 0 if nobody knows of which."""
    try:
        version = json.loads(mark_of(part).read_text())
    except (FileNotFoundError, ValueError):
        return 0, {}
    start = length_of(part)
    known = version["url"] == url and version["size"] is not None and start <= version["size"]
    return (start, version) if known else (0, {})


def _continues(response: HTTPResponse, start: int, version: dict) -> bool:
    """Whether the body is the rest of that version from `start` on; not every server heeds If-Range."""
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status != 206 or span is None or (int(span[1]), int(span[2])) != (start, version["size"]):
        return False
    return all(tag in ("", version[name]) for name, tag in _tags(response).items())  # one may be left out in a 206


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
        for_good = 400 <= error.code < 500 and error.code not in (408, 429)
        raise (DownloadError if for_good else _Interrupted)(
            f"{url}: the server says {error.code} {error.reason}"
        ) from None
    except (OSError, HTTPException) as error:
        raise _Interrupted(f"{url}: {_words(error)}") from None


def _chunks(url: str, response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(CHUNK)  # what has come, without waiting for more
        except (OSError, HTTPException) as error:
            raise _Interrupted(f"{url}: {_words(error)}") from None
        if chunk:
            yield chunk
        elif response.length:
            raise _Interrupted(f"{url}: the connection ended {response.length} bytes early")
        else:
            return


def _words(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__
