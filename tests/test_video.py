from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from data_scripts.make_demo import write_video
from tanet.video import VideoError, open_video

LENGTH = 40


def numbered_frames(count=LENGTH, height=48, width=64) -> np.ndarray:
    """Flat frames [T, H, W, 3] whose grey level tells their index, with noise in one corner."""
    rng = np.random.default_rng(0)
    frames = np.repeat(20 + 5 * np.arange(count), height * width * 3).reshape(count, height, width, 3).astype(np.uint8)
    frames[:, :16, :16] = rng.integers(0, 256, (count, 16, 16, 3))
    return frames


def numbers(frames: torch.Tensor) -> list:
    """Which frames these are, by the grey level of their lower half, in the indices' shape."""
    grey = frames[..., 24:, :].float().mean((-3, -2, -1))
    return ((grey - 20) / 5).round().int().tolist()


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip with spaces é.mp4"
    write_video(path, numbered_frames(), Fraction(30000, 1001), crf="8", bf="2")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("frames")
    for i, frame in enumerate(numbered_frames()):
        Image.fromarray(frame).save(path / f"{i + 1:05d}.jpg", quality=90)
    return path


@pytest.fixture(params=["mp4", "folder"])
def video(request):
    with open_video(request.getfixturevalue(request.param)) as opened:
        yield opened


@pytest.mark.parametrize(
    "indices",
    [list(range(LENGTH)), [39, 0, 17, 3], [5, 5, 5], [[8, 0], [39, 8], [1, 1]], [LENGTH - 1], np.arange(LENGTH)[::-7]],
)
def test_frames_come_back_in_the_order_and_shape_asked_for(video, indices):
    frames = video.frames(indices)
    assert len(video) == LENGTH
    assert frames.shape == (*np.shape(indices), 3, 48, 64) and frames.dtype == torch.uint8
    assert numbers(frames) == np.asarray(indices).tolist()


def test_one_index_gives_one_frame(video):
    assert video.frames(7).shape == (3, 48, 64)


def test_a_second_request_is_as_exact_as_the_first(video):
    first = video.frames([30, 2])
    video.frames([39])
    assert torch.equal(video.frames([2, 30]), first.flip(0))


def test_video_frames_are_bit_identical_to_pyavs(mp4):
    with av.open(str(mp4)) as container:
        wanted = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    with open_video(mp4) as video:
        assert np.array_equal(video.frames(range(LENGTH)).permute(0, 2, 3, 1).numpy(), wanted)


def test_folder_frames_are_bit_identical_to_pillows(folder):
    wanted = np.stack([np.asarray(Image.open(folder / f"{i + 1:05d}.jpg")) for i in range(LENGTH)])
    with open_video(folder) as video:
        assert np.array_equal(video.frames(range(LENGTH)).permute(0, 2, 3, 1).numpy(), wanted)


def test_grey_jpegs_come_as_rgb(tmp_path):
    Image.new("L", (16, 8), 77).save(tmp_path / "00001.jpg")
    with open_video(tmp_path) as video:
        assert (video.frames([0]) == 77).all() and video.frames([0]).shape == (1, 3, 8, 16)


@pytest.mark.parametrize("indices", [[0, LENGTH], [-1], [], [[3, 400]]])
def test_indices_outside_the_video_are_refused_naming_it(video, indices):
    with pytest.raises(IndexError) as failure:
        video.frames(indices)
    assert str(failure.value).startswith(str(video.path))
    assert not indices or f"0..{LENGTH - 1}" in str(failure.value)


def refuses(path, *parts, indices=None):
    """Opening `path`, or decoding from it, raises VideoError with the path first and these parts in the message."""
    with pytest.raises(VideoError) as failure:
        with open_video(path) as video:
            video.frames(range(len(video)) if indices is None else indices)
    assert str(failure.value).startswith(str(path))
    assert all(part in str(failure.value) for part in parts)


def test_missing_file_is_named(tmp_path):
    refuses(tmp_path / "none.mp4", "no such file or folder")


@pytest.mark.parametrize("content", [b"not a video at all\n" * 100, b""])
def test_file_that_is_no_video_is_named(tmp_path, content):
    path = tmp_path / "text.mp4"
    path.write_bytes(content)
    refuses(path, "cannot be opened as a video")


def test_truncated_mp4_is_named(tmp_path, mp4):
    path = tmp_path / "half.mp4"
    path.write_bytes(mp4.read_bytes()[: mp4.stat().st_size // 2])
    refuses(path)


def test_truncated_mp4_with_its_index_in_front_is_named(tmp_path):
    """The index promises frames whose bytes are gone: opening works, decoding must not."""
    whole, half = tmp_path / "whole.mp4", tmp_path / "half.mp4"
    with av.open(str(whole), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in numbered_frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refuses(half, indices=range(LENGTH))


def test_sound_without_pictures_is_named(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    refuses(path)


def test_empty_folder_is_named(tmp_path):
    refuses(tmp_path, "no .jpg frames")


def copy_frames(folder, target, count=6):
    for i in range(1, count + 1):
        (target / f"{i:05d}.jpg").write_bytes((folder / f"{i:05d}.jpg").read_bytes())


def test_gap_in_the_numbering_is_named(tmp_path, folder):
    copy_frames(folder, tmp_path)
    (tmp_path / "00004.jpg").unlink()
    refuses(tmp_path, "5 frames", "00004.jpg is missing")


def test_frames_numbered_from_0_are_refused(tmp_path, folder):
    copy_frames(folder, tmp_path)
    (tmp_path / "00006.jpg").rename(tmp_path / "00000.jpg")
    refuses(tmp_path, "00006.jpg is missing")


@pytest.mark.parametrize("keep", [0, 1 / 2])
def test_truncated_frame_is_named(tmp_path, folder, keep):
    copy_frames(folder, tmp_path)
    broken = tmp_path / "00003.jpg"
    broken.write_bytes(broken.read_bytes()[: int(keep * broken.stat().st_size)])
    with open_video(tmp_path) as video:
        assert video.frames([0, 1]).shape[0] == 2
        with pytest.raises(VideoError, match="00003.jpg"):
            video.frames([1, 2])


def test_frame_of_another_size_is_named(tmp_path, folder):
    copy_frames(folder, tmp_path)
    Image.new("RGB", (32, 32)).save(tmp_path / "00002.jpg")
    refuses(tmp_path, "00002.jpg differs in size")
