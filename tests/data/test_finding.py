"""Which video is meant by a name: suffixes, links, layouts of other code bases, replacements, and what is not there."""

import os

import pytest
from support.footage import write_jpegs

from tanet.data import load_list
from tanet.errors import DataError

SQUASH, ABSEILING = "-4wsuPCjDBc_000005_000015", "0347ZoDXyP0_000095_000105"


@pytest.fixture
def plain(kinetics):
    """(root, recipe) of Kinetics with its two videos directly below train/."""
    root, recipe, _ = kinetics
    for path in sorted((root / "train").rglob("[!.]*.mp4")):
        path.rename(root / "train" / path.name)
    return root, recipe


def found(root, recipe, lines=None):
    """The paths below the root of the training videos, by the annotations or by these lines of a list."""
    file = None
    if lines is not None:
        file = root / "list.txt"
        file.write_text("".join(f"{line}\n" for line in lines))
    return [s.path.relative_to(root).as_posix() for s in load_list(recipe, root, "train", file=file).samples]


def not_found(root, recipe, lines=None):
    with pytest.raises(FileNotFoundError) as failure:
        found(root, recipe, lines)
    return str(failure.value)


@pytest.mark.parametrize("suffix", [".MP4", ".mkv", ".webm", ".avi", ".mov", ".mp4.mkv", ".mp4.webm"])
def test_a_video_is_found_by_its_name_whatever_its_suffix(plain, suffix):
    root, recipe = plain
    (root / f"train/{ABSEILING}.mp4").rename(root / f"train/{ABSEILING}{suffix}")
    expected = [f"train/{SQUASH}.mp4", f"train/{ABSEILING}{suffix}"]
    assert found(root, recipe) == expected
    assert found(root, recipe, [f"train/{SQUASH}.mp4 1", f"class/{ABSEILING}.mp4 0"]) == expected


@pytest.mark.parametrize("suffix", ["", ".part", ".mp4.part", ".jpg", ".mp4.ytdl"])
def test_a_file_that_is_no_video_is_not_taken_for_one(plain, suffix):
    root, recipe = plain
    (root / f"train/{ABSEILING}.mp4").rename(root / f"train/{ABSEILING}{suffix}")
    assert f"{root}/train/{ABSEILING}.mp4: listed, but not there; 1 of 2" in not_found(root, recipe)


@pytest.mark.parametrize("folder", ["videos_train", "train_256", "rawframes_train"])
def test_the_folders_of_other_code_bases_are_known(plain, folder):
    root, recipe = plain
    (root / "train").rename(root / folder)
    if folder == "rawframes_train":
        for name in (SQUASH, ABSEILING):
            (root / folder / f"{name}.mp4").unlink()
            write_jpegs(root / folder / "class" / name)
    paths = found(root, recipe)
    assert [path.split("/")[0] for path in paths] == [folder, folder]
    inside = [path.partition("/")[2] for path in paths]
    assert (
        found(root, recipe, [f"{inside[0]} 1", f"{inside[1]} 0"]) == paths
    )  # relative to that folder, as MMAction2 lists


@pytest.mark.parametrize(
    "folder, suffix",
    [
        ("20bn-something-something-v2", ".mp4"),
        ("videos", ".mp4"),
        ("20bn-something-something-v2-frames", ""),
        ("rawframes", ""),
    ],
)
def test_something_v2_may_be_encoded_anew_or_lie_in_mmaction2s_folders(sth2, folder, suffix):
    root, recipe, _ = sth2
    ids = ("78687", "42326")
    for video in ids:
        (root / f"20bn-something-something-v2/{video}.webm").unlink()
        if suffix:
            (root / folder).mkdir(exist_ok=True)
            (root / folder / f"{video}{suffix}").touch()
        else:
            write_jpegs(root / folder / video)
    expected = [f"{folder}/{video}{suffix}" for video in ids]
    assert found(root, recipe) == expected
    for spelling in ("{}", "{}.mp4", "{}.webm", "some/class/{}.webm"):
        assert found(root, recipe, [f"{spelling.format(video)} 0" for video in ids]) == expected


def test_linked_class_folders_are_followed_and_a_circle_of_links_ends(kinetics, tmp_path_factory):
    root, recipe, _ = kinetics
    before = found(root, recipe)
    for folder in sorted((root / "train").iterdir()):
        moved = tmp_path_factory.mktemp("disk") / folder.name
        folder.rename(moved)
        folder.symlink_to(moved)
    (root / "train/again").symlink_to(root / "train")
    (root / "train/twice").symlink_to(moved)
    assert sorted(path.rpartition("/")[2] for path in found(root, recipe)) == sorted(
        p.rpartition("/")[2] for p in before
    )


def test_a_link_to_a_video_is_not_a_second_video(plain):
    root, recipe = plain
    (root / "train/by_class").mkdir()
    (root / f"train/by_class/{SQUASH}.mp4").symlink_to(root / f"train/{SQUASH}.mp4")
    assert len(found(root, recipe)) == 2


@pytest.mark.parametrize("place", ["replacement/replacement_for_corrupted_k400", "replacement", "train/replacement"])
def test_the_replacement_of_a_corrupted_video_is_meant_when_both_are_there(plain, place):
    root, recipe = plain
    (root / place).mkdir(parents=True)
    (root / place / f"{SQUASH}.mp4").write_bytes(b"better")
    assert found(root, recipe) == [f"{place}/{SQUASH}.mp4", f"train/{ABSEILING}.mp4"]
    assert found(root, recipe, [f"train/{SQUASH}.mp4 1"]) == [f"train/{SQUASH}.mp4"]  # a list may name either


def test_two_videos_of_one_id_are_an_error_that_names_both(plain):
    root, recipe = plain
    for folder in ("part_0", "part_1"):
        (root / "train" / folder).mkdir()
        (root / "train" / folder / f"{SQUASH}.mp4").touch()
    (root / f"train/{SQUASH}.mp4").unlink()
    with pytest.raises(DataError, match=f"part_0/{SQUASH}.mp4: may be .*and so may {root}/train/part_1/{SQUASH}.mp4"):
        found(root, recipe)
    lines = [f"class/part_1/{SQUASH}.mp4 1"]
    assert found(root, recipe, lines) == [f"train/part_1/{SQUASH}.mp4"]  # the listed folder tells


def test_the_publishers_suffix_is_meant_when_a_converted_video_lies_beside_it(plain):
    root, recipe = plain
    for suffix in (".avi", ".webm"):
        (root / f"train/{SQUASH}{suffix}").touch()
    assert found(root, recipe)[0] == f"train/{SQUASH}.mp4"
    assert found(root, recipe, [f"a/{SQUASH}.webm 1"]) == [f"train/{SQUASH}.webm"]


def test_two_classes_may_both_have_a_video_of_one_name(plain):
    root, recipe = plain
    for name in ("left/001", "right/001", "other/left/001"):
        (root / "train" / name).parent.mkdir(parents=True)
        (root / f"train/{name}.mp4").touch()
    lines = ["right/001.mp4 1", "left/001.mp4 0", "other/left/001.mp4 0"]
    assert found(root, recipe, lines) == [f"train/{line.split()[0]}" for line in lines]
    message = not_found(root, recipe, ["up/001.mp4 1", *lines])
    assert (
        f"{root}/up/001.mp4: listed, but not there; 1 of 4" in message
        and f"similar: {root}/train/" in message
        and "/001.mp4." in message
    )


def test_a_folder_of_frames_may_be_named_like_a_file(plain):
    root, recipe = plain
    write_jpegs(root / "rawframes_train/flute/v_Flute_g23_c03.mp4")
    assert found(root, recipe, ["flute/v_Flute_g23_c03 4 0", "flute/v_Flute_g23_c03.mp4 4 0"]) == 2 * [
        "rawframes_train/flute/v_Flute_g23_c03.mp4"
    ]


def test_folders_of_frames_are_found_without_listing_them(plain, monkeypatch):
    """Kinetics has 240,000 of them, with 300 files each."""
    root, recipe = plain
    (root / "train").rename(root / "elsewhere")
    for name in (SQUASH, ABSEILING, "9999999999-_000000_000010", "clip"):
        write_jpegs(root / "rawframes_train/class" / name)
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(os.path.basename(path)) or scandir(path))
    assert found(root, recipe) == [f"rawframes_train/class/{name}" for name in (SQUASH, ABSEILING)]
    assert found(root, recipe, ["class/clip 4 0"]) == ["rawframes_train/class/clip"]
    assert set(listed) - {"clip"} == {"rawframes_train", "class"} and listed.count("clip") == 1  # by the annotations


def test_what_is_not_there_is_named_with_what_is(plain):
    root, recipe = plain
    video = root / f"train/{ABSEILING}.mp4"
    video.rename(root / f"train/{ABSEILING[:11]}.mp4")
    assert f"Nor is it in train/, with any suffix; similar: {root}/train/{ABSEILING[:11]}.mp4." in not_found(
        root, recipe
    )
    (root / "val").mkdir()
    (root / f"train/{ABSEILING[:11]}.mp4").rename(root / f"val/{ABSEILING}.mp4")
    assert f"similar: {root}/val/{ABSEILING}.mp4." in not_found(root, recipe)
    video.symlink_to("/unmounted/a.mp4")
    assert "It is a link to /unmounted/a.mp4, which is not there" in not_found(root, recipe)
    (root / "train").rename(root / "compress")
    (root / "val").rename(root / "compressed")
    message = not_found(root, recipe)
    assert "none of the 2 listed videos is there" in message
    assert "train/, videos_train/" in message and "compress/, compressed/" in message
    assert "An absolute path means that file alone" in not_found(root, recipe, [f"/home/someone/{SQUASH}.mp4 1"])
