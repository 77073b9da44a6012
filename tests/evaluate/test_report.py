import json

import pytest

from tanet.evaluate import result_page, videos_tested
from tanet.evaluate.report import write_result

RESULT = {
    "checkpoint": "tanet_r50-032c8e94.pth",
    "sha256": "032c8e94" * 8,
    "layout": "mmaction2",
    "source": "",
    "recipe": "k400_8f",
    "recipe_changes": {},
    "protocol": "k400-dense",
    "views": "10 clips x 3 crops of 256",
    "frames": 8,
    "style": "mmaction2",
    "checkpoint_style": "mmaction2",
    "class_order": "in the order of the label file",
    "device": "cpu",
    "torch": "2",
    "precision": "float32",
    "tested": 19796,
    "listed": 19796,
    "full_set": 19796,
    "top1": 76.0,
    "top1_interval": [75.4, 76.6],
    "top5": 92.5,
    "top5_interval": [92.1, 92.9],
    "mean_class_accuracy": 75.9,
}


def page(**changes):
    return result_page(RESULT | changes)


def test_the_measured_row_comes_first_and_the_published_rows_with_their_sources_follow():
    lines = page().splitlines()
    rows = [line for line in lines if line.startswith("| measured") or line.startswith("| published")]
    assert rows[0] == "| measured here | 76.00 (75.40 to 76.60) | 92.50 (92.10 to 92.90) | 75.90 | 19796 of 19796 |"
    assert [row.split(" | ")[1] for row in rows[1:]] == ["76.28", "76.22", "76.25"]
    assert all("](https://github.com/open-mmlab/mmaction2" in row for row in rows[1:])
    trained = [row.partition("trained with ")[2].partition(" |")[0] for row in rows[1:]]
    mmaction2_1x = "`--style mmaction2 --set batchnorm_statistics=mean`"
    assert trained == ["`--style mmaction2`", "`--style official`", mmaction2_1x]


def test_the_page_names_checkpoint_protocol_and_style():
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
def test_the_page_says_where_the_published_figure_lies(interval, words):
    assert f"Published top-1 {words} the interval: 76.28 (MMAction2 0.x), 76.22" in page(top1_interval=interval)


def test_a_subset_is_marked_even_if_the_list_itself_is_one():
    assert "subset" not in page()
    for listed in (19796, 500):
        text = page(tested=500, listed=listed)
        assert "500 of 19796, a subset" in text and "A subset: 500 of the 19796 videos" in text
    assert videos_tested({"tested": 240, "listed": 240, "full_set": None}) == "240 of 240"


def test_a_mixed_style_is_marked_and_has_no_published_row_of_the_other_style():
    text = page(checkpoint_style="official", recipe="sthv2_8f", protocol="sth-accurate", full_set=24777)
    assert "MIXED: the checkpoint is of style official" in text
    assert "Nothing is published for this recipe, protocol and style; 62.7 in style official (official)." in text
    assert "Nothing is published for this recipe, protocol and style." in page(recipe="demo_kinetics", full_set=None)


def test_a_changed_recipe_does_not_stand_beside_the_published_figures():
    text = page(recipe_changes={"temporal": "none", "short_side": 320}, full_set=None)
    assert "CHANGED from the recipe k400_8f: temporal none, short_side 320" in text
    assert "76.28" not in text and "Nothing is published" not in text


def published_figures(text):
    return [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| published")]


def test_a_change_of_the_training_is_listed_and_no_published_figure_stands_beside_it():
    text = page(recipe_changes={"epochs": 50, "lr_steps": [25, 38, 45], "lr": 0.02})
    assert "CHANGED from the recipe k400_8f: epochs 50, lr_steps [25, 38, 45], lr 0.02. Published figures" in text
    assert not published_figures(text) and "19796 of 19796" in text


def test_the_settings_of_one_published_training_are_compared_with_that_one():
    text = page(recipe_changes={"batchnorm_statistics": "mean", "clips_per_process": 16})
    assert "CHANGED from the recipe k400_8f: batchnorm_statistics mean, clips_per_process 16." in text
    assert published_figures(text) == ["76.25"] and "do not apply" not in text
    v1 = {"recipe": "sthv1_16f", "protocol": "sth-efficient"}
    old = {"lr": 0.005, "lr_batch": 32, "clips_per_process": 4, "batchnorm_statistics": "first"}
    assert published_figures(page(recipe_changes=old, **v1)) == ["49.05"]
    assert published_figures(page(recipe_changes={**old, "lr": 0.01}, **v1)) == []


def test_a_change_that_decides_no_figure_is_listed_beside_the_published_ones():
    text = page(recipe_changes={"seed": 3, "compile": "on"})
    assert "CHANGED from the recipe k400_8f: seed 3, compile on.\n" in text
    assert published_figures(text) == ["76.28", "76.22", "76.25"]


def test_a_test_of_another_sampling_than_the_training_is_marked():
    """A run that was begun before its protocols followed its sampling is still tested by the old ones."""
    text = page(recipe_changes={"sampling": "uniform"})
    assert "MIXED: trained on clips of uniform sampling, tested on clips of dense sampling." in text
    assert "MIXED" not in page(recipe_changes={"sampling": "uniform"}, protocol="sth-efficient")


def test_the_page_names_the_set_of_weights_that_was_tested():
    text = page(weights="the second set, of ema_state_dict")
    assert "- Of two sets of weights in the file this tests the second set, of ema_state_dict." in text


def test_unreadable_videos_are_counted_and_the_first_five_named():
    rows = [{"path": f"{index}.mp4", "reason": "cut short"} for index in range(7)]
    assert "LEFT OUT: 1 video that cannot be read: 0.mp4." in page(unreadable=rows[:1])
    assert "LEFT OUT: 7 videos that cannot be read: 0.mp4, 1.mp4, 2.mp4, 3.mp4, 4.mp4, ...." in page(unreadable=rows)


def test_the_file_has_a_line_for_each_video_and_each_confusion_row(tmp_path):
    """A result is for people to read and compare, too."""
    rows = [{"path": f"{index}.mp4", "label": index, "scores": [0.5, 0.25]} for index in range(2)]
    result = {**RESULT, "confusion": [[1, 0], [0, 1]], "class_names": ["line\nbreak", "\u2028"], "per_video": rows}
    write_result(result, tmp_path / "new/result.json")
    text = (tmp_path / "new/result.json").read_text()
    assert json.loads(text) == result
    assert text.startswith('{\n "checkpoint": "tanet_r50-032c8e94.pth",\n "sha256": ')
    assert ' "top1_interval": [\n  75.4,\n  76.6\n ],\n' in text
    assert text.endswith(
        ' "confusion": [\n  [1, 0],\n  [0, 1]\n ],\n'
        ' "per_video": [\n'
        '  {"path": "0.mp4", "label": 0, "scores": [0.5, 0.25]},\n'
        '  {"path": "1.mp4", "label": 1, "scores": [0.5, 0.25]}\n'
        " ]\n}\n"
    )
    assert (tmp_path / "new/result.md").read_text() == result_page(result) + "\n"
