"""How a folder names and numbers its frames: what is inferred, what lies beside frames, and what is refused."""

import numpy as np
import pytest
from PIL import Image
from support.footage import numbered, read_numbers

from tanet.data import describe_frames, open_video, read_frame_names
from tanet.errors import VideoError

COUNT = 12
FLOW = ("flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg", "x_{:05d}.jpg", "Flow-{:d}.png", "{:06d}-y_{:05d}.jpg")


def write_frames(folder, template, first, count=COUNT):
    """Frames with the numbers 0, 1, ... in their pictures."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        Image.fromarray(numbered(index)).save(folder / template.format(index + first), quality=90)
    return folder


@pytest.mark.parametrize(
    "template, first",
    [
        ("{:05d}.jpg", 1),
        ("{:05d}.jpg", 0),
        ("img_{:05d}.jpg", 1),
        ("img_{:05d}.png", 1),
        ("{:06d}.jpg", 1),
        ("image_{:04d}.JPG", 1),
        ("frame{:d}.jpg", 0),  # as OpenCV's tutorial writes them; frame10 sorts before frame2
        ("{:d}.jpeg", 1),
        ("clip 7_{:02d}.png", 0),
        ("v_Flute_g23_c03-{:06d}.jpg", 1),
    ],
)
@pytest.mark.parametrize("with_junk", [False, True], ids=["alone", "with junk"])
def test_frames_are_read_in_order_whatever_their_names(tmp_path, template, first, with_junk):
    folder = write_frames(tmp_path / "clip", template, first)
    if with_junk:
        junk = [f"._{path.name}" for path in folder.iterdir()] + [".DS_Store", "Thumbs.db", "n_frames", "frames.txt"]
        junk += [name.format(number, number) for name in FLOW for number in range(1, COUNT)]
        for name in junk:
            (folder / name).write_bytes(b"no frame")
    with open_video(folder) as video:
        assert len(video) == COUNT
        assert read_numbers(video.frames(range(COUNT))) == list(range(COUNT))
    assert read_frame_names(folder).count == COUNT


@pytest.mark.parametrize(
    "names, words",
    [
        (["img_00001.jpg", "00001.jpg"], ["two kinds", "img_00001.jpg", "00001.jpg"]),
        (["00001.jpg", "00001.png"], ["two kinds", "00001.jpg", "00001.png"]),
        (["00001.jpg", "00002.jpg", "cover.jpg"], ["two kinds", "00001.jpg", "cover.jpg"]),
        (["1.jpg", "00001.jpg"], ["two ways", "1.jpg", "00001.jpg"]),
        (["1.jpg", "02.jpg"], ["two ways", "02.jpg is not 2.jpg"]),
        (["cover.jpg"], ["cover.jpg has no number"]),
        (["flow_x_00001.jpg", "y_00001.jpg"], ["optical flow, such as flow_x_00001.jpg", "no frames"]),
        (["._00001.jpg"], ["no .jpg or .png frames"]),
        (["00000.jpg", "00002.jpg"], ["2 frames, but 00001.jpg is missing"]),
        (["img_00002.jpg", "img_00003.jpg"], ["2 frames, but img_00001.jpg is missing"]),
        (["000010.jpg", "000011.jpg"], ["2 frames, but 000001.jpg is missing"]),
        ([f"{number}.jpg" for number in range(12) if number != 2], ["11 frames, but 2.jpg is missing"]),
    ],
)
def test_names_that_do_not_tell_the_frames_are_refused_naming_them(tmp_path, names, words):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(VideoError) as failure:
        open_video(tmp_path)
    assert str(failure.value).startswith(f"{tmp_path}: ") and all(word in str(failure.value) for word in words)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_png_frames_have_pillows_colours(tmp_path, mode):
    for number in range(2):
        Image.fromarray(numbered(number)).convert(mode).save(tmp_path / f"{number}.png")
    with open_video(tmp_path) as video:
        frames = video.frames([1, 0]).permute(0, 2, 3, 1).numpy()
        assert video.reader_name == "png"
    expected = [np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("1.png", "0.png")]
    assert np.array_equal(frames, np.stack(expected))


def test_png_frames_that_cannot_be_read_are_named(tmp_path):
    write_frames(tmp_path, "{}.png", 0, 3)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:500])
    Image.fromarray(np.full((96, 128), 40_000, np.uint16)).save(tmp_path / "2.png")
    with open_video(tmp_path) as video:
        assert read_numbers(video.frames([0])) == [0]
        for index, words in ((1, "1.png: cannot be read as PNG"), (2, "2.png: has 16 bits")):
            with pytest.raises(VideoError, match=words):
                video.frames([index])


def test_what_is_said_of_frames_names_them_unless_they_are_as_published(tmp_path):
    published = write_frames(tmp_path / "1", "{:05d}.jpg", 1)
    others = write_frames(tmp_path / "2", "img_{:05d}.png", 0)
    (tmp_path / "empty").mkdir()
    assert describe_frames([published, others]) == "" and describe_frames([]) == ""
    assert "img_00000.png, img_00001.png, ..." in describe_frames([tmp_path / "empty", others])
