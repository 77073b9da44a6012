"""Short clips: what training says before it starts, and what `keep_tail` is worth where the end of a clip decides.

`accuracy_on_lip_like_clips` measures the figures of docs/differences.md, run in tests/:

    python -c "from train import test_short_clip_warnings as t; print(t.accuracy_on_lip_like_clips('DIR'))"
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tanet import recipes, train

SIDE = 16
CORNERS = ("up left", "up right", "down left", "down right")
# Numbers of frames of words spoken by lips: from 6 to 27, and mostly between one and two per frame of a clip of 8.
LENGTHS = (6, 10, 11, 12, 13, 14, 15, 27, 10, 11, 12, 13, 14, 15, 20)


def lip_like(rng: np.random.Generator, frames: int, corner: int) -> np.ndarray:
    """A clip in which some corner lights up in the middle, and the class's corner in the last two frames.

    uint8 [frames, SIDE, SIDE, 3].
    """
    clip = rng.integers(60, 120, (1, SIDE, SIDE, 3)) + rng.integers(-20, 20, (frames, SIDE, SIDE, 3))
    half, middle = SIDE // 2, frames // 2
    for lit, first in ((int(rng.integers(len(CORNERS))), middle - 2), (corner, frames - 2)):
        row, column = divmod(lit, 2)
        clip[first : first + 2, row * half : (row + 1) * half, column * half : (column + 1) * half] += 90
    return clip.clip(0, 255).astype(np.uint8)


def make_lip_like(root: Path, rounds: int = 3) -> Path:
    """A data set in Something-Something V1's format: `rounds` training clips and one other of each length and class."""
    rng, number = np.random.default_rng(0), 0
    root.mkdir()
    (root / "something-something-v1-labels.csv").write_text("".join(f"{name}\n" for name in CORNERS))
    for split, times in (("train", rounds), ("validation", 1)):
        rows = []
        for frames in LENGTHS * times:
            for corner, name in enumerate(CORNERS):
                number += 1
                folder = root / f"20bn-something-something-v1/{number}"
                folder.mkdir(parents=True)
                for index, picture in enumerate(lip_like(rng, frames, corner), 1):
                    Image.fromarray(picture).save(folder / f"{index:05d}.jpg", quality=90)
                rows.append(f"{number};{name}\n")
        (root / f"something-something-v1-{split}.csv").write_text("".join(rows))
    return root


def lip_recipe(**changes) -> recipes.Recipe:
    sizes = {"short_side": SIDE, "crop_size": SIDE, "test_size": SIDE, "crop_scales": (1.0,), "flip": "none"}
    schedule = {"num_classes": len(CORNERS), "epochs": 3, "lr_steps": (2,), "workers": 0}
    return dataclasses.replace(recipes.demo_something(), **{**sizes, **schedule, **changes})


def accuracy_on_lip_like_clips(folder: Path | str, seeds=(0, 1, 2)) -> dict[bool, list[float]]:
    """{keep_tail: validation top-1 in per cent after training, for each seed}; chance is 25%."""
    folder = Path(folder)
    root = make_lip_like(folder / "lips")
    return {
        keep_tail: [
            train.fit(lip_recipe(keep_tail=keep_tail, seed=seed), root, folder / f"{keep_tail}-{seed}")[-1]["val_top1"]
            for seed in seeds
        ]
        for keep_tail in (False, True)
    }


@pytest.mark.slow
def test_where_the_end_decides_only_keep_tail_learns_it(tmp_path):
    """Without it, training never sees the deciding frames of most clips, and validation does."""
    accuracy = accuracy_on_lip_like_clips(tmp_path, seeds=(0,))
    assert accuracy[True][0] >= 75 and accuracy[False][0] <= 50, accuracy


@pytest.mark.slow
def test_training_says_before_it_starts_which_frames_it_never_draws(tmp_path, capsys):
    root, recipe = make_lip_like(tmp_path / "lips", rounds=1), lip_recipe(keep_tail=False, epochs=1, lr_steps=())
    train.fit(recipe, root, tmp_path / "run")
    said = capsys.readouterr().out
    warning, _, after = said.partition("warning: ")[2].partition("\n")
    # n mod 8 of the frames of 14 of 15 lengths, 2 to 7 of 10 to 15; 6 frames are spread, so none is left out
    assert warning.startswith("training never draws the last frames of 56 of 60 training videos (93%)")
    assert "epoch 1/1: loss" in after
    train.fit(recipe, root, tmp_path / "run")
    assert "warning" not in capsys.readouterr().out, "a finished run draws nothing more"
    train.fit(lip_recipe(keep_tail=True, epochs=1, lr_steps=()), root, tmp_path / "kept")
    assert "warning" not in capsys.readouterr().out
