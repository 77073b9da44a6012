"""TANet: a ResNet with a slot for a temporal module in every bottleneck (paper section 3.4).

With TAM in the slots it is TANet, with nothing it is TSN. A TSM network has its shift elsewhere, in front of the
bottleneck's first convolution. Parameters have torchvision's names, plus `layerS.B.temporal.*` for TAM, so that
ImageNet weights load by name.

N clips, T frames, C channels, H x W pixels. The ResNet sees N*T separate images. Only the temporal modules, and the
mean of the frames' scores at the end, connect the frames of a clip.
"""

import torch
from torch import nn

from tanet.model.folding import ClipNetwork
from tanet.model.recomputation import recomputed
from tanet.model.slots import POSITIONS, TEMPORAL_MODULES, Slots, TemporalShift, temporal_module
from tanet.model.tam import TAM
from tanet.model.weights import load_imagenet
from tanet.ops import fused

DEFAULT_SLOTS = Slots()  # as in the paper


class Bottleneck(nn.Module):
    """The paper's TA-block (section 3.4): a ResNet bottleneck with TAM between conv1-bn1-relu and conv2.

    temporal: one of TEMPORAL_MODULES. slots: where it stands, and its sizes. The stride is on conv2, the 3x3 one.
    [N*T, in_channels, H, W] -> [N*T, 4 * width, H / stride, W / stride].
    """

    expansion = 4
    position = "conv2"  # of the temporal module; also of one that was put into torchvision's bottleneck

    def __init__(
        self, in_channels: int, width: int, stride: int, temporal: str, num_frames: int, slots: Slots = DEFAULT_SLOTS
    ):
        super().__init__()
        out_channels = width * self.expansion
        self.position = slots.position
        self.shift = TemporalShift(num_frames) if temporal == "tsm" else nn.Identity()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = in_channels if slots.position == "conv1" else width
        self.temporal = temporal_module(temporal, channels, num_frames, slots)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)  # [N*T, 4 * width, H / stride, W / stride]
        if self.position == "conv1":
            x = self.temporal(x)
        x = self.conv1(self.shift(x))  # [N*T, width, H, W]
        if self.position == "conv2" and isinstance(self.temporal, TAM) and not self._has_hooks():
            x = self.temporal(x, norm=self.bn1)  # TAM of relu(bn1(x)), computed together
        else:
            x = self.relu(self.bn1(x))
            x = self.temporal(x) if self.position == "conv2" else x
        x = self.relu(self.bn2(self.conv2(x)))  # [N*T, width, H / stride, W / stride]
        if self.position == "conv3":
            x = self.temporal(x)
        return self.relu(self.bn3(self.conv3(x)) + shortcut)  # [N*T, 4 * width, H / stride, W / stride]

    def _has_hooks(self) -> bool:
        """Whether a hook must see what bn1, relu or the temporal module would get and return one after another."""
        return any(fused.has_hooks(module) for module in (self.bn1, self.relu, self.temporal))


class TANet(ClipNetwork):
    """Clips in, one score per class out. A clip's scores are the mean of its frames' scores.

    depths: number of bottlenecks in each stage. width: channels of the first stage's bottlenecks, 64 in ResNet-50.
    temporal: one of TEMPORAL_MODULES. As in the published code, TSM shifts every bottleneck, but every second one where
    the third stage has 23 bottlenecks or more (ResNet-101 and ResNet-152). slots: where the modules stand, their sizes.

    If the attribute `checkpoint_activations` is True, training keeps only the input of each bottleneck and computes the
    other activations again in the backward pass.
    """

    checkpoint_activations = False

    def __init__(
        self,
        depths: tuple[int, ...],
        num_classes: int,
        num_frames: int = 8,
        temporal: str = "tam",
        dropout: float = 0.5,
        width: int = 64,
        slots: Slots = DEFAULT_SLOTS,
    ):
        super().__init__(num_frames)
        if temporal not in TEMPORAL_MODULES:
            raise ValueError(f"temporal must be one of {', '.join(TEMPORAL_MODULES)}; got {temporal!r}")
        if slots.position not in POSITIONS:
            raise ValueError(f"position must be one of {', '.join(POSITIONS)}; got {slots.position!r}")
        self.num_classes, self.temporal = num_classes, temporal
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = width
        for stage, depth in enumerate(depths):
            blocks = []
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                has_module = stage + 1 in slots.stages and block % temporal_step(temporal, depths) == 0
                module = temporal if has_module else "none"
                blocks.append(Bottleneck(channels, width * 2**stage, stride, module, num_frames, slots))
                channels = width * 2**stage * Bottleneck.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.num_stages = len(depths)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        self._init_weights()

    def _init_weights(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """[N, T, 3, H, W], uint8 RGB or normalised floats -> logits [N, num_classes]."""
        return self.forward_head(self.forward_features(clips))

    def forward_features(self, clips: torch.Tensor) -> torch.Tensor:
        """[N, T, 3, H, W] -> feature maps [N*T, C, H/32, W/32]; C = 2048 in TANet-50, 128 in `tanet_tiny`.

        uint8 RGB or normalised floats. ValueError for another T or no 3 channels. `forward_head` pools them.
        """
        x = self.fold(clips)  # [N*T, 3, H, W]
        x = self.relu(self.bn1(self.conv1(x)))  # [N*T, width, H/2, W/2]
        x = self.maxpool(x)  # [N*T, width, H/4, W/4]
        recompute = self.checkpoint_activations and torch.is_grad_enabled()
        for stage in range(self.num_stages):
            layer = getattr(self, f"layer{stage + 1}")
            x = recomputed(layer, x) if recompute else layer(x)  # [N*T, 4 * width * 2^s, H/4/2^s, W/4/2^s], s = stage
        return x

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """[N*T, C, H, W] -> logits [N, num_classes]: pool, dropout, classify each frame, average over frames.

        With `pre_logits` it stops before the classifier: pooled features [N, T, C] of each frame. Their mean over T
        describes the clip: in eval mode `fc` of it are the logits.
        """
        pooled = features.mean((2, 3))  # [N*T, C]
        if pre_logits:
            return self.unfold(pooled)
        scores = self.fc(self.dropout(pooled))  # [N*T, num_classes]
        return self.unfold(scores).mean(1)  # [N, num_classes]


def temporal_step(temporal: str, depths: tuple[int, ...]) -> int:
    """Every how many-th block of a stage gets the temporal module; `depths`: blocks of each stage.

    Every one, but of TSM every second one in a network as deep as ResNet-101, as in the published code.
    """
    return 2 if temporal == "tsm" and len(depths) > 2 and depths[2] >= 23 else 1


DEPTHS = {"tanet50": (3, 4, 6, 3), "tanet101": (3, 4, 23, 3), "tanet152": (3, 8, 36, 3), "tanet_tiny": (1, 1, 1, 1)}


def tanet50(num_classes, num_frames=8, temporal="tam", dropout=0.5, weights=None, slots=DEFAULT_SLOTS) -> TANet:
    """TANet on ResNet-50. `weights="imagenet"` starts from torchvision's ResNet weights, as the published runs do."""
    return load_imagenet(
        TANet(DEPTHS["tanet50"], num_classes, num_frames, temporal, dropout, slots=slots), "resnet50", weights
    )


def tanet101(num_classes, num_frames=8, temporal="tam", dropout=0.5, weights=None, slots=DEFAULT_SLOTS) -> TANet:
    """TANet on ResNet-101; arguments as for `tanet50`."""
    return load_imagenet(
        TANet(DEPTHS["tanet101"], num_classes, num_frames, temporal, dropout, slots=slots), "resnet101", weights
    )


def tanet152(num_classes, num_frames=8, temporal="tam", dropout=0.5, weights=None, slots=DEFAULT_SLOTS) -> TANet:
    """TANet on ResNet-152; arguments as for `tanet50`."""
    return load_imagenet(
        TANet(DEPTHS["tanet152"], num_classes, num_frames, temporal, dropout, slots=slots), "resnet152", weights
    )


def tanet_tiny(num_classes, num_frames=8, temporal="tam", dropout=0.5, weights=None, slots=DEFAULT_SLOTS) -> TANet:
    """One bottleneck a stage, widths 16 to 128, for frames of about 48 x 48: trains on a laptop's CPU in a minute."""
    if weights is not None:
        raise ValueError("tanet_tiny has no published weights; use weights=None")
    return TANet(DEPTHS["tanet_tiny"], num_classes, num_frames, temporal, dropout, width=16, slots=slots)


ARCHITECTURES = {"tanet50": tanet50, "tanet101": tanet101, "tanet152": tanet152, "tanet_tiny": tanet_tiny}


def build(recipe, weights: str | None = None) -> TANet:
    """The network that a `tanet.recipes.Recipe` describes, with random weights or `weights="imagenet"`."""
    architecture = ARCHITECTURES[recipe.arch]
    slots = Slots(recipe.temporal_stages, recipe.temporal_position, recipe.kernel_size, recipe.alpha, recipe.beta)
    model = architecture(recipe.num_classes, recipe.num_frames, recipe.temporal, recipe.dropout, weights, slots)
    model.checkpoint_activations = recipe.checkpoint_activations
    return model
