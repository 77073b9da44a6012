"""Small data roots in the publishers' layouts, with videos that are empty files or four flat pictures."""

import json

import pytest
from support.footage import write_jpegs

from tanet import recipes


@pytest.fixture
def sth1(tmp_path):
    """A Something-Something V1 root with two classes and three videos in each split: (root, recipe, list file)."""
    (tmp_path / "something-something-v1-labels.csv").write_text("Holding something\nDropping something\n")
    listed = tmp_path / "something-something-v1-train.csv"
    rows = "11;Holding something\n12;Dropping something\n13;Holding something\n"
    listed.write_text(rows)
    (tmp_path / "something-something-v1-validation.csv").write_text(rows)
    for video in (11, 12, 13):
        write_jpegs(tmp_path / "20bn-something-something-v1" / str(video))
    return tmp_path, recipes.get("demo_something").with_changes({"num_classes": 2}), listed


@pytest.fixture
def sth2(tmp_path):
    """A Something-Something V2 root whose videos are empty files: (root, recipe, list file)."""
    labels = {"Dropping something": "1", "Holding something next to something": "0"}
    (tmp_path / "something-something-v2-labels.json").write_text(json.dumps(labels))
    listed = tmp_path / "something-something-v2-train.json"
    entries = [
        {
            "id": "78687",
            "label": "holding potato next to vicks",
            "template": "Holding [something] next to [something]",
            "placeholders": ["potato", "vicks"],
        },
        {
            "id": "42326",
            "label": "dropping a card",
            "template": "Dropping [something]",
            "placeholders": ["a card"],
        },
    ]
    listed.write_text(json.dumps(entries))
    (tmp_path / "20bn-something-something-v2").mkdir()
    for entry in entries:
        (tmp_path / "20bn-something-something-v2" / f"{entry['id']}.webm").touch()
    changes = {"num_classes": 2, "dataset": "something_v2"}
    return tmp_path, recipes.get("demo_something").with_changes(changes), listed


@pytest.fixture
def kinetics(tmp_path):
    """A Kinetics root whose videos are empty files in oddly spelled class folders: (root, recipe, list file)."""
    (tmp_path / "labels.txt").write_text("abseiling\nplaying squash or racquetball\n")
    (tmp_path / "annotations").mkdir()
    listed = tmp_path / "annotations" / "train.csv"
    listed.write_text(
        "label,youtube_id,time_start,time_end,split\n"
        "playing squash or racquetball,-4wsuPCjDBc,5,15,train\n"
        "abseiling,0347ZoDXyP0,95,105,train\n"
    )
    folders = {"playing_squash_or_racquetball": "-4wsuPCjDBc_000005_000015", "Abseiling!": "0347ZoDXyP0_000095_000105"}
    for folder, name in folders.items():
        (tmp_path / "train" / folder).mkdir(parents=True)
        (tmp_path / "train" / folder / f"{name}.mp4").touch()
        (tmp_path / "train" / folder / f"._{name}.mp4").touch()
    return tmp_path, recipes.get("demo_kinetics").with_changes({"num_classes": 2}), listed
