"""Accuracy from scores, its confidence interval, and two tests of the same videos compared."""

import math
from collections.abc import Sequence

import numpy as np

UNRANKED = np.iinfo(np.int64).max


def compute_metrics(scores: np.ndarray, labels: Sequence[int]) -> dict:
    """Scores [M, classes] and labels [M] -> top1, top5, mean_class_accuracy in per cent, and the confusion matrix.

    NaN ranks last and ties count against the label, so a broken network cannot score. The mean is over the classes that
    occur. confusion[i][j] counts videos of class i that were predicted as class j; videos whose scores are all NaN or
    -inf are not counted. `predicted` is the predicted class of each video, None for those. The intervals are
    `interval`'s.
    """
    labels = np.asarray(labels)
    count, classes = scores.shape
    rank = label_ranks(scores, labels)
    other_scores = np.where(np.isnan(scores), -np.inf, scores)
    blank = np.isneginf(other_scores).all(1)
    other_scores[np.arange(count), labels] = -np.inf  # what remains decides the prediction where the label is not first
    predicted = np.where(rank == 0, labels, other_scores.argmax(1))
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
        "predicted": [None if is_blank else int(index) for is_blank, index in zip(blank, predicted)],
    }


def label_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For scores [M, classes] and labels [M]: how many other classes score at least as much as each label [M].

    0 is a right prediction. A label whose score is NaN has the rank UNRANKED.
    """
    label_scores = scores[np.arange(len(labels)), labels][:, None]
    rank = (scores >= label_scores).sum(1) - 1  # comparisons with NaN are false
    return np.where(np.isnan(label_scores[:, 0]), UNRANKED, rank)


def interval(right: int, count: int) -> list[float]:
    """95% confidence interval of an accuracy, in per cent: Wilson's, which holds near 0 and 100% too."""
    z = 1.959964  # of the normal distribution, 2.5% beyond it on each side
    share = right / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return [100 * max(0.0, middle - half), 100 * min(1.0, middle + half)]


def compare(first: dict, second: dict) -> dict:
    """Two results of `evaluate.run` on the same videos, compared video by video.

    Returns the numbers of videos that "both", "only_first", "only_second" or "neither" gets right, and "p" of McNemar's
    exact test, two-sided: how often two networks that are equally good would differ by at least as much. Videos that
    both get right, or both wrong, say nothing about the difference. ValueError if the results hold other videos, or
    videos without labels.
    """
    rights = []
    for result in (first, second):
        if any(row["label"] is None for row in result["per_video"]):
            raise ValueError("a result of videos without labels cannot be compared: no answer is right or wrong")
        rights.append({row["path"]: row["predicted"] == row["label"] for row in result["per_video"]})
    if rights[0].keys() != rights[1].keys():
        others = sorted(rights[0].keys() ^ rights[1].keys())
        raise ValueError(
            f"the two results are of different videos: {len(others)} are in one alone, such as {others[0]}"
        )
    pairs = [(right, rights[1][path]) for path, right in rights[0].items()]
    counts = {
        "both": pairs.count((True, True)),
        "only_first": pairs.count((True, False)),
        "only_second": pairs.count((False, True)),
        "neither": pairs.count((False, False)),
    }
    return counts | {"p": paired_p(counts["only_first"], counts["only_second"])}


def paired_p(only_first: int, only_second: int) -> float:
    """McNemar's exact test: the p-value of a split of videos that only one of two networks gets right, two-sided.

    If both are equally good, each such video is the toss of a coin.
    """
    count = only_first + only_second
    tail = sum(math.comb(count, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**count)
