"""TAM or TSM in image networks that others built: ResNets, ResNeXts and RegNets of torchvision and timm.

A residual block computes conv1 (1x1 in a bottleneck, 3x3 in a basic block), BatchNorm, ReLU, conv2 (3x3), and so on.
TAM stands in front of conv2, as in tanet.model.tanet. TSM's shift stands in front of conv1.
"""

import sys
from collections import OrderedDict

import torch
from torch import nn

from tanet.model.folding import PIXEL_MEAN, PIXEL_STD, ClipNetwork
from tanet.model.tam import TAM
from tanet.model.tanet import Bottleneck, TemporalShift, temporal_step


class VideoNetwork(ClipNetwork):
    """An image network for the frames of clips. A clip's scores are the mean of its frames' scores.

    network: images [N*T, 3, H, W] -> scores [N*T, num_classes]; it stays reachable as the attribute `network`.
    """

    def __init__(self, network: nn.Module, num_frames: int, pixel_mean=PIXEL_MEAN, pixel_std=PIXEL_STD):
        super().__init__(num_frames, pixel_mean, pixel_std)
        self.network = network

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """[N, T, 3, H, W], uint8 RGB or normalised floats -> logits [N, num_classes]. ValueError for another T."""
        return self.unfold(self.network(self.fold(clips))).mean(1)


def insert_tam(network: nn.Module, num_frames: int, temporal: str = "tam") -> VideoNetwork:
    """Puts a temporal module into every residual block of an image network, and makes a network of clips of it.

    network: a ResNet, ResNeXt or RegNet of torchvision or timm. It is changed in place and keeps its weights, device
    and type. num_frames: T, the frames of a clip. temporal: "tam", or "tsm", which very deep ResNets get in every
    second block. TAM starts from random weights.
    -> a network of clips [N, T, 3, H, W], uint8 RGB or normalised floats. It normalises uint8 by ImageNet's mean and
    deviation, or by those in the `pretrained_cfg` of timm's network.
    ValueError if there is no place for the module or there is one already; then the network is unchanged.
    """
    if temporal not in ("tam", "tsm"):
        raise ValueError(f"temporal must be tam or tsm, got {temporal!r}")
    if not isinstance(num_frames, int) or num_frames < 1:
        raise ValueError(f"num_frames must be a whole number of at least 1, got {num_frames!r}")
    blocks = _blocks_to_change(network, temporal)
    places = {name: _place(block, temporal) for name, block in blocks.items()}
    modules = {}
    for name, (parent, child) in places.items():  # all are made before the first is put in
        conv = getattr(parent, child)
        modules[name] = _temporal_module(conv, num_frames, temporal).train(parent.training)
    for name, block in blocks.items():
        _put_in(block, *places[name], modules[name])
    mean, std = _pixel_statistics(network)
    video = VideoNetwork(network, num_frames, mean, std).train(network.training)
    weight = next(network.parameters())
    video.pixel_mean, video.pixel_std = video.pixel_mean.to(weight), video.pixel_std.to(weight)
    return video


def _convolutions() -> dict[type, tuple[str, str]]:
    """{a class of residual blocks: the names of its first and its second convolution}."""
    from torchvision.models import regnet, resnet  # see tanet.data.video for why not at the top

    known = {
        resnet.BasicBlock: ("conv1", "conv2"),
        resnet.Bottleneck: ("conv1", "conv2"),
        regnet.ResBottleneckBlock: ("f.a.0", "f.b.0"),
    }
    if "timm" in sys.modules:  # else the network cannot be one of timm's
        from timm.models import regnet as timm_regnet
        from timm.models import resnet as timm_resnet

        known[timm_resnet.BasicBlock] = known[timm_resnet.Bottleneck] = ("conv1", "conv2")
        known[timm_regnet.Bottleneck] = ("conv1.conv", "conv2.conv")
    return known


def _blocks_to_change(network: nn.Module, temporal: str) -> dict[str, nn.Module]:
    """{name: residual block} of those that get a temporal module. ValueError if there are none, or some have it."""
    if not isinstance(network, nn.Module):
        raise ValueError(f"network must be a torch.nn.Module, got {type(network).__name__}")
    kinds, stages = tuple(_convolutions()), {}
    for name, module in network.named_modules():
        if isinstance(module, TAM | TemporalShift):
            raise ValueError(f"{name} of this {type(network).__name__} is a temporal module already; build it anew")
        if isinstance(module, kinds):
            stages.setdefault(name.rpartition(".")[0], {})[name] = module
    if not stages:
        raise ValueError(
            f"{type(network).__name__} has no residual blocks with a known place for TAM; use a ResNet, ResNeXt or "
            "RegNet of torchvision or timm, or put tanet.TAM in front of its 3x3 convolutions yourself"
        )
    step = temporal_step(temporal, tuple(map(len, stages.values())))
    return {name: block for stage in stages.values() for name, block in list(stage.items())[::step]}


def _place(block: nn.Module, temporal: str) -> tuple[nn.Module, str]:
    """The convolution that the temporal module stands in front of, as (its parent, its name there)."""
    first, second = next(names for kind, names in _convolutions().items() if isinstance(block, kind))
    conv2 = block.get_submodule(second)
    if not isinstance(conv2, nn.Conv2d) or conv2.kernel_size != (3, 3):
        raise ValueError(f"{second} of a {type(block).__name__} must be a 3x3 convolution, it is {conv2}")
    parent, _, child = (second if temporal == "tam" else first).rpartition(".")
    return block.get_submodule(parent), child


def _temporal_module(conv: nn.Conv2d, num_frames: int, temporal: str) -> nn.Module:
    """For what `conv` sees, in its type and on its device."""
    module = TAM(conv.in_channels, num_frames) if temporal == "tam" else TemporalShift(num_frames)
    return module.to(conv.weight)


def _put_in(block: nn.Module, parent: nn.Module, child: str, temporal: nn.Module) -> None:
    from torchvision.models.resnet import Bottleneck as PublishedBottleneck

    if type(block) is PublishedBottleneck:
        # Our class has the same layers by the same names, and computes BatchNorm, ReLU and TAM in one pass.
        block.__class__ = Bottleneck
        is_tam = isinstance(temporal, TAM)
        block.shift, block.temporal = (nn.Identity(), temporal) if is_tam else (temporal, nn.Identity())
    else:
        setattr(parent, child, nn.Sequential(OrderedDict(temporal=temporal, conv=getattr(parent, child))))


def _pixel_statistics(network: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of R, G and B, 0-255, that the network's pixels are normalised by."""
    config = getattr(network, "pretrained_cfg", None)  # timm's, for pixels from 0 to 1
    if not isinstance(config, dict):
        return PIXEL_MEAN, PIXEL_STD
    return tuple(tuple(255 * value for value in config[key]) for key in ("mean", "std"))
