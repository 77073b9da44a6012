"""`open_video`: frames of video files and JPEG folders, in any order, by every reader, and the errors of bad input."""

from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from PIL import Image
from support.decoders import DECODERS
from support.footage import numbered, read_numbers, write_footage

from tanet.data import open_video, probe
from tanet.errors import VideoError

LENGTH = 40
SIZE = (128, 96)


def numbers(frames: torch.Tensor) -> list:
    """The numbers in the frames [*shape, 3, H, W], as lists of the same shape."""
    flat = read_numbers(frames.reshape(-1, *frames.shape[-3:]))
    return np.reshape(flat, frames.shape[:-3]).tolist()


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    return write_footage(tmp_path_factory.mktemp("video") / "clip with spaces é.mp4", frames=LENGTH, size=SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("frames")
    for i in range(LENGTH):
        Image.fromarray(numbered(i, SIZE)).save(path / f"{i + 1:05d}.jpg", quality=90)
    return path


@pytest.fixture(params=[*DECODERS, "jpeg"])
def video(request, mp4, folder):
    """The same video opened by each reader."""
    if request.param == "jpeg":
        opened = open_video(folder)
    else:
        opened = open_video(mp4, replace(probe(mp4), reader=request.param))
    with opened:
        assert opened.reader_name == request.param
        yield opened


@pytest.mark.parametrize(
    "indices",
    [range(LENGTH), [39, 0, 17, 3], [5, 5, 5], [[8, 0], [39, 8], [1, 1]], [[0, 1], [2, 3]], [39], range(LENGTH)[::-7]],
)
def test_frames_have_the_order_and_shape_of_the_indices(video, indices):
    frames = video.frames(indices)
    assert len(video) == LENGTH
    assert frames.shape == (*np.shape(indices), 3, *SIZE[::-1]) and frames.dtype == torch.uint8
    assert numbers(frames) == np.asarray(indices).tolist()


def test_one_index_gives_one_frame(video):
    assert video.frames(7).shape == (3, *SIZE[::-1]) and numbers(video.frames(7)) == 7


def test_a_second_request_is_as_exact_as_the_first(video):
    first = video.frames([30, 2])
    video.frames([39])
    assert torch.equal(video.frames([2, 30]), first.flip(0))


def test_frames_asked_for_twice_do_not_share_memory(video):
    frames = video.frames([5, 5])
    before = frames[1].clone()
    frames[0] = 0
    assert torch.equal(frames[1], before)


@pytest.mark.parametrize("reader", DECODERS)
def test_video_frames_are_bit_identical_to_pyavs(mp4, reader):
    with av.open(str(mp4)) as container:
        expected = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    with open_video(mp4, replace(probe(mp4), reader=reader)) as video:
        assert np.array_equal(video.frames(range(LENGTH)).permute(0, 2, 3, 1).numpy(), expected)


def test_folder_frames_are_bit_identical_to_pillows(folder):
    expected = np.stack([np.asarray(Image.open(folder / f"{i + 1:05d}.jpg")) for i in range(LENGTH)])
    with open_video(folder) as video:
        assert np.array_equal(video.frames(range(LENGTH)).permute(0, 2, 3, 1).numpy(), expected)


@pytest.mark.parametrize("indices", [[0, LENGTH], [-1], [], [[3, 400]], [400, 3], [3, -1]])
def test_indices_outside_the_video_are_refused_naming_it(video, indices):
    with pytest.raises(IndexError) as failure:
        video.frames(indices)
    assert str(failure.value).startswith(str(video.path))
    assert not indices or f"0..{LENGTH - 1}" in str(failure.value)


def refuses(path, *parts):
    """Opening `path`, or decoding from it, raises VideoError with the path first and these parts in the message."""
    with pytest.raises(VideoError) as failure, open_video(path) as video:
        video.frames(range(len(video)))
    assert str(failure.value).startswith(str(path))
    assert all(part in str(failure.value) for part in parts)


def test_missing_file_is_named(tmp_path):
    refuses(tmp_path / "none.mp4", "no such file or folder")


def test_empty_folder_is_named(tmp_path):
    refuses(tmp_path, "no .jpg or .png frames")


def copy_frames(folder, target, count=6):
    for i in range(1, count + 1):
        (target / f"{i:05d}.jpg").write_bytes((folder / f"{i:05d}.jpg").read_bytes())


def test_gap_in_the_numbering_is_named(tmp_path, folder):
    copy_frames(folder, tmp_path)
    (tmp_path / "00004.jpg").unlink()
    refuses(tmp_path, "5 frames", "00004.jpg is missing")


@pytest.mark.parametrize("keep", [0, 1 / 2])
def test_truncated_frame_is_named_and_the_others_are_read(tmp_path, folder, keep):
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
