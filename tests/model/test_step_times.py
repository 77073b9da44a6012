import torch

from tanet import tanet_tiny, visualize
from tanet.model import cost


def test_time_by_kind_finds_the_temporal_modules_and_nothing_else_in_them():
    torch.manual_seed(0)
    clips = torch.randint(0, 256, (2, 4, 3, 64, 64), dtype=torch.uint8)
    times = {name: cost.time_by_kind(tanet_tiny(5, 4, temporal=name), clips, steps=1) for name in ("tam", "none")}
    assert set(times["tam"]) == set(times["none"]) == set(cost.KINDS)
    assert times["tam"]["temporal modules"] > 0 and times["none"]["temporal modules"] == 0
    assert times["tam"]["convolutions of frames"] > 0 and times["none"]["convolutions of frames"] > 0


def test_time_by_kind_leaves_no_gradients():
    model = tanet_tiny(5, 4)
    cost.time_by_kind(model, torch.zeros(1, 4, 3, 32, 32), steps=1)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_figures_show_the_given_numbers():
    times = {name: dict.fromkeys(cost.KINDS, 10.0) for name in ("one", "other")}
    texts = [text.get_text() for text in visualize.step_figure(times, "title", "temporal modules").axes[0].texts]
    assert texts == [" 40 ms, 25% in temporal modules"] * 2
    figure = visualize.roofline_figure({"half": (0.5, 5.0)}, bandwidth=20, peak=100, title="title")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["half: 50% of the roof"]
    figure = visualize.ladder_figure({"a": {"forward": 1.0}, "b": {"forward": 0.25}}, "title")
    assert [bar.get_height() for bar in figure.axes[0].patches] == [1.0, 0.25]
    figure = visualize.bars_figure({"a": {"eager": 3.0, "graph": 2.0}, "b": {"eager": 4.0}}, "title", "milliseconds")
    assert [bar.get_height() for bar in figure.axes[0].patches] == [3.0, 4.0, 2.0]
    assert [text.get_text() for text in figure.axes[0].texts] == ["3", "4", "2"]
