import pytest
import torch
from support.published_weights import gold

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


def test_our_layout_and_torchvisions_are_recognised():
    assert layouts.recognise(tanet_tiny(3).state_dict()) == "tanet"
    assert layouts.recognise(tanet_tiny(3, temporal="none").state_dict()) == "resnet"
    assert layouts.recognise({"features.0.weight": 0}) is None
    assert layouts.recognise({}) is None


def test_two_keys_for_one_weight_are_refused():
    with pytest.raises(ValueError, match="new_fc.bias.*fc.bias"):
        layouts.to_ours({"module.new_fc.bias": 0, "new_fc.bias": 1}, "official")
