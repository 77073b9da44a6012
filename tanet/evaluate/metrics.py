"""Accuracy from scores, and how sure it is."""

import math
from collections.abc import Sequence

import numpy as np

UNRANKED = np.iinfo(np.int64).max


def metrics(scores: np.ndarray, labels: Sequence[int]) -> dict:
    """Scores [M, classes] and labels [M] -> top1, top5, mean_class_accuracy in per cent, and the confusion matrix.

    NaN ranks last and ties count against the label, so a broken network cannot score. The mean is over the classes that
    occur; confusion[i][j] counts videos of class i taken for class j, those without any number left out. `predicted` is the
    class each video is taken for, or None. The intervals are those of `interval`.
    """
    labels, (count, classes) = np.asarray(labels), scores.shape
    rank = label_ranks(scores, labels)
    others = np.where(np.isnan(scores), -np.inf, scores)
    blank = np.isneginf(others).all(1)
    others[np.arange(count), labels] = -np.inf
    predicted = np.where(rank == 0, labels, others.argmax(1))
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (labels[~blank], predicted[~blank]), 1)
    occurring = np.unique(labels)
    per_class = [float(100 * np.mean(rank[labels == label] == 0)) for label in occurring]
    return {
        "top1": float(100 * np.mean(rank < 1)),
        "top1_interval": interval(int((rank < 1).sum()), count),
        "top5": float(100 * np.mean(rank < 5)),
        "top5_interval": interval(int((rank < 5).sum()), count),
        "mean_class_accuracy": float(np.mean(per_class)),
        "class_accuracy": dict(zip(occurring.tolist(), per_class)),
        "confusion": confusion.tolist(),
        "predicted": [None if nothing else int(index) for nothing, index in zip(blank, predicted)],
    }


def label_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes score at least as much as each row's label [M]: 0 is right. A label scored NaN ranks nowhere."""
    own = scores[np.arange(len(labels)), labels][:, None]
    rank = (scores >= own).sum(1) - 1  # comparisons with NaN are false
    return np.where(np.isnan(own[:, 0]), UNRANKED, rank)


def interval(right: int, count: int) -> list[float]:
    """95% confidence interval of an accuracy, in per cent: Wilson's, which holds near 0 and 100% too."""
    z = 1.959964  # of the normal distribution, 2.5% beyond it on each side
    share = right / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return [100 * max(0.0, middle - half), 100 * min(1.0, middle + half)]
