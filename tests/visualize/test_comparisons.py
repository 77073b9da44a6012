"""What the figures of comparisons draw, read from their artists."""

import pytest
import torch

from tanet import visualize


def test_bars_are_put_together_of_their_parts():
    shares = {"a": {"layer1": {"x": 30.0, "y": 70.0}, "layer2": {"x": 55.0, "y": 45.0}}}
    bars = visualize.share_bars(shares, "title").axes[0].patches
    assert [(bar.get_y(), bar.get_height()) for bar in bars] == [(0, 30), (0, 55), (30, 70), (55, 45)]


def test_maps_that_are_compared_have_one_order_of_rows_and_a_scale_around_zero():
    first = torch.tensor([[0.0, 0, 0.5], [0.4, 0, 0]])  # peaks in frames 2 and 0: the second row comes first
    second = torch.tensor([[1.0, 2, 3], [4, 5, 6]]) / -10
    left, right = (axis.images[0] for axis in visualize.deviations({"a": first, "b": second}, "", "V").axes[:2])
    torch.testing.assert_close(torch.tensor(left.get_array()), first[[1, 0]])
    torch.testing.assert_close(torch.tensor(right.get_array()), second[[1, 0]])
    assert left.get_clim() == right.get_clim() == pytest.approx((-0.6, 0.6))


def test_matrices_share_a_scale_and_leave_zeros_blank():
    matrices = {"a": torch.eye(3), "b": 0.5 * torch.eye(3)}
    images = [axis.images[0] for axis in visualize.temporal_operators(matrices, "").axes[:2]]
    assert {image.get_clim() for image in images} == {(0, 1)}
    assert all(image.get_array().mask.sum() == 6 for image in images)


def test_bands_lie_around_the_mean():
    mean, half = torch.tensor([1.0, 2, 3]), torch.tensor([0.1, 0.2, 0.3])
    axis = visualize.curves_with_bands({"a": {"x": (mean, half)}}, "", "V").axes[0]
    assert axis.lines[0].get_ydata().tolist() == [1, 2, 3]
    edges = {round(y, 4) for y in axis.collections[0].get_paths()[0].vertices[:, 1]}
    assert edges == {0.9, 1.1, 1.8, 2.2, 2.7, 3.3}


def test_violins_end_at_the_lowest_and_the_highest_value():
    values = {"layer1": {"V": torch.linspace(0.2, 0.6, 50), "W": torch.linspace(0, 1, 50)}}
    axis = visualize.value_distributions(values, "", "value").axes[0]
    bodies = axis.collections[:2]
    ends = [body.get_paths()[0].vertices[:, 1] for body in bodies]
    assert [(round(end.min(), 4), round(end.max(), 4)) for end in ends] == [(0.2, 0.6), (0, 1)]


def test_accuracies_stand_in_their_intervals():
    rows = {"nothing": (90.0, [85.0, 94.0]), "W": (50.0, [44.0, 56.0])}
    axis = visualize.accuracies({"a": rows}, "", {"a": 25.0}).axes[0]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
    assert drawn[:4] == [([85, 94], [0, 0]), ([90], [0]), ([44, 56], [1, 1]), ([50], [1])]
    assert list(axis.lines[4].get_xdata()) == [25, 25]


def test_confusions_side_by_side_are_shares_of_their_rows_with_pairs_framed():
    counts = {"a": [[3, 1], [0, 4]], "b": [[2, 2], [2, 2]]}
    figure = visualize.confusion_matrices(counts, ["left", "right"], [(0, 1)])
    left, right = figure.axes[:2]
    assert left.images[0].get_array().tolist() == [[75, 25], [0, 100]]
    assert right.images[0].get_array().tolist() == [[50, 50], [50, 50]]
    frame = left.patches[0]
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((-0.5, -0.5), 2, 2)
