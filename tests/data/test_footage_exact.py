"""The right frame from every kind of file: barcode footage, 240 random requests of each kind."""

import os
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from support.footage import UNREADABLE, numbered, read_numbers, write_footage

from tanet.data import FASTER, open_video, probe, sampling

LENGTH, REQUESTS = 110, 240
FEW = 30  # requests of the same kinds in other containers
FILES = {
    "h264-closed.mp4": REQUESTS, "h264-open.mp4": REQUESTS, "hevc.mp4": REQUESTS, "vp9.webm": REQUESTS,
    "av1.mp4": REQUESTS, "mpeg4.mp4": REQUESTS, "variable-rate.mp4": REQUESTS, "fragmented.mp4": REQUESTS,
    "h264-closed.ts": REQUESTS, "rotated.mp4": REQUESTS, "mpeg4.avi": REQUESTS, "h264-refresh.mp4": FEW,
    "h264-closed.mkv": FEW, "h264-closed.avi": FEW, "h264-open.mkv": FEW, "hevc.mkv": FEW, "hevc.ts": FEW,
    "vp9.mp4": FEW, "av1.webm": FEW, "faststart.mp4": FEW,
}  # fmt: skip
SAFE = ("h264-closed.mp4", "h264-closed.mkv", "vp9.webm", "variable-rate.mp4", "fragmented.mp4", "rotated.mp4")
UNSAFE = ("h264-open.mp4", "h264-refresh.mp4", "hevc.mp4", "mpeg4.mp4", "h264-closed.ts", "mpeg4.avi")


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage")

    def path(name: str):
        if not (folder / name).exists():
            write_footage(folder / name, name.split(".")[0], LENGTH)
        return folder / name

    return path


def requests(count: int) -> list[np.ndarray]:
    """Single frames, training clips, frames in any order with repetitions; now and then a test's."""
    rng = np.random.default_rng(0)
    kinds = (
        lambda: rng.integers(0, LENGTH, 1),
        lambda: sampling.dense_train(LENGTH, 8, rng)[0],
        lambda: np.repeat(rng.integers(0, LENGTH, 2), 3),
        lambda: rng.integers(0, LENGTH, 1),
        lambda: rng.integers(0, LENGTH, rng.integers(2, 9)),
    )
    chosen = [kinds[i % len(kinds)]() for i in range(count)]
    chosen[::FEW] = [sampling.dense_clips(LENGTH, 8).ravel()] * len(chosen[::FEW])
    return chosen


def wrong_requests(path, probed, count: int) -> list:
    """(asked, got) of those of `count` requests that bring other frames; a quarter go to readers just opened."""
    wrong = []
    video = open_video(path, probed)
    for i, asked in enumerate(requests(count)):
        if i % 4 == 0:
            video.close()
            video = open_video(path, probed)
        got = read_numbers(video.frames(asked))
        if got != asked.tolist():
            wrong.append((asked.tolist(), got))
    video.close()
    return wrong


@pytest.mark.parametrize("name", FILES)
def test_every_request_brings_the_frames_asked_for(footage, name):
    probed = probe(footage(name))
    assert probed.frames == LENGTH
    assert wrong_requests(footage(name), probed, FILES[name]) == []


@pytest.mark.parametrize("name", SAFE)
def test_files_said_to_be_safe_with_decord_are(footage, name):
    probed = probe(footage(name))
    assert probed.why in ("", FASTER)
    assert wrong_requests(footage(name), replace(probed, reader="decord"), FEW) == []


@pytest.mark.parametrize("name", UNSAFE)
def test_the_others_need_pyav(footage, name):
    """What the probe is for: decord gives wrong frames of these without a word."""
    probed = probe(footage(name))
    assert probed.reader == "pyav" and probed.why != FASTER
    assert len(wrong_requests(footage(name), replace(probed, reader="decord"), FEW)) > 0


@pytest.mark.parametrize("name", SAFE)
def test_both_decoders_give_the_same_pixels(footage, name):
    probed = probe(footage(name))
    pixels = []
    for reader in ("decord", "pyav"):
        with open_video(footage(name), replace(probed, reader=reader)) as video:
            pixels.append(video.frames(range(0, LENGTH, 7)))
    assert torch.equal(*pixels)


COLOURS = {
    "untold": {},
    "BT.709": {"x264-params": "colormatrix=bt709:colorprim=bt709:transfer=bt709"},
    "BT.601": {"x264-params": "colormatrix=smpte170m"},
    "full range": {"x264-params": "fullrange=on"},
}


@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("size", [(128, 96), (160, 90), (98, 130)])
def test_both_decoders_give_the_same_colours(tmp_path, colours, size):
    path = write_footage(tmp_path / "a.mp4", frames=3, size=size, **COLOURS[colours])
    probed = probe(path)
    assert probed.why == FASTER
    pixels = []
    for reader in ("decord", "pyav"):
        with open_video(path, replace(probed, reader=reader)) as video:
            pixels.append(video.frames(range(3)))
    assert torch.equal(*pixels) and pixels[0].shape == (3, 3, size[1], size[0])


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_rotated_videos_come_upright(tmp_path, rotation, reader):
    path = write_footage(tmp_path / "a.mp4", frames=5, size=(96, 128), rotation=rotation)
    probed = probe(path)
    assert (probed.rotation, probed.width, probed.height) == (rotation, 96, 128)
    with open_video(path, replace(probed, reader=reader)) as video:
        frames = video.frames([4, 0])
    assert read_numbers(frames) == [4, 0]
    original = torch.from_numpy(np.stack([numbered(i, (96, 128)) for i in (4, 0)])).permute(0, 3, 1, 2)
    assert (frames.float() - original).abs().mean() < 20  # and not mirrored


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv444p", "yuv422p"])
def test_other_pixel_formats_come_as_rgb(tmp_path, pixels):
    path = write_footage(tmp_path / "a.mp4", frames=5, pix_fmt=pixels)
    assert probe(path).why == f"pixel format {pixels}"
    with open_video(path) as video:
        frames = video.frames(range(5))
    assert read_numbers(frames) == [0, 1, 2, 3, 4] and frames.shape[1] == 3


def decoded_packets(monkeypatch) -> list[int]:
    """Which packets are given to PyAV's decoder from now on."""
    from tanet.data import PyAVFile

    given, original = [], PyAVFile._decode_packets

    def run(self, start, stop, wanted):
        given.extend(range(start, stop + 1))
        return original(self, start, stop, wanted)

    monkeypatch.setattr(PyAVFile, "_decode_packets", run)
    return given


def test_decoding_goes_from_the_key_frame_before_to_the_last_wanted_of_its_group(footage, monkeypatch):
    given = decoded_packets(monkeypatch)
    with open_video(footage("vp9.webm"), replace(probe(footage("vp9.webm")), reader="pyav")) as video:
        video.frames([105, 3, 64, 68, 3])  # key frames every 30
    assert given == [*range(4), *range(60, 69), *range(90, 106)]


@pytest.mark.parametrize("name", ["h264-open.mp4", "hevc.mp4", "h264-closed.ts", "av1.webm", "mpeg4.mp4"])
def test_a_late_frame_is_not_decoded_from_the_beginning(footage, monkeypatch, name):
    given = decoded_packets(monkeypatch)
    with open_video(footage(name)) as video:
        video.frames([LENGTH - 3])
    assert 0 < len(given) < 62 and given[0] > 0  # at most two groups of pictures


def test_unreferenced_frames_that_nobody_asked_for_are_not_decoded(footage):
    with open_video(footage("h264-closed.mp4")) as video:
        decoded = [index for index, _ in video._numbered_frames([0, 28])]
    assert {0, 28} <= set(decoded) and len(decoded) < 20  # of 29


def test_no_frame_is_decoded_twice(footage, monkeypatch):
    for name in FILES:
        given = decoded_packets(monkeypatch)
        with open_video(footage(name), replace(probe(footage(name)), reader="pyav")) as video:
            if not video._packets.timed:
                continue
            video.frames(sampling.dense_clips(LENGTH, 8))
        if name != "h264-refresh.mp4":  # begins again, for its key frames are none
            assert len(given) == len(set(given)), name
        monkeypatch.undo()


def test_the_barcode_tells_what_it_cannot_read():
    assert read_numbers(torch.full((1, 3, 96, 128), 128, dtype=torch.uint8)) == [UNREADABLE]
    pictures = torch.from_numpy(np.stack([numbered(i) for i in (0, 5, 1023)])).permute(0, 3, 1, 2)
    assert read_numbers(pictures) == [0, 5, 1023]
    pictures[2, :, :24, :24] = 0  # the first bit of 1023
    assert read_numbers(pictures) == [0, 5, UNREADABLE]


def test_the_footage_holds_each_number_once_in_order(footage):
    for name in FILES:
        with av.open(str(footage(name))) as container:
            frames = [np.rot90(f.to_ndarray(format="rgb24"), f.rotation // 90) for f in container.decode(video=0)]
        assert read_numbers(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)) == list(range(LENGTH)), name


def test_making_footage_leaves_the_process_as_it_was(tmp_path):
    before = os.sched_getscheduler(0)
    write_footage(tmp_path / "a.mp4", "av1", frames=3)
    assert os.sched_getscheduler(0) == before
