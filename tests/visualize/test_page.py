"""A page makes a figure that is too wide smaller, and its words unreadable."""

import numpy as np
import pytest
import torch

from tanet import visualize
from tanet.visualize.page import PAGE

MAPS = {f"map {index}": torch.arange(72).view(6, 12) / 72 for index in range(6)}
BANDS = {name: {"x": (torch.zeros(12), torch.ones(12))} for name in MAPS}
SHARES = {name: {"layer1": {"x": 30.0, "y": 70.0}} for name in MAPS}
FIGURES = {
    "importance_maps": lambda: visualize.importance_maps(MAPS, "title"),
    "stage_maps": lambda: visualize.stage_maps(MAPS, MAPS, ("map 0", 2), "title"),
    "aggregation_kernels": lambda: visualize.aggregation_kernels(MAPS, "title"),
    "deviations": lambda: visualize.deviations(MAPS, "title", "V"),
    "share_bars": lambda: visualize.share_bars(SHARES, "title"),
    "temporal_operators": lambda: visualize.temporal_operators({name: torch.eye(12) for name in MAPS}, "title"),
    "value_distributions": lambda: visualize.value_distributions({name: MAPS for name in MAPS}, "title", "V"),
    "curves_with_bands": lambda: visualize.curves_with_bands(BANDS, "title", "V"),
    "module_figure": lambda: visualize.module_figure({name: {"x": [50.0]} for name in MAPS}, dict.fromkeys(MAPS, 25)),
    "confusion_matrices": lambda: visualize.confusion_matrices({name: np.eye(4) for name in MAPS}, list("abcd")),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_many_panels_is_as_wide_as_a_page_and_its_words_stay_readable(name):
    figure = FIGURES[name]()
    assert figure.get_figwidth() <= PAGE
    texts = [text for axis in figure.axes for text in (axis.title, *axis.get_xticklabels(), *axis.texts)]
    assert min(text.get_fontsize() for text in texts if text.get_text()) >= 8


def test_numbers_above_bars_lie_in_the_figure_and_one_series_needs_no_legend():
    figure = visualize.bars_figure({"a": {"x": 94.0}, "b": {"x": 20.0}}, "title", "milliseconds")
    figure.draw_without_rendering()
    (axis,) = figure.axes
    assert max(text.get_window_extent().y1 for text in axis.texts) < axis.get_window_extent().y1
    assert axis.get_legend() is None
