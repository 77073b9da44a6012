"""Probes: codec, size and length of a video, the decoder that reads it, and the stored probes of a data root."""

import sys
from dataclasses import replace

import av
import pytest
from support.decoders import DECODERS, needs_decord
from support.footage import read_numbers, write_footage

from tanet.data import (
    FASTER,
    PROBES,
    Probe,
    describe_readers,
    lists,
    open_video,
    probe,
    probing,
    read_probes,
    video,
    write_probes,
)
from tanet.errors import VideoError

LENGTH = 40


@pytest.mark.parametrize(
    "name, codec, why",
    [
        ("h264-closed.mp4", "h264", FASTER),
        ("h264-closed.ts", "h264", "container mpegts"),
        ("h264-closed.avi", "h264", "container avi"),
        ("h264-open.mkv", "h264", "open groups of pictures"),
        ("fragmented.mp4", "h264", FASTER),
        ("variable-rate.mp4", "h264", FASTER),
        ("vp9.webm", "vp9", ""),
        ("vp9.mkv", "vp9", ""),
        ("hevc.mp4", "hevc", "codec hevc"),
        ("av1.mp4", "av1", "codec av1"),
        ("mpeg4.avi", "mpeg4", "codec mpeg4"),
    ],
)
def test_a_probe_has_codec_size_length_and_reader(tmp_path, name, codec, why):
    path = write_footage(tmp_path / name, name.split(".")[0], LENGTH, (160, 90))
    assert probe(path) == Probe(codec, 160, 90, LENGTH, 0, "pyav" if why else "decord", why)


@pytest.mark.parametrize("settings", ["open-gop=1", "intra-refresh=1"])
@pytest.mark.parametrize("b_frames", ["0", "3"])
def test_key_frames_that_later_frames_refer_across_are_detected(tmp_path, settings, b_frames):
    """With B-frames the order of the frames' times shows it, without them the pictures' types do."""
    options = {"bf": b_frames, "x264-params": f"{settings}:scenecut=0", "g": "10"}
    file_probe = probe(write_footage(tmp_path / "a.mp4", frames=LENGTH, **options))
    harmless = settings == "open-gop=1" and b_frames == "0"  # x264 writes IDR pictures here
    assert file_probe.reader == "pyav" and (file_probe.why == FASTER) == harmless
    assert harmless or file_probe.why in ("open groups of pictures", "key frames that are not IDR")


@pytest.mark.parametrize("size", [(48, 96), (72, 96), (96, 72), (128, 97), (97, 95)])
def test_pyav_reads_sizes_that_decord_fails_on(tmp_path, size):
    path = write_footage(tmp_path / "a.webm", "vp9", 5, size)
    file_probe = probe(path)
    assert file_probe.why == f"size {size[0]}x{size[1]}" and (file_probe.width, file_probe.height) == size
    with open_video(path) as video:
        frames = video.frames(range(5))
    assert frames.shape == (5, 3, size[1], size[0])
    assert min(size) < 80 or read_numbers(frames) == [0, 1, 2, 3, 4]


def test_pyav_reads_interlaced_video(tmp_path):
    path = write_footage(tmp_path / "a.mp4", frames=LENGTH, **{"x264-params": "tff=1"})
    assert probe(path).why == "interlaced"
    with open_video(path) as video:
        assert read_numbers(video.frames([39, 0, 12])) == [39, 0, 12]


def remux(source, target, later: int, **options: str):
    """Copies the coded pictures and moves their times by `later` frames of 1/25 s."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        shift = round(later / 25 / stream.time_base)
        for packet in old.demux(stream):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                new.mux(packet)
    return target


@pytest.mark.parametrize("kind", ["h264-closed", "h264-open", "hevc", "vp9", "mpeg4"])
def test_frames_that_an_edit_list_hides_do_not_count(tmp_path, kind):
    """Cutting a video without encoding it again leaves such frames: from the key frame to the cut."""
    whole = write_footage(tmp_path / "whole.mp4", kind, LENGTH)
    cut = remux(whole, tmp_path / "cut.mp4", -10, avoid_negative_ts="disabled")
    file_probe = probe(cut)
    assert (file_probe.frames, file_probe.reader) == (LENGTH - 10, "pyav")
    with open_video(cut) as video:
        assert read_numbers(video.frames(range(len(video)))) == list(range(10, LENGTH))
        assert read_numbers(video.frames([20, 0])) == [30, 10]


@pytest.mark.parametrize("reader", DECODERS)
def test_a_video_that_begins_late_is_read_from_its_first_frame(tmp_path, reader):
    late = remux(write_footage(tmp_path / "a.webm", "vp9", LENGTH), tmp_path / "late.webm", 25)
    with open_video(late, replace(probe(late), reader=reader)) as video:
        assert read_numbers(video.frames([0, 17])) == [0, 17]


@needs_decord
def test_a_video_opened_without_its_probe_is_probed(tmp_path):
    path = write_footage(tmp_path / "a.webm", "vp9", 5)
    with open_video(path) as video, open_video(path, probe(path)) as with_probe:
        assert video.reader_name == with_probe.reader_name == "decord"
    with open_video(path, replace(probe(path), reader="pyav")) as video:
        assert video.reader_name == "pyav"


@pytest.mark.parametrize(
    "error", [ImportError("no decord"), OSError("libavformat.so: no such file"), TypeError("ctypes")]
)
def test_where_decord_does_not_load_pyav_reads_its_videos_and_the_summary_says_so(tmp_path, monkeypatch, error):
    """It is not installed, a library of it is missing, or its wheel does not fit this Python."""

    class Importer:
        def find_spec(self, name, *_):
            if name == "decord":
                raise error

    path = write_footage(tmp_path / "a.webm", "vp9", 5)
    file_probe = probe(path)
    assert file_probe.reader == "decord"  # what is stored beside a data set does not depend on the machine
    monkeypatch.delitem(sys.modules, "decord", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Importer(), *sys.meta_path])
    for module in (video, lists):
        monkeypatch.setattr(module, "load_decord", probing.load_decord.__wrapped__)  # without what it remembers
    for given in (file_probe, None):
        with open_video(path, given) as opened:
            assert opened.reader_name == "pyav" and read_numbers(opened.frames([4, 0, 4])) == [4, 0, 4]
    said = describe_readers([file_probe, file_probe, None])
    assert said.startswith("3 videos: 0 read by decord; 2 by PyAV (decord is not installed: 2); 1 not probed yet")


@pytest.mark.parametrize("reader", DECODERS)
def test_a_file_that_changed_since_it_was_probed_is_refused(tmp_path, reader):
    path = write_footage(tmp_path / "a.mp4", frames=5)
    with pytest.raises(VideoError, match="a.mp4: 5 frames in it, but 6 when it was probed; probe it again"):
        open_video(path, replace(probe(path), reader=reader, frames=6))


PROBES_BY_PATH = {
    'val/a b/ä, "x".mp4': (123, Probe("hevc", 320, 240, 300, 90, "pyav", "codec hevc")),
    "train/1.webm": (2**40, Probe("vp9", 427, 240, 1, 0, "decord", "")),
}


def test_probes_are_read_as_they_were_written(tmp_path):
    assert read_probes(tmp_path) == {}
    write_probes(tmp_path, PROBES_BY_PATH)
    assert read_probes(tmp_path) == PROBES_BY_PATH
    write_probes(tmp_path, {})
    assert read_probes(tmp_path) == {}


@pytest.mark.parametrize(
    "line, text",
    [(1, "path,size"), (3, "a.mp4,1,h264"), (3, "a.mp4,1,h264,8,8,x,0,pyav,"), (2, "a.mp4,1,h264,8,8,9,0,ffmpeg,")],
)
def test_a_malformed_file_of_probes_is_named_with_the_line(tmp_path, line, text):
    write_probes(tmp_path, PROBES_BY_PATH)
    lines = (tmp_path / PROBES).read_text().splitlines()
    lines[line - 1] = text
    (tmp_path / PROBES).write_text("\n".join(lines))
    with pytest.raises(ValueError, match=rf"probes.csv, line {line}: .*remove the file to probe again"):
        read_probes(tmp_path)
