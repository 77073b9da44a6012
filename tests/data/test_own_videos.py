"""Videos of one's own: what a data root may look like, how a split is made, and what is wrong with a root."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from tanet import recipes
from tanet.data import Row, TrainingClips, load_list, make_split, overview, read_own_videos, read_probes
from tanet.data.loader import EpochBatches, balanced_order
from tanet.demo import HOME_CLASSES, PEOPLE, make_home_videos
from tanet.errors import DataError
from tanet.prepare import write_own_lists

OWN = recipes.get("own_tiny")


@pytest.fixture(scope="module")
def home_videos(tmp_path_factory):
    """Two takes of each class by three people; read only."""
    return make_home_videos(tmp_path_factory.mktemp("home") / "my videos", people=PEOPLE[2:5])


@pytest.fixture
def copied(home_videos, tmp_path):
    """The same, to be changed."""
    root = tmp_path / "videos"
    for path in sorted(home_videos.rglob("*")):
        target = root / path.relative_to(home_videos)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
    return root


def names(videos):
    return {sample.path.name: videos.class_names[sample.label] for sample in videos.samples}


def split_by_hand(root, in_val="emil"):
    """Moves the class folders into train/ and val/."""
    for class_name in HOME_CLASSES:
        for path in sorted((root / class_name).iterdir()):
            target = root / ("val" if path.name.startswith(in_val) else "train") / class_name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        (root / class_name).rmdir()


def test_split_folders_need_nothing_else(copied):
    split_by_hand(copied)
    train, val = load_list(OWN, copied, "train"), load_list(OWN, copied, "val")
    assert train.class_names == tuple(sorted(HOME_CLASSES)) == val.class_names
    assert len(train) == 16 and len(val) == 8
    assert all(name.startswith("emil") for name in names(val))
    for videos in (train, val):
        for sample in videos.samples:
            assert videos.class_names[sample.label] == sample.path.parent.name
            with sample.open() as video:
                assert 9 <= len(video) <= 30


@pytest.mark.parametrize("with_split", [True, False])
def test_a_table_gives_the_same_as_folders(copied, with_split):
    rows = [f"{path.relative_to(copied).as_posix()},{path.parent.name}" for path in sorted(copied.glob("*/*"))]
    if with_split:
        rows = [f"{row},{'val' if 'emil' in row else 'train'}" for row in rows]
    (copied / "videos.csv").write_text("path,label" + ",split" * with_split + "\n" + "\n".join(rows) + "\n")
    if not with_split:
        write_own_lists(copied, processes=1, group_by="/(emil|cleo|dörte)", val_share=0.3)
    train, val = load_list(OWN, copied, "train"), load_list(OWN, copied, "val")
    assert len(train) == 16 and len(val) == 8
    assert all(class_name in HOME_CLASSES for class_name in names(train).values())
    assert len({name.split("-")[0] for name in names(val)}) == 1


def test_lists_write_what_a_training_needs_and_keep_their_split(copied, capsys):
    with pytest.raises(DataError, match="tanet data lists .* makes a split"):
        load_list(OWN, copied, "train")
    found = write_own_lists(copied, processes=1)
    train, val = load_list(OWN, copied, "train"), load_list(OWN, copied, "val")
    assert Counter(sample.label for sample in val.samples) == {label: 1 for label in range(4)}  # a fifth of six
    assert len(train) == 20 and not set(names(train).items()) & set(names(val).items()) - set(names(train).items())
    assert not {sample.path for sample in train.samples} & {sample.path for sample in val.samples}
    files = [sample for sample in train.samples + val.samples if sample.path.is_file()]
    assert len(files) == 20 and all(sample.probe for sample in files) and len(read_probes(copied)) == 20
    assert found.counts("train") == [5, 5, 5, 5] and found.counts("val") == [1, 1, 1, 1]
    new = copied / "lift" / "new-01.mp4"
    new.hardlink_to(files[0].path)
    write_own_lists(copied, processes=1)
    assert f"1 videos are in neither list, the first: lift/{new.name}" in capsys.readouterr().out
    assert names(load_list(OWN, copied, "train")) == names(train)
    with pytest.raises(DataError, match="has a split already, by lists/"):
        write_own_lists(copied, processes=1, group_by="/(.+)-")


def test_a_label_file_sets_the_order(copied):
    split_by_hand(copied)
    order = ("swipe_right", "come closer", "Swipe left", "lift", "not filmed yet")
    (copied / "labels.txt").write_text("\n".join(order))
    train = load_list(OWN, copied, "train")
    assert train.class_names == order
    assert {train.class_names[sample.label] for sample in train.samples} == set(order[:4])
    (copied / "labels.txt").write_text("\n".join(order[1:]))
    with pytest.raises(DataError, match="labels.txt: lacks the class 'swipe_right'"):
        load_list(OWN, copied, "train")


def test_num_classes_is_counted_or_checked(copied):
    split_by_hand(copied)
    assert len(load_list(OWN.with_changes({"num_classes": 4}), copied, "train").class_names) == 4
    with pytest.raises(DataError, match="4 classes there, recipe own_tiny has num_classes = 5"):
        load_list(OWN.with_changes({"num_classes": 5}), copied, "train")
    with pytest.raises(ValueError, match="num_classes must be greater than 0"):
        recipes.get("k400_8f").with_changes({"num_classes": 0})


ROWS = [Row(f"{name}/{person}-{take}.mp4", None, label) for label, name in enumerate("ab") for person in "pqrst"
        for take in range(4)]  # fmt: skip


def test_a_split_by_name_takes_a_fifth_of_each_class():
    split = make_split(ROWS)
    assert Counter(row.label for row in split["val"]) == {0: 4, 1: 4}
    assert sorted(split["train"] + split["val"]) == sorted(ROWS)
    assert make_split(ROWS[::-1])["val"] == split["val"][::-1]  # by the names, not by their order


def test_a_split_by_group_parts_no_group():
    split = make_split(ROWS, r"/(\w)-")
    groups = {side: {row.name[2] for row in rows} for side, rows in split.items()}
    assert len(groups["val"]) == 1 and not groups["val"] & groups["train"]
    assert len(split["train"]) + len(split["val"]) == len(ROWS)


@pytest.mark.parametrize(
    "rows, group_by, message",
    [
        (ROWS, "/(x)-", "a/p-0.mp4: group_by '/.x.-' finds no group"),
        (ROWS, "(", "no regular expression"),
        (ROWS[:4], "/(p)-", "one group only, 'p'"),
        ([Row("a/p-0.mp4", None, 0), Row("b/q-0.mp4", None, 1)], "/(.)-", "no video of this class is left"),
        ([Row("a/1.mp4", None, 0), Row("b/1.mp4", None, 1)], None, "a/1.mp4: no video of this class is left"),
    ],
)
def test_a_split_that_cannot_be_made(rows, group_by, message):
    with pytest.raises(ValueError, match=message):
        make_split(rows, group_by)


def test_one_class(copied):
    for name in list(HOME_CLASSES)[1:]:
        (copied / name).rename(copied.parent / name)
    with pytest.raises(DataError, match="one class only, 'Swipe left'; a classifier needs two"):
        read_own_videos(copied)


def test_an_empty_class_folder(copied):
    (copied / "jump").mkdir()
    with pytest.raises(DataError, match="jump: a class folder without videos; fill it, or remove it"):
        read_own_videos(copied)


def test_names_that_differ_in_spelling_alone(copied):
    (copied / "swipe_right").rename(copied / "Swipe-Left")
    with pytest.raises(DataError, match="'Swipe left' and 'Swipe-Left'|'Swipe-Left' and 'Swipe left'"):
        read_own_videos(copied)


def test_a_class_in_val_alone(copied):
    split_by_hand(copied)
    (copied / "train" / "lift").rename(copied.parent / "lift")
    with pytest.raises(DataError, match="class 'lift' has videos in val, but none in train"):
        load_list(OWN, copied, "val")


def test_one_split_folder(copied):
    split_by_hand(copied)
    (copied / "val").rename(copied.parent / "val")
    with pytest.raises(FileNotFoundError, match="val: no such folder, but there is .*train; make it, or move"):
        load_list(OWN, copied, "train")


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no videos of one's own: neither videos.csv, nor train/CLASS"):
        load_list(OWN, tmp_path, "train")


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,label\na.mp4,x\n", "videos.csv, line 1: expected the header path,label"),
        ("path,label\na.mp4\n", "videos.csv, line 2: expected path,label"),
        ("path,label\na.mp4,x,y\n", "videos.csv, line 2: expected path,label"),
        ("path,label,split\na.mp4,x,test\n", "videos.csv, line 2: split must be train or val, got 'test'"),
        ("path,label\n", "videos.csv: lists no videos"),
    ],
)
def test_a_table_that_is_wrong(tmp_path, text, message):
    (tmp_path / "videos.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_own_videos(tmp_path)


def test_the_overview_tells_what_a_training_would_suffer_from(copied):
    split_by_hand(copied)
    twice = sorted((copied / "train" / "lift").glob("*-02.*"))[0]
    (copied / "val" / "lift" / "again.mp4").hardlink_to(twice)
    (copied / "val" / "lift" / "broken.mp4").write_bytes(b"<html>404</html>")
    for path in sorted((copied / "val" / "swipe_right").iterdir()):
        path.rename(copied.parent / path.name)
    (copied / "val" / "swipe_right").rmdir()
    for path in sorted((copied / "train" / "come closer").glob("*.*"))[1:]:
        path.unlink()
    found = overview(load_list(OWN, copied, "train"), load_list(OWN, copied, "val"), num_frames=16)
    said = "\n".join(found.advice())
    for text in ("1 videos cannot be read", "1 validation videos are training videos, too", twice.name,
                 "No validation videos: swipe_right", "Fewer than 10 training videos", "fewer frames than a clip (16)",
                 "The frame rates differ, from 15 to 29.97"):  # fmt: skip
        assert text in said
    page = found.page()
    assert "| lift | 4 | 3 |" in page and "- Frames a second: " in page and "- Pixels, width x height: " in page


def test_the_overview_of_good_videos_has_no_advice_on_splits(copied):
    split_by_hand(copied)
    found = overview(load_list(OWN, copied, "train"), load_list(OWN, copied, "val"), num_frames=8)
    assert not found.twice and not found.unreadable and not any("shorter" in line for line in found.advice())


def test_balanced_epochs_draw_all_classes_equally_often():
    labels = np.array([0] * 50 + [1] * 8 + [2] * 3)
    for seed in range(5):
        clips = balanced_order(labels, np.random.default_rng(seed))
        drawn = Counter(labels[index] for index, *_ in clips)
        assert len(clips) == len(labels) and set(drawn.values()) <= {20, 21}
        assert len(set(clips)) == len(clips)  # a video's second clip has another key
        turns = {name: Counter(index for index, *_ in clips if labels[index] == name) for name in (1, 2)}
        for counts in turns.values():
            assert max(counts.values()) - min(counts.values()) <= 1


def test_balanced_batches_resume_and_share_as_the_others_do():
    labels = [0] * 20 + [1] * 4
    whole, rest = (EpochBatches(24, 4, seed=3, labels=labels) for _ in range(2))
    rest.start = 8
    assert list(whole)[2:] == list(rest)
    ranks = [list(EpochBatches(24, 2, 3, rank, 2, labels=labels)) for rank in range(2)]
    for step, batch in enumerate(whole):
        assert sorted(batch) == sorted(ranks[0][step] + ranks[1][step])


def test_a_second_clip_of_a_video_is_another_clip(copied):
    split_by_hand(copied)
    clips = TrainingClips(load_list(OWN, copied, "train"), dataclasses.replace(OWN, flip="none"))
    first, second = clips[0, 3][0], clips[0, 3, 1][0]
    assert first.shape == second.shape and not first.equal(second)
    assert clips[0, 3, 1][0].equal(second)
