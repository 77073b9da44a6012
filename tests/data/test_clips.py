import csv
import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from tanet import recipes
from tanet.data import EpochBatches, TrainingClips, ValidationClips, load_list, training_loader, validation_loader
from tanet.errors import DataError, VideoError


def write_jpegs(folder, count=4, size=(64, 56)):
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", size, (40 * i, 10, 99)).save(folder / f"{i + 1:05d}.jpg")


@pytest.fixture
def sth1(tmp_path):
    """A Something-Something V1 root of two classes and three videos a split; (root, recipe, list file)."""
    (tmp_path / "something-something-v1-labels.csv").write_text("Holding something\nDropping something\n")
    listed = tmp_path / "something-something-v1-train.csv"
    rows = "11;Holding something\n12;Dropping something\n13;Holding something\n"
    listed.write_text(rows)
    (tmp_path / "something-something-v1-validation.csv").write_text(rows)
    for video in (11, 12, 13):
        write_jpegs(tmp_path / "20bn-something-something-v1" / str(video))
    return tmp_path, recipes.get("demo_something").with_changes({"num_classes": 2}), listed


@pytest.fixture
def sth2(tmp_path):
    """A Something-Something V2 root; the videos are only there by name. (root, recipe, list file)"""
    labels = {"Dropping something": "1", "Holding something next to something": "0"}
    (tmp_path / "something-something-v2-labels.json").write_text(json.dumps(labels))
    listed = tmp_path / "something-something-v2-train.json"
    entries = [
        {"id": "78687", "label": "holding potato next to vicks", "template": "Holding [something] next to [something]",
         "placeholders": ["potato", "vicks"]},
        {"id": "42326", "label": "dropping a card", "template": "Dropping [something]", "placeholders": ["a card"]},
    ]  # fmt: skip
    listed.write_text(json.dumps(entries))
    (tmp_path / "20bn-something-something-v2").mkdir()
    for entry in entries:
        (tmp_path / "20bn-something-something-v2" / f"{entry['id']}.webm").touch()
    changes = {"num_classes": 2, "dataset": "something_v2"}
    return tmp_path, recipes.get("demo_something").with_changes(changes), listed


HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.fixture
def kinetics(tmp_path):
    """A Kinetics root whose files are only there by name, in oddly spelled class folders. (root, recipe, list file)"""
    (tmp_path / "labels.txt").write_text("abseiling\nplaying squash or racquetball\n")
    (tmp_path / "annotations").mkdir()
    listed = tmp_path / "annotations" / "train.csv"
    listed.write_text(
        HEADER + "playing squash or racquetball,-4wsuPCjDBc,5,15,train\nabseiling,0347ZoDXyP0,95,105,train\n"
    )
    folders = {"playing_squash_or_racquetball": "-4wsuPCjDBc_000005_000015", "Abseiling!": "0347ZoDXyP0_000095_000105"}
    for folder, name in folders.items():
        (tmp_path / "train" / folder).mkdir(parents=True)
        (tmp_path / "train" / folder / f"{name}.mp4").touch()
        (tmp_path / "train" / folder / f"._{name}.mp4").touch()
    return tmp_path, recipes.get("demo_kinetics").with_changes({"num_classes": 2}), listed


def listing(videos):
    return [(str(sample.path.name), sample.label) for sample in videos.samples]


def refused(root, recipe, error, *parts, split="train", **options):
    with pytest.raises(error) as failure:
        load_list(recipe, root, split, **options)
    for part in parts:
        assert str(part) in str(failure.value)


def test_something_v1_list(sth1):
    root, recipe, _ = sth1
    videos = load_list(recipe, root, "train")
    assert listing(videos) == [("11", 0), ("12", 1), ("13", 0)]
    assert videos.class_names == ("Holding something", "Dropping something")
    assert videos.missing == () and len(videos) == 3


def test_something_v2_list_takes_indices_from_the_label_file_and_strips_brackets(sth2):
    root, recipe, _ = sth2
    videos = load_list(recipe, root, "train")
    assert listing(videos) == [("78687.webm", 0), ("42326.webm", 1)]
    assert videos.class_names == ("Holding something next to something", "Dropping something")


def test_kinetics_list_is_joined_on_ids_whatever_the_class_folders_are_called(kinetics):
    root, recipe, _ = kinetics
    videos = load_list(recipe, root, "train")
    assert listing(videos) == [("-4wsuPCjDBc_000005_000015.mp4", 1), ("0347ZoDXyP0_000095_000105.mp4", 0)]
    assert [sample.path.parent.name for sample in videos.samples] == ["playing_squash_or_racquetball", "Abseiling!"]


def test_apple_junk_is_no_video(kinetics):
    root, recipe, _ = kinetics
    (root / "train/Abseiling!/0347ZoDXyP0_000095_000105.mp4").unlink()
    refused(root, recipe, FileNotFoundError, "0347ZoDXyP0_000095_000105.mp4")


def test_missing_root_is_named(tmp_path, sth1):
    refused(tmp_path / "nowhere", sth1[1], FileNotFoundError, tmp_path / "nowhere", "data_root")


@pytest.mark.parametrize("which", ["kinetics", "sth1", "sth2"])
def test_missing_list_is_named(request, which):
    root, recipe, listed = request.getfixturevalue(which)
    listed.unlink()
    refused(root, recipe, FileNotFoundError, listed)


@pytest.mark.parametrize("which, name", [("kinetics", "labels.txt"), ("sth1", "something-something-v1-labels.csv"),
                                         ("sth2", "something-something-v2-labels.json")])  # fmt: skip
def test_missing_label_file_is_named(request, which, name):
    root, recipe, _ = request.getfixturevalue(which)
    (root / name).unlink()
    refused(root, recipe, FileNotFoundError, root / name)


@pytest.mark.parametrize(
    "which, row, parts",
    [
        ("sth1", "14\n", ["line 4", "2 columns", "1"]),
        ("sth1", "14;Holding something;5\n", ["line 4", "2 columns", "3"]),
        ("sth1", "14;Juggling something\n", ["line 4", "'Juggling something'"]),
        ("kinetics", "abseiling,x,1,train\n", ["line 4", "5 columns", "4"]),
        ("kinetics", "juggling,x,1,11,train\n", ["line 4", "'juggling'"]),
        ("kinetics", "abseiling,x,soon,11,train\n", ["line 4", "'soon'"]),
    ],
)
def test_bad_row_is_named_by_file_and_line(request, which, row, parts):
    root, recipe, listed = request.getfixturevalue(which)
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
    listed.write_text(header + "abseiling,0347ZoDXyP0,95,105,train\n" * bool(header))
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


@pytest.mark.parametrize("which", ["kinetics", "sth1", "sth2"])
def test_number_of_classes_must_be_the_recipes(request, which):
    root, recipe, _ = request.getfixturevalue(which)
    refused(root, recipe.with_changes({"num_classes": 3}), DataError, root, "2 classes", "num_classes = 3", recipe.name)


def test_missing_video_is_an_error_that_names_it_and_counts(sth1):
    root, recipe, _ = sth1
    (root / "20bn-something-something-v1/12").rename(root / "elsewhere")
    refused(root, recipe, FileNotFoundError, root / "20bn-something-something-v1/12", "1 of 3")


def test_missing_videos_are_set_aside_and_counted_when_asked(sth1, kinetics):
    root, recipe, _ = sth1
    (root / "20bn-something-something-v1/12").rename(root / "elsewhere")
    videos = load_list(recipe, root, "train", missing="skip")
    assert listing(videos) == [("11", 0), ("13", 0)] and videos.missing == ("12",)
    root, recipe, _ = kinetics
    (root / "train/Abseiling!/0347ZoDXyP0_000095_000105.mp4").unlink()
    assert load_list(recipe, root, "train", missing="skip").missing == ("0347ZoDXyP0_000095_000105.mp4",)


def test_nothing_left_is_an_error_even_when_skipping(sth1):
    root, recipe, _ = sth1
    (root / "20bn-something-something-v1").rename(root / "elsewhere")
    refused(root, recipe, FileNotFoundError, "none of the 3", missing="skip")


def test_unknown_split_and_policy_are_refused(sth1):
    refused(sth1[0], sth1[1], ValueError, "'test'", split="test")
    refused(sth1[0], sth1[1], ValueError, "'ignore'", missing="ignore")


def test_kinetics_annotations_may_have_further_columns(kinetics):
    """As the release with is_cc."""
    root, recipe, _ = kinetics
    before = load_list(recipe, root, "train").samples
    path = root / "annotations/train.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},is_cc", *(f"{row},0" for row in rows)]))
    assert load_list(recipe, root, "train").samples == before


def test_clips_are_contiguous_uint8_of_the_crop_size(kinetics_root, kinetics_recipe, something_root, something_recipe):
    for root, recipe in ((kinetics_root, kinetics_recipe), (something_root, something_recipe)):
        training, validation = (load_list(recipe, root, split) for split in ("train", "val"))
        for clip, label, index in (TrainingClips(training, recipe)[0, 5], ValidationClips(validation, recipe)[5]):
            assert clip.shape == (8, 3, 48, 48) and clip.dtype == torch.uint8 and clip.is_contiguous()
            assert index == 5 and 0 <= label < 8


@pytest.fixture(scope="module")
def demo(something_root, something_recipe):
    return load_list(something_recipe, something_root, "train"), something_recipe


def epoch_samples(videos, recipe, epoch):
    loader = training_loader(videos, recipe)
    for loader.batch_sampler.epoch in (0, epoch):  # persistent workers must not remember an earlier epoch
        batches = list(loader)
    return {
        int(i): (clip, int(label))
        for clips, labels, indices, _ in batches
        for clip, label, i in zip(clips, labels, indices)
    }


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[i][0], other[i][0]) and one[i][1] == other[i][1] for i in one
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_samples_are_the_same_whatever_the_number_of_workers(demo, workers):
    videos, recipe = demo
    alone = epoch_samples(videos, recipe, 3)
    assert len(alone) == 32
    assert same(alone, epoch_samples(videos, recipe.with_changes({"workers": workers}), 3))


def test_a_sample_is_a_function_of_seed_epoch_and_index_alone(demo):
    videos, recipe = demo
    clips = TrainingClips(videos, recipe)
    forwards = {i: clips[2, i][:2] for i in range(8)}
    torch.manual_seed(99)
    backwards = {i: clips[2, i][:2] for i in reversed(range(8))}
    assert same(forwards, dict(sorted(backwards.items())))


@pytest.mark.parametrize("changes, epoch", [({}, 3), ({"seed": 1}, 2)])
def test_another_epoch_or_seed_gives_other_clips(demo, changes, epoch):
    videos, recipe = demo
    clips, others = TrainingClips(videos, recipe), TrainingClips(videos, recipe.with_changes(changes))
    differing = sum(not torch.equal(clips[2, i][0], others[epoch, i][0]) for i in range(8))
    assert differing >= 7


def test_labels_are_swapped_exactly_where_the_pixels_are_mirrored(demo):
    videos, recipe = demo
    swapping, plain, without = (
        TrainingClips(videos, recipe.with_changes({"flip": f})) for f in ("swap", "plain", "none")
    )
    left, right = (videos.class_names.index(f"Pushing something from {a}") for a in ("left to right", "right to left"))
    other, seen = {left: right, right: left}, Counter()
    for index in range(32):
        clip, label, _ = swapping[0, index]
        original, true_label, _ = without[0, index]
        flipped = torch.equal(clip, original.flip(-1))
        assert flipped or torch.equal(clip, original)
        assert label == (other.get(true_label, true_label) if flipped else true_label)
        assert torch.equal(plain[0, index][0], clip) and plain[0, index][1] == true_label
        seen[flipped, true_label in other] += 1
    assert len(seen) == 4  # mirrored and not, of classes with a mirror image and without


@pytest.mark.parametrize("num_samples, batch, processes", [(32, 4, 2), (37, 3, 3), (16, 16, 1), (100, 7, 4)])
def test_processes_share_each_total_batch_without_overlap(num_samples, batch, processes):
    ranks = [EpochBatches(num_samples, batch, 5, rank, processes) for rank in range(processes)]
    whole = EpochBatches(num_samples, batch * processes, 5)
    for epoch in (0, 1):
        for batches in (*ranks, whole):
            batches.epoch = epoch
        shares = [list(batches) for batches in ranks]
        assert {len(share) for share in shares} == {len(whole)} == {num_samples // (batch * processes)}
        for step, together in enumerate(whole):
            parts = [key for share in shares for key in share[step]]
            assert sorted(parts) == sorted(together) and len(set(parts)) == batch * processes
            assert {key[0] for key in parts} == {epoch}


@pytest.mark.parametrize(
    "batch, processes, accumulation", [(8, 1, 1), (4, 2, 1), (4, 1, 2), (2, 2, 2), (2, 1, 4), (1, 4, 2)]
)
def test_a_step_has_the_same_clips_however_it_is_shared(batch, processes, accumulation):
    steps = []
    for rank in range(processes):
        batches = EpochBatches(37, batch, 5, rank, processes, accumulation)
        assert (batches.step_clips, batches.steps) == (8, 4) and len(batches) == 4 * accumulation == len(list(batches))
        drawn = [index for part in batches for _, index in part]
        steps.append(np.array(drawn).reshape(4, -1))
    together = np.sort(np.concatenate(steps, 1), 1)
    order = np.random.default_rng((5, 0)).permutation(37)[:32].reshape(4, 8)
    assert np.array_equal(together, np.sort(order, 1))


@pytest.mark.parametrize("batch, processes", [(8, 1), (4, 2), (2, 1), (4, 4)])
def test_an_epoch_goes_on_from_the_clip_where_it_was_left(batch, processes):
    order = np.random.default_rng((5, 1)).permutation(37)
    drawn = []
    for rank in range(processes):
        batches = EpochBatches(37, batch, 5, rank, processes)
        batches.epoch, batches.start = 1, 16
        drawn += [index for part in batches for _, index in part]
    assert sorted(drawn) == sorted(order[16 : 16 + len(drawn)].tolist())
    assert len(drawn) == (37 - 16) // (batch * processes) * batch * processes


def test_an_epoch_sees_every_video_once_when_batches_divide_it_and_epochs_differ_in_order():
    batches = EpochBatches(32, 8, 0)
    orders = []
    for batches.epoch in (0, 1):
        orders.append([index for batch in batches for _, index in batch])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(32))
    assert orders[0] != orders[1]


def test_too_few_videos_for_one_batch_are_refused():
    with pytest.raises(DataError, match="15 training videos do not fill one step of 16 clips"):
        EpochBatches(15, 8, 0, world_size=2)


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_processes_validate_every_video_once(something_root, something_recipe, processes):
    videos = load_list(something_recipe, something_root, "val")
    loaders = [validation_loader(videos, something_recipe, rank, processes) for rank in range(processes)]
    indices = [int(i) for loader in loaders for _, _, batch, _ in loader for i in batch]
    assert sorted(indices) == list(range(16))


def test_validation_takes_the_middle_of_each_segment_and_the_centre(sth1):
    root, recipe, _ = sth1
    videos = load_list(recipe, root, "val")  # 4 flat frames of red 0, 40, 80, 120; 8 segments of half a frame
    clip, _, _ = ValidationClips(videos, recipe)[0]
    assert ((clip[:, 0].float().mean((1, 2)) / 40).round().tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_unreadable_video_raises_from_the_loader_naming_it(kinetics):
    root, recipe, _ = kinetics
    videos = load_list(recipe, root, "train")  # the files are empty
    with pytest.raises(VideoError, match="-4wsuPCjDBc_000005_000015.mp4"):
        TrainingClips(videos, recipe)[0, 0]


def test_demo_lists_agree_with_a_csv_reader(kinetics_root, kinetics_recipe):
    videos = load_list(kinetics_recipe, kinetics_root, "val")
    with open(kinetics_root / "annotations/val.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [videos.class_names[s.label] for s in videos.samples] == [row["label"] for row in rows]
    assert [s.path.name[:11] for s in videos.samples] == [row["youtube_id"] for row in rows]
