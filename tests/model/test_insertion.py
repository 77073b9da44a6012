"""TAM and TSM in image networks of torchvision and timm: where they stand, and that nothing else changes."""

import copy
import re

import pytest
import torch
import torchvision
from torch import nn

from tanet import ops, tanet50
from tanet.model import ARCHITECTURES, TAM, TemporalShift, VideoNetwork, insert_tam

TORCHVISION = {"resnet18": 8, "resnet50": 16, "resnext50_32x4d": 16, "regnet_y_400mf": 16, "regnet_x_400mf": 22}
TIMM = {"resnet18": 8, "resnet50": 16, "resnext50_32x4d": 16, "seresnet50": 16, "resnetaa50": 16, "regnety_002": 13}


def timm_network(name: str, **options) -> nn.Module:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    return timm.create_model(name, **options)


def torchvision_network(name: str, **options) -> nn.Module:
    return getattr(torchvision.models, name)(**options)


def with_all_branches(network: nn.Module) -> nn.Module:
    """timm's networks begin with blocks whose last BatchNorm is 0: what their residual branches do is not seen."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


NETWORKS = [
    *(
        pytest.param(torchvision_network, name, blocks, id=f"torchvision-{name}")
        for name, blocks in TORCHVISION.items()
    ),
    *(pytest.param(timm_network, name, blocks, id=f"timm-{name}") for name, blocks in TIMM.items()),
]


def clips(n=2, t=4, size=32) -> torch.Tensor:
    return torch.randint(0, 256, (n, t, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def outcome(network, weights, prefix=""):
    """Logits in training and in testing, and all gradients and statistics by our names."""
    network.train()
    logits = network(clips(t=2))
    (logits * weights).sum().backward()
    network.eval()
    with torch.no_grad():
        tensors = {"training": logits.detach(), "testing": network(clips(t=2))}
    tensors |= {f"gradient of {name.removeprefix(prefix)}": p.grad for name, p in network.named_parameters()}
    return tensors | {name.removeprefix(prefix): buffer for name, buffer in network.named_buffers()}


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["tam", "tsm"])
@pytest.mark.parametrize("path", ["plain", "auto"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_torchvisions_resnet50_with_tam_is_tanet50_to_the_bit(temporal, path, memory_format):
    torch.manual_seed(0)
    ours = tanet50(7, 2, temporal, dropout=0.0)
    nn.init.normal_(ours.fc.weight)
    theirs = insert_tam(torchvision.models.resnet50(num_classes=7), 2, temporal)
    theirs.load_state_dict({f"network.{name}": value for name, value in ours.state_dict().items()})
    weights = torch.randn(2, 7)
    with ops.use(path):
        wanted = outcome(ours.to(memory_format=memory_format), weights)
        got = outcome(theirs.to(memory_format=memory_format), weights, "network.")
    assert got.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(got[name], wanted[name])] == []
    assert wanted["gradient of layer1.0.conv1.weight"].abs().max() > 0


@pytest.mark.parametrize("temporal, first", [("tam", TAM), ("tsm", TemporalShift)])
@pytest.mark.parametrize("make, name, blocks", NETWORKS)
def test_every_block_gets_a_temporal_module_and_nothing_else_changes(make, name, blocks, temporal, first, monkeypatch):
    """Without what the modules do, a clip's logits are the mean of the image network's, to the bit."""
    torch.manual_seed(0)
    images = with_all_branches(make(name, num_classes=5)).eval()
    before = copy.deepcopy(images)
    video = insert_tam(images, 4, temporal)
    assert sum(isinstance(module, first) for module in video.modules()) == blocks
    assert video.network is images and not video.training

    def nothing(self, x, norm=None):
        return x if norm is None else torch.relu(norm(x))

    with torch.no_grad():
        with_module, reversed_in_time = video(clips()), video(clips().flip(1))
        monkeypatch.setattr(first, "forward", nothing)
        by_frame = before(video.fold(clips())).view(2, 4, 5)
        assert torch.equal(video(clips()), by_frame.mean(1))
    assert with_module.shape == (2, 5)
    assert (with_module - reversed_in_time).abs().max() > 1e-5 * with_module.abs().max()  # it sees the order


@pytest.mark.parametrize("make, name, blocks", NETWORKS)
def test_tam_stands_in_front_of_a_3x3_convolution_of_its_width(make, name, blocks):
    video = insert_tam(make(name, num_classes=5).eval(), 4)
    calls = []

    def keep(module, inputs, output):
        calls.append((module, inputs[0], output))

    for module in video.modules():
        if isinstance(module, TAM | nn.Conv2d):
            module.register_forward_hook(keep)
    with torch.no_grad():
        video(clips())
    following = [(tam, later) for tam, later in zip(calls, calls[1:]) if isinstance(tam[0], TAM)]
    assert len(following) == blocks
    for (tam, seen, made), (conv, given, _) in following:
        assert conv.kernel_size == (3, 3) and conv.in_channels == tam.channels
        assert given is made and (seen >= 0).all()  # behind a ReLU


@pytest.mark.slow
@pytest.mark.parametrize("make, name, blocks", NETWORKS)
def test_a_step_trains_it(make, name, blocks):
    torch.manual_seed(0)
    video = insert_tam(with_all_branches(make(name, num_classes=5)), 4)
    optimizer = torch.optim.SGD(video.parameters(), lr=0.001)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(video(clips()), torch.tensor([1, 3]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    gradients = {name: parameter.grad.abs().max() for name, parameter in video.named_parameters()}
    assert all(0 < value < torch.inf for name, value in gradients.items() if "temporal" in name)
    assert losses[1] < losses[0]


@pytest.mark.parametrize("name, shifted", [("resnet50", 16), ("resnet101", 18), ("resnet152", 26)])
def test_tsm_is_in_every_second_block_of_very_deep_networks_and_tam_in_every_one(name, shifted):
    with torch.device("meta"):
        tsm = insert_tam(torchvision_network(name), 8, "tsm")
        tam = insert_tam(torchvision_network(name), 8)
        ours = ARCHITECTURES[name.replace("res", "ta")](1000, temporal="tsm")
    places = [
        {name for name, module in network.named_modules() if isinstance(module, TemporalShift)}
        for network in (tsm.network, ours)
    ]
    assert places[0] == places[1] and len(places[0]) == shifted
    assert (
        len([module for module in tam.modules() if isinstance(module, TAM)])
        == {50: 16, 101: 33, 152: 50}[int(name[6:])]
    )


def test_mode_type_and_frozen_weights_stay():
    images = torchvision_network("resnet18", num_classes=5).double().eval().requires_grad_(False)
    video = insert_tam(images, 4)
    assert not any(module.training for module in video.modules())
    assert {parameter.dtype for parameter in video.parameters()} == {torch.float64}
    trained = {name for name, parameter in video.named_parameters() if parameter.requires_grad}
    assert trained and all(".temporal." in name for name in trained)
    assert video(clips()).dtype == torch.float64


def test_a_copy_and_a_saved_network_stand_by_themselves(tmp_path):
    torch.manual_seed(0)
    video = insert_tam(torchvision_network("resnet18", num_classes=5), 4).eval()
    copied = copy.deepcopy(video)
    torch.save(video.state_dict(), tmp_path / "weights.pth")
    again = insert_tam(torchvision_network("resnet18", num_classes=5), 4).eval()
    again.load_state_dict(torch.load(tmp_path / "weights.pth"))
    with torch.no_grad():
        wanted = video(clips())
        for parameter in video.parameters():
            parameter.zero_()
        assert torch.equal(copied(clips()), wanted) and torch.equal(again(clips()), wanted)


def test_the_importance_maps_of_any_network_are_at_hand():
    maps = insert_tam(torchvision_network("resnet18", num_classes=5), 4).eval().temporal_maps(clips())
    assert list(maps)[:2] == ["network.layer1.0.conv2", "network.layer1.1.conv2"]
    importance, kernel = maps["network.layer4.1.conv2"]
    assert importance.shape == (2, 512, 4) and kernel.shape == (2, 512, 3)


def test_pixels_are_normalised_as_timm_says_for_the_network():
    plain = timm_network("resnet18", num_classes=5)
    torch.testing.assert_close(insert_tam(plain, 4).pixel_mean, tanet50(5).pixel_mean, rtol=0, atol=1e-5)
    other = timm_network("resnet18", num_classes=5, pretrained_cfg_overlay={"mean": (0.5,) * 3, "std": (0.25,) * 3})
    video = insert_tam(other, 4)
    wanted = (clips().float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(video.normalize(clips()), wanted)


def test_clips_of_another_shape_are_refused_naming_the_number_of_frames():
    video = insert_tam(torchvision_network("resnet18"), 4)
    for shape in ((8, 3, 32, 32), (1, 5, 3, 32, 32)):
        with pytest.raises(ValueError, match=re.escape("T = 4") + ".*" + re.escape(str(shape))):
            video(torch.zeros(shape))


def test_a_network_without_residual_blocks_is_refused_by_name():
    with pytest.raises(ValueError, match="MobileNetV2 has no residual blocks"):
        insert_tam(torchvision.models.mobilenet_v2(), 4)
    with pytest.raises(ValueError, match="ResNet has no residual blocks"):  # one convolution split into many
        insert_tam(timm_network("resnest14d"), 4)


@pytest.mark.parametrize(
    "arguments, message",
    [((4, "nl"), "tam or tsm.*'nl'"), ((0,), "num_frames.*0"), ((8.0,), "num_frames.*8.0"), (("8",), "num_frames")],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        insert_tam(torchvision_network("resnet18"), *arguments)
    with pytest.raises(ValueError, match="torch.nn.Module, got str"):
        insert_tam("resnet50", 8)


def test_a_network_that_has_temporal_modules_is_refused_and_stays():
    video = insert_tam(torchvision_network("resnet18", num_classes=5), 4).eval()
    before = list(video.state_dict())
    for network in (video, video.network, tanet50(5, temporal="tsm")):
        with pytest.raises(ValueError, match=r"layer1\.0.*is a temporal module already"):
            insert_tam(network, 4)
    assert list(video.state_dict()) == before


def test_a_block_that_does_not_fit_leaves_the_whole_network_as_it_was():
    network = torchvision_network("resnet18", num_classes=5)
    network.layer4[1].conv2 = nn.Conv2d(512, 512, 1)
    before = list(network.state_dict())
    with pytest.raises(ValueError, match="conv2 of a BasicBlock must be a 3x3 convolution"):
        insert_tam(network, 4)
    assert list(network.state_dict()) == before


def test_the_wrapper_takes_any_network_of_images():
    """Without temporal modules: TSN."""
    images = torchvision.models.mobilenet_v2(num_classes=5).eval()
    with torch.no_grad():
        video = VideoNetwork(images, 4)
        torch.testing.assert_close(video(clips()), video(clips().flip(1)))
