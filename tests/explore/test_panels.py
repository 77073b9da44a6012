import dataclasses
import io

import pytest

from tanet.explore import PANELS, View


def picture(panel, explorer, view) -> bytes:
    file = io.BytesIO()
    PANELS[panel][0](explorer, view).savefig(file, dpi=40)
    return file.getvalue()


@pytest.mark.slow  # draws
@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_changes_with_the_fields_that_it_names_and_with_no_other(panel, explorer):
    """The controls draw it again only for these."""
    view = View(explorer.normal, 3, "layer1.0", explorer.liveliest_channel("layer1.0"))
    other = View(explorer.normal.reversed(), 5, "layer3.0", (view.channel + 1) % 16)
    before = picture(panel, explorer, view)
    assert picture(panel, explorer, view) == before
    for field in dataclasses.fields(View):
        changed = dataclasses.replace(view, **{field.name: getattr(other, field.name)})
        assert (picture(panel, explorer, changed) != before) == (field.name in PANELS[panel][1]), field.name


def test_the_maps_show_one_block_a_stage_and_mark_the_chosen_one(explorer):
    view = View(explorer.normal, 0, "layer2.0", 7)
    axes = {axis.get_title(): axis for axis in PANELS["maps"][0](explorer, view).axes if axis.get_title()}
    assert list(axes) == list(explorer.blocks)
    assert [name for name, axis in axes.items() if axis.lines] == ["layer2.0"]
    (mark,) = axes["layer2.0"].lines
    assert set(mark.get_ydata()) == {explorer.channels_by_peak("layer2.0").index(7)}


def test_a_channel_keeps_its_row_when_the_clip_changes(explorer):
    """So that one sees what a reversal does to it."""
    block = explorer.blocks[0]
    view = View(explorer.normal.reversed(), 0, block, 0)
    shown = PANELS["maps"][0](explorer, view).axes[0].images[0].get_array()
    expected = explorer.read(view.playback).maps[block][explorer.channels_by_peak(block)]
    assert (shown == expected.numpy()).all()


def test_the_likeliest_classes_are_those_as_it_is_and_as_it_is_played(explorer):
    view = View(explorer.normal.reversed(), 0, explorer.blocks[0], 0)
    reading = explorer.read(view.playback)
    left, right = PANELS["classes"][0](explorer, view).axes
    shown = {line.get_label(): line.get_ydata() for line in left.lines}
    for top in (explorer.original.prediction.top(2), reading.prediction.top(2)):
        assert {name for name, _ in top} <= shown.keys()
    for name, values in shown.items():
        assert values == pytest.approx(reading.over_time[:, reading.prediction.class_names.index(name)].numpy())
    assert max(bar.get_height() for bar in right.patches) == pytest.approx(reading.prediction.top(1)[0][1])
