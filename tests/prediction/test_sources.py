import pytest

from tanet.errors import DataError
from tanet.prediction import find_videos


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root, *sources):
    return [path.relative_to(root).as_posix() for path in find_videos(root / source for source in sources)]


def test_a_folder_means_the_videos_and_folders_of_frames_in_it(tmp_path):
    touch(tmp_path, "b/2.MP4", "a.webm", "c/00001.jpg", "c/00002.jpg", "b/notes.txt", "._a.webm", "b/d/x.mkv")
    assert found(tmp_path, "") == ["a.webm", "b/2.MP4", "b/d/x.mkv", "c"]
    assert found(tmp_path, "c") == ["c"] and found(tmp_path, "b/2.MP4", "", "a.webm")[:2] == ["b/2.MP4", "a.webm"]


def test_a_file_that_is_named_may_have_any_name(tmp_path):
    touch(tmp_path, "recording", "clip.xyz", "odd [1].mp4")
    assert found(tmp_path, "recording", "clip.xyz", "odd [1].mp4") == ["recording", "clip.xyz", "odd [1].mp4"]


def test_a_pattern_means_the_videos_that_match(tmp_path):
    touch(tmp_path, "a/1.mp4", "a/2.mp4", "b/3.mp4", "b/1.txt", "b/deep/4.mov", "frames/00001.jpg")
    assert found(tmp_path, "*/[12].*") == ["a/1.mp4", "a/2.mp4"]
    assert found(tmp_path, "**/*.mov") == ["b/deep/4.mov"]
    assert found(tmp_path, "[bf]*") == ["b/3.mp4", "b/deep/4.mov", "frames"]


def test_links_are_followed_and_no_circle_is_walked_for_ever(tmp_path):
    touch(tmp_path, "disk/1.mp4", "videos/2.mp4")
    (tmp_path / "videos/more").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/back").symlink_to(tmp_path / "videos")
    assert found(tmp_path, "videos") == ["videos/2.mp4", "videos/more/1.mp4"]


def test_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "1.mp4")
    assert find_videos(["~/1.mp4", "~/*.mp4"]) == [tmp_path / "1.mp4"]


@pytest.mark.parametrize(
    "source, error, message",
    [
        ("texts", DataError, r"texts: no video in this folder .*2 other file\(s\), such as 1.txt"),
        ("empty", DataError, "empty: no video in this folder .*it holds nothing"),
        ("gone.mp4", FileNotFoundError, "gone.mp4: no such file or folder$"),
        ("clip.mp4", FileNotFoundError, "clip.mp4: no such file or folder; there is clip.MP4, clip.webm"),
        ("*.avi", FileNotFoundError, r"\*.avi: no file or folder matches"),
        ("texts/*", DataError, r"texts/\*: matches no video, but 2 other\(s\), such as 1.txt"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, source, error, message):
    touch(tmp_path, "texts/1.txt", "texts/2.txt", "clip.MP4", "clip.webm")
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message):
        find_videos([tmp_path / source])
    with pytest.raises(ValueError, match="no video is given"):
        find_videos([])


def test_pictures_that_are_no_frames_are_passed_over(tmp_path):
    touch(tmp_path, "1.mp4", "thumbnail_1.jpg", "frames/img_00007.png", "covers/cover.jpg")
    assert found(tmp_path, "") == ["1.mp4", "frames"]
