"""The two code bases' styles: a preset changes its style as a whole, and half a change is refused."""

import dataclasses
from collections import Counter

import pytest
import torch
from torch import nn

from tanet import recipes
from tanet.model import build
from tanet.train.optim import parameter_groups

KINDS = {"2D": nn.Conv2d, "1D": nn.Conv1d, "linear": nn.Linear, "BatchNorm": nn.modules.batchnorm._BatchNorm}
# (kind of parameter, multiplier of the rate, whether it decays) -> how many there are in a TANet-50, by the authors'
# `get_optim_policies`, and by MMAction2's `TSMOptimizerConstructor` and `TSMOptimWrapperConstructor`. ResNet-50 has 53
# convolutions, each with a BatchNorm, and the classifier. Each of the 16 TAMs has two linear weights, two of 1D
# convolutions, and two BatchNorms.
IN_BOTH = {
    ("2D weight", 1, True): 53,
    ("1D weight", 1, True): 32,
    ("linear bias", 10, False): 1,  # the classifier's
    ("BatchNorm weight", 1, False): 53 + 32,
    ("BatchNorm bias", 1, False): 53 + 32,
}
GROUPS = {
    "mmaction2": {**IN_BOTH, ("linear weight", 5, True): 1, ("linear weight", 1, True): 32},
    "official": {**IN_BOTH, ("linear weight", 5, True): 1 + 32},
}
PUBLISHED = [name for name in recipes.RECIPES if recipes.published_results(name)]


@pytest.mark.parametrize("style", recipes.STYLES)
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameter_groups_of_every_preset_in_both_styles(name, style):
    recipe = recipes.get(name, style)
    with torch.device("meta"):
        model = build(recipe.with_changes({"init": "none"}))
    kinds = {
        id(parameter): f"{kind} {part}"
        for kind, layer in KINDS.items()
        for module in model.modules()
        if isinstance(module, layer)
        for part, parameter in module.named_parameters(recurse=False)
    }
    found = Counter()
    for group in parameter_groups(model, recipe):
        assert group["weight_decay"] in (0, recipe.weight_decay)
        decays = group["weight_decay"] > 0
        found.update((kinds[id(parameter)], group["lr_scale"], decays) for parameter in group["params"])
    assert found == GROUPS[style]


def test_a_style_is_changed_as_a_whole():
    v1, v2, k400 = (recipes.get(name) for name in ("sthv1_8f", "sthv2_8f", "k400_8f"))
    official = recipes.in_style(v1, "official")
    assert (official.style, official.param_groups, official.flip) == ("official", "official", "none")
    assert official.protocols == ("sth-efficient",)
    v2_in_mmaction2 = recipes.in_style(v2, "mmaction2")
    assert (v2_in_mmaction2.param_groups, v2_in_mmaction2.flip) == ("mmaction2", "swap")
    assert v2_in_mmaction2.protocols == ("sth-efficient", "sth-accurate")
    assert recipes.in_style(k400, "official").flip == "plain"


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_preset_comes_back_from_the_other_style(name):
    recipe = recipes.get(name)
    for style in recipes.STYLES:
        assert recipes.get(name, style).style == recipes.get(name, style).param_groups == style
        assert recipes.in_style(recipes.get(name, style), recipe.style) == recipe
    assert recipes.get(name, recipe.style) == recipe


def test_what_was_changed_on_purpose_outlives_a_change_of_style():
    recipe = recipes.get("sthv1_8f").with_changes({"epochs": 3, "flip": "plain"})
    official = recipes.in_style(recipe, "official")
    assert (official.epochs, official.flip) == (3, "plain")
    assert official.protocols == ("sth-efficient",)


def test_half_a_change_of_style_is_refused_naming_the_switch():
    recipe = recipes.get("sthv1_8f")
    for changes in ({"style": "official"}, {"style": "official", "param_groups": "official"}):
        with pytest.raises(ValueError, match="--style official.*recipes.in_style") as failure:
            recipe.with_changes(changes)
        assert "\n" not in str(failure.value)
    assert recipe.with_changes({"style": "mmaction2"}) == recipe
    mixed = recipe.with_changes({"param_groups": "official"})  # a field of its own, for an ablation
    assert dataclasses.replace(mixed, param_groups="mmaction2") == recipe


def test_the_batch_of_16_frames_on_something_something_v1_follows_the_style():
    recipe = recipes.get("sthv1_16f", "official")
    assert (recipe.lr, recipe.lr_batch, recipe.clips_per_process) == (0.01, 64, 4)


def test_an_unknown_style_is_refused_and_the_known_ones_are_named():
    with pytest.raises(ValueError, match="no style 'caffe'; there are: mmaction2, official"):
        recipes.get("k400_8f", "caffe")
    with pytest.raises(ValueError, match="recipe field style must be 'mmaction2' or 'official'"):
        recipes.get("k400_8f").with_changes({"style": "caffe"})
