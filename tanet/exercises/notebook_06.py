"""Notebook 6, evaluation."""

import math

import torch

from tanet.exercises.checking import exercise, require, require_close


@exercise(1)
def check_1(paired_p) -> None:
    """The two-sided p-value of McNemar's exact test, from the videos that only one of two networks gets right."""
    for only_first, only_second in ((0, 5), (5, 0), (3, 9), (1, 1), (4, 4), (0, 1), (30, 12)):
        count, fewer = only_first + only_second, min(only_first, only_second)
        tail = sum(math.comb(count, k) for k in range(fewer + 1)) / 2**count
        name = f"for {only_first} and {only_second} videos, p"
        require_close(paired_p(only_first, only_second), min(1.0, 2 * tail), name, tolerance=1e-7)


@exercise(2)
def check_2(videos_needed) -> None:
    """The smallest n with 1.96 sqrt(p (1 - p) / n) <= half, all in per cent."""
    for accuracy, half in ((50.0, 1.0), (76.28, 0.5), (95.0, 2.0), (50.0, 9.8)):
        count = videos_needed(accuracy, half)
        require(count == int(count), f"a number of videos is whole, got {count}")
        hint = f"for {accuracy}% and {half} points: {count} videos give {_half_width(accuracy, count):.3f} points"
        require(_half_width(accuracy, count) <= half + 1e-9, f"{hint}, which is too wide")
        require(count == 1 or _half_width(accuracy, count - 1) > half - 1e-9, f"{hint}, but fewer would do")


@exercise(3)
def check_3(views) -> None:
    """Logits of two views [2, 3] whose mean probability and whose mean logit name different classes."""
    views = torch.as_tensor(views, dtype=torch.float64)
    require(views.shape == (2, 3), f"logits of 2 views and 3 classes are wanted, got shape {list(views.shape)}")
    require(bool(views.isfinite().all()), "the logits must be finite")
    answers = {"probabilities": views.softmax(1).mean(0), "logits": views.mean(0)}
    for name, mean in answers.items():
        first, second = mean.topk(2).values.tolist()
        require(first - second > 1e-3, f"the mean of the {name} has a tie")
    classes = {name: mean.argmax().item() for name, mean in answers.items()}
    require(classes["probabilities"] != classes["logits"], f"both means name class {classes['logits']}")


def _half_width(accuracy: float, videos: int) -> float:
    return 1.96 * math.sqrt(accuracy * (100 - accuracy) / videos)
