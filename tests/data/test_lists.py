"""List files in the formats of other code bases, and the stored probes of a data root."""

import errno
import os
from pathlib import Path

import pytest

from tanet.data import Probe, Row, Sample, load_list, read_probes, read_rows, shared, write_list, write_probes
from tanet.errors import DataError, VideoError
from tanet.prepare.list_writing import write_lists

ODD = 'a b/it\'s "ö", 3.mp4'


@pytest.mark.parametrize(
    "text, rows",
    [
        ("a/b.mp4 3\nc.mp4 0\n", [Row("a/b.mp4", None, 3), Row("c.mp4", None, 0)]),
        (f"{ODD} 3\n\nx.mp4   12  \n", [Row(ODD, None, 3), Row("x.mp4", None, 12)]),
        ("folder/1 24 3\nfolder/2 8 0", [Row("folder/1", 24, 3), Row("folder/2", 8, 0)]),
        ("with space 24 3\n", [Row("with space", 24, 3)]),
        ("id, 300, 399\nother,250,0\n", [Row("id", 300, 399), Row("other", 250, 0)]),
        ("a, b, 300, 1\n", [Row("a, b", 300, 1)]),
        ("a/b.mp4,3\nc d.mp4 , 0\n", [Row("a/b.mp4", None, 3), Row("c d.mp4", None, 0)]),
        ("a.mp4\t3\nb.mp4\t\t0\n", [Row("a.mp4", None, 3), Row("b.mp4", None, 0)]),
        ('"a, ""b"".mp4",3\nc.mp4,0\n', [Row('a, "b".mp4', None, 3), Row("c.mp4", None, 0)]),
        ('"with space.mp4" 3\n', [Row("with space.mp4", None, 3)]),
        ("D:\\data\\a b.mp4 3\nclass\\c.mp4 0\n", [Row("D:/data/a b.mp4", None, 3), Row("class/c.mp4", None, 0)]),
        ("a.mp4 -1\nb, 2.mp4 -1\n", [Row("a.mp4", None, None), Row("b, 2.mp4", None, None)]),
        ("folder/1 24 -1\n", [Row("folder/1", 24, None)]),
        ("a b.mp4\n12\n", [Row("a b.mp4", None, None), Row("12", None, None)]),
    ],
    ids=[
        "mmaction2",
        "odd names",
        "folders",
        "spaces",
        "official",
        "commas",
        "path and label with a comma",
        "tabs",
        "quoted by a spreadsheet",
        "quoted by pandas, with blanks",
        "Windows",
        "unknown labels",
        "unknown labels of folders",
        "no labels",
    ],
)
def test_each_format_is_read(tmp_path, text, rows):
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    assert read_rows(tmp_path / "list.txt") == rows


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("a.mp4 1\nb.mp4\n", "line 2", "expected path label, the form of 1 of the 2 lines; got 'b.mp4'"),
        ("a 8 1\nb 1\n", "line 2", "expected path num_frames label"),
        ("a, 8, 1\n\nb, 1\n", "line 3", "expected path num_frames label"),
        ("a 1\nb 16 0\nc 16 1\n", "line 1", "expected path num_frames label, the form of 2 of the 3 lines; got 'a 1'"),
        ("/data/a.mp4\nb 16 0\nc 16 1\n", "line 1", "expected path num_frames label"),
        ("path,label\na.mp4,1\nb.mp4,0\n", "line 1", "a list has no header"),
        ("label,youtube_id,time_start,time_end,split\nx,y,1,11,test\n", "line 1", "expected path num_frames label, or"),
        ("a.mp4 1\nb.mp4 -1\n", "line 2", "the label is unknown (-1), as in 1 of the 2 lines"),
        ("a.mp4 -2\n", "line 1", "label -2"),
        ("\n\n", "", "lists no videos"),
    ],
)
def test_a_line_of_another_format_is_named(tmp_path, text, line, words):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(DataError) as failure:
        read_rows(path)
    message = str(failure.value)
    assert message.startswith(f"{path}") and line in message and words in message


@pytest.mark.parametrize(
    "rows",
    [
        [Row(ODD, None, 3), Row("b", None, 0)],
        [Row("a b", 7, 3), Row("ü", 8, 0)],
        [Row("a b", None, None)],
        [Row("a", 7, None)],
    ],
)
def test_rows_are_read_as_they_were_written(tmp_path, rows):
    write_list(tmp_path / "lists" / "train.txt", rows)
    assert read_rows(tmp_path / "lists" / "train.txt") == rows


@pytest.mark.parametrize(
    "name", ["two\nlines", "two\rlines", " begins with space", "back\\slash", '"quoted"', "ends with 12", "", "a,"]
)
def test_names_that_no_list_can_hold_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="no list can hold"):
        write_list(tmp_path / "train.txt", [(name, None, 0)])
    assert not (tmp_path / "train.txt").exists()


def annotated_videos(recipe, root):
    """(path, label) of the training videos, by the publisher's annotations."""
    return [(sample.path, sample.label) for sample in load_list(recipe, root, "train").samples]


def spellings(path, root):
    """The names by which a list may refer to a video."""
    relative = path.relative_to(root).as_posix()  # as MMAction2 does
    in_another_folder = f"some_class/{path.name}"
    return [relative, str(path), path.stem, in_another_folder]  # the stem is the id, as in the official code


@pytest.mark.parametrize("spelling", range(4), ids=["relative path", "absolute path", "id", "in another folder"])
def test_a_list_gives_the_same_videos_as_the_annotations_however_it_names_them(
    tmp_path, kinetics_root, kinetics_recipe, something_root, something_recipe, spelling
):
    file = tmp_path / "list.txt"
    for root, recipe in ((kinetics_root, kinetics_recipe), (something_root, something_recipe)):
        expected = annotated_videos(recipe, root)
        write_list(file, [(spellings(path, root)[spelling], None, label) for path, label in expected])
        listed = load_list(recipe, root, "train", file=file)
        assert [(sample.path, sample.label) for sample in listed.samples] == expected


def test_labels_and_missing_videos_of_a_list_are_checked(tmp_path, something_root, something_recipe):
    file = tmp_path / "list.txt"
    file.write_text("1 0\n2 8\n")
    with pytest.raises(DataError, match=f"{file}, line 2: label 8, but there are 8 classes"):
        load_list(something_recipe, something_root, "train", file=file)
    file.write_text("1 0\n999 1\n")
    with pytest.raises(FileNotFoundError, match="/999: listed, but not there"):
        load_list(something_recipe, something_root, "train", file=file)
    assert load_list(something_recipe, something_root, "train", "skip", file).missing == ("999",)
    with pytest.raises(FileNotFoundError, match="no such list of videos"):
        load_list(something_recipe, something_root, "train", file=tmp_path / "none.txt")


def test_opening_a_folder_with_fewer_frames_than_its_list_tells_is_an_error(tmp_path, something_root, something_recipe):
    file = tmp_path / "list.txt"
    with load_list(something_recipe, something_root, "train").samples[0].open() as video:
        count = len(video)
    file.write_text(f"1 {count} 0\n1 {count + 1} 0\n")
    good, short = load_list(something_recipe, something_root, "train", file=file).samples
    with good.open() as video:
        assert len(video) == count
    with pytest.raises(VideoError, match=rf"/1: {count} frames in it, but {count + 1} by the list"):
        short.open()


@pytest.mark.slow
def test_stored_probes_are_used_for_files_of_the_probed_size_only(linked, kinetics_root, kinetics_recipe, capsys):
    root = linked(kinetics_root)
    rows = [(path.relative_to(root).as_posix(), label) for path, label in annotated_videos(kinetics_recipe, root)]
    write_lists(root, {"train": rows}, 1)
    output = capsys.readouterr().out
    assert "32 videos: " in output and "read by decord" in output
    probes = read_probes(root)
    assert sorted(probes) == sorted(name for name, _ in rows)
    samples = load_list(kinetics_recipe, root, "train", file=root / "lists/train.txt").samples
    for sample, (name, label) in zip(samples, rows, strict=True):
        assert (sample.path, sample.label, sample.probe) == (root / name, label, probes[name][1])
        with sample.open() as video:
            assert len(video) == sample.probe.frames and video.reader_name == sample.probe.reader
    (root / "train").unlink()
    (root / "train").mkdir()
    (root / rows[0][0]).parent.mkdir()
    (root / rows[0][0]).write_bytes(b"of another size")
    changed = load_list(kinetics_recipe, root, "train", "skip", root / "lists/train.txt").samples
    assert [sample.probe for sample in changed] == [None]


@pytest.mark.slow
def test_files_that_cannot_be_probed_stay_listed_and_are_named(tmp_path, kinetics_root, kinetics_recipe, capsys):
    good = annotated_videos(kinetics_recipe, kinetics_root)[0][0]
    (tmp_path / "train").mkdir()
    (tmp_path / "train/good.mp4").symlink_to(good)
    (tmp_path / "train/bad.mp4").write_bytes(b"no video")
    rows = [("train/good.mp4", 0), ("train/bad.mp4", 1)]
    for _ in range(2):  # the second time, the probe of the good one is stored
        write_lists(tmp_path, {"train": rows}, 1)
        output = capsys.readouterr().out
        assert output.startswith("1 videos: ") and "; 1 more cannot be opened (lists/unreadable.txt)" in output
        assert read_rows(tmp_path / "lists/train.txt") == [Row(name, None, label) for name, label in rows]
        assert (tmp_path / "lists/unreadable.txt").read_text().startswith("train/bad.mp4: cannot be opened as a video")
        assert list(read_probes(tmp_path)) == ["train/good.mp4"]


def test_a_list_with_a_byte_order_mark_windows_line_ends_and_a_line_separator_in_a_name_is_read(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffa\u2028b.mp4 1\r\nc.mp4 0\r\n".encode())
    assert read_rows(tmp_path / "list.txt") == [Row("a\u2028b.mp4", None, 1), Row("c.mp4", None, 0)]


def test_a_list_that_powershell_has_written_is_read(tmp_path):
    """The > of Windows PowerShell writes UTF-16, and its folders have backslashes."""
    (tmp_path / "list.txt").write_text("D:\\data\\é.mp4 1\r\nD:\\data\\b.mp4 0\r\n", encoding="utf-16")
    assert read_rows(tmp_path / "list.txt") == [Row("D:/data/é.mp4", None, 1), Row("D:/data/b.mp4", None, 0)]


def test_a_list_in_another_encoding_is_refused_by_name(tmp_path):
    (tmp_path / "list.txt").write_bytes("é.mp4 1\n".encode("latin-1"))
    with pytest.raises(DataError, match=f"{tmp_path}/list.txt, line 1: not text in UTF-8"):
        read_rows(tmp_path / "list.txt")


def test_an_absolute_path_names_no_other_file(tmp_path, something_root, something_recipe):
    """Not even if the data set has a video of the same name."""
    file = tmp_path / "list.txt"
    file.write_text(f"{tmp_path}/1 0\n")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/1: "):
        load_list(something_recipe, something_root, "train", file=file)
    (tmp_path / "1").mkdir()
    (sample,) = load_list(something_recipe, something_root, "train", file=file).samples
    assert sample.path == tmp_path / "1"


def test_load_list_asks_the_disk_once_for_each_file(monkeypatch, tmp_path, kinetics_root, kinetics_recipe):
    """On a network disk these questions take most of the time."""
    rows = annotated_videos(kinetics_recipe, kinetics_root)
    names = [path.relative_to(kinetics_root).as_posix() for path, _ in rows]
    write_list(tmp_path / "list.txt", [(name, None, 0) for name in names])
    asked, original = [], os.stat

    def recording_stat(path, **options):
        asked.append(str(path))
        return original(path, **options)

    monkeypatch.setattr(os, "stat", recording_stat)
    for file in (None, tmp_path / "list.txt"):
        asked.clear()
        load_list(kinetics_recipe, kinetics_root, "train", file=file)
        assert sorted(name for name in asked if name.endswith(".mp4")) == sorted(str(path) for path, _ in rows)


def test_stored_probes_are_used_below_the_root_only_however_the_root_is_written(
    monkeypatch, tmp_path, kinetics_root, kinetics_recipe
):
    root, other = tmp_path / "data", tmp_path / "more"  # names of equal length
    for folder in (root, other):
        folder.mkdir()
        for path in kinetics_root.iterdir():
            (folder / path.name).symlink_to(path)
    path, label = annotated_videos(kinetics_recipe, root)[0]
    name = path.relative_to(root).as_posix()
    write_probes(root, {name: (path.stat().st_size, Probe("h264", 8, 8, 9, 0, "pyav", ""))})
    write_list(tmp_path / "list.txt", [(name, None, label), (str(other / name), None, label)])
    monkeypatch.chdir(root)
    for spelling in (root, f"{root}/", "."):
        inside, outside = load_list(kinetics_recipe, spelling, "train", file=tmp_path / "list.txt").samples
        assert inside.probe.frames == 9 and outside.probe is None


def test_a_list_without_labels_is_for_tests_only(tmp_path, something_root, something_recipe):
    file = tmp_path / "list.txt"
    for text in ("1 -1\n2 -1\n", "1\n2\n"):
        file.write_text(text)
        with pytest.raises(DataError, match=f"{file}: a list without labels, which can be tested only"):
            load_list(something_recipe, something_root, "train", file=file)
        samples = load_list(something_recipe, something_root, "train", file=file, unlabelled=True).samples
        assert [(sample.path.name, sample.label) for sample in samples] == [("1", None), ("2", None)]


def test_windows_and_home_folders_in_names_are_found(monkeypatch, tmp_path, something_root, something_recipe):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").symlink_to(something_root)
    folder = "20bn-something-something-v1"
    (tmp_path / "list.txt").write_text(f"{folder}\\1,0\n~/data/{folder}/2, 1\nD:\\other machine\\{folder}\\3,2\n")
    samples = load_list(something_recipe, "~/data", "train", file="~/list.txt").samples
    assert [sample.path for sample in samples] == [tmp_path / "data" / folder / name for name in "123"]


def test_for_video_files_the_listed_number_of_frames_is_advice_and_the_list_says_so(
    linked, kinetics_root, kinetics_recipe
):
    """OpenCV and the headers of files count frames that are not shown."""
    root = linked(kinetics_root)
    (path, label), (other, other_label) = annotated_videos(kinetics_recipe, root)[:2]
    rows = [(path.relative_to(root).as_posix(), 10_000, label), (other.relative_to(root).as_posix(), 1, other_label)]
    write_list(root / "list.txt", rows)
    videos = load_list(kinetics_recipe, root, "train", file=root / "list.txt")
    assert videos.remarks == ("numbers of frames listed of video files: 2; those in the files count",)
    with videos.samples[0].open() as video:
        assert 0 < len(video) < 10_000
        probe = Probe("h264", 96, 80, len(video), 0, "pyav", "")
    write_probes(root, {name: ((root / name).stat().st_size, probe) for name, *_ in rows})
    (remark,) = load_list(kinetics_recipe, root, "train", file=root / "list.txt").remarks
    assert remark.endswith("those in the files count, and 1 of the probed files have fewer than listed")


def test_folders_of_frames_are_checked_and_not_remarked(tmp_path, something_root, something_recipe):
    (tmp_path / "list.txt").write_text("1 10000 0\n2 1 1\n")
    videos = load_list(something_recipe, something_root, "train", file=tmp_path / "list.txt")
    assert videos.remarks == () and [sample.num_frames for sample in videos.samples] == [10_000, 1]


def listed(tmp_path, root, recipe, text):
    (tmp_path / "list.txt").write_text(text)
    return load_list(recipe, root, "train", file=tmp_path / "list.txt")


def test_videos_listed_twice_are_counted_and_so_are_their_contradictions(tmp_path, something_root, something_recipe):
    folder = something_root / "20bn-something-something-v1"
    data = tmp_path, something_root, something_recipe
    assert listed(*data, "1 0\n2 0\n3 1\n").remarks == ()
    twice = listed(*data, f"1 0\n2 0\n{folder}/1 0\n3 1\nx/2 0\n1 0\n")  # three ways to name a video
    assert twice.remarks == (f"videos listed more than once: 2 ({folder}/1, ...)",)
    assert listed(*data, "1 0\n2 0\n1 1\n").remarks == (
        f"videos listed more than once: 1 ({folder}/1)",
        f"videos listed with several labels: 1 ({folder}/1)",
    )


def test_videos_in_both_lists_are_counted_and_identical_lists_are_called_so(tmp_path, something_root, something_recipe):
    folder = something_root / "20bn-something-something-v1"
    data = tmp_path, something_root, something_recipe
    train = listed(*data, "1 0\n2 0\n3 1\n").samples
    assert shared(train, listed(*data, "4 0\n5 1\n").samples) == []
    both = "videos both in the list for training and in that for validation: 2"
    assert shared(train, listed(*data, "4 0\n3 1\n2 1\n").samples) == [f"{both} ({folder}/3, ...)"]
    same = "the lists for training and validation hold the same videos: 3"
    assert shared(train, listed(*data, "3 1\n2 0\n1 0\n").samples) == [f"{same} ({folder}/3, ...)"]


def test_a_clip_of_kinetics_is_known_by_its_name_and_other_files_by_their_path():
    def samples(*paths):
        return [Sample(Path(path), 0) for path in paths]

    clip = "-4wsuPCjDBc_000005_000015"
    assert shared(samples(f"train/squash/{clip}.mp4"), samples(f"val/{clip}.mkv", "val/b.mp4"))[0].endswith(
        f"1 ({clip})"
    )
    assert shared(samples("train/walk/001.mp4"), samples("val/walk/001.mp4")) == []


def failing(monkeypatch, function, error, ending):
    """The system's function fails for paths that end so, as on a network disk that is away for a moment."""
    original = getattr(os, function)

    def fail(path, *arguments, **options):
        if str(path).endswith(ending):
            raise OSError(error, os.strerror(error), str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(os, function, fail)


@pytest.mark.parametrize("missing", ["raise", "skip"])
@pytest.mark.parametrize("error", [errno.ESTALE, errno.EACCES, errno.EIO, errno.ETIMEDOUT])
def test_a_video_that_the_disk_cannot_tell_of_is_no_missing_one(sth1, monkeypatch, missing, error):
    root, recipe, _ = sth1
    failing(monkeypatch, "stat", error, "/12")
    with pytest.raises(OSError, match=f"{os.strerror(error)} .*/12'") as failure:
        load_list(recipe, root, "train", missing)
    assert failure.value.errno == error and not isinstance(failure.value, FileNotFoundError)


def test_a_folder_that_cannot_be_listed_is_no_empty_one(kinetics, monkeypatch):
    root, recipe, _ = kinetics
    failing(monkeypatch, "scandir", errno.ESTALE, "Abseiling!")
    with pytest.raises(OSError, match=f"{os.strerror(errno.ESTALE)}.*Abseiling!"):
        load_list(recipe, root, "train", "skip")
