import csv
import json

import av
import numpy as np
import pytest
from PIL import Image

from tanet.data import mirrored_classes
from tanet.demo import draw_clip, draw_told_clip, footage
from tanet.demo.footage import make_demo_kinetics, make_demo_late, make_demo_near, make_demo_something, write_video

CHANGES = ("cover", "opacity", "size", "x", "y")


def clip(change, backwards=False, seed=0, frames=16, size=(80, 60)):
    return draw_clip(change, backwards, frames, size, np.random.default_rng(seed))


@pytest.mark.parametrize("change", CHANGES)
def test_a_class_is_its_partner_played_backwards(change):
    for seed in range(5):
        assert np.array_equal(clip(change, True, seed), clip(change, False, seed)[::-1])


@pytest.mark.parametrize("change", CHANGES)
def test_a_clip_is_a_function_of_the_generators_state_and_changes_over_time(change):
    for seed in range(5):
        frames = clip(change, seed=seed)
        assert frames.shape == (16, 60, 80, 3) and frames.dtype == np.uint8
        assert np.array_equal(frames, clip(change, seed=seed))
        assert not np.array_equal(frames, clip(change, seed=seed + 100))
        assert np.abs(frames[0].astype(int) - frames[-1]).max() > 30


def bright_center(frame):
    """The object's centre (x, y): the mean position of the pixels that are brighter than any background."""
    ys, xs = np.nonzero(frame.max(-1) > 150)
    return xs.mean(), ys.mean()


def test_objects_move_as_the_class_name_says():
    for seed in range(10):
        right, up = clip("x", seed=seed), clip("y", seed=seed)
        assert bright_center(right[-1])[0] > bright_center(right[0])[0] + 8
        assert bright_center(up[-1])[1] < bright_center(up[0])[1] - 8
        nearer = clip("size", seed=seed)
        assert (nearer[-1].max(-1) > 150).sum() > 2 * (nearer[0].max(-1) > 150).sum()


def test_unknown_change_is_refused():
    with pytest.raises(ValueError, match="'colour'"):
        clip("colour")


@pytest.mark.parametrize("stripes, along", [("vertical", 2), ("horizontal", 1)])
def test_stripes_show_in_every_frame_across_their_direction(stripes, along):
    """Along the edge of the picture, where no object is."""
    for seed in range(5):
        frames = draw_clip("size", False, 8, (80, 60), np.random.default_rng(seed), stripes=stripes).astype(int)
        edge = frames[:, :2] if along == 2 else frames[:, :, :2]
        steps = np.abs(np.diff(edge, axis=along)).max(-1)
        assert (steps > 30).any(along).all() and not (np.abs(np.diff(edge, axis=3 - along)) > 30).any()


def test_a_shape_and_a_colour_can_be_asked_for():
    """A ring has a hole, a cross has none; the colour's hue stays, its brightness is drawn."""
    ring, cross = (
        draw_clip("size", False, 8, (80, 60), np.random.default_rng(0), shape, color=(250, 0, 0))[-1].astype(int)
        for shape in ("ring", "cross")
    )
    red = cross[..., 0] > 150
    x, y = (round(float(np.nonzero(red)[axis].mean())) for axis in (1, 0))
    assert cross[y, x, 0] > 150 > ring[y, x, 0] and cross[red][:, 1:].max() < 40


def told(backwards, reversed_by_lamp, lamp, seed, frames=24):
    rng = np.random.default_rng(seed)
    return draw_told_clip("x", backwards, reversed_by_lamp, lamp, frames, (72, 64), rng)


@pytest.mark.parametrize("lamp", ["late", "near"])
def test_neither_the_movement_nor_the_lamp_alone_names_a_class(lamp):
    """Each class of a pair has the same movements and the same lamps, equally often; only their combination differs."""
    for seed in range(5):
        clips = {(b, r): told(b, r, lamp, seed) for b in (False, True) for r in (False, True)}
        moving, after = slice(6), slice(6, None)
        for red in (False, True):  # unordered, the movement is the same both ways
            there, back = clips[False, red], clips[True, red]
            assert np.array_equal(there[moving], back[moving][::-1]) and np.array_equal(there[after], back[after])
        lit = moving if lamp == "near" else slice(22, None)
        for backwards in (False, True):
            red, blue = clips[backwards, True].astype(int), clips[backwards, False].astype(int)
            differs = np.abs(red - blue).reshape(24, -1).max(1) > 0
            assert differs[lit].all() and differs.sum() == len(range(24)[lit])


def test_the_movement_is_over_long_before_the_late_lamp_is_lit():
    frames = told(False, True, "late", 0).astype(int)
    assert all(np.array_equal(frames[6], frame) for frame in frames[7:22])  # nothing but the background
    assert bright_center(frames[5])[0] > bright_center(frames[0])[0] + 20


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_many_clips_are_made_in_several_processes_with_the_same_bytes(tmp_path, monkeypatch, something_root):
    monkeypatch.setattr(footage, "MANY_CLIPS", 16)
    several = make_demo_something(tmp_path, train=8, val=8)
    video = "20bn-something-something-v1/1"
    assert files(several / video) == files(something_root / video)
    monkeypatch.setattr(footage, "MANY_CLIPS", 17)
    assert files(several) == files(make_demo_something(tmp_path / "one", train=8, val=8))


@pytest.mark.slow
@pytest.mark.parametrize(
    "which, make", [("kinetics_root", make_demo_kinetics), ("something_root", make_demo_something)]
)
def test_the_same_seed_makes_the_same_bytes(tmp_path, request, which, make):
    assert files(make(tmp_path, train=32, val=16)) == files(request.getfixturevalue(which))


def test_another_seed_makes_other_videos_of_the_same_classes(tmp_path, something_root):
    other = make_demo_something(tmp_path, train=8, val=8, seed=1)
    assert (other / "something-something-v1-labels.csv").read_text() == (
        something_root / "something-something-v1-labels.csv"
    ).read_text()
    first = "20bn-something-something-v1/1/00001.jpg"
    assert (other / first).read_bytes() != (something_root / first).read_bytes()


def test_training_and_validation_videos_differ(kinetics_root):
    contents = [path.read_bytes() for path in kinetics_root.rglob("*.mp4")]
    assert len(set(contents)) == len(contents) == 48


def test_a_smaller_set_is_the_beginning_of_a_larger_one(tmp_path, kinetics_root):
    small = make_demo_kinetics(tmp_path, train=8, val=8)
    videos = {name: content for name, content in files(small).items() if name.endswith(".mp4")}
    assert len(videos) == 16 and videos.items() <= files(kinetics_root).items()


def test_data_that_exist_are_kept_and_other_settings_refused(tmp_path):
    root = make_demo_something(tmp_path, train=8, val=8)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert make_demo_something(tmp_path, train=8, val=8) == root
    for changed in ({"train": 16, "val": 8}, {"train": 8, "val": 8, "seed": 1}):
        with pytest.raises(FileExistsError, match="demo_something holds other data"):
            make_demo_something(tmp_path, **changed)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    (tmp_path / "demo_kinetics").mkdir()
    (tmp_path / "demo_kinetics/mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="demo_kinetics"):
        make_demo_kinetics(tmp_path, train=8, val=8)
    assert files(tmp_path) == {"demo_kinetics/mine.txt": b"mine"}


def test_making_it_leaves_nothing_beside_it(kinetics_root, something_root):
    assert [path.name for path in kinetics_root.parent.iterdir()] == ["demo_kinetics"]
    assert [path.name for path in something_root.parent.iterdir()] == ["demo_something"]


def test_kinetics_files_are_named_as_the_csv_says(kinetics_root):
    names = (kinetics_root / "labels.txt").read_text().splitlines()
    assert len(names) == len(set(names)) == 8
    for split, count in (("train", 32), ("val", 16)):
        with open(kinetics_root / f"annotations/{split}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == ["label", "youtube_id", "time_start", "time_end", "split"]
        times = [(int(row["time_start"]), int(row["time_end"])) for row in rows]
        wanted = [f"{r['label']}/{r['youtube_id']}_{start:06d}_{end:06d}.mp4" for r, (start, end) in zip(rows, times)]
        written = [str(path.relative_to(kinetics_root / split)) for path in (kinetics_root / split).rglob("*.mp4")]
        assert sorted(written) == sorted(wanted) and len(wanted) == count
        assert {names.count(row["label"]) for row in rows} == {1} and {row["split"] for row in rows} == {split}
        assert all(len(row["youtube_id"]) == 11 for row in rows)


def test_kinetics_videos_vary_in_length_size_and_rate_and_some_are_shorter_than_the_window(kinetics_root):
    lengths, sizes, rates = [], set(), set()
    for path in kinetics_root.rglob("*.mp4"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            lengths.append(stream.frames)
            sizes.add((stream.width, stream.height))
            rates.add(stream.average_rate)
            assert stream.codec_context.name == "h264"
    assert min(lengths) < 64 < max(lengths)
    assert len(sizes) > 2 and len(rates) > 2
    assert any(width < height for width, height in sizes) and any(width > height for width, height in sizes)


def test_something_folders_are_as_the_lists_say(something_root):
    prefix = "something-something-v1"
    names = (something_root / f"{prefix}-labels.csv").read_text().splitlines()
    rows = [
        line.split(";")
        for split in ("train", "validation")
        for line in (something_root / f"{prefix}-{split}.csv").read_text().splitlines()
    ]
    assert len(rows) == 48 and {label for _, label in rows} == set(names)
    folders = {path.name: path for path in (something_root / f"20bn-{prefix}").iterdir()}
    assert sorted(folders) == sorted(video for video, _ in rows)
    lengths, widths = set(), set()
    for folder in folders.values():
        frames = sorted(path.name for path in folder.iterdir())
        assert frames == [f"{i + 1:05d}.jpg" for i in range(len(frames))]
        lengths.add(len(frames))
        with Image.open(folder / "00001.jpg") as image:
            widths.add(image.width)
            assert image.height == 100 and image.format == "JPEG"
    assert all(length % 8 == 0 for length in lengths) and len(lengths) > 1 and 176 in widths


def test_every_class_is_equally_frequent_so_that_chance_is_one_eighth(something_root):
    for split, each in (("train", 4), ("validation", 2)):
        rows = (something_root / f"something-something-v1-{split}.csv").read_text().splitlines()
        labels = [row.split(";")[1] for row in rows]
        assert {labels.count(label) for label in labels} == {each} and len(set(labels)) == 8


@pytest.mark.parametrize("make", [make_demo_late, make_demo_near])
def test_both_sets_with_lamps_are_in_the_format_of_something_and_have_every_combination_alike(tmp_path, make):
    root = make(tmp_path, train=16, val=8)
    prefix = "something-something-v1"
    names = (root / f"{prefix}-labels.csv").read_text().splitlines()
    rows = (root / f"{prefix}-train.csv").read_text().splitlines()
    assert [row.split(";")[1] for row in rows] == names * 4 and mirrored_classes(names) == [1, 0, 2, 3]
    assert {len(list(folder.iterdir())) % 12 for folder in (root / f"20bn-{prefix}").iterdir()} == {0}


def test_kinetics_classes_are_named_by_what_is_seen_but_for_one_pair():
    seen = [looks for change, _, *looks in footage.KINETICS_CLASSES.values() if change is None]
    pair = [looks for change, _, *looks in footage.KINETICS_CLASSES.values() if change is not None]
    assert len({str(looks) for looks in seen}) == 6
    assert len(pair) == 2 and pair[0] == pair[1] and pair[0] not in seen


def test_settings_are_on_record(kinetics_root):
    settings = json.loads((kinetics_root / "demo.json").read_text())
    assert settings["seed"] == 0 and settings["clips"] == [["train", 32], ["val", 16]]


def test_one_pair_of_each_set_is_a_mirror_image_by_its_names(kinetics_root, something_root):
    for path in (kinetics_root / "labels.txt", something_root / "something-something-v1-labels.csv"):
        assert mirrored_classes(path.read_text().splitlines()) == [1, 0, 2, 3, 4, 5, 6, 7]


def test_written_videos_hold_what_was_drawn(tmp_path):
    frames = clip("x", frames=20)
    write_video(tmp_path / "a.mp4", frames, fps=25, crf="1")
    with av.open(str(tmp_path / "a.mp4")) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 3
