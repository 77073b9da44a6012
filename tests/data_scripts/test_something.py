"""From the files that Something-Something's publisher hands out to lists that train."""

import io
import json
import re
import shutil
import tarfile
import zipfile
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from support.moments import hold, kill_at
from support.paths import GOLD

from data_scripts import something
from data_scripts.steps import archives
from data_scripts.steps.something_parts import extract
from tanet import recipes
from tanet.data import load_list, read_rows, undrawn_frames

BASE = "20bn-something-something"


def packed(folder, name, compressed=True):
    """The bytes of a tar of `folder`, as `name`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if compressed else "w") as archive:
        archive.add(folder, arcname=name)
    return buffer.getvalue()


def cut(data, target, version, count=4):
    """Writes data as `count` parts of unequal sizes."""
    target.mkdir(exist_ok=True)
    edges = [0, *sorted(np.random.default_rng(0).integers(1, len(data), count - 1).tolist()), len(data)]
    for number, (start, stop) in enumerate(zip(edges, edges[1:])):
        (target / f"{BASE}-{version}-{number:02d}").write_bytes(data[start:stop])
    return target


def content(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def v1_frames(tmp_path_factory):
    """Folders of frames as they are inside the archive."""
    folder = tmp_path_factory.mktemp("v1") / f"{BASE}-v1"
    rng = np.random.default_rng(0)
    for video in range(1, 21):
        (folder / str(video)).mkdir(parents=True)
        for number in range(1, 9 + video % 3):
            Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(folder / f"{video}/{number:05d}.jpg")
    return folder


@pytest.fixture(scope="module")
def webms(tmp_path_factory):
    """VP9 files as V2 has them; the picture gets brighter from frame to frame."""
    folder = tmp_path_factory.mktemp("v2") / f"{BASE}-v2"
    folder.mkdir()
    for video in range(1, 7):
        with av.open(str(folder / f"{video}.webm"), "w") as container:
            stream = container.add_stream("libvpx-vp9", rate=Fraction(12))
            stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
            for number in range(10 + video):
                frame = np.full((80, 96, 3), 20 + 10 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
    return folder


def test_v1s_parts_are_joined_and_unpacked_once(tmp_path, capsys, v1_frames):
    parts = cut(packed(v1_frames, v1_frames.name), tmp_path / "parts", "v1")
    count = extract("v1", parts, tmp_path / "root")
    assert content(tmp_path / "root" / v1_frames.name) == content(v1_frames) and count == len(content(v1_frames))
    assert "research only" in capsys.readouterr().out
    assert extract("v1", parts, tmp_path / "root") == 0
    assert "extracted already" in capsys.readouterr().out


@pytest.mark.parametrize("distribution", ["parts", "zips"])
def test_both_distributions_of_v2_give_the_same_files(tmp_path, webms, distribution):
    parts = cut(packed(webms, webms.name), tmp_path / "parts", "v2", count=2)
    if distribution == "zips":
        for number in range(2):
            part = parts / f"{BASE}-v2-{number:02d}"
            with zipfile.ZipFile(parts / f"{part.name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(part, part.name)
            part.unlink()
    extract("v2", parts, tmp_path / "root")
    assert content(tmp_path / "root" / webms.name) == content(webms)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar", ""])
def test_an_archive_whose_parts_were_joined_by_hand_is_taken(tmp_path, webms, suffix):
    (tmp_path / f"{BASE}-v2{suffix}").write_bytes(packed(webms, webms.name, compressed=suffix != ".tar"))
    extract("v2", tmp_path, tmp_path / "root")
    assert content(tmp_path / "root" / webms.name) == content(webms)


def test_a_part_that_is_missing_or_cut_short_is_named_and_nothing_wrong_is_kept(tmp_path, v1_frames):
    parts = cut(packed(v1_frames, v1_frames.name), tmp_path / "parts", "v1")
    with pytest.raises(FileNotFoundError, match=f"no parts {BASE}-v2-00.*publisher"):
        extract("v2", parts, tmp_path / "root")
    last = parts / f"{BASE}-v1-03"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{parts}/{BASE}-v1-00.*damaged or cut short"):
        extract("v1", parts, tmp_path / "root")
    last.write_bytes(whole)
    extract("v1", parts, tmp_path / "root")
    assert content(tmp_path / "root" / v1_frames.name) == content(v1_frames)
    (parts / f"{BASE}-v1-01").unlink()
    with pytest.raises(FileNotFoundError, match=f"{BASE}-v1-01 is missing, {BASE}-v1-03 is there"):
        extract("v1", parts, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_zip_that_is_damaged_is_named(tmp_path, webms):
    (tmp_path / f"{BASE}-v2-00.zip").write_bytes(b"PK not a zip")
    with pytest.raises(ValueError, match=f"{BASE}-v2-00.zip: not a zip file, or cut short"):
        extract("v2", tmp_path, tmp_path / "root")


def test_a_zip_whose_content_is_damaged_is_named(tmp_path, webms):
    parts = cut(packed(webms, webms.name), tmp_path / "parts", "v2", count=1)
    path = parts / f"{BASE}-v2-00.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(parts / f"{BASE}-v2-00", f"{BASE}-v2-00")
    (parts / f"{BASE}-v2-00").unlink()
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(ValueError, match="v2-00.*damaged or cut short"):
        extract("v2", parts, tmp_path / "root")
    assert content(tmp_path / "root") == {}


def test_a_last_part_that_may_be_missing_is_mentioned(tmp_path, v1_frames):
    parts = cut(packed(v1_frames, v1_frames.name), tmp_path / "parts", "v1")
    (parts / f"{BASE}-v1-03").unlink()
    with pytest.raises(ValueError, match=f"{BASE}-v1-02, part 3 of 3; if the publisher has more parts"):
        extract("v1", parts, tmp_path / "root")


def test_videos_that_were_removed_are_extracted_again(tmp_path, v1_frames):
    parts = cut(packed(v1_frames, v1_frames.name), tmp_path / "parts", "v1")
    count = extract("v1", parts, tmp_path / "root")
    shutil.rmtree(tmp_path / "root" / v1_frames.name)
    assert extract("v1", parts, tmp_path / "root") == count


def test_v2s_zip_file_of_annotations_gets_the_names_that_are_read(tmp_path, webms):
    parts = cut(packed(webms, webms.name), tmp_path / "parts", "v2")
    with zipfile.ZipFile(parts / f"{BASE}-download-package-labels.zip", "w") as archive:
        for name in ("labels", "train", "validation", "test"):
            archive.writestr(f"labels/{name}.json", f'["{name}"]')
    (tmp_path / "root").mkdir()
    (tmp_path / "root/something-something-v2-train.json").write_text("there already")
    extract("v2", parts, tmp_path / "root")
    texts = {path.name: path.read_text() for path in (tmp_path / "root").glob("something*.json")}
    assert texts == {
        "something-something-v2-labels.json": '["labels"]',
        "something-something-v2-train.json": "there already",
        "something-something-v2-validation.json": '["validation"]',
    }


def extract_and_hold(parts, root, number, marker):
    """Stops in the middle of that file, counted from 1 among those that are not there yet."""
    copies, copy_whole = [], shutil.copyfileobj

    def copy(source, target, length):
        copies.append(target)
        if len(copies) < number:
            return copy_whole(source, target, length)
        target.write(source.read(100))
        target.flush()
        hold(marker)

    archives.shutil.copyfileobj = copy
    extract("v1", parts, root)


@pytest.mark.slow
def test_extracting_that_is_killed_resumes_and_ends_with_the_same_bytes(tmp_path, v1_frames):
    parts = cut(packed(v1_frames, v1_frames.name, compressed=False), tmp_path / "parts", "v1")
    root, marker, whole = tmp_path / "root", tmp_path / "marker", 0
    for number in (1, 6, 100, 50):
        kill_at(marker, extract_and_hold, parts, root, number, marker)
        whole += number - 1
        assert len(list(root.rglob("[0-9]*.jpg"))) == whole
        assert [path.stat().st_size for path in root.rglob(".*.partial")] == [100]
    extract("v1", parts, root)
    assert content(root / v1_frames.name) == content(v1_frames)


@pytest.fixture
def v2_root(tmp_path, webms):
    """A data root of V2 with two classes; video 7 is annotated and not there."""
    root = tmp_path / "v2root"
    shutil.copytree(webms, root / webms.name)
    names = ["Putting something on something", "Pushing something from left to right"]
    (root / "something-something-v2-labels.json").write_text(json.dumps({name: str(i) for i, name in enumerate(names)}))
    templates = ["Putting [something] on [something]", "Pushing [something] from left to right"]
    for split, ids in (("train", (1, 2, 3, 7)), ("validation", (4, 5, 6))):
        entries = [{"id": str(i), "label": "", "template": templates[i % 2], "placeholders": []} for i in ids]
        (root / f"something-something-v2-{split}.json").write_text(json.dumps(entries))
    return root


@pytest.mark.slow
def test_lists_of_v2_hold_the_videos_that_are_there_and_name_the_missing(capsys, v2_root):
    something.lists("v2", v2_root, 1)
    printed = capsys.readouterr().out
    assert "train: 3 of 4 annotated videos are there, 1 missing" in printed
    assert (v2_root / "missing-train.txt").read_text() == "7.webm\n"
    assert [row.name for row in read_rows(v2_root / "lists/val.txt")] == [f"{BASE}-v2/{i}.webm" for i in (4, 5, 6)]
    recipe = recipes.get("sthv2_8f").with_changes({"num_classes": 2})
    by_list = load_list(recipe, v2_root, "val", file=v2_root / "lists/val.txt")
    by_annotations = load_list(recipe, v2_root, "val")
    assert by_list.samples == by_annotations.samples and all(sample.probe for sample in by_list.samples)


@pytest.mark.slow
def test_frames_of_v2_are_its_videos_frames_and_a_broken_video_is_named(capsys, v2_root):
    folder = v2_root / f"{BASE}-v2"
    (folder / "5.webm").write_bytes((folder / "4.webm").read_bytes()[:400])
    failures = something.make_frames(v2_root, 2)
    assert list(failures) == ["5.webm"] and "5.webm" in capsys.readouterr().out
    something.lists("v2", v2_root, 1, frames=True)
    rows = read_rows(v2_root / "lists/val.txt")
    assert [(row.name, row.num_frames) for row in rows] == [
        (f"{something.FRAMES}/4", 14),
        (f"{something.FRAMES}/6", 16),
    ]
    assert "5.webm" in (v2_root / "missing-val.txt").read_text()
    recipe = recipes.get("sthv2_8f").with_changes({"num_classes": 2})
    with load_list(recipe, v2_root, "val", file=v2_root / "lists/val.txt").samples[0].open() as video:
        grey = video.frames(range(len(video))).float().mean((1, 2, 3))
    assert ((grey - 20) / 10).round().tolist() == list(range(14))
    assert sorted(path.name for path in (v2_root / something.FRAMES).iterdir()) == ["1", "2", "3", "4", "6"]
    something.verify("v2", v2_root, 1, frames=True)
    assert "5 of 5 videos are good" in capsys.readouterr().out
    before = content(v2_root / something.FRAMES)
    shutil.rmtree(v2_root / something.FRAMES / "6")  # as if killed at it, when the video was a longer one
    leftover = v2_root / something.FRAMES / ".6.partial"
    leftover.mkdir()
    (leftover / "00017.jpg").write_bytes(b"of the longer video")
    something.make_frames(v2_root, 1)
    assert content(v2_root / something.FRAMES) == before


@pytest.mark.slow
def test_lists_count_the_frames_that_training_reads(linked, something_root, something_recipe, capsys):
    """Frames renamed to img_00000.jpg, with optical flow beside them, and one folder that cannot be counted."""
    root = linked(something_root)
    folder = root / f"{BASE}-v1"
    folder.unlink()
    shutil.copytree(something_root / folder.name, folder)
    counts = {}
    for video in folder.iterdir():
        frames = sorted(video.iterdir())
        counts[f"{folder.name}/{video.name}"] = len(frames)
        for number, path in enumerate(frames):
            (video / f"flow_x_{number:05d}.jpg").write_bytes(b"")
            path.rename(video / f"img_{number:05d}.jpg")
    mixed = folder / "1"
    shutil.copyfile(mixed / "img_00000.jpg", mixed / "frame1.jpg")
    counts[f"{folder.name}/1"] = 0
    something.lists("v1", root, 1)
    rows = read_rows(root / "lists/train.txt") + read_rows(root / "lists/val.txt")
    assert {row.name: row.num_frames for row in rows} == counts
    assert "frames are named img_00000.jpg" in capsys.readouterr().out
    assert "two kinds, frame1.jpg and img_00000.jpg" in (root / "lists/unreadable.txt").read_text()
    something.verify("v1", root, 1)
    assert f"{len(counts) - 1} of {len(counts)} videos are good; 1 bad" in capsys.readouterr().out
    for sample in load_list(something_recipe, root, "val", file=root / "lists/val.txt").samples:
        with sample.open() as video:
            assert len(video) == sample.num_frames
    training = load_list(something_recipe, root, "train", file=root / "lists/train.txt").samples
    assert "of 31 training videos" in undrawn_frames(
        training, something_recipe.with_changes({"keep_tail": False, "num_frames": 7})
    )


@pytest.mark.slow
def test_v2_encoded_as_mp4_is_listed_and_written_as_frames(v2_root):
    for path in list((v2_root / f"{BASE}-v2").iterdir()):
        path.rename(path.with_suffix(".mp4"))
    assert something.make_frames(v2_root, 1) == {}
    for frames, names in (
        (False, [f"{BASE}-v2/{i}.mp4" for i in (4, 5, 6)]),
        (True, [f"{something.FRAMES}/{i}" for i in (4, 5, 6)]),
    ):
        something.lists("v2", v2_root, 1, frames)
        assert [row.name for row in read_rows(v2_root / "lists/val.txt")] == names


def resized(capsys, version, root, out):
    something.main(
        [version, "resize", "--root", str(root), "--out", str(out), "--short-side", "256", "--processes", "1"]
    )
    return capsys.readouterr().out


@pytest.mark.slow
def test_resizing_gives_the_frames_of_a_clip_one_size(tmp_path, linked, something_root, something_recipe, capsys):
    root = linked(something_root)
    folder = root / f"{BASE}-v1"
    folder.unlink()
    shutil.copytree(something_root / folder.name, folder)
    odd = Image.open(folder / "2/00003.jpg").resize((60, 90))
    odd.save(folder / "2/00003.jpg")
    for path in (folder / "3").iterdir():
        Image.open(path).resize((700, 512)).save(path)
    (folder / "4/00002.jpg").write_bytes(b"no picture")
    (folder / "5/._00001.jpg").write_bytes(b"junk")
    printed = resized(capsys, "v1", root, tmp_path / "small")
    assert "1 of 48 videos are broken and left out" in printed
    assert f"{folder}/4/00002.jpg: cannot be read as a picture" in (tmp_path / "small/resize-failures.csv").read_text()
    small = tmp_path / "small" / folder.name
    before, after = content(something_root / folder.name), content(small)
    assert after.keys() == {name for name in before if not name.startswith("4/")}
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"2/00003.jpg"} | {name for name in before if name.startswith("3/")}
    assert Image.open(small / "3/00001.jpg").size == (350, 256)
    videos = load_list(something_recipe, tmp_path / "small", "train", missing="skip")
    assert videos.missing == ("4",)
    for sample in videos.samples:
        with sample.open() as video:
            video.frames(range(len(video)))
    assert "48 videos, 47 of them there" in resized(capsys, "v1", root, tmp_path / "small")


@pytest.mark.slow
def test_resizing_v2_encodes_its_files(tmp_path, v2_root, capsys):
    resized(capsys, "v2", v2_root, tmp_path / "small")
    recipe = recipes.get("sthv2_8f").with_changes({"num_classes": 2})
    videos = load_list(recipe, tmp_path / "small", "val")
    assert [sample.path.name for sample in videos.samples] == ["4.mp4", "5.mp4", "6.mp4"]
    with videos.samples[0].open() as video:
        assert len(video) == 14


def test_labels_in_both_orders_name_their_mirror_images(tmp_path):
    names = (GOLD / "sthv1_labels.txt").read_text()
    (tmp_path / "something-something-v1-labels.csv").write_text(names)
    table = something.labels("v1", tmp_path)
    assert "the two orders agree on 1 of 174 classes" in table
    assert (tmp_path / "labels-listed.txt").read_text() == names
    assert (tmp_path / "labels-sorted.txt").read_text().splitlines() == sorted(names.splitlines())
    assert len(re.findall("<->", table)) == 6  # three pairs
    row = next(line for line in table.splitlines() if line.split()[0] == "30")
    assert names.splitlines()[30] in row and names.splitlines()[41] in row


@pytest.mark.slow
def test_lists_of_the_demo_data_train_it(linked, something_root, something_recipe):
    root = linked(something_root)
    something.lists("v1", root, 2)
    for split, file in (("train", "lists/train.txt"), ("val", "lists/val.txt")):
        by_list = load_list(something_recipe, root, split, file=root / file)
        by_annotations = load_list(something_recipe, root, split)
        assert [s.path for s in by_list.samples] == [s.path for s in by_annotations.samples]
        for sample in by_list.samples:
            with sample.open() as video:
                assert len(video) == sample.num_frames


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["v1", "extract"], "no parts"),
        (["v1", "lists"], "no such file"),
        (["v1", "frames"], "V1 comes as folders of frames already"),
    ],
)
def test_a_mistake_of_the_user_is_one_line(tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit) as ended:
        something.main([*arguments, "--root", str(tmp_path)])
    message = capsys.readouterr().err
    assert ended.value.code == 1 and words in message and message.count("\n") == 1


def test_a_root_that_is_mistyped_is_not_made(tmp_path, capsys):
    for command in ("lists", "labels", "verify", "frames"):
        with pytest.raises(SystemExit):
            something.main(["v2", command, "--root", str(tmp_path / "none")])
        assert f"{tmp_path}/none: no such folder" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_help_says_for_what_the_data_may_be_used(capsys):
    with pytest.raises(SystemExit):
        something.main(["--help"])
    assert "Research-only" in capsys.readouterr().out.replace("\n", " ")
