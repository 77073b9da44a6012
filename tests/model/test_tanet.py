import copy
import re
from urllib.error import URLError

import pytest
import torch
import torchvision

from tanet import TANet, aggregate, model, recipes, tanet50, tanet_tiny
from tanet.errors import USER_ERRORS, DownloadError
from tanet.model import TemporalShift, cost


@pytest.mark.parametrize(
    "classes, frames, temporal, millions",
    [(400, 8, "tam", 25.59032), (174, 8, "tam", 25.1272), (174, 16, "tam", 25.1347), (400, 8, "none", 24.328),
     (400, 8, "tsm", 24.328)],
)  # fmt: skip
def test_published_parameter_counts(classes, frames, temporal, millions):
    with torch.device("meta"):
        network = tanet50(classes, frames, temporal)
    digits = len(str(millions).split(".")[1])
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, digits) == millions


@pytest.mark.parametrize("name, blocks", [("tanet50", 16), ("tanet101", 33), ("tanet152", 50), ("tanet_tiny", 4)])
def test_every_bottleneck_has_a_tam_before_its_3x3_convolution(name, blocks):
    with torch.device("meta"):
        network = model.ARCHITECTURES[name](10)
    bottlenecks = [m for m in network.modules() if isinstance(m, model.Bottleneck)]
    assert len(bottlenecks) == blocks
    assert all(isinstance(m.temporal, model.TAM) and m.temporal.channels == m.conv2.in_channels for m in bottlenecks)


@pytest.fixture
def tiny() -> TANet:
    torch.manual_seed(0)
    network = tanet_tiny(5, num_frames=4)
    torch.nn.init.normal_(network.fc.weight)
    return network.eval()


def clips(n=2, t=4, size=48, seed=0) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, t, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


@torch.no_grad()
def test_uint8_clips_are_normalised_with_imagenets_mean_and_deviation(tiny, device):
    tiny.to(device)
    frames = clips().float()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    by_hand = (frames - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(tiny(clips().to(device)), tiny(by_hand.to(device)))


@torch.no_grad()
def test_every_device_and_memory_format_computes_the_same_logits(tiny, device):
    wanted = tiny(clips())
    for memory_format in (torch.contiguous_format, torch.channels_last):
        network = tiny.to(device, memory_format=memory_format)
        torch.testing.assert_close(network(clips().to(device)).cpu(), wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_logits_are_the_mean_over_frames_and_independent_between_clips(tiny):
    logits = tiny(clips())
    assert logits.shape == (2, 5)
    torch.testing.assert_close(tiny(clips()[1:]), logits[1:])
    features = tiny.forward_features(clips())  # [N*T, C, H, W]
    by_frame = torch.stack([tiny.fc(f.mean((1, 2))) for f in features])
    torch.testing.assert_close(by_frame.view(2, 4, 5).mean(1), logits)


@torch.no_grad()
def test_features_are_what_the_classifier_sees(tiny):
    maps = tiny.forward_features(clips())
    assert maps.shape == (2 * 4, 128 * 4, 2, 2)  # [N*T, C, H/32, W/32], rounded up
    features = tiny.forward_head(maps, pre_logits=True)
    assert features.shape == (2, 4, 128 * 4)  # [N, T, C]
    torch.testing.assert_close(features[1, 2], maps[4 + 2].mean((1, 2)))
    torch.testing.assert_close(tiny.fc(features.mean(1)), tiny(clips()))
    assert not torch.equal(tiny.train().forward_head(maps), tiny.forward_head(maps))  # dropout stands behind them
    assert torch.equal(tiny.forward_head(maps, pre_logits=True), features)


@pytest.mark.parametrize("shape", [(1, 8, 3, 48, 48), (1, 4, 1, 48, 48), (4, 3, 48, 48), (1, 3, 4, 48, 48)])
def test_clips_of_another_shape_are_refused_naming_the_number_of_frames(tiny, shape):
    with pytest.raises(ValueError, match=re.escape("T = 4") + ".*" + re.escape(str(shape))):
        tiny(torch.zeros(shape))


def test_pixel_statistics_are_no_part_of_the_weights(tiny):
    assert not [key for key in tiny.state_dict() if "pixel" in key]


@pytest.mark.parametrize("autocast", [False, True])
def test_computing_activations_twice_trains_alike_and_keeps_less(tiny, autocast):
    twin = copy.deepcopy(tiny)
    twin.checkpoint_activations = True
    kept = []
    for network in (tiny.train(), twin.train()):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            network(clips()).float().square().sum().backward()
        kept.append(cost.kept_for_backward(network, clips()))
    for (name, one), other in zip(tiny.named_parameters(), twin.parameters()):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    for (name, one), other in zip(tiny.named_buffers(), twin.buffers()):
        assert torch.equal(one, other), name
    assert kept[1] < 0.7 * kept[0]


@pytest.mark.slow
def test_computing_activations_twice_is_compiled_with_the_same_result():
    torch.manual_seed(0)
    network = TANet((1, 1), num_classes=5, num_frames=4, dropout=0.0, width=16).train()
    torch.nn.init.normal_(network.fc.weight)
    twin = copy.deepcopy(network)
    twin.checkpoint_activations = True
    network(clips()).square().sum().backward()
    torch.compile(twin, fullgraph=True, backend="aot_eager")(clips()).square().sum().backward()
    for (name, one), other in zip(network.named_parameters(), twin.parameters()):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3, msg=name)
    for (name, one), other in zip(network.named_buffers(), twin.buffers()):
        torch.testing.assert_close(one, other, msg=name)


@torch.no_grad()
def test_temporal_maps_are_what_the_forward_pass_used(tiny):
    blocks = [f"layer{i}.0" for i in range(1, 5)]
    seen, hooks = {}, []
    for block in blocks:
        tam = tiny.get_submodule(f"{block}.temporal")

        def keep(_, inputs, output, block=block):
            seen[block] = inputs[0].clone(), output.clone()  # the ReLU that follows works in place

        hooks.append(tam.register_forward_hook(keep))
    tiny(clips())
    for hook in hooks:
        hook.remove()
    maps = tiny.temporal_maps(clips())
    assert list(maps) == blocks
    for width, block in zip((16, 32, 64, 128), blocks):
        importance, kernel = maps[block]
        assert importance.shape == (2, width, 4) and kernel.shape == (2, width, 3)
        x, y = seen[block]
        # The hooks make the network compute BatchNorm and ReLU first; in one pass with TAM they round differently.
        torch.testing.assert_close(aggregate(x.unflatten(0, (2, 4)), importance, kernel).flatten(0, 1), y)


def test_temporal_maps_leave_the_network_as_it_was(tiny):
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    tiny.temporal_maps(clips())
    with pytest.raises(ValueError):
        tiny.temporal_maps(clips(t=3))
    assert not any(m._forward_hooks for m in tiny.modules())
    assert all(torch.equal(value, before[key]) for key, value in tiny.state_dict().items())


def test_temporal_maps_do_not_disturb_training_statistics_more_than_a_forward_pass_does(tiny):
    twin = tanet_tiny(5, num_frames=4)
    twin.load_state_dict(tiny.state_dict())
    tiny.train().temporal_maps(clips())
    twin.train()(clips())
    for (key, value), other in zip(tiny.state_dict().items(), twin.state_dict().values()):
        torch.testing.assert_close(value, other, msg=key)


def test_networks_without_tam_have_no_temporal_maps():
    assert tanet_tiny(5, num_frames=4, temporal="tsm").temporal_maps(clips()) == {}


def test_shift_brings_an_eighth_of_the_channels_forward_and_an_eighth_back():
    x = torch.arange(2 * 3 * 16.0).view(2 * 3, 16, 1, 1) + 1  # 2 clips of 3 frames, 16 channels
    before, after = x.view(2, 3, 16), TemporalShift(3)(x).view(2, 3, 16)
    assert torch.equal(after[:, :-1, :2], before[:, 1:, :2]) and (after[:, -1, :2] == 0).all()
    assert torch.equal(after[:, 1:, 2:4], before[:, :-1, 2:4]) and (after[:, 0, 2:4] == 0).all()
    assert torch.equal(after[:, :, 4:], before[:, :, 4:])


@pytest.mark.parametrize("name, shifted", [("tanet50", 16), ("tanet101", 18), ("tanet152", 26)])
def test_tsm_shifts_every_bottleneck_and_every_second_one_of_deep_networks(name, shifted):
    """As the published code: 2 + 2 + 12 + 2 of ResNet-101's 33, and 2 + 4 + 18 + 2 of ResNet-152's 50."""
    with torch.device("meta"):
        network = model.ARCHITECTURES[name](10, temporal="tsm")
    blocks = [module for module in network.modules() if isinstance(module, model.Bottleneck)]
    assert sum(isinstance(block.shift, TemporalShift) for block in blocks) == shifted
    assert all(isinstance(block.temporal, torch.nn.Identity) for block in blocks)


@torch.no_grad()
@pytest.mark.parametrize("temporal, sees_order", [("none", False), ("tam", True), ("tsm", True)])
def test_only_a_temporal_module_sees_the_order_of_frames(temporal, sees_order):
    torch.manual_seed(0)
    network = tanet_tiny(5, num_frames=4, temporal=temporal).eval()
    torch.nn.init.normal_(network.fc.weight)
    difference = (network(clips()) - network(clips().flip(1))).abs().max() / network(clips()).abs().max()
    assert (difference > 1e-3) if sees_order else (difference < 1e-5)


def test_unknown_temporal_module_is_refused():
    with pytest.raises(ValueError, match="tam, .*, tsm, none.*'nl'"):
        tanet_tiny(5, temporal="nl")


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    network = torchvision.models.resnet50()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network.eval()


@torch.no_grad()
def test_without_a_temporal_module_it_is_torchvisions_resnet(resnet):
    network = model.load_resnet(tanet50(10, num_frames=2, temporal="none"), resnet.state_dict()).eval()
    x = torch.randn(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = network.forward_features(x).mean((2, 3))
    head, resnet.fc = resnet.fc, torch.nn.Identity()
    wanted = resnet(x[0])
    resnet.fc = head
    torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-4)


def test_resnet_weights_load_beside_tam_and_leave_tam_and_classifier_alone(resnet):
    network = tanet50(10, num_frames=2)
    before = {k: v.clone() for k, v in network.state_dict().items() if ".temporal." in k or k.startswith("fc.")}
    model.load_resnet(network, resnet.state_dict())
    after, weights = network.state_dict(), resnet.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert all(torch.equal(after[key], weights[key]) for key in weights if not key.startswith("fc."))


def test_weights_of_another_resnet_are_refused(resnet):
    incomplete = {key: value for key, value in resnet.state_dict().items() if key != "layer4.2.bn3.weight"}
    with torch.device("meta"):
        network, deeper = tanet50(10), model.tanet101(10)
    with pytest.raises(ValueError, match="missing.*layer4.2.bn3.weight"):
        model.load_resnet(network, incomplete)
    with pytest.raises(ValueError, match="missing.*layer3.10"):
        model.load_resnet(deeper, resnet.state_dict())


def test_imagenet_weights_without_internet_say_what_to_fetch_and_where_to_put_it(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DownloadError) as failure:
        tanet50(10, weights="imagenet")
    assert isinstance(failure.value, USER_ERRORS)  # the command line prints it as one line
    for part in (r"https://\S+/resnet50-0676ba61.pth", re.escape(f"{tmp_path}/hub/checkpoints"), "no route to host"):
        assert re.search(part, str(failure.value))


def test_weights_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="tanet_tiny has no published weights"):
        tanet_tiny(10, weights="imagenet")
    with pytest.raises(ValueError, match="imagenet.*'kinetics'"), torch.device("meta"):
        tanet50(10, weights="kinetics")


def test_build_follows_the_recipe():
    recipe = recipes.get("demo_something").with_changes(
        {"temporal": "tsm", "num_frames": 4, "dropout": 0.3, "num_classes": 6}
    )
    network = model.build(recipe)
    assert (network.num_frames, network.num_classes, network.dropout.p) == (4, 6, 0.3)
    assert network.temporal == "tsm" and isinstance(network.layer1[0].shift, TemporalShift)
