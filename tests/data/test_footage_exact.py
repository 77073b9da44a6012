"""Every kind of file gives the frames that are asked for: random requests to barcode footage, from a fixed seed."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from support.decoders import DECODERS, needs_decord
from support.footage import UNREADABLE, encode_footage, numbered, read_numbers, write_footage

from tanet.data import FASTER, Probe, PyAVFile, open_video, probe, sampling

LENGTH = 110
MANY, FEW = 240, 30  # requests to a file
MAIN_FILES = (
    "h264-closed.mp4",
    "h264-open.mp4",
    "hevc.mp4",
    "vp9.webm",
    "av1.mp4",
    "mpeg4.mp4",
    "variable-rate.mp4",
    "fragmented.mp4",
    "h264-closed.ts",
    "rotated.mp4",
    "mpeg4.avi",
)
OTHER_FILES = (  # mostly the same codecs in other containers
    "h264-refresh.mp4",
    "h264-closed.mkv",
    "h264-closed.avi",
    "h264-open.mkv",
    "hevc.mkv",
    "hevc.ts",
    "vp9.mp4",
    "av1.webm",
    "faststart.mp4",
)
FILES = (*MAIN_FILES, *OTHER_FILES)
SAFE = ("h264-closed.mp4", "h264-closed.mkv", "vp9.webm", "variable-rate.mp4", "fragmented.mp4", "rotated.mp4")
UNSAFE = ("h264-open.mp4", "h264-refresh.mp4", "hevc.mp4", "mpeg4.mp4", "h264-closed.ts", "mpeg4.avi")


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """A function: name, such as "hevc.mkv" -> path of such a file."""
    folder = tmp_path_factory.mktemp("footage")

    def write_once(name: str) -> Path:
        if not (folder / name).exists():
            write_footage(folder / name, name.split(".")[0], LENGTH)
        return folder / name

    return write_once


def requests(count: int) -> list[np.ndarray]:
    """Single frames, training clips, frames in any order with repetitions. Every 30th is the request of a test."""
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


def wrong_answers(path: Path, file_probe: Probe, count: int) -> Iterator[tuple[list[int], list[int]]]:
    """Makes `count` requests, every fourth to a new reader. Yields (requested, received) where these differ."""
    video = open_video(path, file_probe)
    for i, requested in enumerate(requests(count)):
        if i % 4 == 0:
            video.close()
            video = open_video(path, file_probe)
        received = read_numbers(video.frames(requested))
        if received != requested.tolist():
            yield requested.tolist(), received
    video.close()


@pytest.mark.parametrize(
    "name, count",
    [
        *(pytest.param(name, MANY, marks=pytest.mark.slow) for name in MAIN_FILES),
        *((name, FEW) for name in OTHER_FILES),
    ],
)
def test_every_request_gets_the_frames_asked_for(footage, name, count):
    file_probe = probe(footage(name))
    assert file_probe.frames == LENGTH
    assert list(wrong_answers(footage(name), file_probe, count)) == []


@needs_decord
@pytest.mark.slow
@pytest.mark.parametrize("name", SAFE)
def test_decord_gives_the_right_frames_of_files_that_the_probe_calls_safe(footage, name):
    file_probe = probe(footage(name))
    assert file_probe.why in ("", FASTER)
    assert list(wrong_answers(footage(name), replace(file_probe, reader="decord"), FEW)) == []


@needs_decord
@pytest.mark.parametrize("name", UNSAFE)
def test_decord_gives_wrong_frames_of_files_that_the_probe_calls_unsafe(footage, name):
    """This is why files are probed: decord raises no error here."""
    file_probe = probe(footage(name))
    assert file_probe.reader == "pyav" and file_probe.why != FASTER
    first_wrong = next(wrong_answers(footage(name), replace(file_probe, reader="decord"), FEW), None)
    assert first_wrong is not None


def read_with_both_decoders(path: Path, file_probe: Probe, indices: range) -> list[torch.Tensor]:
    """The frames from decord and from PyAV."""
    answers = []
    for reader in ("decord", "pyav"):
        with open_video(path, replace(file_probe, reader=reader)) as video:
            answers.append(video.frames(indices))
    return answers


@needs_decord
@pytest.mark.parametrize("name", SAFE)
def test_both_decoders_give_the_same_pixels(footage, name):
    path = footage(name)
    by_decord, by_pyav = read_with_both_decoders(path, probe(path), range(0, LENGTH, 7))
    assert torch.equal(by_decord, by_pyav)


COLOURS = {
    "unspecified": {},
    "BT.709": {"x264-params": "colormatrix=bt709:colorprim=bt709:transfer=bt709"},
    "BT.601": {"x264-params": "colormatrix=smpte170m"},
    "full range": {"x264-params": "fullrange=on"},
}


@needs_decord
@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("size", [(128, 96), (160, 90), (98, 130)])
def test_both_decoders_give_the_same_colours(tmp_path, colours, size):
    path = write_footage(tmp_path / "a.mp4", frames=3, size=size, **COLOURS[colours])
    file_probe = probe(path)
    assert file_probe.why == FASTER
    by_decord, by_pyav = read_with_both_decoders(path, file_probe, range(3))
    assert torch.equal(by_decord, by_pyav) and by_decord.shape == (3, 3, size[1], size[0])


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("reader", DECODERS)
def test_rotated_videos_come_upright(tmp_path, rotation, reader):
    path = write_footage(tmp_path / "a.mp4", frames=5, size=(96, 128), rotation=rotation)
    file_probe = probe(path)
    assert (file_probe.rotation, file_probe.width, file_probe.height) == (rotation, 96, 128)
    with open_video(path, replace(file_probe, reader=reader)) as video:
        frames = video.frames([4, 0])
    assert read_numbers(frames) == [4, 0]
    original = torch.from_numpy(np.stack([numbered(i, (96, 128)) for i in (4, 0)])).permute(0, 3, 1, 2)
    assert (frames.float() - original).abs().mean() < 20  # so it is not mirrored


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv444p", "yuv422p"])
def test_other_pixel_formats_come_as_rgb(tmp_path, pixels):
    path = write_footage(tmp_path / "a.mp4", frames=5, pix_fmt=pixels)
    assert probe(path).why == f"pixel format {pixels}"
    with open_video(path) as video:
        frames = video.frames(range(5))
    assert read_numbers(frames) == [0, 1, 2, 3, 4] and frames.shape[1] == 3


def record_decoded_packets(monkeypatch) -> list[int]:
    """A list that fills with the indices of the packets that PyAV decodes from now on."""
    decoded, original = [], PyAVFile._decode_packets

    def record(self, start, stop, wanted):
        decoded.extend(range(start, stop + 1))
        return original(self, start, stop, wanted)

    monkeypatch.setattr(PyAVFile, "_decode_packets", record)
    return decoded


def test_decoding_starts_at_a_key_frame_and_ends_at_the_last_wanted_frame_of_its_group(footage, monkeypatch):
    decoded = record_decoded_packets(monkeypatch)
    with open_video(footage("vp9.webm"), replace(probe(footage("vp9.webm")), reader="pyav")) as video:
        video.frames([105, 3, 64, 68, 3])  # key frames every 30
    assert decoded == [*range(4), *range(60, 69), *range(90, 106)]


@pytest.mark.parametrize("name", ["h264-open.mp4", "hevc.mp4", "h264-closed.ts", "av1.webm", "mpeg4.mp4"])
def test_a_late_frame_is_not_decoded_from_the_beginning(footage, monkeypatch, name):
    decoded = record_decoded_packets(monkeypatch)
    with open_video(footage(name)) as video:
        video.frames([LENGTH - 3])
    assert 0 < len(decoded) < 62 and decoded[0] > 0  # at most two groups of pictures


def test_unwanted_frames_that_no_other_refers_to_are_not_decoded(footage):
    with open_video(footage("h264-closed.mp4")) as video:
        decoded = [index for index, _ in video._numbered_frames([0, 28])]
    assert {0, 28} <= set(decoded) and len(decoded) < 20  # of 29


@pytest.mark.parametrize("name", FILES)
def test_no_frame_is_decoded_twice(footage, monkeypatch, name):
    decoded = record_decoded_packets(monkeypatch)
    with open_video(footage(name), replace(probe(footage(name)), reader="pyav")) as video:
        timed = video._packets.timed
        video.frames(sampling.dense_clips(LENGTH, 8))
    if timed and name != "h264-refresh.mp4":  # its key frames are none, so decoding starts again from the first one
        assert len(decoded) == len(set(decoded))


def test_a_barcode_that_is_damaged_is_not_read_as_another_number():
    assert read_numbers(torch.full((1, 3, 96, 128), 128, dtype=torch.uint8)) == [UNREADABLE]
    pictures = torch.from_numpy(np.stack([numbered(i) for i in (0, 5, 1023)])).permute(0, 3, 1, 2)
    assert read_numbers(pictures) == [0, 5, 1023]
    pictures[2, :, :24, :24] = 0  # the first bit of 1023
    assert read_numbers(pictures) == [0, 5, UNREADABLE]


@pytest.mark.parametrize("name", FILES)
def test_the_footage_has_each_number_once_and_in_order(footage, name):
    with av.open(str(footage(name))) as container:
        frames = [np.rot90(f.to_ndarray(format="rgb24"), f.rotation // 90) for f in container.decode(video=0)]
    assert read_numbers(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)) == list(range(LENGTH))


def test_making_footage_keeps_the_scheduling_policy_of_the_process(tmp_path):
    before = os.sched_getscheduler(0)
    encode_footage(tmp_path / "a.mp4", "av1", 3, (128, 96), rotation=0, pix_fmt="yuv420p", options={})
    assert os.sched_getscheduler(0) == before
