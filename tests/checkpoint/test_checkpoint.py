import dataclasses
import os
import re

import pytest
import safetensors.torch
import torch
import torchvision
from support.published_weights import gold, gold_clips, gold_weights

from tanet import checkpoint, load_weights, recipes, tanet50, tanet_tiny
from tanet.checkpoint import layouts
from tanet.errors import CheckpointError
from tanet.model import build

RECIPE = recipes.get("demo_something")
NAMES = [f"class {i}" for i in range(8)]


def network(seed=0, classes=8, **options):
    torch.manual_seed(seed)
    return tanet_tiny(classes, **options)


def full_state(model, **more):
    return {
        "model": model.state_dict(),
        "recipe": RECIPE.to_json(),
        "class_names": NAMES,
        "history": [{"epoch": 1}],
        **more,
    }


def copied(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def stored(tmp_path):
    checkpoint.save(tmp_path / "last.pth", full_state(network()))
    return tmp_path / "last.pth"


def test_a_written_checkpoint_is_read_back(stored):
    model = network(seed=1)
    loaded = load_weights(model, stored)
    assert equal(model.state_dict(), network().state_dict())
    assert (loaded.layout, loaded.copied, loaded.kept, loaded.unused) == ("tanet", len(model.state_dict()), (), ())
    assert str(loaded).endswith("tensors copied, all of the file's, all of the network's")
    content = checkpoint.read(stored)
    assert content.recipe == RECIPE and content.class_names == tuple(NAMES)
    assert content.rest["history"] == [{"epoch": 1}]


def test_optimizer_state_survives(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.zeros(2, 8, 3, 32, 32)).sum().backward()
    optimizer.step()
    checkpoint.save(tmp_path / "a.pth", full_state(model, optimizer=optimizer.state_dict()))
    state, wanted = checkpoint.read(tmp_path / "a.pth").rest["optimizer"], optimizer.state_dict()
    assert state["param_groups"] == wanted["param_groups"]
    assert all(
        torch.equal(s["momentum_buffer"], wanted["state"][i]["momentum_buffer"]) for i, s in state["state"].items()
    )


@torch.no_grad()
def test_load_model_gives_the_network_ready_for_testing(stored):
    model, recipe, class_names = checkpoint.load_model(stored)
    clips = torch.randn(1, 8, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    original = build(RECIPE)
    original.load_state_dict(network().state_dict())
    assert not model.training and recipe == RECIPE and class_names == tuple(NAMES)
    assert torch.equal(model(clips), original.eval()(clips))


class Unsavable:
    def __reduce__(self):
        raise RuntimeError("disk on fire")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(stored):
    before = stored.read_bytes()
    with pytest.raises(RuntimeError, match="disk on fire"):
        checkpoint.save(stored, full_state(network(seed=1), more=Unsavable()))
    assert stored.read_bytes() == before
    assert os.listdir(stored.parent) == ["last.pth"]


def test_a_write_replaces_the_old_file_and_leaves_nothing_else(stored):
    checkpoint.save(stored, full_state(network(seed=1)))
    assert equal(checkpoint.read(stored).weights, network(seed=1).state_dict())
    assert os.listdir(stored.parent) == ["last.pth"]


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("layout", ["mmaction2", "official"])
def test_a_published_file_gives_the_logits_of_the_published_code(tmp_path, device, layout):
    path = tmp_path / "published.pth"
    torch.save({"state_dict": gold_weights(layout), "epoch": 100}, path)
    model = tanet50(400)
    loaded = load_weights(model, path)
    assert loaded.layout == layout and loaded.copied == len(gold(layout)["keys"]) and not loaded.kept
    logits, wanted = model.eval().to(device)(gold_clips(layout).to(device)).cpu(), torch.tensor(gold(layout)["logits"])
    assert (logits - wanted).abs().max() < 1e-4 * wanted.abs().max()


TSM = {"tsm": "official", "mmaction2_tsm": "mmaction2"}  # gold table -> layout


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("table", TSM)
def test_a_published_tsm_file_gives_the_logits_of_the_published_code(tmp_path, device, table):
    path = tmp_path / "published.pth"
    torch.save({"state_dict": gold_weights(table)}, path)
    model = tanet50(400, temporal="tsm")
    loaded = load_weights(model, path)
    assert loaded.layout == TSM[table] and loaded.copied == len(gold(table)["keys"]) and not loaded.kept
    logits, wanted = model.eval().to(device)(gold_clips(table).to(device)).cpu(), torch.tensor(gold(table)["logits"])
    assert (logits - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("table", TSM)
def test_a_published_tsn_file_is_a_resnet_applied_to_each_frame(tmp_path, table):
    """TSN's files have the keys of TSM's without the level that the shift adds."""
    weights = {key.replace(".net.", "."): value for key, value in gold_weights(table).items()}
    torch.save({"state_dict": weights}, tmp_path / "published.pth")
    model = tanet50(400, temporal="none")
    assert load_weights(model, tmp_path / "published.pth").layout == TSM[table]
    resnet = torchvision.models.resnet50(num_classes=400).eval()
    resnet.load_state_dict(model.state_dict())
    clips = gold_clips(table)
    wanted = resnet(clips.flatten(0, 1)).unflatten(0, (2, 8)).mean(1)
    assert (model.eval()(clips) - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("stored, built", [("tsm", "none"), ("none", "tsm"), ("tsm", "tam"), ("tam", "none")])
@pytest.mark.parametrize("layout", ["mmaction2", "official"])
def test_the_weights_of_another_kind_of_network_are_refused(tmp_path, layout, stored, built):
    weights = layouts.from_ours(tanet_tiny(4, temporal=stored).state_dict(), layout)
    if stored != "tam":  # TSM's and TSN's files have no level for the block
        weights = {re.sub(r"\.(block|net)\.(?=conv|bn|downsample)", ".", key): weights[key] for key in weights}
    if stored == "tsm":
        weights = {re.sub(r"(\d\.conv1(\.conv)?)\.weight", r"\1.net.weight", key): weights[key] for key in weights}
    path = tmp_path / "a.pth"
    torch.save({"state_dict": weights}, path)
    assert checkpoint.read(path).temporal == stored
    model = tanet_tiny(4, temporal=built)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=rf"a.pth: .*temporal='{stored}'.*--set temporal={stored}"):
        load_weights(model, path)
    assert equal(model.state_dict(), before)
    load_weights(tanet_tiny(4, temporal=stored), path)


@pytest.mark.parametrize(
    "wrap", [lambda w: {"state_dict": w}, lambda w: w, lambda w: {"state_dict": w, "meta": {"epoch": 3}}]
)
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("layout", ["tanet", "mmaction2", "official"])
def test_every_layout_is_read_bare_and_wrapped(tmp_path, layout, prefix, wrap):
    weights = network().state_dict()
    theirs = weights if layout == "tanet" else layouts.from_ours(weights, layout)
    theirs = {prefix + key.removeprefix("module."): value for key, value in theirs.items()}
    torch.save(wrap(theirs), tmp_path / "a.pth")
    content = checkpoint.read(tmp_path / "a.pth")
    assert content.layout == layout and equal(content.weights, weights)
    assert (content.arch, content.num_frames, content.num_classes) == ("tanet_tiny", 8, 8)
    assert content.class_names is None and content.recipe is None
    assert content.style == ("official" if layout == "official" else "mmaction2")
    assert content.class_order == ("sorted" if layout == "official" else "listed")


def test_bare_safetensors_are_read(tmp_path):
    safetensors.torch.save_file(network().state_dict(), tmp_path / "a.safetensors")
    model = network(seed=1)
    load_weights(model, tmp_path / "a.safetensors")
    assert equal(model.state_dict(), network().state_dict())


@pytest.mark.slow
def test_imagenet_weights_leave_tam_and_classifier_as_they_are(tmp_path):
    torch.manual_seed(0)
    resnet = torchvision.models.resnet50().state_dict()
    torch.save(resnet, tmp_path / "resnet50-0676ba61.pth")
    model = tanet50(10, num_frames=2)
    before = copied(model)
    loaded = load_weights(model, tmp_path / "resnet50-0676ba61.pth")
    assert loaded.layout == "resnet" and loaded.copied == len(resnet) - 2
    assert set(loaded.kept) == {key for key in before if ".temporal." in key or key.startswith("fc.")}
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key] if key in loaded.kept else resnet[key]) for key in after)
    with pytest.raises(CheckpointError, match="image network"):
        checkpoint.load_model(tmp_path / "resnet50-0676ba61.pth")


def test_without_its_classifier_a_checkpoint_starts_a_network_of_other_classes(stored):
    model = network(seed=1, classes=5)
    before = copied(model)
    loaded = load_weights(model, stored, classifier=False)
    assert loaded.kept == ("fc.bias", "fc.weight") and set(loaded.unused) == set(loaded.kept)
    assert "2 of the file's left out, 2 of the network's left as they were" in str(loaded)
    after, weights = model.state_dict(), network().state_dict()
    assert all(torch.equal(after[key], before[key] if key in loaded.kept else weights[key]) for key in after)


@pytest.mark.parametrize(
    "other, parts",
    [
        (
            lambda: tanet_tiny(5),
            [r"2 keys", r"fc\.weight is \(8, 512\), the network has \(5, 512\)", "for 8 classes, the network for 5"],
        ),
        (lambda: tanet_tiny(8, temporal="none"), ["weights of a TANet do not fit a TSN; .*temporal='tam'"]),
        (
            lambda: tanet_tiny(8, num_frames=16),
            [r"layer1\.0\.temporal\.global_branch\.0\.weight is \(16, 8\)", "for 8 frames, the network for 16"],
        ),
        (lambda: tanet50(8), ["missing layer1.1.bn1.weight", r"and \d+ more"]),
    ],
)
@pytest.mark.parametrize("layout", ["tanet", "mmaction2", "official"])
def test_weights_that_do_not_fit_are_listed_and_the_network_is_untouched(tmp_path, other, parts, layout):
    path = tmp_path / "a.pth"
    weights = network().state_dict()
    torch.save({"state_dict": weights if layout == "tanet" else layouts.from_ours(weights, layout)}, path)
    model = other()
    before = copied(model)
    for part in parts:
        with pytest.raises(CheckpointError, match=part) as failure:
            load_weights(model, path)
        assert str(failure.value).startswith(str(path))
    assert equal(model.state_dict(), before)


@pytest.mark.parametrize(
    "key", ["backbone.layer2.0.tam.G.3.weight", "backbone.conv1.bn.running_var", "cls_head.fc_cls.bias"]
)
def test_a_missing_and_an_unexpected_key_are_named(tmp_path, key):
    weights = layouts.from_ours(network().state_dict(), "mmaction2")
    weights["backbone.extra.weight"] = weights.pop(key)
    torch.save({"state_dict": weights}, tmp_path / "a.pth")
    model = network(seed=1)
    with pytest.raises(
        CheckpointError, match=f"missing {next(iter(layouts.to_ours({key: 0}, 'mmaction2')))}; unexpected extra.weight"
    ):
        load_weights(model, tmp_path / "a.pth")
    assert equal(model.state_dict(), network(seed=1).state_dict())


@pytest.mark.parametrize(
    "state, message",
    [
        ({"optimizer": {"state": {}, "param_groups": []}, "epoch": 3}, "an optimizer's state and no network"),
        (
            torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1).state_dict(),
            "an optimizer's state and no network",
        ),
        ({"format": checkpoint.FORMAT, "model": {}}, "no weights"),
        ({"epoch": 1}, "no weights"),
        ({}, "no weights"),
        ({"state_dict": {"features.0.weight": torch.zeros(3)}}, "another kind of network"),
        ([1, 2], "not a checkpoint but a list"),
        (torch.zeros(3), "not a checkpoint but a Tensor"),
    ],
)
def test_files_without_a_network_are_refused_naming_the_file(tmp_path, state, message):
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=f"other.pth.*{message}"):
        checkpoint.read(tmp_path / "other.pth")


def test_a_network_without_tam_that_is_written_bare_keeps_its_classifier(tmp_path):
    """By its names it could be an image network. Its classifier fits, so it is copied."""
    torch.save(network(temporal="none").state_dict(), tmp_path / "tsn.pth")
    model = network(seed=1, temporal="none")
    assert load_weights(model, tmp_path / "tsn.pth").kept == ()
    assert equal(model.state_dict(), network(temporal="none").state_dict())


CFG_1X = """model = dict(
    backbone=dict(depth=50, num_segments=8, type='TANet'),
    data_preprocessor=dict(
        format_shape='NCHW',
        mean=[
            123.675,
            116.28,
            103.5,
        ],
        std=[58.395, 57.12, 57.375],
        type='ActionDataPreprocessor'))
"""
CONFIG_0X = "img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)"
BLUE = {  # name of the case: ("meta" of a file in MMAction2's layout, the blue mean that its network subtracts)
    "1.x, its configuration": ({"mmengine_version": "0.8.0", "cfg": CFG_1X}, 103.5),
    "1.x, another configuration": ({"mmengine_version": "0.8.0", "cfg": CFG_1X.replace("103.5", "100.25")}, 100.25),
    "1.x, no configuration": ({"mmengine_version": "0.1.0", "epoch": 100}, 103.5),
    "1.x, pixels with two channels": ({"mmengine_version": "0.8.0", "cfg": "mean=[128, 128]"}, 103.5),
    "0.x, its configuration": ({"mmaction_version": "0.24.0", "config": CONFIG_0X}, 103.53),
    "0.x, no configuration": ({"mmaction_version": "0.24.0"}, 103.53),
    "no meta": (None, 103.53),
    "strange meta": (["1.x"], 103.53),
}


@pytest.mark.parametrize("case", BLUE)
def test_a_published_network_subtracts_the_mean_of_its_code_base(tmp_path, case):
    meta, blue = BLUE[case]
    weights = layouts.from_ours(network().state_dict(), "mmaction2")
    torch.save({"state_dict": weights, "meta": meta}, tmp_path / "a.pth")
    assert checkpoint.read(tmp_path / "a.pth").pixel_mean == (123.675, 116.28, blue)
    model = network(seed=1)
    load_weights(model, tmp_path / "a.pth")
    gray = torch.full((1, 8, 3, 1, 1), 100, dtype=torch.uint8)
    torch.testing.assert_close(model.normalize(gray)[0, 0, 2].item(), (100 - blue) / 57.375, rtol=1e-5, atol=1e-6)


def test_a_mean_among_the_weights_takes_precedence(tmp_path):
    weights = layouts.from_ours(network().state_dict(), "mmaction2")
    weights["data_preprocessor.mean"] = torch.tensor([123.675, 116.28, 103.5]).view(3, 1, 1)
    weights["data_preprocessor.std"] = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    torch.save({"state_dict": weights, "meta": {"config": CONFIG_0X}}, tmp_path / "a.pth")
    model = network(seed=1)
    assert load_weights(model, tmp_path / "a.pth").unused == ()
    assert equal(model.state_dict(), network().state_dict())
    assert checkpoint.read(tmp_path / "a.pth").pixel_mean == (123.675, 116.28, 103.5)


STDS = {  # of the pixels, that MMEngine's preprocessor divides by -> what the error names
    "BGR": [57.375, 57.12, 58.395],
    "none": [1.0, 1.0, 1.0],
    "one for all": [127.5, 127.5, 127.5],
}


@pytest.mark.parametrize("std", STDS)
@pytest.mark.parametrize("place", ["weights", "wrapped weights", "configuration"])
def test_a_network_of_other_pixels_is_refused(tmp_path, std, place):
    weights, meta = layouts.from_ours(network().state_dict(), "mmaction2"), {}
    if place == "configuration":
        meta["cfg"] = f"data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std={STDS[std]})"
    else:
        prefix = "module." if place == "wrapped weights" else ""
        weights[f"{prefix}data_preprocessor.mean"] = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
        weights[f"{prefix}data_preprocessor.std"] = torch.tensor(STDS[std]).view(3, 1, 1)
    torch.save({"state_dict": weights, "meta": meta}, tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match=rf"a.pth: its network divides pixels by {STDS[std][0]:g}, .*58.395, 57.12"
    ):
        checkpoint.read(tmp_path / "a.pth")


@pytest.mark.parametrize("temporal", ["tsm", "none"])
def test_mmaction2_1x_has_its_own_mean_for_tanet_only(temporal):
    """Its configurations of TSM and TSN have 103.53."""
    assert layouts.pixel_mean({}, {"mmengine_version": "0.8.0"}, "tam") == (123.675, 116.28, 103.5)
    assert layouts.pixel_mean({}, {"mmengine_version": "0.8.0"}, temporal) == (123.675, 116.28, 103.53)


def test_other_weights_bring_their_own_mean(tmp_path, stored):
    weights = layouts.from_ours(network().state_dict(), "mmaction2")
    torch.save({"state_dict": weights, "meta": {"cfg": CFG_1X}}, tmp_path / "a.pth")
    model = network(seed=1)
    before = model.pixel_mean.clone()
    load_weights(model, tmp_path / "a.pth")
    assert not torch.equal(model.pixel_mean, before)
    load_weights(model, stored)
    assert torch.equal(model.pixel_mean, before)


STRANGE = {
    "sparse": lambda weight: weight.to_sparse(),
    "meta": lambda weight: weight.to("meta"),
    "quantized": lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
    "complex": lambda weight: weight.to(torch.complex64),
    "whole numbers": lambda weight: weight.long(),
    "truth values": lambda weight: weight.bool(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", STRANGE)
def test_unusual_tensors_are_refused_and_the_network_is_untouched(tmp_path, kind):
    weights = network().state_dict()
    weights["layer4.0.conv3.weight"] = STRANGE[kind](weights["layer4.0.conv3.weight"])
    torch.save({"state_dict": weights}, tmp_path / "a.pth")
    model = network(seed=1)
    with pytest.raises(CheckpointError, match=r"a.pth.*(layer4.0.conv3.weight is|not weights|holds)"):
        load_weights(model, tmp_path / "a.pth")
    assert equal(model.state_dict(), network(seed=1).state_dict())


def test_half_precision_weights_are_taken_over(tmp_path):
    torch.save(
        {key: v.half() if v.is_floating_point() else v for key, v in network().state_dict().items()}, tmp_path / "a.pth"
    )
    model = network(seed=1)
    load_weights(model, tmp_path / "a.pth")
    torch.testing.assert_close(model.state_dict(), network().state_dict(), rtol=1e-3, atol=1e-6)
    assert model.fc.weight.dtype == torch.float32


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "{"},
        {"recipe": '{"name": "x"}'},
        {"recipe": "[1]"},
        {"recipe": 5},
        {"class_names": 5},
        {"class_names": ["a", "b"]},
        {"class_names": [1, *NAMES[1:]]},
        {"class_names": [NAMES[1], *NAMES[1:]]},
        {"class_order": "alphabetical"},
        {"source": ["here"]},
        {"pixel_mean": [123.675, 116.28]},
        {"pixel_mean": [123.675, 116.28, "103.5"]},
        {"pixel_mean": "blue"},
        {"tanet": "nothing"},
    ],
)
def test_wrong_metadata_is_refused_naming_the_file(tmp_path, change):
    checkpoint.save(tmp_path / "last.pth", full_state(network()) | change)
    with pytest.raises(CheckpointError, match="last.pth"):
        checkpoint.read(tmp_path / "last.pth")


def test_keys_that_are_no_names_are_refused(tmp_path):
    torch.save({0: torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="a.pth.*no weights"):
        checkpoint.read(tmp_path / "a.pth")


def published(arch="tanet50", layout="mmaction2", classes=174, frames=8, temporal="tam"):
    """A published file with weights that have shapes and no values, which is enough to recognise the network."""
    with torch.device("meta"):
        recipe = recipes.k400_8f().with_changes(
            {"arch": arch, "num_classes": classes, "num_frames": frames, "temporal": temporal, "sampling": "uniform"}
        )
        weights = build(recipe).state_dict()
    return checkpoint.Checkpoint("published.pth", layout, weights)


def test_the_recipe_follows_from_the_weights_and_the_style_from_the_layout():
    for layout in ("mmaction2", "official"):
        for frames, name in ((8, "k400_8f"), (16, "k400_16f")):
            recipe = checkpoint.recipe_of(published(layout=layout, classes=400, frames=frames))
            assert (recipe.name, recipe.style, recipe.param_groups) == (name, layout, layout)


def test_which_something_something_follows_from_the_data_or_is_asked_for():
    with pytest.raises(CheckpointError, match="sthv1_8f, sthv2_8f.*--recipe"):
        checkpoint.recipe_of(published())
    v1 = checkpoint.recipe_of(published(), datasets=("something_v1",))
    assert (v1.name, v1.style, v1.flip) == ("sthv1_8f", "mmaction2", "swap")
    v2 = checkpoint.recipe_of(published(layout="official"), recipes.get("sthv2_8f"))
    assert (v2.name, v2.style, v2.flip) == ("sthv2_8f", "official", "swap")
    v1 = checkpoint.recipe_of(published(layout="official"), recipes.get("sthv1_8f"))
    assert (v1.name, v1.style, v1.flip) == ("sthv1_8f", "official", "none")


def test_a_network_that_fits_no_recipe_is_described():
    for file, words in (
        (published(classes=10), "tanet50, 10 classes, 8 frames. Recipes that fit: none"),
        (published(arch="tanet101", classes=400), "tanet101, 400 classes"),
        (published(classes=400, temporal="none"), "TSN or TSM, whose weights fit any number of frames"),
    ):
        with pytest.raises(CheckpointError, match=words):
            checkpoint.recipe_of(file)


def test_the_recipe_in_the_file_takes_precedence(stored):
    official = dataclasses.replace(checkpoint.read(stored), recipe=dataclasses.replace(RECIPE, style="official"))
    assert checkpoint.recipe_of(official).style == "official"
    assert checkpoint.recipe_of(official, RECIPE).style == "official"  # the style belongs to the weights
