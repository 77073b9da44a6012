"""The fault table: what becomes of each kind of odd or broken file.

All are read in a process of their own, which must not hang or crash.
"""

import json
import os
import shutil
import subprocess
import sys
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


def cut(path: Path, keep: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    return path


def content(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def overwritten(path: Path, before: bytes, offset: int, value: bytes) -> Path:
    """Writes `value` at `offset` behind the first `before`."""
    data = path.read_bytes()
    at = data.index(before) + len(before) + offset
    return content(path, data[:at] + value + data[at + len(value) :])


def damaged(path: Path) -> Path:
    """Turns bytes of the pictures' second half, as a bad disk does; the index stays whole."""
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 2, len(data) * 3 // 4, 50):
        data[at] ^= 0xFF
    return content(path, bytes(data))


def folder(path: Path, count: int = 6) -> Path:
    path.mkdir()
    for i in range(count):
        Image.fromarray(numbered(i, SIZE)).save(path / f"{i + 1:05d}.jpg", quality=95)
    return path


def without(path: Path, name: str) -> Path:
    (path / name).unlink()
    return path


def with_cut(path: Path, name: str, keep: float) -> Path:
    cut(path / name, keep)
    return path


def converted(path: Path, mode: str) -> Path:
    for picture in path.iterdir():
        Image.open(picture).convert(mode).save(picture, quality=95)
    return path


WRONG_COUNT = (1000).to_bytes(4, "little")
# name -> (how it is made, what the message says, or the number of frames when it is read, each of them right)
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
    "frames": (folder, 6),
    "frames, grey": (lambda p: converted(folder(p), "L"), 6),
    "frames, CMYK": (lambda p: converted(folder(p), "CMYK"), 6),
    "frames, one missing": (lambda p: without(folder(p), "00004.jpg"), "00004.jpg is missing"),
    "frames, one cut": (lambda p: with_cut(folder(p), "00004.jpg", 0.9), "00004.jpg: cannot be read as JPEG"),
    "frames, one cut by a hair": (lambda p: with_cut(folder(p), "00004.jpg", 0.998), "00004.jpg: cannot be read as"),
    "frames, one empty": (lambda p: with_cut(folder(p), "00004.jpg", 0), "00004.jpg: cannot be read as JPEG"),
}
READ_ALL = """
import json, sys
from pathlib import Path
from tanet.data import open_video
from tanet.errors import VideoError
from support.footage import read_numbers

for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        with open_video(path) as video:
            verdict = read_numbers(video.frames(range(len(video))))
    except VideoError as error:
        verdict = str(error)
    print(json.dumps([path.name, verdict]), flush=True)
"""


def read_all(folder: Path, *before: str) -> dict[str, str | list[int]]:
    """What reading each video of a folder comes to, in another process: the error's message or the frames' numbers."""
    command, here = [*before, sys.executable, "-c", READ_ALL, str(folder)], Path(__file__).parents[1]
    done = subprocess.run(command, check=False, cwd=here, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def faults(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    for name, (make, _) in FAULTS.items():
        make(folder / name)
    return folder


@pytest.fixture(scope="module")
def verdicts(faults):
    return read_all(faults)


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_is_read_whole_or_refused_by_name(faults, verdicts, name):
    expected = FAULTS[name][1]
    if isinstance(expected, int):
        assert verdicts[name] == list(range(expected))
    else:
        assert verdicts[name].startswith(str(faults / name)) and expected in verdicts[name]
        assert "\n" not in verdicts[name]


@pytest.mark.parametrize("kind, name", [("faststart", "a.mp4"), ("vp9", "a.webm"), ("mpeg4", "a.avi")])
def test_a_file_cut_between_two_frames_is_refused(tmp_path, kind, name):
    """No frame of it is broken, and each that is there is right; but there should be more."""
    path = footage(tmp_path / name, kind)
    with av.open(str(path)) as container:
        places = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
    content(path, path.read_bytes()[: places[30]])
    with pytest.raises(VideoError, match=rf"{name}: cut short, it should have \d+ bytes; get the file again"):
        open_video(path)


def test_a_transport_stream_that_was_cut_is_as_long_as_what_is_there(tmp_path):
    """The format is made to be cut anywhere: nothing tells that more was meant, but no frame is another's."""
    path = cut(footage(tmp_path / "a.ts"), 0.5)
    with open_video(path) as video:
        assert 20 < len(video) < 40 and read_numbers(video.frames(range(len(video)))) == list(range(len(video)))


@pytest.mark.parametrize("kind", ["h264-closed", "h264-open", "hevc"])
def test_a_transport_stream_that_begins_anywhere_begins_at_a_key_frame(tmp_path, kind):
    """What needs pictures from before that is no frame of it."""
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
    """decord takes the index's word for how many frames there are."""
    path = footage(tmp_path / name, kind)
    probed = probe(path)
    cut(path, 0.5)
    with pytest.raises(VideoError, match=name), open_video(path, probed) as video:
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
    converted(folder(tmp_path / "frames", 2), mode)
    with open_video(tmp_path / "frames") as video:
        frames = video.frames([0, 1]).permute(0, 2, 3, 1)
    pictures = [Image.open(tmp_path / "frames" / f"{i:05d}.jpg") for i in (1, 2)]
    assert pictures[0].mode == mode
    assert torch.equal(frames, torch.from_numpy(np.stack([np.asarray(p.convert("RGB")) for p in pictures])))


def test_what_may_not_be_read_is_said_to_be_so(tmp_path):
    footage(tmp_path / "a.mp4", frames=5)
    footage(tmp_path / "a.webm", "vp9", frames=5)
    folder(tmp_path / "frames", 2)
    with_locked_frame = folder(tmp_path / "one frame", 2)
    for path in (tmp_path / "a.mp4", tmp_path / "a.webm", tmp_path / "frames", with_locked_frame / "00002.jpg"):
        path.chmod(0)
    as_user = []
    if os.access(tmp_path / "a.mp4", os.R_OK):  # root may read anything, unless it gives the right up
        as_user = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
        test = [*as_user, "test", "-r", str(tmp_path / "a.mp4")]
        if not shutil.which("setpriv") or subprocess.run(test, check=False, capture_output=True).returncode != 1:
            pytest.skip("run as root, who may read everything, and setpriv cannot take that right away")
    verdicts = read_all(tmp_path, *as_user)
    for name in ("a.mp4", "a.webm", "frames", "one frame"):
        assert verdicts[name].startswith(str(tmp_path / name)) and "ermission denied" in verdicts[name]


def test_a_reader_open_in_the_parent_does_not_hang_its_children(tmp_path):
    """Data loaders fork. The child opens its own."""
    code = (
        "import os, sys\n"
        "from tanet.data import open_video\n"
        "videos = [open_video(path) for path in sys.argv[1:]]\n"
        "for video in videos: video.frames([0, 4])\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    for path in sys.argv[1:]: open_video(path).frames([1, 3])\n"
        "    os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
    )
    kinds = {"a.mp4": "h264-closed", "a.webm": "vp9", "b.mp4": "av1"}
    paths = [footage(tmp_path / name, kind, 5) for name, kind in kinds.items()]
    subprocess.run([sys.executable, "-c", code, *map(str, paths)], timeout=60, check=True)


@pytest.mark.parametrize("kind, name", [("h264-closed", "file:a.mp4"), ("vp9", "http:b.webm")])
def test_a_relative_name_with_a_colon_is_a_file(tmp_path, monkeypatch, kind, name):
    footage(tmp_path / name, kind, 5)
    monkeypatch.chdir(tmp_path)
    with open_video(name) as video:
        assert read_numbers(video.frames([4, 1])) == [4, 1]
