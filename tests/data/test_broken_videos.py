"""Odd and broken videos: each kind is read whole and right, or refused with its name and the reason.

A child process reads them, because a decoder must neither hang nor crash.
"""

import json
import multiprocessing
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from support.footage import numbered, read_numbers, write_footage, write_sound

from tanet.data import open_video, probe
from tanet.errors import VideoError

LENGTH = 60
SIZE = (192, 144)


def footage(path: Path, kind: str = "h264-closed", frames: int = LENGTH, **options) -> Path:
    return write_footage(path, kind, frames, SIZE, **options)


def content(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def cut(path: Path, keep: float) -> Path:
    """Keeps the first part of a file, this share of its bytes."""
    return content(path, path.read_bytes()[: int(keep * path.stat().st_size)])


def overwritten(path: Path, marker: bytes, distance: int, value: bytes) -> Path:
    """Writes `value` into a file, `distance` bytes behind the first `marker`."""
    data = path.read_bytes()
    start = data.index(marker) + len(marker) + distance
    return content(path, data[:start] + value + data[start + len(value) :])


def damaged(path: Path) -> Path:
    """Flips some bytes in the second half of the pictures, as a bad disk does. The index stays whole."""
    data = bytearray(path.read_bytes())
    for offset in range(len(data) // 2, len(data) * 3 // 4, 50):
        data[offset] ^= 0xFF
    return content(path, bytes(data))


def jpeg_folder(path: Path, count: int = 6) -> Path:
    path.mkdir()
    for i in range(count):
        Image.fromarray(numbered(i, SIZE)).save(path / f"{i + 1:05d}.jpg", quality=95)
    return path


def without(path: Path, name: str) -> Path:
    """A folder without this frame."""
    (path / name).unlink()
    return path


def with_cut(path: Path, name: str, keep: float) -> Path:
    """A folder with this frame cut."""
    cut(path / name, keep)
    return path


def converted(path: Path, mode: str) -> Path:
    """A folder with all frames in this colour mode."""
    for picture in path.iterdir():
        Image.open(picture).convert(mode).save(picture, quality=95)
    return path


WRONG_COUNT = (1000).to_bytes(4, "little")
# name -> (function that makes the file, words of the error message; or, for a file that is read, its number of frames)
FAULTS = {
    "zero bytes.mp4": (lambda p: content(p, b""), "empty; get the file again"),
    "text.mp4": (lambda p: content(p, b"not a video at all\n" * 100), "cannot be opened as a video"),
    "web page.mp4": (lambda p: content(p, b"<!DOCTYPE html><html>Not found</html>" * 9), "a web page, not a video"),
    "sound only.mp4": (write_sound, "no video track"),
    "cut at half, index behind.mp4": (lambda p: cut(footage(p), 0.5), "cut short, it should have"),
    "cut at half, index in front.mp4": (lambda p: cut(footage(p, "faststart"), 0.5), "cut short"),
    "cut at the end, index in front.mp4": (lambda p: cut(footage(p, "faststart"), 0.99), "cut short"),
    "cut in the index.mp4": (lambda p: cut(footage(p), 0.99), "cannot be opened as a video"),
    "cut at half, fragmented.mp4": (lambda p: cut(footage(p, "fragmented"), 0.5), "cut short"),
    "cut at half.webm": (lambda p: cut(footage(p, "vp9"), 0.5), "cut short"),
    "cut at half.mkv": (lambda p: cut(footage(p, "hevc"), 0.5), "cut short"),
    "cut at half.avi": (lambda p: cut(footage(p, "mpeg4"), 0.5), "cut short"),
    "damaged.mp4": (lambda p: damaged(footage(p)), "of 60"),
    "one frame.mp4": (lambda p: footage(p, frames=1), 1),
    "one frame.webm": (lambda p: footage(p, "vp9", frames=1), 1),
    "five frames.mp4": (lambda p: footage(p, frames=5), 5),
    "odd size.webm": (lambda p: write_footage(p, "vp9", LENGTH, (193, 145)), LENGTH),
    "rotated.mp4": (lambda p: footage(p, "rotated"), LENGTH),
    "variable rate.mp4": (lambda p: footage(p, "variable-rate"), LENGTH),
    "av1.mp4": (lambda p: footage(p, "av1"), LENGTH),
    "vp9.webm": (lambda p: footage(p, "vp9"), LENGTH),
    "hevc.mp4": (lambda p: footage(p, "hevc"), LENGTH),
    "mpeg4.avi": (lambda p: footage(p, "mpeg4"), LENGTH),
    "wrong count.avi": (lambda p: overwritten(footage(p, "mpeg4"), b"vids", 28, WRONG_COUNT), LENGTH),
    "wrong duration.mp4": (lambda p: overwritten(footage(p), b"mdhd", 16, bytes([0, 9, 9, 9])), LENGTH),
    "a name with 'single', \"double\" quotes, $HOME, %d and Zürich 東京.mp4": (lambda p: footage(p), LENGTH),
    "a name with 'quotes' é.webm": (lambda p: footage(p, "vp9"), LENGTH),
    "frames": (jpeg_folder, 6),
    "frames, grey": (lambda p: converted(jpeg_folder(p), "L"), 6),
    "frames, CMYK": (lambda p: converted(jpeg_folder(p), "CMYK"), 6),
    "frames, one missing": (lambda p: without(jpeg_folder(p), "00004.jpg"), "00004.jpg is missing"),
    "frames, one cut": (lambda p: with_cut(jpeg_folder(p), "00004.jpg", 0.9), "00004.jpg: cannot be read as JPEG"),
    "frames, one cut by a hair": (
        lambda p: with_cut(jpeg_folder(p), "00004.jpg", 0.998),
        "00004.jpg: cannot be read as",
    ),
    "frames, one empty": (lambda p: with_cut(jpeg_folder(p), "00004.jpg", 0), "00004.jpg: cannot be read as JPEG"),
}
TIMEOUT = 300  # seconds; only a decoder that hangs takes longer
NOBODY = 65534  # id of a user without any rights


def run_in_child(function, *arguments) -> None:
    """Runs the function in a forked process, like a DataLoader's worker. Asserts that it neither hangs nor crashes."""
    child = multiprocessing.get_context("fork").Process(target=_run_with_one_thread, args=(function, *arguments))
    child.start()
    child.join(TIMEOUT)
    if child.exitcode is None:
        child.kill()
        child.join()
    assert child.exitcode == 0


def _run_with_one_thread(function, *arguments):
    torch.set_num_threads(1)  # the parent's threads do not exist in a forked process
    function(*arguments)


def read_all(folder: Path) -> dict[str, str | list[int]]:
    """Reads each video of a folder -> {name: the numbers of its frames, or the error message}."""
    results = {}
    for path in sorted(folder.iterdir()):
        try:
            with open_video(path) as video:
                results[path.name] = read_numbers(video.frames(range(len(video))))
        except VideoError as error:
            results[path.name] = str(error)
    return results


def write_results(folder: Path, results: Path) -> None:
    results.write_text(json.dumps(read_all(folder)))


@pytest.fixture(scope="module")
def faults(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    for name, (make, _) in FAULTS.items():
        make(folder / name)
    return folder


@pytest.fixture(scope="module")
def results(faults, tmp_path_factory) -> dict[str, str | list[int]]:
    path = tmp_path_factory.mktemp("results") / "results.jsonl"
    run_in_child(write_results, faults, path)
    return json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_file_is_read_whole_or_refused_by_name(faults, results, name):
    expected = FAULTS[name][1]
    if isinstance(expected, int):
        assert results[name] == list(range(expected))
    else:
        assert results[name].startswith(str(faults / name)) and expected in results[name]
        assert "\n" not in results[name]


@pytest.mark.parametrize("kind, name", [("faststart", "a.mp4"), ("vp9", "a.webm"), ("mpeg4", "a.avi")])
def test_a_file_cut_between_two_frames_is_refused(tmp_path, kind, name):
    """All frames in the file are whole, but there should be more."""
    path = footage(tmp_path / name, kind)
    with av.open(str(path)) as container:
        offsets = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
    content(path, path.read_bytes()[: offsets[30]])
    with pytest.raises(VideoError, match=rf"{name}: cut short, it should have \d+ bytes; get the file again"):
        open_video(path)


def test_a_transport_stream_that_was_cut_has_the_frames_that_are_left(tmp_path):
    """The format may be cut anywhere: nothing in the file tells that frames are missing. Those left must be right."""
    path = cut(footage(tmp_path / "a.ts"), 0.5)
    with open_video(path) as video:
        assert 20 < len(video) < 40 and read_numbers(video.frames(range(len(video)))) == list(range(len(video)))


@pytest.mark.parametrize("kind", ["h264-closed", "h264-open", "hevc"])
def test_a_transport_stream_without_its_beginning_starts_at_its_first_key_frame(tmp_path, kind):
    """Pictures that refer to pictures before that key frame do not count as frames."""
    often = {"x265-params": "keyint=15:log-level=error"} if kind == "hevc" else {"g": "15"}
    path = footage(tmp_path / "a.ts", kind, **often)
    data = path.read_bytes()
    path.write_bytes(data[len(data) * 2 // 5 // 188 * 188 :])
    with open_video(path) as video:
        numbers = read_numbers(video.frames(range(len(video))))
        assert 10 < numbers[0] < 50 and numbers == list(range(numbers[0], LENGTH))
        assert read_numbers(video.frames([len(video) - 1, 3])) == [LENGTH - 1, numbers[3]]


@pytest.mark.parametrize("kind, name", [("faststart", "a.mp4"), ("vp9", "a.webm")])
def test_a_file_cut_short_after_it_was_probed_is_refused(tmp_path, kind, name):
    """decord believes the index, which still lists all frames."""
    path = footage(tmp_path / name, kind)
    stored_probe = probe(path)
    cut(path, 0.5)
    with pytest.raises(VideoError, match=name), open_video(path, stored_probe) as video:
        video.frames(range(len(video)))


def test_a_frame_that_cannot_be_decoded_is_named_and_the_others_are_read(tmp_path):
    path = damaged(footage(tmp_path / "a.mp4", g="10"))
    with open_video(path) as video:
        assert read_numbers(video.frames([0, 9, 3])) == [0, 9, 3]
        with pytest.raises(VideoError, match=r"a.mp4: .*\d+ of 60"):
            video.frames(range(60))
        assert read_numbers(video.frames([4])) == [4]


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_have_pillows_colours(tmp_path, mode):
    converted(jpeg_folder(tmp_path / "frames", 2), mode)
    with open_video(tmp_path / "frames") as video:
        frames = video.frames([0, 1]).permute(0, 2, 3, 1)
    pictures = [Image.open(tmp_path / "frames" / f"{i:05d}.jpg") for i in (1, 2)]
    assert pictures[0].mode == mode
    assert torch.equal(frames, torch.from_numpy(np.stack([np.asarray(p.convert("RGB")) for p in pictures])))


@contextmanager
def without_roots_rights():
    """Root may read all files, so a test that runs as root acts as the user "nobody" during the block."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except OSError:
        pytest.skip("runs as root and may not become another user")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder():
    """A folder that other users can reach, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_a_video_without_read_permission_is_refused_for_that_reason(public_folder):
    footage(public_folder / "a.mp4", frames=5)
    footage(public_folder / "a.webm", "vp9", frames=5)
    jpeg_folder(public_folder / "frames", 2)
    jpeg_folder(public_folder / "one frame", 2)
    jpeg_folder(public_folder / "readable", 2)
    locked = ("a.mp4", "a.webm", "frames", "one frame/00002.jpg")
    for name in locked:
        (public_folder / name).chmod(0)
    with without_roots_rights():
        results = read_all(public_folder)
    (public_folder / "frames").chmod(0o755)  # so that it can be removed
    if results["readable"] != [0, 1]:
        pytest.skip("runs as root, and other users cannot reach the folder of temporary files")
    for name in ("a.mp4", "a.webm", "frames", "one frame"):
        assert results[name].startswith(str(public_folder / name)) and "ermission denied" in results[name]


def read_two_frames(paths: list[Path]) -> None:
    for path in paths:
        open_video(path).frames([1, 3])


@pytest.mark.slow
def test_a_reader_open_in_the_parent_does_not_hang_its_children(tmp_path):
    """A DataLoader forks its workers. Each worker opens its own readers."""
    kinds = {"a.mp4": "h264-closed", "a.webm": "vp9", "b.mp4": "av1"}
    paths = [footage(tmp_path / name, kind, 5) for name, kind in kinds.items()]
    videos = [open_video(path) for path in paths]
    for video in videos:
        video.frames([0, 4])
    run_in_child(read_two_frames, paths)
    for video in videos:
        video.close()


@pytest.mark.parametrize("kind, name", [("h264-closed", "file:a.mp4"), ("vp9", "http:b.webm")])
def test_a_relative_name_with_a_colon_is_a_file(tmp_path, monkeypatch, kind, name):
    footage(tmp_path / name, kind, 5)
    monkeypatch.chdir(tmp_path)
    with open_video(name) as video:
        assert read_numbers(video.frames([4, 1])) == [4, 1]
