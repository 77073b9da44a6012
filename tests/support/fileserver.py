"""A file server on 127.0.0.1 that fails as real servers do.

with serve({"a.bin": Page(content, cuts=[1000])}) as (address, pages):
    fetch(f"{address}/a.bin", ...)  # the first connection is cut after 1000 bytes
"""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """A file and how its server fails. Each GET takes one item from the front of each list."""

    content: bytes
    etag: str | None = None  # None: the content's hash; "": none is sent
    refusals: list[int] = field(default_factory=list)  # status codes that are answered first
    cuts: list[int] = field(default_factory=list)  # bytes of a body after which the connection is closed
    stalls: list[int] = field(default_factory=list)  # bytes of a body after which the server sends nothing more
    modified: str = ""  # Last-Modified, where not empty
    ranges: bool = True  # False: Range is ignored
    if_range: bool = True  # False: If-Range is ignored
    tagged_rest: bool = True  # False: answers to ranges leave the ETag out
    piece: int | None = None  # bytes of a range that one answer holds at most
    extra_length: int = 0  # bytes that Content-Length promises and that are not there
    says_length: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)  # method and Range of each request

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()}"' if self.etag is None else self.etag


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body: bool):
        page = self.server.pages.get(self.path.lstrip("/"))
        if page is None or len(page.requests) > 100:  # a client that would ask for ever
            self.send_error(404)
            return
        page.requests.append((self.command, self.headers.get("Range", "")))
        if body and page.refusals:
            self.send_error(page.refusals.pop(0))
            return
        start, content = 0, page.content
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        fits = self.headers.get("If-Range") in (None, page.tag, page.modified)
        if asked and page.ranges and (fits or not page.if_range):
            start = int(asked[1])
            content = content[: start + (page.piece or len(content))]
        if start >= len(page.content) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(page.content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if page.tag and (page.tagged_rest or not start):
            self.send_header("ETag", page.tag)
        if page.modified:
            self.send_header("Last-Modified", page.modified)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(page.content)}")
        if page.says_length:
            self.send_header("Content-Length", str(len(content) - start + page.extra_length))
        self.end_headers()
        if body:
            self._send(page, content[start:])

    def _send(self, page: Page, body: bytes):
        cut = page.cuts.pop(0) if page.cuts else None
        stall = page.stalls.pop(0) if page.stalls else None
        body = body[: min(stop for stop in (cut, stall, len(body)) if stop is not None)]
        self.wfile.write(body)
        if stall is not None:
            self.server.closing.wait()
        self.close_connection = True

    def handle(self):
        try:
            super().handle()
        except ConnectionError:  # the client was killed
            pass

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        pass


@contextmanager
def serve(pages: dict[str, Page]) -> Iterator[tuple[str, dict[str, Page]]]:
    """Serves {path: page} while the block runs; yields the server's address and the pages, which a test may change."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.pages, server.closing = pages, threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", pages
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
