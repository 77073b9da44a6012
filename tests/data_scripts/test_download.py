import csv
import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from support.fileserver import Page, serve

from data_scripts.steps import download as module
from data_scripts.steps import fetch as fetching
from data_scripts.steps.download import RECORDS, download, human
from data_scripts.steps.fetch import CHUNK, DownloadError, Patience, fetch, part_of, read_url, remote_size
from tanet.prepare.common import read_table

QUICK = Patience(timeout=60.0, retries=2, wait=0.01)
STALLED = Patience(
    timeout=0.5, retries=50, wait=0.01
)  # the time-out ends a stall; a slow machine may need more attempts
CONTENT = np.random.default_rng(0).bytes(3 * CHUNK + 12345)
OTHER = np.random.default_rng(1).bytes(len(CONTENT))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def fetched(tmp_path, page, url_path="a.bin", patience=QUICK):
    """The bytes that arrive of a page; nothing but the file is left."""
    with serve({"a.bin": page}) as (address, _):
        fetch(f"{address}/{url_path}", tmp_path / "a.bin", patience)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    return (tmp_path / "a.bin").read_bytes()


def gets(page):
    return [span for method, span in page.requests if method == "GET"]


FAULTS = {  # and how many requests they take
    "none": ({}, 1),
    "empty file": ({"content": b""}, 1),
    "cut at once": ({"cuts": [0]}, 2),
    "cut twice": ({"cuts": [100_000, 5]}, 3),
    "cut, no ETag": ({"cuts": [100_000], "etag": ""}, 2),
    "cut, weak ETag": ({"cuts": [100_000], "etag": 'W/"1"'}, 2),
    "cut, no ranges": ({"cuts": [100_000, 200_000], "ranges": False}, 3),
    "ranges in pieces": ({"cuts": [100_000], "piece": 700_000}, 6),
    "stalls": ({"stalls": [100_000]}, None),
    "stalls before the first byte": ({"stalls": [0]}, None),
    "busy": ({"refusals": [503, 429]}, 3),
    "no length": ({"says_length": False}, 1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_arrives_whole_through_every_fault(tmp_path, fault):
    changes, requests = FAULTS[fault]
    page = Page(**{"content": CONTENT, **changes})
    assert fetched(tmp_path, page, patience=STALLED if page.stalls else QUICK) == page.content
    assert len(gets(page)) == requests if requests else len(gets(page)) >= 2


@pytest.mark.parametrize("options", [{}, {"tagged_rest": False}, {"etag": ""}])
def test_bytes_that_have_arrived_are_not_requested_again(tmp_path, options):
    page = Page(CONTENT, cuts=[100_000, 5], **options)
    fetched(tmp_path, page)
    assert gets(page) == ["", "bytes=100000-", "bytes=100005-"]


def test_a_server_that_knows_no_ranges_sends_all_again(tmp_path):
    page = Page(CONTENT, cuts=[100_000, 5], ranges=False)
    fetched(tmp_path, page)
    assert gets(page) == ["", "bytes=100000-", "bytes=5-"]


CHANGES = {  # the page before, what changes, and how many more requests it takes
    "ETag": ({}, {}, 1),
    "If-Range ignored": ({"if_range": False}, {}, 2),
    "weak ETag": ({"etag": 'W/"1"'}, {"etag": 'W/"2"'}, 2),
    "time": ({"etag": "", "modified": "Mon"}, {"modified": "Tue"}, 1),
    "time, If-Range ignored": ({"etag": "", "modified": "Mon", "if_range": False}, {"modified": "Tue"}, 2),
    "shorter": ({"etag": ""}, {"content": OTHER[:-1]}, 2),
    "longer": ({"etag": ""}, {"content": OTHER + b"x"}, 2),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_file_is_not_joined_to_an_old_beginning(tmp_path, kind):
    before, after, requests = CHANGES[kind]
    page = Page(CONTENT, cuts=[CHUNK], **before)
    with serve({"a.bin": page}) as (address, _):
        with pytest.raises(DownloadError):
            fetch(f"{address}/a.bin", tmp_path / "a.bin", Patience(retries=0))
        assert fetching.file_size(part_of(tmp_path / "a.bin")) == CHUNK
        for name, value in {"content": OTHER, **after}.items():
            setattr(page, name, value)
        fetch(f"{address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == page.content and len(gets(page)) == 1 + requests


def test_a_beginning_of_unknown_origin_is_not_used(tmp_path):
    part_of(tmp_path / "a.bin").write_bytes(b"from somewhere")
    page = Page(CONTENT)
    assert fetched(tmp_path, page) == CONTENT and gets(page) == [""]


def test_a_beginning_from_another_address_is_not_used(tmp_path):
    pages = {"a.bin": Page(CONTENT, cuts=[CHUNK], etag='"1"'), "b.bin": Page(OTHER, etag='"1"')}
    with serve(pages) as (address, _):
        with pytest.raises(DownloadError):
            fetch(f"{address}/a.bin", tmp_path / "a.bin", Patience(retries=0))
        fetch(f"{address}/b.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == OTHER


def test_a_whole_part_needs_no_request(tmp_path):
    """Killed between the last byte and the renaming."""
    page = Page(CONTENT)
    with serve({"a.bin": page}) as (address, _):
        part_of(tmp_path / "a.bin").write_bytes(CONTENT)
        mark = {"url": f"{address}/a.bin", "size": len(CONTENT), "ETag": page.tag, "Last-Modified": ""}
        (tmp_path / "a.bin.part.json").write_text(json.dumps(mark))
        fetch(f"{address}/a.bin", tmp_path / "a.bin", QUICK)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT and gets(page) == []


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("extra", [1, 10 * CHUNK])
def test_a_length_that_is_never_reached_is_given_up(tmp_path, ranges, extra):
    page = Page(CONTENT, extra_length=extra, ranges=ranges)
    message = r"^http://127.0.0.1:\d+/a.bin: .*given up after 3 attempts"
    with serve({"a.bin": page}) as (address, _), pytest.raises(DownloadError, match=message):
        fetch(f"{address}/a.bin", tmp_path / "a.bin", QUICK)
    assert len(gets(page)) <= 5 and not (tmp_path / "a.bin").exists()


def test_attempts_that_bring_something_are_not_counted(tmp_path):
    page = Page(CONTENT[: 3 * CHUNK], cuts=[CHUNK, CHUNK])
    assert fetched(tmp_path, page, patience=Patience(retries=1, wait=0.01)) == CONTENT[: 3 * CHUNK]


def test_the_waits_between_attempts_grow(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(fetching.time, "sleep", waits.append)
    page = Page(CONTENT, refusals=[500] * 9)
    with serve({"a.bin": page}) as (address, _), pytest.raises(DownloadError, match="500"):
        fetch(f"{address}/a.bin", tmp_path / "a.bin", Patience(retries=8))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("code", [404, 403, 410])
def test_a_missing_file_is_an_error_at_once_that_names_the_address(tmp_path, code):
    page = Page(CONTENT, refusals=[code])
    message = rf"^http://127.0.0.1:\d+/a.bin: the server says {code}"
    with serve({"a.bin": page}) as (address, _), pytest.raises(DownloadError, match=message):
        fetch(f"{address}/a.bin", tmp_path / "a.bin", QUICK)
    assert len(page.requests) == 1


def test_no_server_and_no_address_are_named(tmp_path):
    with serve({}) as (address, _):
        pass
    for url in (f"{address}/a.bin", "ftp://127.0.0.1/a.bin", str(tmp_path / "a.bin")):
        with pytest.raises(DownloadError) as failure:
            fetch(url, tmp_path / "a.bin", Patience(retries=1, wait=0))
        assert str(failure.value).startswith(url)


def test_texts_and_sizes(tmp_path):
    pages = {"a.txt": Page("é\n".encode(), cuts=[1]), "b": Page(CONTENT, says_length=False)}
    with serve(pages) as (address, _):
        assert read_url(f"{address}/a.txt", QUICK) == "é\n"
        assert remote_size(f"{address}/a.txt", QUICK) == 3 and remote_size(f"{address}/b", QUICK) is None


# Many files


@pytest.fixture
def archives():
    """Pages of six files and {file: path on the server}."""
    contents = {f"train/part_{i}.tar.gz": np.random.default_rng(i).bytes(200_000 + i) for i in range(6)}
    return {file: Page(content) for file, content in contents.items()}


def run(address, pages, folder, **options):
    download({file: f"{address}/{file}" for file in pages}, folder, QUICK, threads=3, **options)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_arrive_and_are_recorded(tmp_path, archives, capsys):
    with serve(archives) as (address, _):
        run(address, archives, tmp_path)
    got = content(tmp_path)
    rows = read_table(tmp_path / RECORDS)
    assert got.keys() == archives.keys() | {RECORDS} and all(got[file] == archives[file].content for file in archives)
    assert rows == [
        {"file": file, "size": str(len(page.content)), "sha256": hashlib.sha256(page.content).hexdigest(),
         "url": f"{address}/{file}"}
        for file, page in sorted(archives.items())
    ]  # fmt: skip
    assert "6 files, 0 of them there; 1.2 MB to fetch" in capsys.readouterr().out


def test_a_second_run_fetches_nothing(tmp_path, archives, capsys):
    with serve(archives) as (address, _):
        run(address, archives, tmp_path)
        before = {file: len(page.requests) for file, page in archives.items()}
        run(address, archives, tmp_path, check=True)
        assert before == {file: len(page.requests) for file, page in archives.items()}
    assert "6 files, 6 of them there; 0 bytes to fetch" in capsys.readouterr().out


def test_files_that_differ_from_their_record_are_named_and_fetched_again(tmp_path, archives, capsys):
    shorter, changed, gone, *others = archives
    with serve(archives) as (address, _):
        run(address, archives, tmp_path)
        (tmp_path / shorter).write_bytes(archives[shorter].content[:-1])
        (tmp_path / changed).write_bytes(archives[changed].content[:-1] + b"x")
        (tmp_path / gone).unlink()
        capsys.readouterr()
        run(address, archives, tmp_path)
        printed = capsys.readouterr().out
        assert f"{tmp_path / shorter}: 199999 bytes, downloads.csv says 200000; fetching it again" in printed
        assert f"{tmp_path / gone}: recorded in downloads.csv, but gone; fetching it again" in printed
        assert changed not in printed and content(tmp_path)[changed] != archives[changed].content  # of its size
        run(address, archives, tmp_path, check=True)
    assert f"{tmp_path / changed}: sha256 " in capsys.readouterr().out
    assert all(content(tmp_path)[file] == page.content for file, page in archives.items())
    assert all(len(gets(archives[file])) == 1 for file in others)


def test_files_copied_there_by_hand_are_recorded_if_their_size_is_right(tmp_path, archives, capsys):
    right, wrong, *_ = archives
    (tmp_path / "train").mkdir()
    (tmp_path / right).write_bytes(archives[right].content)
    (tmp_path / wrong).write_bytes(b"else")
    with serve(archives) as (address, _):
        run(address, archives, tmp_path)
    assert gets(archives[right]) == [] and len(read_table(tmp_path / RECORDS)) == 6
    assert f"{tmp_path / wrong}: 4 bytes, the server says 200001; fetching it again" in capsys.readouterr().out


def test_all_files_are_tried_and_the_failures_are_listed(tmp_path, archives):
    missing, broken, *others = archives
    archives[broken].refusals = [500] * 99
    pages = {file: page for file, page in archives.items() if file != missing}
    with serve(pages) as (address, _):
        with pytest.raises(DownloadError) as failure:
            run(address, archives, tmp_path)
        message = str(failure.value)
        assert message.startswith(f"{tmp_path}: 2 of 6 files failed; the same command tries them again")
        assert f"{missing}: {address}/{missing}: the server says 404" in message
        assert f"{broken}: {address}/{broken}: the server says 500" in message
        assert content(tmp_path).keys() == {*others, RECORDS}
        archives[broken].refusals, pages[missing] = [], archives[missing]
        run(address, archives, tmp_path)
    assert all(content(tmp_path)[file] == page.content for file, page in archives.items())


def test_a_dry_run_lists_the_files_and_changes_nothing(tmp_path, archives, capsys):
    first, second, *_ = archives
    with serve(archives) as (address, _):
        run(address, {first: None}, tmp_path)
        before = content(tmp_path)
        capsys.readouterr()
        run(address, archives, tmp_path, dry_run=True)
    printed = capsys.readouterr().out
    assert f"       there  {tmp_path / first}  {address}/{first}" in printed
    assert f"    200.0 kB  {tmp_path / second}  {address}/{second}" in printed
    assert "6 files, 1 of them there; 1.0 MB to fetch" in printed
    assert content(tmp_path) == before and gets(archives[second]) == []


def test_room_on_the_disk_is_checked_first(tmp_path, archives, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=module.SPARE + 10**6))
    with serve(archives) as (address, _):
        with pytest.raises(DownloadError, match=rf"^{tmp_path}: 1.2 MB needed and 1.1 GB to spare, 1.1 GB free"):
            run(address, archives, tmp_path)
        assert not any(gets(page) for page in archives.values())
        (tmp_path / "train").mkdir()
        run(address, dict(list(archives.items())[:4]), tmp_path)  # 0.8 MB


def test_the_part_of_a_file_that_is_there_needs_no_room(tmp_path, archives, monkeypatch):
    file, page = "train/part_0.tar.gz", archives["train/part_0.tar.gz"]
    page.cuts = [150_000]
    with serve(archives) as (address, _):
        with pytest.raises(DownloadError):
            download({file: f"{address}/{file}"}, tmp_path, Patience(retries=0))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=module.SPARE + 60_000))
        download({file: f"{address}/{file}"}, tmp_path, QUICK)
    assert content(tmp_path)[file] == page.content


def test_progress_is_shown_in_mebibytes(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        module, "track", lambda items, total, label: shown.append((len(list(items)), total, label)) or []
    )
    with serve({"a.bin": Page(CONTENT, cuts=[CHUNK])}) as (address, pages):
        run(address, pages, tmp_path)
    assert shown == [(3, 3, "download, MiB")]


def test_records_are_plain_csv(tmp_path, archives):
    with serve(archives) as (address, _):
        run(address, archives, tmp_path)
    with open(tmp_path / RECORDS, newline="") as file:
        assert next(csv.reader(file)) == ["file", "size", "sha256", "url"]


def test_sizes_for_people():
    assert [human(size) for size in (0, 999, 1000, 1234567, 370 * 10**9, 5 * 10**15)] == [
        "0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "370.0 GB", "5000.0 TB",
    ]  # fmt: skip
