"""What stands in a bottleneck's slot: TAM, its branches alone, and the modules that it is compared with."""

import pytest
import torch
from torch import nn

from tanet import recipes
from tanet.model import POSITIONS, TAM, Slots, TemporalConvolution, TemporalShift, build, measure, tanet_tiny
from tanet.ops import aggregate

T, C = 6, 16


def frames(clips=3, seed=0):
    return torch.randn(clips * T, C, 5, 4, generator=torch.Generator().manual_seed(seed))


def module_of(temporal, **sizes):
    torch.manual_seed(0)
    network = tanet_tiny(4, T, temporal, slots=Slots(**sizes)).eval()
    return network.layer1[0].temporal


def test_the_local_branch_alone_reweights_frames_and_moves_none():
    module, x = module_of("tam_local"), frames()
    importance = module.importance_map(x)  # [N, C, T]
    assert importance.std() > 1e-3
    expected = x.view(-1, T, C, 5, 4) * importance.transpose(1, 2)[..., None, None]
    torch.testing.assert_close(module(x), expected.flatten(0, 1))


def test_the_global_branch_alone_convolves_each_clip_with_its_own_kernel():
    module, x = module_of("tam_global"), frames()
    kernel = module.aggregation_kernel(x)  # [N, C, K]
    assert not torch.allclose(kernel[0], kernel[1])
    clips = x.view(-1, T, C, 5, 4)
    torch.testing.assert_close(module(x), aggregate(clips, torch.ones(3, C, T), kernel).flatten(0, 1))


def test_the_fixed_convolution_starts_as_the_shift_and_is_the_same_for_every_clip():
    module, x = module_of("conv"), frames()
    torch.testing.assert_close(module(x), TemporalShift(T)(x))
    nn.init.normal_(module.conv.weight)
    taps = module.conv.weight[:, 0].expand(3, -1, -1)  # [N, C, K]
    clips = x.view(-1, T, C, 5, 4)
    torch.testing.assert_close(module(x), aggregate(clips, torch.ones(3, C, T), taps).flatten(0, 1))


@pytest.mark.parametrize("kernel_size", [1, 2, 4])
def test_a_fixed_convolution_needs_an_odd_kernel_of_neighbours(kernel_size):
    with pytest.raises(ValueError, match=f"odd and at least 3, got {kernel_size}"):
        TemporalConvolution(C, T, kernel_size)


@pytest.mark.parametrize("temporal", ["tam_local", "tam_global", "conv"])
def test_a_branch_alone_has_no_weights_of_the_other(temporal):
    branches = {
        name.split(".")[3] for name, _ in tanet_tiny(4, temporal=temporal).named_parameters() if "temporal" in name
    }
    assert branches == {"tam_local": {"local_branch"}, "tam_global": {"global_branch"}, "conv": {"conv"}}[temporal]


@pytest.mark.parametrize("temporal", ["tam_local", "tam_global", "conv"])
def test_every_module_learns(temporal):
    torch.manual_seed(0)
    network = tanet_tiny(4, T, temporal).train()
    network(torch.randn(4, T, 3, 32, 32)).square().sum().backward()
    weights = [weight for name, weight in network.named_parameters() if "temporal" in name]
    assert weights and all(weight.grad.abs().sum() > 0 for weight in weights)


@pytest.mark.parametrize("position", POSITIONS)
def test_the_position_is_in_front_of_the_named_convolution(position):
    network = tanet_tiny(4, T, slots=Slots(position=position)).eval()
    order = []
    for block in (network.layer2[0],):
        for name in ("conv1", "temporal", "conv2", "conv3"):
            getattr(block, name).register_forward_hook(lambda *_, name=name: order.append(name))
    network(torch.randn(2, T, 3, 32, 32))
    assert order[order.index("temporal") + 1] == position and len(order) == 4


def test_stages_without_modules_have_none():
    network = tanet_tiny(4, slots=Slots(stages=(2, 4)))
    has_module = [isinstance(getattr(network, f"layer{stage}")[0].temporal, TAM) for stage in (1, 2, 3, 4)]
    assert has_module == [False, True, False, True]


def test_a_recipe_decides_all_of_it():
    changes = {"temporal_stages": [1], "temporal_position": "conv3", "kernel_size": 5, "alpha": 1, "beta": 8}
    tam = build(recipes.get("demo_late").with_changes(changes)).layer1[0].temporal
    assert tam.kernel_size == 5
    assert tam.local_branch[0].out_channels == C // 8 and tam.global_branch[0].out_features == 12
    for wrong in ({"temporal_stages": [5]}, {"temporal_position": "conv4"}, {"kernel_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            recipes.get("demo_late").with_changes(wrong)
    with pytest.raises(ValueError, match="position must be one of"):
        tanet_tiny(4, slots=Slots(position="conv4"))


def test_the_parts_cost_what_they_add():
    """Parameters beyond TSN's: the branches' sum is TAM's; the fixed convolution has K weights a channel."""
    recipe = recipes.get("demo_late")
    counts = {
        temporal: measure(recipe.with_changes({"temporal": temporal}), 32).parameters
        for temporal in ("none", "tsm", "conv", "tam_local", "tam_global", "tam")
    }
    added = {temporal: count - counts["none"] for temporal, count in counts.items()}
    assert added["tsm"] == 0 and added["conv"] == 3 * (16 + 32 + 64 + 128)
    assert added["tam_local"] + added["tam_global"] == added["tam"] > 0
