import errno
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange
from PIL import Image
from support.footage import read_numbers, write_footage, write_sound

from tanet.data import open_video, probe
from tanet.demo.footage import write_video
from tanet.errors import DataError, VideoError
from tanet.prepare import resizing as module
from tanet.prepare.frame_resizing import resize_frames
from tanet.prepare.resizing import FAILURES, KEY_FRAMES, resize, resize_video, scaled_size, videos_to_resize

FRAMES = 40
KINDS = ["h264-closed", "h264-open", "hevc", "vp9", "av1", "variable-rate", "rotated"]


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """kind -> a file of 40 numbered frames, 160x120 as shown."""
    folder = tmp_path_factory.mktemp("footage")
    return {kind: write_footage(folder / f"{kind}.mp4", kind, FRAMES, (160, 120)) for kind in KINDS}


def all_frames(path) -> torch.Tensor:
    with open_video(path) as video:
        return video.frames(range(len(video)))


def times(path) -> np.ndarray:
    """Seconds at which the frames are shown, after the first."""
    with av.open(str(path)) as container:
        shown = np.array([float(frame.pts * frame.time_base) for frame in container.decode(video=0)])
    return shown - shown[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_there_once_in_its_place_at_its_time(tmp_path, footage, kind):
    assert resize_video(footage[kind], tmp_path / "a.mp4", 64) == FRAMES
    frames = all_frames(tmp_path / "a.mp4")
    assert frames.shape == (FRAMES, 3, 64, 86) and read_numbers(frames) == list(range(FRAMES))
    assert np.abs(times(tmp_path / "a.mp4") - times(footage[kind])).max() < 1e-9
    properties = probe(tmp_path / "a.mp4")
    assert (properties.codec, properties.rotation, properties.frames, properties.why) == (
        "h264",
        0,
        FRAMES,
        "size 86x64",
    )


def test_pictures_stay_the_same_but_for_their_size(tmp_path, footage):
    resize_video(footage["h264-closed"], tmp_path / "a.mp4", 60, crf=5)
    before = all_frames(footage["h264-closed"]).float()
    wanted = torch.nn.functional.interpolate(before, (60, 80), mode="area")
    assert (all_frames(tmp_path / "a.mp4").float() - wanted).abs().mean() < 6


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_turned_videos_are_turned_in_the_pictures(tmp_path, rotation):
    source = write_footage(tmp_path / "source.mp4", frames=5, size=(96, 128), rotation=rotation)
    resize_video(source, tmp_path / "a.mp4", 64)
    frames = all_frames(tmp_path / "a.mp4")
    assert frames.shape == (5, 3, 86, 64) and read_numbers(frames) == list(range(5))
    assert probe(source).rotation == rotation and probe(tmp_path / "a.mp4").rotation == 0


def test_key_frames_stand_at_a_constant_distance_in_closed_groups_without_sound(tmp_path, footage):
    resize_video(footage["h264-open"], tmp_path / "a.mp4", 100)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert len(container.streams) == 1
        packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    times = [time for time, _ in packets]  # in the file's order
    keys = [index for index, (_, key) in enumerate(packets) if key]
    assert keys == list(range(0, FRAMES, KEY_FRAMES)) == [sorted(times).index(times[key]) for key in keys]
    assert all(max(times[:key], default=-1) < times[key] == min(times[key:]) for key in keys)
    start = (tmp_path / "a.mp4").read_bytes()
    assert start.index(b"moov") < start.index(b"mdat")


def test_decord_reads_the_right_frames_of_what_it_could_not_read_right(tmp_path, footage):
    decord = pytest.importorskip("decord")
    resize_video(footage["h264-open"], tmp_path / "a.mp4", 100)
    for index in np.random.default_rng(0).permutation(FRAMES).tolist():  # each time from another frame
        frames = decord.VideoReader(str(tmp_path / "a.mp4"), num_threads=1).get_batch([index]).asnumpy()
        assert read_numbers(torch.from_numpy(frames).permute(0, 3, 1, 2)) == [index]


def test_scene_changes_move_no_key_frame(tmp_path):
    frames = np.zeros((30, 96, 128, 3), np.uint8)
    frames[5:] = 255
    write_video(tmp_path / "cut.mp4", frames, Fraction(25))
    resize_video(tmp_path / "cut.mp4", tmp_path / "a.mp4", 96)
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = sorted((packet.pts, packet.is_keyframe) for packet in container.demux(video=0) if packet.size)
    assert [i for i, (_, key) in enumerate(shown) if key] == [0, 12, 24]


def test_the_same_file_gives_the_same_bytes(tmp_path):
    source = write_footage(tmp_path / "source.mp4", frames=15, size=(340, 256))
    for name in ("a.mp4", "b.mp4"):
        resize_video(source, tmp_path / name, 256)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content == (tmp_path / "b.mp4").read_bytes()
    assert b" threads=1 " in content and b" mbtree=0 " in content  # or it would be so by chance


@pytest.mark.parametrize(
    "encoder, pixels", [("libx264", "yuvj420p"), ("libx264", "yuv420p"), ("libvpx-vp9", "yuv420p")]
)
def test_full_range_colours_keep_their_levels(tmp_path, encoder, pixels):
    with av.open(str(tmp_path / "full.mp4"), "w") as container:
        stream = container.add_stream(encoder, rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, pixels
        stream.codec_context.color_range = ColorRange.JPEG
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((144, 128), 128, np.uint8), pixels)
            frame.planes[0].update(bytes([40]) * frame.planes[0].buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    resize_video(tmp_path / "full.mp4", tmp_path / "a.mp4", 96, crf=4)
    with av.open(str(tmp_path / "full.mp4")) as container:
        assert next(container.decode(video=0)).color_range == ColorRange.JPEG
    assert (all_frames(tmp_path / "a.mp4").float() - 40).abs().max() <= 2


@pytest.mark.parametrize(
    "size, short_side, wanted",
    [
        ((1280, 720), 256, (456, 256)),
        ((720, 1280), 320, (320, 568)),
        ((340, 256), 256, (340, 256)),
        ((320, 240), 256, (320, 240)),
        ((101, 75), 256, (102, 76)),
        ((1920, 800), 320, (768, 320)),
        ((256, 256), 256, (256, 256)),
        ((1000, 1), 256, (1000, 2)),
    ],
)
def test_sizes_are_even_and_never_larger(size, short_side, wanted):
    assert scaled_size(*size, short_side) == wanted


def test_odd_sides_become_even(tmp_path):
    source = write_footage(tmp_path / "odd.mkv", frames=3, size=(161, 121), pix_fmt="yuv444p")
    resize_video(source, tmp_path / "a.mp4", 256)
    assert all_frames(tmp_path / "a.mp4").shape == (3, 3, 122, 162)
    assert read_numbers(all_frames(tmp_path / "a.mp4")) == [0, 1, 2]


def broken(path, kind, footage):
    """Makes a broken file of that kind."""
    whole = footage["h264-closed"].read_bytes()
    if kind == "sound only":
        write_sound(path)
        return
    if kind == "index in front, cut short":
        with (
            av.open(str(footage["h264-closed"])) as reader,
            av.open(str(path), "w", options={"movflags": "faststart"}) as writer,
        ):
            stream = writer.add_stream_from_template(reader.streams.video[0])
            for packet in reader.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    writer.mux(packet)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        return
    path.write_bytes({"empty": b"", "text": b"<html>404</html>" * 99, "cut short": whole[: len(whole) // 2]}[kind])


BROKEN = ["empty", "text", "cut short", "index in front, cut short", "sound only"]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_video_is_named_and_leaves_nothing(tmp_path, footage, kind):
    source = tmp_path / "source.mp4"
    broken(source, kind, footage)
    with pytest.raises(VideoError) as failure:
        resize_video(source, tmp_path / "out" / "a.mp4", 64)
    assert str(failure.value).startswith(f"{source}: ")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("damage", ["a bit", "zeros"])
def test_damage_that_decoders_conceal_is_an_error(tmp_path, footage, damage):
    """In a key frame in the middle: the copy would look whole."""
    source = tmp_path / "source.mp4"
    with av.open(str(footage["h264-closed"])) as container:
        packet = [packet for packet in container.demux(video=0) if packet.is_keyframe][1]
        position, size = packet.pos, packet.size
    content = bytearray(footage["h264-closed"].read_bytes())
    if damage == "zeros":
        content[position + 4 : position + size] = bytes(size - 4)
    else:
        content[position + size // 2] ^= 1
    source.write_bytes(content)
    with pytest.raises(VideoError, match=f"^{source}: "):
        resize_video(source, tmp_path / "a.mp4", 64)
    assert list(tmp_path.iterdir()) == [source]


def test_frames_that_are_missing_are_an_error(tmp_path, footage, monkeypatch):
    monkeypatch.setattr(module, "probe", lambda path: replace(probe(path), frames=FRAMES + 1))
    with pytest.raises(VideoError, match="vp9.mp4: 40 of its 41 frames can be decoded"):
        resize_video(footage["vp9"], tmp_path / "a.mp4", 64)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_the_videos_fault(tmp_path, footage, monkeypatch):
    def full(*_):
        raise av.error.OSError(errno.ENOSPC, "No space left on device", "")

    monkeypatch.setattr(module, "_transcode", full)
    with pytest.raises(OSError, match="No space left on device: '.*a.mp4'") as failure:
        resize_video(footage["vp9"], tmp_path / "a.mp4", 64)
    assert not isinstance(failure.value, VideoError | av.FFmpegError)


# Many videos


@pytest.fixture
def source(tmp_path, footage):
    """A data root with three good videos, two broken ones and junk."""
    root = tmp_path / "source"
    for name, kind in [("train/part_0/a", "vp9"), ("train/é '1'/-b_000001_000011", "rotated"), ("val/c", "hevc")]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.mp4").write_bytes(footage[kind].read_bytes())
    broken(root / "val/empty.mp4", "empty", footage)
    broken(root / "train/part_0/half.mp4", "cut short", footage)
    (root / "val/._c.mp4").write_bytes(b"junk")
    return root


def run(source, target, **changes):
    options = {"splits": ["train", "val"], "short_side": 64, "crf": 30, "processes": 2, "seconds": 600, **changes}
    videos = videos_to_resize("kinetics", source, options.pop("splits"))
    return len(videos), resize(source, target, videos, **options)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_good_videos_are_resized_and_broken_ones_listed_with_the_reason(tmp_path, source, capsys):
    target = tmp_path / "target"
    count, failures = run(source, target)
    assert count == 5
    assert failures.keys() == {"val/empty.mp4", "train/part_0/half.mp4"}
    assert all(reason.startswith(f"{source / video}: ") for video, reason in failures.items())
    got = content(target)
    assert got.keys() == {
        "train/part_0/a.mp4", "train/é '1'/-b_000001_000011.mp4", "val/c.mp4", "resize.json", FAILURES
    }  # fmt: skip
    assert all(video in got[FAILURES].decode() for video in failures)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*.mp4")}
    assert run(source, target, processes=1) == (5, failures) and content(target) == got
    assert before == {path: path.stat().st_mtime_ns for path in target.rglob("*.mp4")}
    assert "5 videos, 3 of them there" in capsys.readouterr().out


def test_other_settings_in_the_same_folder_are_refused(tmp_path, source):
    (tmp_path / "target").mkdir()
    (tmp_path / "target/resize.json").write_text('{"short_side": 64}')
    message = "target: holds videos resized with .'short_side': 64., not .*'short_side': 96"
    with pytest.raises(ValueError, match=message):
        run(source, tmp_path / "target", short_side=96)
    assert content(tmp_path / "target").keys() == {"resize.json"}


def test_nothing_to_resize_is_an_error(tmp_path, source):
    with pytest.raises(FileNotFoundError, match="no videos below replacement/, test/, videos_test/"):
        run(source, tmp_path / "target", splits=["test"])


def test_two_videos_that_would_become_one_are_an_error_that_names_both(tmp_path, source):
    (source / "val/part").mkdir()
    (source / "val/part/c.mkv").touch()
    (source / "val/part/c.mp4").touch()
    assert videos_to_resize("kinetics", source, ["val"])["val/part/c.mp4"] == "val/part/c.mp4"  # the publisher's suffix
    (source / "val/part/c.mp4").rename(source / "val/part/c.MOV")
    with pytest.raises(DataError, match="part/c.* may be the video 'part/c', and so may .*part/c"):
        videos_to_resize("kinetics", source, ["val"])


def test_folders_of_frames_keep_their_names_and_kind(tmp_path):
    for number in range(3):
        Image.new("RGB", (40 + number // 2, 30), (80 * number, 0, 0)).save(tmp_path / f"img_{number}.png")
        (tmp_path / f"flow_x_{number}.png").touch()
    assert resize_frames(tmp_path, tmp_path / "out/1", 320) == 1
    assert sorted(path.name for path in (tmp_path / "out/1").iterdir()) == ["img_0.png", "img_1.png", "img_2.png"]
    with open_video(tmp_path / "out/1") as video:
        assert video.frames([0, 1, 2])[:, 0].float().mean((1, 2)).tolist() == [0, 80, 160]
    assert resize_frames(tmp_path, tmp_path / "out/2", 15) == 3
    assert all_frames(tmp_path / "out/2").shape == (3, 3, 16, 20)
