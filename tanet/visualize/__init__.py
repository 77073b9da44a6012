"""Figures of clips, maps, kernels and results.

Each function takes tensors or numbers and returns a matplotlib figure. Nothing is computed here that belongs to a
network: the maps and kernels that are drawn come from its forward pass. Figures are made without pyplot, so no state is
kept. A notebook shows a figure by naming it on the last line of a cell.

maps      clips, importance maps and kernels
data      which frames and which pixels a network gets, and what a data set is made of
training  how a training went, and what its network confuses
speed     where the time of a step goes, and how fast it could be
"""

from tanet.visualize.data import crop_boxes, data_overview, frame_choices, frame_difference
from tanet.visualize.maps import (
    aggregation_kernels,
    class_probabilities,
    clip_and_maps,
    filmstrip,
    importance_maps,
    importance_over_time,
    one_channel,
    temporal_operator,
)
from tanet.visualize.speed import bars_figure, ladder_figure, roofline_figure, step_figure
from tanet.visualize.training import confusion_matrix, learning_curves, training_curves

__all__ = [
    "aggregation_kernels",
    "bars_figure",
    "class_probabilities",
    "clip_and_maps",
    "confusion_matrix",
    "crop_boxes",
    "data_overview",
    "filmstrip",
    "frame_choices",
    "frame_difference",
    "importance_maps",
    "importance_over_time",
    "ladder_figure",
    "learning_curves",
    "one_channel",
    "roofline_figure",
    "step_figure",
    "temporal_operator",
    "training_curves",
]
