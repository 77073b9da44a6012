import dataclasses
import json

import pytest
import safetensors
import torch
from support.paths import GOLD
from support.published_weights import gold, gold_weights

from tanet import checkpoint, cli, recipes, tanet_tiny
from tanet.checkpoint import convert, describe, layouts, read_file
from tanet.errors import CheckpointError
from tanet.runtime import sha256

NAMES = ("rising", "falling", "appearing", "vanishing", "left", "right", "up", "down")
LISTED = tuple((GOLD / "sthv1_labels.txt").read_text().splitlines())
SMALL_V1 = recipes.get("sthv1_8f").with_changes({"arch": "tanet_tiny"})  # the published classes, a small network


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def ours(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "last.pth"
    recipe = recipes.get("demo_kinetics")
    checkpoint.save(path, {"model": tanet_tiny(8).state_dict(), "recipe": recipe.to_json(), "class_names": NAMES})
    return checkpoint.read(path)


@pytest.mark.parametrize("layout", ["tanet", "mmaction2", "official"])
def test_converting_to_a_layout_and_back_is_bit_identical(tmp_path, ours, layout):
    converted = convert(ours, tmp_path / "converted", layout)
    back = convert(converted, tmp_path / "back.safetensors")
    for stored in (converted, back):
        assert equal(stored.weights, ours.weights)
        assert (stored.recipe, stored.class_names) == (ours.recipe, ours.class_names)
    assert back.layout == "tanet" and converted.layout == layout
    assert "last.pth" in back.source and sha256(ours.path) in back.source


@pytest.mark.parametrize("layout", ["tanet", "mmaction2", "official"])
def test_the_pixel_mean_survives_every_layout(tmp_path, ours, layout):
    ours = dataclasses.replace(ours, pixel_mean=(123.675, 116.28, 103.5))
    converted = convert(ours, tmp_path / "converted", layout)
    assert converted.pixel_mean == convert(converted, tmp_path / "back.safetensors").pixel_mean == ours.pixel_mean
    assert "pixel mean 123.675, 116.28, 103.5 (RGB" in describe(converted)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["mmaction2", "official"])
def test_a_published_file_comes_back_bit_identical(tmp_path, layout):
    weights = gold_weights(layout)
    torch.save({"state_dict": weights}, tmp_path / "published.pth")
    stored = convert(tmp_path / "published.pth", tmp_path / "ours.safetensors")
    assert (stored.recipe.name, stored.style, stored.num_frames, stored.num_classes) == ("k400_8f", layout, 8, 400)
    convert(stored, tmp_path / "again.pth", layout)
    content, _ = read_file(tmp_path / "again.pth")
    assert content["state_dict"].keys() == gold(layout)["keys"].keys()
    assert equal(content["state_dict"], weights)


@torch.no_grad()
def test_the_official_file_has_its_classifier_in_sorted_order(tmp_path, ours):
    convert(ours, tmp_path / "official.pth", "official")
    theirs = read_file(tmp_path / "official.pth")[0]["state_dict"]
    for row, name in enumerate(sorted(NAMES)):
        assert torch.equal(theirs["module.new_fc.weight"][row], ours.weights["fc.weight"][NAMES.index(name)])
        assert torch.equal(theirs["module.new_fc.bias"][row], ours.weights["fc.bias"][NAMES.index(name)])


def test_rows_of_a_file_without_names_are_moved_only_if_the_label_file_is_given(tmp_path):
    torch.manual_seed(0)
    weights = tanet_tiny(174).state_dict()
    torch.save({"state_dict": layouts.from_ours(weights, "mmaction2")}, tmp_path / "mmaction2.pth")
    with pytest.raises(CheckpointError, match=r"mmaction2.pth.*sorted.*listed.*--data-root"):
        convert(tmp_path / "mmaction2.pth", tmp_path / "official.pth", "official", SMALL_V1)
    assert not (tmp_path / "official.pth").exists()
    convert(tmp_path / "mmaction2.pth", tmp_path / "official.pth", "official", SMALL_V1, LISTED)
    state = read_file(tmp_path / "official.pth")[0]["state_dict"]
    torch.save({"state_dict": state}, tmp_path / "bare.pth")  # as the official code would write it
    by_name = sorted(LISTED)
    for index, name in enumerate(LISTED):
        assert torch.equal(state["module.new_fc.weight"][by_name.index(name)], weights["fc.weight"][index])
    back = convert(tmp_path / "bare.pth", tmp_path / "back.pth", "mmaction2", SMALL_V1, LISTED)
    assert equal(back.weights, weights) and back.class_names == LISTED and back.recipe.style == "official"
    assert back.class_order == "listed"


def test_sorted_rows_with_names_do_not_pass_for_listed_ones(tmp_path):
    torch.manual_seed(0)
    torch.save({"state_dict": layouts.from_ours(tanet_tiny(174).state_dict(), "official")}, tmp_path / "official.pth")
    named = convert(tmp_path / "official.pth", tmp_path / "a.safetensors", recipe=SMALL_V1, listed=LISTED)
    assert named.class_names == tuple(sorted(LISTED)) and named.class_order == "sorted"
    with pytest.raises(CheckpointError, match=r"a.safetensors.*listed.*sorted.*--data-root"):
        convert(named, tmp_path / "b.pth", "mmaction2")
    moved = convert(named, tmp_path / "b.pth", "mmaction2", listed=LISTED)
    assert moved.class_names == LISTED and moved.class_order == "listed"
    assert equal(convert(moved, tmp_path / "c.pth", "official").weights, moved.weights)


def test_safetensors_hold_the_metadata_that_testing_needs(tmp_path, ours):
    convert(ours, tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["recipe"])["name"] == "demo_kinetics" and json.loads(metadata["class_names"]) == list(
        NAMES
    )
    assert (metadata["num_frames"], metadata["num_classes"], metadata["class_order"]) == ("8", "8", "listed")
    assert (
        "OpenCV" in metadata["resize"]
        and "probabilities" in metadata["view_averaging"]
        and "last.pth" in metadata["source"]
    )


def test_a_conversion_that_does_not_fit_writes_nothing(tmp_path, ours):
    target = tmp_path / "target"
    with pytest.raises(CheckpointError, match="for 8 classes, the network for 400"):
        convert(ours, target, recipe=recipes.get("k400_8f").with_changes({"arch": "tanet_tiny"}))
    with pytest.raises(CheckpointError, match="3 class names for a network of 8"):
        convert(ours, target, listed=NAMES[:3])
    with pytest.raises(ValueError, match="caffe"):
        convert(ours, target, "caffe")
    plain = dataclasses.replace(ours.recipe, temporal="none")
    weights = {key: value for key, value in ours.weights.items() if ".temporal." not in key}
    with pytest.raises(CheckpointError, match="no TAM"):
        convert(dataclasses.replace(ours, temporal="none", recipe=plain, weights=weights), target, "mmaction2")
    assert not target.exists()


@pytest.mark.slow
def test_inspect_says_what_a_file_holds_and_how_it_is_tested(tmp_path, capsys):
    path = tmp_path / "ckpt.best.pth.tar"
    torch.save({"state_dict": gold_weights("official"), "best_prec1": 76.1, "epoch": 100}, path)
    cli.main(["checkpoint", "inspect", str(path)])
    description = capsys.readouterr().out
    for words in (
        "layout     official",
        "tanet50",
        "frames     8",
        "400, sorted by name",
        "best_prec1, epoch",
        "recipe k400_8f: every tensor",
        "Pillow",
        "logits",
        sha256(path),
    ):
        assert words in description


def test_inspect_checks_the_digits_in_a_published_files_name(tmp_path, ours):
    content = ours.path.read_bytes()
    for digits, words in ((sha256(ours.path)[:8], "as its name says"), ("032c8e94", "ITS NAME SAYS 032c8e94")):
        path = tmp_path / f"tanet_r50-{digits}.pth"
        path.write_bytes(content)
        assert words in describe(checkpoint.read(path))


def test_the_command_converts_and_reports_an_error_in_one_line(tmp_path, ours, capsys):
    cli.main(["checkpoint", "convert", str(ours.path), str(tmp_path / "a.pth"), "--to", "mmaction2"])
    assert "layout     mmaction2" in capsys.readouterr().out
    for arguments in (["inspect", "none.pth"], ["convert", str(ours.path), "x/y/a.pth"], ["inspect", __file__]):
        with pytest.raises(SystemExit) as failure:
            cli.main(["checkpoint", *arguments])
        assert failure.value.code == 1 and capsys.readouterr().err.count("\n") == 1
