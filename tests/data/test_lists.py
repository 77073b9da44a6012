"""List files in the formats of other code bases, and the stored probes of a data root."""

import errno
import os

import pytest

from data_scripts.steps.probing import write_lists
from tanet.data import Probe, Row, load_list, read_probes, read_rows, write_list, write_probes
from tanet.errors import DataError, VideoError

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
    ],
    ids=["mmaction2", "odd names", "folders", "spaces", "official", "commas"],
)
def test_each_format_is_read(tmp_path, text, rows):
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    assert read_rows(tmp_path / "list.txt") == rows


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("a.mp4 1\nb.mp4\n", "line 2", "expected name label"),
        ("a 8 1\nb 1\n", "line 2", "expected name num_frames label"),
        ("a, 8, 1\n\nb 8 1\n", "line 3", "expected name num_frames label"),
        ("a.mp4 -1\n", "line 1", "expected name label"),
        ("a.mp4 x\n", "line 1", "'a.mp4 x'"),
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


@pytest.mark.parametrize("rows", [[Row(ODD, None, 3), Row("b", None, 0)], [Row("a b", 7, 3), Row("ü", 8, 0)]])
def test_rows_are_read_as_they_were_written(tmp_path, rows):
    write_list(tmp_path / "lists" / "train.txt", rows)
    assert read_rows(tmp_path / "lists" / "train.txt") == rows


@pytest.mark.parametrize("name", ["two\nlines", " begins with space"])
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
    rows = [(path.relative_to(root).as_posix(), None, label) for path, label in annotated_videos(kinetics_recipe, root)]
    write_lists(root, {"train": rows}, 1)
    output = capsys.readouterr().out
    assert "32 videos: " in output and "read by decord" in output
    probes = read_probes(root)
    assert sorted(probes) == sorted(name for name, _, _ in rows)
    samples = load_list(kinetics_recipe, root, "train", file=root / "lists/train.txt").samples
    for sample, (name, _, label) in zip(samples, rows, strict=True):
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
    rows = [("train/good.mp4", None, 0), ("train/bad.mp4", None, 1)]
    for _ in range(2):  # the second time, the probe of the good one is stored
        write_lists(tmp_path, {"train": rows}, 1)
        output = capsys.readouterr().out
        assert output.startswith("1 videos: ") and "; 1 more cannot be opened (lists/unreadable.txt)" in output
        assert read_rows(tmp_path / "lists/train.txt") == [Row(*row) for row in rows]
        assert (tmp_path / "lists/unreadable.txt").read_text().startswith("train/bad.mp4: cannot be opened as a video")
        assert list(read_probes(tmp_path)) == ["train/good.mp4"]


def test_a_list_with_a_byte_order_mark_windows_line_ends_and_a_line_separator_in_a_name_is_read(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffa\u2028b.mp4 1\r\nc.mp4 0\r\n".encode())
    assert read_rows(tmp_path / "list.txt") == [Row("a\u2028b.mp4", None, 1), Row("c.mp4", None, 0)]


def test_a_list_in_another_encoding_is_refused_by_name(tmp_path):
    (tmp_path / "list.txt").write_bytes("é.mp4 1\n".encode("latin-1"))
    with pytest.raises(DataError, match=f"{tmp_path}/list.txt: not text in UTF-8"):
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
