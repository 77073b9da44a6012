"""`load_list` by the publishers' annotations: the joined samples, and the errors of files that are wrong or missing."""

import csv
import json

import pytest

from tanet.data import LABEL_FILES, load_list
from tanet.errors import DataError


def names_and_labels(videos):
    return [(sample.path.name, sample.label) for sample in videos.samples]


def refused(root, recipe, error, *parts, split="train", **options):
    """`load_list` raises this error, and its message has all these parts."""
    with pytest.raises(error) as failure:
        load_list(recipe, root, split, **options)
    for part in parts:
        assert str(part) in str(failure.value)


def test_something_v1_list(sth1):
    root, recipe, _ = sth1
    videos = load_list(recipe, root, "train")
    assert names_and_labels(videos) == [("11", 0), ("12", 1), ("13", 0)]
    assert videos.class_names == ("Holding something", "Dropping something")
    assert videos.missing == () and len(videos) == 3


def test_something_v2_list_takes_indices_from_the_label_file_and_strips_brackets(sth2):
    root, recipe, _ = sth2
    videos = load_list(recipe, root, "train")
    assert names_and_labels(videos) == [("78687.webm", 0), ("42326.webm", 1)]
    assert videos.class_names == ("Holding something next to something", "Dropping something")


def test_kinetics_list_is_joined_on_ids_whatever_the_class_folders_are_called(kinetics):
    root, recipe, _ = kinetics
    videos = load_list(recipe, root, "train")
    assert names_and_labels(videos) == [("-4wsuPCjDBc_000005_000015.mp4", 1), ("0347ZoDXyP0_000095_000105.mp4", 0)]
    assert [sample.path.parent.name for sample in videos.samples] == ["playing_squash_or_racquetball", "Abseiling!"]


def test_a_file_that_macos_left_is_no_video(kinetics):
    root, recipe, _ = kinetics
    (root / "train/Abseiling!/0347ZoDXyP0_000095_000105.mp4").unlink()
    refused(root, recipe, FileNotFoundError, "0347ZoDXyP0_000095_000105.mp4")


def test_missing_root_is_named(tmp_path, sth1):
    refused(tmp_path / "nowhere", sth1[1], FileNotFoundError, tmp_path / "nowhere", "data_root")


@pytest.mark.parametrize("fixture", ["kinetics", "sth1", "sth2"])
def test_missing_list_is_named(request, fixture):
    root, recipe, listed = request.getfixturevalue(fixture)
    listed.unlink()
    refused(root, recipe, FileNotFoundError, listed)


@pytest.mark.parametrize(
    "fixture, name",
    [
        ("kinetics", "labels.txt"),
        ("sth1", "something-something-v1-labels.csv"),
        ("sth2", "something-something-v2-labels.json"),
    ],
)
def test_missing_label_file_is_named(request, fixture, name):
    root, recipe, _ = request.getfixturevalue(fixture)
    (root / name).unlink()
    refused(root, recipe, FileNotFoundError, root / name)


@pytest.mark.parametrize(
    "fixture, row, parts",
    [
        ("sth1", "14\n", ["line 4", "2 columns", "1"]),
        ("sth1", "14;Holding something;5\n", ["line 4", "2 columns", "3"]),
        ("sth1", "14;Juggling something\n", ["line 4", "'Juggling something'"]),
        ("kinetics", "abseiling,x,1,train\n", ["line 4", "5 columns", "4"]),
        ("kinetics", "juggling,x,1,11,train\n", ["line 4", "'juggling'"]),
        ("kinetics", "abseiling,x,soon,11,train\n", ["line 4", "'soon'"]),
    ],
)
def test_bad_row_is_named_by_file_and_line(request, fixture, row, parts):
    root, recipe, listed = request.getfixturevalue(fixture)
    listed.write_text(listed.read_text() + row)
    refused(root, recipe, DataError, listed, *parts)


def test_bad_entry_of_a_json_list_is_named(sth2):
    root, recipe, listed = sth2
    entries = json.loads(listed.read_text())
    listed.write_text(json.dumps([*entries, {"id": "3", "template": "Juggling [something]"}]))
    refused(root, recipe, DataError, listed, "entry 3", "'Juggling something'")
    listed.write_text(json.dumps([*entries, {"id": "3"}]))
    refused(root, recipe, DataError, listed, "entry 3", "template")
    listed.write_text(json.dumps(entries, indent=1)[:-20])
    refused(root, recipe, DataError, listed, "line", "not JSON")


@pytest.mark.parametrize("header", ["", "youtube_id,label,time_start,time_end,split\n", "abseiling,x,1,11,train\n"])
def test_wrong_header_is_refused(kinetics, header):
    root, recipe, listed = kinetics
    rows = "abseiling,0347ZoDXyP0,95,105,train\n" if header else ""  # without a header: an empty file
    listed.write_text(header + rows)
    refused(root, recipe, DataError, listed, "line 1", "label,youtube_id")


def test_empty_list_is_refused(sth1):
    root, recipe, listed = sth1
    listed.write_text("")
    refused(root, recipe, DataError, listed, "no videos")


def test_duplicate_class_is_refused(sth1):
    root, recipe, _ = sth1
    labels = root / "something-something-v1-labels.csv"
    labels.write_text("Holding something\nDropping something\nHolding something\n")
    refused(root, recipe, DataError, labels, "twice")


@pytest.mark.parametrize("indices", [("0", "0"), ("1", "2"), ("0", "x")])
def test_label_indices_other_than_0_to_n_are_refused(sth2, indices):
    root, recipe, _ = sth2
    labels = root / "something-something-v2-labels.json"
    labels.write_text(json.dumps(dict(zip(("Holding something next to something", "Dropping something"), indices))))
    refused(root, recipe, DataError, labels)


@pytest.mark.parametrize("fixture", ["kinetics", "sth1", "sth2"])
def test_a_label_file_must_have_as_many_classes_as_the_recipe(request, fixture):
    root, recipe, _ = request.getfixturevalue(fixture)
    refused(root, recipe.with_changes({"num_classes": 3}), DataError, root, "2 classes", "num_classes = 3", recipe.name)


def test_missing_video_is_an_error_that_names_it_and_counts_all_missing_ones(sth1):
    root, recipe, _ = sth1
    (root / "20bn-something-something-v1/12").rename(root / "elsewhere")
    refused(root, recipe, FileNotFoundError, root / "20bn-something-something-v1/12", "1 of 3")


def test_missing_videos_are_left_out_and_listed_on_request(sth1, kinetics):
    root, recipe, _ = sth1
    (root / "20bn-something-something-v1/12").rename(root / "elsewhere")
    videos = load_list(recipe, root, "train", missing="skip")
    assert names_and_labels(videos) == [("11", 0), ("13", 0)] and videos.missing == ("12",)
    root, recipe, _ = kinetics
    (root / "train/Abseiling!/0347ZoDXyP0_000095_000105.mp4").unlink()
    assert load_list(recipe, root, "train", missing="skip").missing == ("0347ZoDXyP0_000095_000105.mp4",)


def test_a_list_of_missing_videos_only_is_an_error_even_when_skipping(sth1):
    root, recipe, _ = sth1
    (root / "20bn-something-something-v1").rename(root / "elsewhere")
    refused(root, recipe, FileNotFoundError, "none of the 3", missing="skip")


def test_unknown_values_of_split_and_missing_are_refused(sth1):
    refused(sth1[0], sth1[1], ValueError, "'test'", split="test")
    refused(sth1[0], sth1[1], ValueError, "'ignore'", missing="ignore")


def test_kinetics_annotations_may_have_further_columns(kinetics):
    """One release of Kinetics has the column is_cc."""
    root, recipe, _ = kinetics
    before = load_list(recipe, root, "train").samples
    path = root / "annotations/train.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},is_cc", *(f"{row},0" for row in rows)]))
    assert load_list(recipe, root, "train").samples == before


def test_demo_lists_agree_with_a_csv_reader(kinetics_root, kinetics_recipe):
    videos = load_list(kinetics_recipe, kinetics_root, "val")
    with open(kinetics_root / "annotations/val.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [videos.class_names[s.label] for s in videos.samples] == [row["label"] for row in rows]
    assert [s.path.name[:11] for s in videos.samples] == [row["youtube_id"] for row in rows]


# How programs of Windows save a text: Notepad and Excel with a mark and CRLF, PowerShell in UTF-16.
SAVED_AS = {
    "UTF-8 with a mark, CRLF": lambda text: ("\ufeff" + text.replace("\n", "\r\n")).encode(),
    "UTF-16": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
}


@pytest.mark.parametrize("saved_as", SAVED_AS)
@pytest.mark.parametrize("fixture", ["kinetics", "sth1", "sth2"])
def test_annotations_and_labels_may_have_been_saved_by_other_programs(request, fixture, saved_as):
    root, recipe, listed = request.getfixturevalue(fixture)
    before = load_list(recipe, root, "train")
    for path in (listed, root / LABEL_FILES[recipe.dataset]):
        path.write_bytes(SAVED_AS[saved_as](path.read_text()))
    assert load_list(recipe, root, "train") == before


@pytest.mark.parametrize("fixture, line", [("kinetics", 3), ("sth1", 2), ("sth2", 1)])
def test_annotations_in_another_encoding_are_refused_by_file_and_line(request, fixture, line):
    root, recipe, listed = request.getfixturevalue(fixture)
    text = listed.read_text().replace("abseiling", "crêpe").replace("Dropping", "Drôpping")
    listed.write_bytes(text.encode("cp1252"))
    refused(root, recipe, DataError, f"{listed}, line {line}: not text in UTF-8")


@pytest.mark.parametrize("content", ["[]", '"x"', "3"])
def test_json_of_another_shape_is_refused(sth2, content):
    root, recipe, listed = sth2
    labels = root / LABEL_FILES["something_v2"]
    before = labels.read_text()
    labels.write_text(content)
    refused(root, recipe, DataError, labels, "expected a JSON dict")
    labels.write_text(before)
    listed.write_text(content.replace("[]", "{}"))
    refused(root, recipe, DataError, listed, "expected a JSON list")
    listed.write_text('["78687"]')
    refused(root, recipe, DataError, listed, "entry 1", "id and template")
