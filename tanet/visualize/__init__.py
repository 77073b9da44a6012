"""Figures of clips, maps, kernels and results.

Each function takes tensors or numbers and returns a matplotlib figure; a schematic is an SVG drawing of a module.
Nothing is computed here that belongs to a network: the maps and kernels that are drawn come from its forward pass.
Figures are made without pyplot, so no state is kept. A notebook shows a figure by naming it on the last line of a cell.

schematic    drawings of TAM and of the bottleneck around it, from a run of the module
maps         clips, importance maps and kernels
playback     a clip played in other ways: stages, one channel, probabilities
moving       clips that play, alone or beside their importance maps
comparisons  how maps of clips, channels and classes differ
data         which frames and which pixels a network gets, and what a data set is made of
training     how a training went, and what its network confuses
ablation     what each part of a network is good for
page         how wide a figure may be: the words on it stay readable
speed        where the time of a step goes, and how fast it could be
"""

from tanet.visualize.ablation import curves_by_module, module_figure
from tanet.visualize.comparisons import (
    accuracies,
    curves_with_bands,
    deviations,
    share_bars,
    temporal_operators,
    value_distributions,
)
from tanet.visualize.data import crop_boxes, data_overview, frame_choices, frame_difference
from tanet.visualize.maps import (
    aggregation_kernels,
    clip_and_maps,
    filmstrip,
    importance_maps,
    temporal_operator,
)
from tanet.visualize.moving import moving_maps, moving_picture
from tanet.visualize.playback import class_probabilities, one_channel, stage_maps
from tanet.visualize.schematic import Schematic, bottleneck_schematic, tam_schematic
from tanet.visualize.speed import bars_figure, ladder_figure, roofline_figure, step_figure
from tanet.visualize.training import (
    confusion_matrices,
    confusion_matrix,
    learning_curves,
    step_curves,
    training_curves,
)

__all__ = [
    "Schematic",
    "accuracies",
    "aggregation_kernels",
    "bars_figure",
    "bottleneck_schematic",
    "class_probabilities",
    "clip_and_maps",
    "confusion_matrices",
    "confusion_matrix",
    "crop_boxes",
    "curves_by_module",
    "curves_with_bands",
    "data_overview",
    "deviations",
    "filmstrip",
    "frame_choices",
    "frame_difference",
    "importance_maps",
    "ladder_figure",
    "learning_curves",
    "module_figure",
    "moving_maps",
    "moving_picture",
    "one_channel",
    "roofline_figure",
    "share_bars",
    "stage_maps",
    "step_curves",
    "step_figure",
    "tam_schematic",
    "temporal_operator",
    "temporal_operators",
    "training_curves",
    "value_distributions",
]
