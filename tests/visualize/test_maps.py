import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tanet.visualize import (
    aggregation_kernels,
    clip_and_maps,
    confusion_matrix,
    filmstrip,
    importance_maps,
    stage_maps,
)


def images_of(figure):
    """The arrays of the heat maps, from left to right, without the colour bar."""
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]


@pytest.fixture
def two_maps():
    return torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(0))


def test_a_row_of_two_importance_maps_is_one_channel(two_maps):
    first, second = two_maps
    order = np.argsort(first.argmax(1).numpy(), kind="stable")
    left, right = images_of(importance_maps({"a": first, "b": second}, "title"))
    np.testing.assert_array_equal(left, first.numpy()[order])
    np.testing.assert_array_equal(right, second.numpy()[order])
    assert (np.diff(left.argmax(1)) >= 0).all() and not (np.diff(right.argmax(1)) >= 0).all()


def test_a_row_of_two_kernels_is_one_channel_if_the_channels_are_the_same(two_maps):
    first, second = two_maps[..., :3].softmax(-1)
    order = np.argsort((first[:, -1] - first[:, 0]).numpy(), kind="stable")
    left, right = images_of(aggregation_kernels({"a": first, "b": second}, "title", same_channels=True))
    np.testing.assert_array_equal(left, first.numpy()[order])
    np.testing.assert_array_equal(right, second.numpy()[order])


def test_maps_of_different_blocks_have_each_its_own_order(two_maps):
    first, second = two_maps
    clip = torch.zeros(8, 3, 4, 4, dtype=torch.uint8)
    blocks = images_of(clip_and_maps(clip, {"layer1": first, "layer2": second[:4]}, "title"))[-2:]
    kernels = images_of(aggregation_kernels({"layer1": first[:, :3], "layer2": second[:4, :3]}, "title"))
    assert all((np.diff(block.argmax(1)) >= 0).all() for block in blocks)
    assert all((np.diff(kernel[:, -1] - kernel[:, 0]) >= 0).all() for kernel in kernels)


def test_rows_have_no_numbers_since_they_are_ranks(two_maps):
    first, second = two_maps
    clip = torch.zeros(8, 3, 4, 4, dtype=torch.uint8)
    figures = [
        importance_maps({"a": first, "b": second}, "title"),
        clip_and_maps(clip, {"a": first, "b": second}, "title"),
        aggregation_kernels({"a": first[..., :3], "b": second[..., :3]}, "title"),
        stage_maps({"a": first}, {"a": second}, ("a", 2), "title"),
    ]
    for figure in figures:
        maps = [axis for axis in figure.axes if axis.images and axis.get_ylabel().startswith("channel")]
        assert maps and all(axis.get_yticks().size == 0 for axis in maps)


LONG = "Pretending to put something underneath something"


def boxes_of(texts):
    return [text.get_window_extent() for text in texts if text.get_text()]


@pytest.mark.parametrize("num_frames", [4, 8, 12])
def test_long_labels_of_a_filmstrip_hide_no_frame_and_leave_the_columns_their_names(num_frames):
    clip = torch.zeros(num_frames, 3, 4, 4, dtype=torch.uint8)
    figure = filmstrip({LONG: clip, "backwards": clip}, ["one frame of clip 10"] * num_frames, "title")
    FigureCanvasAgg(figure).draw()
    axes = np.array(figure.axes).reshape(2, num_frames)
    names = boxes_of([axis.title for axis in axes[0]])
    assert all(left.x1 < right.x0 for left, right in zip(names, names[1:]))
    labels = boxes_of([row[0].texts[0] for row in axes])
    for label, row in zip(labels, axes):
        assert figure.bbox.x0 <= label.x0 and label.x1 <= row[0].get_window_extent().x0
    assert labels[0].y0 > labels[1].y1
    assert max(box.y1 for box in names) <= min(box.y0 for box in boxes_of([figure._suptitle]))


def test_a_filmstrip_keeps_the_line_breaks_of_its_names():
    figure = filmstrip({"one\nother": torch.zeros(2, 3, 4, 4, dtype=torch.uint8)}, ["t = 0\nframe 1", "t = 1\nframe 3"])
    assert [axis.get_title() for axis in figure.axes] == ["t = 0\nframe 1", "t = 1\nframe 3"]
    assert figure.axes[0].texts[0].get_text() == "one\nother"


@pytest.mark.parametrize("classes", [3, 10, 20])
def test_long_names_of_classes_stand_apart_beside_a_confusion_matrix(classes):
    figure = confusion_matrix(np.eye(classes), ["Moving something away from the camera"] * classes, "title")
    FigureCanvasAgg(figure).draw()
    rows = boxes_of(figure.axes[0].get_yticklabels())
    columns = boxes_of(figure.axes[0].get_xticklabels())
    assert len(rows) == len(columns) == classes
    assert all(upper.y0 >= lower.y1 for upper, lower in zip(rows, rows[1:]))
    assert all(left.x1 <= right.x0 for left, right in zip(columns, columns[1:]))
    assert all(figure.bbox.x0 <= box.x0 and figure.bbox.y0 <= box.y0 for box in rows + columns)
