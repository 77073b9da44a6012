"""Crop boxes that a reader can tell apart."""

import pytest
import torch

from tanet.visualize import crop_boxes

FRAME = torch.zeros(3, 100, 180, dtype=torch.uint8)
EDGE_TO_EDGE = [(0, 0, 100, 100), (0, 80, 100, 100), (0, 40, 100, 100)]


def test_boxes_that_share_an_edge_are_drawn_apart_and_none_is_cut_off():
    (axis,) = crop_boxes(FRAME, {"three": EDGE_TO_EDGE}).axes
    drawn = [patch.get_bbox() for patch in axis.patches]
    tops = [box.y0 for box in drawn]
    assert len({round(top, 1) for top in tops}) == 3  # all three boxes begin at row 0
    low_x, high_x = axis.get_xlim()
    high_y, low_y = axis.get_ylim()
    for box, (top, left, height, width) in zip(drawn, EDGE_TO_EDGE):
        assert left - 0.5 <= box.x0 and box.x1 <= left + width - 0.5  # never larger than the crop
        assert top - 0.5 <= box.y0 and box.y1 <= top + height - 0.5
        assert low_x < box.x0 - 1 and box.x1 + 1 < high_x and low_y < box.y0 - 1 and box.y1 + 1 < high_y


def test_of_many_boxes_the_centres_are_drawn_and_one_box():
    axes = crop_boxes(FRAME, {"many": EDGE_TO_EDGE, "all": EDGE_TO_EDGE}, only_centers=["many"]).axes
    for axis, boxes in zip(axes, (1, 3)):
        assert len(axis.patches) == boxes
        centers = [line.get_xydata()[0].tolist() for line in axis.lines]
        assert centers == [pytest.approx([left + 49.5, 49.5]) for _, left, _, _ in EDGE_TO_EDGE]
