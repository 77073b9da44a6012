import re

import pytest
import torch
from support.published_weights import gold
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tanet import tanet50, tanet_tiny
from tanet.checkpoint import layouts

THEIRS = ("mmaction2", "official")


@pytest.fixture(scope="module")
def own_keys():
    with torch.device("meta"):
        return {key: list(value.shape) for key, value in tanet50(400).state_dict().items()}


@pytest.mark.parametrize("layout", THEIRS)
def test_published_keys_and_shapes_translate_to_ours_and_back(layout, own_keys):
    keys = {key: shape for key, (shape, _) in gold(layout)["keys"].items()}
    assert layouts.recognise(keys) == layout
    assert layouts.to_ours(keys, layout) == own_keys
    assert layouts.from_ours(own_keys, layout) == keys


@pytest.mark.parametrize("layout", THEIRS)
def test_the_prefix_of_data_parallel_training_is_optional(layout, own_keys):
    bare = {key.removeprefix("module."): shape for key, (shape, _) in gold(layout)["keys"].items()}
    wrapped = {f"module.{key}": shape for key, shape in bare.items()}
    for keys in (bare, wrapped):
        assert layouts.recognise(keys) == layout
        assert layouts.to_ours(keys, layout) == own_keys


WRAPPED = {
    "compiled": lambda key: f"_orig_mod.{key}",
    "compiled, then parallel": lambda key: f"module._orig_mod.{key}",
    "parallel, then compiled": lambda key: f"_orig_mod.module.{key}",
    "wrapped twice": lambda key: f"module.module._orig_mod._orig_mod.{key}",
    "a compiled stage": lambda key: key.replace("layer1.", "layer1._orig_mod."),
    "compiled blocks": lambda key: re.sub(r"(layer\d\.\d+)\.", r"\1._orig_mod.", key),
    "sharded": lambda key: f"_fsdp_wrapped_module.{key.replace('layer1.0.', 'layer1.0._fsdp_wrapped_module.')}",
    "blocks that compute twice": lambda key: re.sub(r"(layer\d\.\d+)\.", r"\1._checkpoint_wrapped_module.", key),
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("layout", THEIRS)
def test_the_names_of_wrappers_are_dropped_wherever_they_stand(layout, wrap, own_keys):
    bare = {key.removeprefix("module."): shape for key, (shape, _) in gold(layout)["keys"].items()}
    wrapped = {WRAPPED[wrap](key): shape for key, shape in bare.items()}
    assert layouts.unwrapped(wrapped) == bare
    assert layouts.recognise(wrapped) == layout
    assert layouts.to_ours(wrapped, layout) == own_keys


def test_the_names_that_torch_itself_gives_are_known():
    """What a compiled network, one with a compiled stage, and an averaged one store."""
    own = tanet_tiny(3).state_dict().keys()
    compiled, stage, averaged = torch.compile(tanet_tiny(3)), tanet_tiny(3), AveragedModel(tanet_tiny(3))
    stage.layer1 = torch.compile(stage.layer1)
    for model in (compiled, stage, averaged, torch.compile(nn.DataParallel(tanet_tiny(3)))):
        names = model.state_dict()
        assert names.keys() != own and layouts.unwrapped(names).keys() == own
        assert layouts.recognise(names) == "tanet"


def test_our_layout_and_torchvisions_are_recognised():
    assert layouts.recognise(tanet_tiny(3).state_dict()) == "tanet"
    assert layouts.recognise(tanet_tiny(3, temporal="none").state_dict()) == "resnet"
    assert layouts.recognise({"features.0.weight": 0}) is None
    assert layouts.recognise({}) is None


def test_two_keys_for_one_weight_are_refused():
    with pytest.raises(ValueError, match="new_fc.bias.*fc.bias"):
        layouts.to_ours({"module.new_fc.bias": 0, "new_fc.bias": 1}, "official")
