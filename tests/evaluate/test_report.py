import pytest

from tanet.evaluate import result_page, videos_tested

RESULT = {
    "checkpoint": "tanet_r50-032c8e94.pth", "sha256": "032c8e94" * 8, "layout": "mmaction2", "source": "",
    "recipe": "k400_8f", "recipe_changes": {}, "protocol": "k400-dense", "views": "10 clips x 3 crops of 256", "frames": 8,
    "style": "mmaction2", "checkpoint_style": "mmaction2", "class_order": "in the order of the label file",
    "device": "cpu", "torch": "2", "precision": "float32", "tested": 19796, "listed": 19796, "full_set": 19796,
    "top1": 76.0, "top1_interval": [75.4, 76.6], "top5": 92.5, "top5_interval": [92.1, 92.9], "mean_class_accuracy": 75.9,
}  # fmt: skip


def page(**changes):
    return result_page(RESULT | changes)


def test_the_number_stands_beside_the_published_rows_with_their_sources():
    lines = page().splitlines()
    rows = [line for line in lines if line.startswith("| measured") or line.startswith("| published")]
    assert rows[0] == "| measured here | 76.00 (75.40 to 76.60) | 92.50 (92.10 to 92.90) | 75.90 | 19796 of 19796 |"
    assert [row.split(" | ")[1] for row in rows[1:]] == ["76.28", "76.22", "76.25"]
    assert all("](https://github.com/open-mmlab/mmaction2" in row for row in rows[1:])


def test_it_says_which_checkpoint_protocol_and_style():
    for words in (
        "tanet_r50-032c8e94.pth",
        "032c8e94",
        "layout mmaction2",
        "10 clips x 3 crops of 256",
        "style mmaction2",
    ):
        assert words in page()


@pytest.mark.parametrize(
    "interval, words", [([75.4, 76.6], "inside"), ([75.0, 75.5], "above"), ([77.0, 78.0], "below")]
)
def test_it_says_where_the_published_figure_lies(interval, words):
    assert f"Published top-1 {words} the interval: 76.28 (MMAction2 0.x), 76.22" in page(top1_interval=interval)


def test_a_subset_is_marked_also_where_the_list_itself_is_one():
    assert "subset" not in page()
    for listed in (19796, 500):
        text = page(tested=500, listed=listed)
        assert "500 of 19796, a subset" in text and "A subset: 500 of the 19796 videos" in text
    assert videos_tested({"tested": 240, "listed": 240, "full_set": None}) == "240 of 240"


def test_a_mixed_style_is_marked_and_has_no_published_row_of_the_other_style():
    text = page(checkpoint_style="official", recipe="sthv2_8f", protocol="sth-accurate", full_set=24777)
    assert "MIXED: the checkpoint is of style official" in text and "Nothing is published" in text


def test_a_changed_recipe_does_not_stand_beside_the_published_figures():
    text = page(recipe_changes={"temporal": "none", "short_side": 320}, full_set=None)
    assert "CHANGED from the recipe k400_8f: temporal none, short_side 320" in text
    assert "76.28" not in text and "Nothing is published" not in text
