"""TAM and the network around it.

tam            the temporal adaptive module (paper sections 3.1-3.3)
slots          what stands in a bottleneck's slot: TAM, one of its branches, or a module to compare with
folding        what every network of clips shares: pixels, frames, scores
tanet          the network around it: a ResNet with a slot for a temporal module in every bottleneck (section 3.4)
insertion      TAM or TSM in image networks of torchvision and timm
interventions  a trained network whose V and W are replaced: what each is good for
freezing       stages that keep their weights
recomputation  training with less memory
weights        weights into a network, with every tensor accounted for
cost           parameters, multiply-accumulates, memory, and where a step's time goes
"""

from tanet.model import interventions
from tanet.model.cost import KINDS, kept_for_backward, measure, summary_table, time_by_kind
from tanet.model.folding import PIXEL_MEAN, PIXEL_STD, ClipNetwork
from tanet.model.freezing import freeze_stages
from tanet.model.insertion import VideoNetwork, insert_tam
from tanet.model.slots import POSITIONS, TEMPORAL_MODULES, Slots, TemporalConvolution, TemporalShift, temporal_module
from tanet.model.tam import TAM
from tanet.model.tanet import (
    ARCHITECTURES,
    DEPTHS,
    Bottleneck,
    TANet,
    build,
    tanet50,
    tanet101,
    tanet152,
    tanet_tiny,
)
from tanet.model.weights import count_classes, count_frames, load_resnet, load_state

__all__ = [
    "ARCHITECTURES",
    "Bottleneck",
    "ClipNetwork",
    "DEPTHS",
    "KINDS",
    "PIXEL_MEAN",
    "PIXEL_STD",
    "POSITIONS",
    "Slots",
    "TAM",
    "TANet",
    "TEMPORAL_MODULES",
    "TemporalConvolution",
    "TemporalShift",
    "VideoNetwork",
    "build",
    "count_classes",
    "count_frames",
    "freeze_stages",
    "insert_tam",
    "interventions",
    "kept_for_backward",
    "load_resnet",
    "load_state",
    "measure",
    "summary_table",
    "tanet101",
    "tanet152",
    "tanet50",
    "tanet_tiny",
    "temporal_module",
    "time_by_kind",
]
