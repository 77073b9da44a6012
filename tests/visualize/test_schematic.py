import re
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from tanet.model import TAM, Slots, tanet_tiny, temporal_module
from tanet.visualize import bottleneck_schematic, tam_schematic


def words_of(schematic):
    """The texts of the drawing, in the order in which they stand in it."""
    root = ElementTree.fromstring(schematic.svg)  # well-formed
    return [element.text for element in root.iter() if element.tag.endswith("}text")]


def boxes_of(schematic):
    """The places of the boxes, (x, y), and how far the drawing reaches."""
    root = ElementTree.fromstring(schematic.svg)
    boxes = [element for element in root.iter() if element.tag.endswith("}rect")]
    width, height = map(float, root.get("viewBox").split()[2:])
    return [(float(box.get("x")), float(box.get("y")), float(box.get("width"))) for box in boxes], width, height


@pytest.mark.parametrize("n, t, c, k, alpha, beta", [(2, 8, 16, 3, 2, 4), (3, 4, 8, 5, 1, 2)])
def test_tam_is_drawn_with_its_own_layers_and_shapes(n, t, c, k, alpha, beta):
    words = words_of(tam_schematic(TAM(c, t, k, alpha, beta), torch.zeros(n * t, c, 6, 5)))
    assert f"{n} clips of T = {t} frames, C = {c} channels, K = {k} taps" in words[0]
    local = words[words.index("local branch: which frames count") :]
    layers = [
        "Conv1d",
        "BatchNorm1d",
        "ReLU",
        "Conv1d",
        "Sigmoid",
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Linear",
        "Softmax",
    ]
    assert [word for word in local if word in layers] == layers
    details = [f"width 3, {c} → {c // beta}", f"width 1, {c // beta} → {c}", f"{t} → {alpha * t}", f"{alpha * t} → {k}"]
    assert [word for word in local if "→" in word] == details
    shapes = [[n * t, c, 6, 5], [n, c, t], [n, c // beta, t], [n * c, alpha * t], [n * c, k]]
    assert {str(shape) for shape in shapes} <= set(words)
    assert f"V {[n, c, t]}" in words and f"W {[n, c, k]}" in words


def test_another_module_gets_another_drawing():
    tam = TAM(16, 8)
    tam.local_branch[4] = nn.Tanh()
    assert "Tanh" in words_of(tam_schematic(tam, torch.zeros(8, 16, 2, 2)))
    alone = words_of(tam_schematic(temporal_module("tam_global", 16, 8, Slots()), torch.zeros(8, 16, 2, 2)))
    assert "Softmax" in alone and "Sigmoid" not in alone


@pytest.mark.parametrize("layer, shortcut", [("layer1", "Conv2d 1 x 1, 16 → 64, BatchNorm2d 64"), (None, "x itself")])
def test_the_bottleneck_is_drawn_in_the_order_of_its_forward_pass(layer, shortcut):
    block = tanet_tiny(5).layer1[0]
    if layer is None:
        block.downsample = None
        block.conv1 = nn.Conv2d(64, 16, 1, bias=False)
    frames = torch.zeros(8, block.conv1.in_channels, 12, 12)
    words = words_of(bottleneck_schematic(block, frames))
    layers = ["conv1", "bn1", "relu", "TAM", "conv2", "bn2", "relu", "conv3", "bn3", "+", "relu"]
    assert [word for word in words if word in layers] == layers
    assert f"shortcut: {shortcut}" in words
    assert words.count("[8, 64, 12, 12]") >= 4  # conv3, bn3, relu, y


@pytest.mark.parametrize("position, before", [("conv1", "x"), ("conv2", "relu"), ("conv3", "relu")])
def test_the_module_is_drawn_where_it_stands(position, before):
    network = tanet_tiny(5)
    block = type(network.layer1[0])(16, 16, 1, "tam", 8, Slots(position=position))
    words = words_of(bottleneck_schematic(block, torch.zeros(8, 16, 4, 4)))
    names = [word for word in words if re.fullmatch(r"x|y|TAM|relu|conv\d|bn\d", word)]
    assert names[names.index("TAM") - 1 : names.index("TAM") + 2] == [before, "TAM", position]


def test_boxes_lie_in_the_drawing_and_side_by_side():
    block = tanet_tiny(5).layer2[0]
    for drawing in (
        tam_schematic(TAM(16, 8), torch.zeros(8, 16, 2, 2)),
        bottleneck_schematic(block, torch.zeros(8, 64, 8, 8)),
    ):
        boxes, width, height = boxes_of(drawing)
        assert len(boxes) > 10 and all(0 <= x and x + w <= width and 0 <= y < height for x, y, w in boxes)
        for x, y, w in boxes:
            assert not [other for other in boxes if other[1] == y and x < other[0] < x + w]


def test_drawing_leaves_the_module_as_it_was(tmp_path):
    block = tanet_tiny(5).layer1[0].train()
    before = {name: value.clone() for name, value in block.state_dict().items()}
    drawing = bottleneck_schematic(block, torch.randn(8, 16, 6, 6, generator=torch.Generator().manual_seed(0)))
    assert block.training and not any(module._forward_hooks for module in block.modules())
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
    drawing.save(tmp_path / "block.svg")
    assert (tmp_path / "block.svg").read_text() == drawing._repr_svg_()
