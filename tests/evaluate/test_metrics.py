import math

import numpy as np
import pytest

from tanet.evaluate import compare, interval, paired_p
from tanet.evaluate.metrics import compute_metrics

NAN = float("nan")


def test_metrics_by_hand():
    scores = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6]])
    result = compute_metrics(scores, [0, 0, 1, 1])
    assert result["top1"] == 50 and result["top5"] == 100
    assert result["class_accuracy"] == {0: 50, 1: 50} and result["mean_class_accuracy"] == 50
    assert result["confusion"] == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_mean_class_accuracy_weighs_classes_alike_and_ignores_those_that_do_not_occur():
    scores = np.eye(4)[[0, 0, 0, 0, 2]]
    result = compute_metrics(scores, [0, 0, 0, 2, 2])
    assert result["top1"] == 80
    assert result["class_accuracy"] == {0: 100, 2: 50} and result["mean_class_accuracy"] == 75


@pytest.mark.parametrize("rank, top1, top5", [(0, 100, 100), (1, 0, 100), (4, 0, 100), (5, 0, 0), (9, 0, 0)])
def test_top5_counts_the_first_five_ranks(rank, top1, top5):
    scores = np.linspace(1, 0, 10)[None]
    result = compute_metrics(scores, [rank])
    assert (result["top1"], result["top5"]) == (top1, top5)


@pytest.mark.parametrize("label", [0, 3, 7])
def test_scores_that_are_all_the_same_score_nothing(label):
    result = compute_metrics(np.full((1, 8), 0.125), [label])
    assert result["top1"] == 0 and result["top5"] == 0


@pytest.mark.parametrize("classes", [4, 8])
@pytest.mark.parametrize("label", [0, 2])
def test_nan_never_ranks_first_nor_among_the_first_five(classes, label):
    everywhere = np.full((1, classes), NAN)
    own = np.linspace(0, 1, classes)[None].copy()
    own[0, label] = NAN
    for scores in (everywhere, own):
        result = compute_metrics(scores, [label])
        assert (result["top1"], result["top5"], result["mean_class_accuracy"]) == (0, 0, 0)


def test_nan_elsewhere_leaves_the_rank_among_numbers():
    assert compute_metrics(np.array([[NAN, 0.4, 0.6]]), [2])["top1"] == 100


@pytest.mark.parametrize("scores, label", [([[0.5, 0.5]], 0), ([[NAN, NAN]], 0), ([[NAN, NAN]], 1), ([[0.2, 0.8]], 1)])
def test_confusion_counts_as_right_exactly_what_top1_counts(scores, label):
    result = compute_metrics(np.array(scores), [label])
    assert 100 * np.trace(result["confusion"]) == result["top1"]


@pytest.mark.parametrize(
    "right, count, low, high",
    [(0, 10, 0, 27.75), (10, 10, 72.25, 100), (5, 10, 23.66, 76.34), (15101, 19796, 75.69, 76.87)],
)
def test_intervals_are_wilsons(right, count, low, high):
    """The first three are textbook values of Wilson's interval at 95%."""
    assert interval(right, count) == pytest.approx([low, high], abs=0.006)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.97):
        hits = rng.binomial(200, share, 4000)
        covered = np.mean([low <= 100 * share <= high for low, high in (interval(int(hit), 200) for hit in hits)])
        assert 0.93 < covered < 0.98


def result_of(rights: list[bool], first: int = 0) -> dict:
    return {
        "per_video": [
            {"path": f"{number}.mp4", "label": 1, "predicted": int(right)} for number, right in enumerate(rights, first)
        ]
    }


def test_two_results_are_compared_video_by_video():
    first = result_of([True, True, True, True, False, False])
    second = result_of([True, False, False, False, True, False])
    second["per_video"].reverse()  # the order of the rows does not matter
    counts = compare(first, second)
    assert (counts["both"], counts["only_first"], counts["only_second"], counts["neither"]) == (1, 3, 1, 1)
    assert counts["p"] == pytest.approx(0.625)  # 2 (1 + 4) / 16


def test_results_of_other_videos_are_not_compared():
    with pytest.raises(ValueError, match="2 are in one alone, such as 0.mp4"):
        compare(result_of([True, True]), result_of([True, True], first=1))


def test_results_without_labels_are_not_compared():
    unlabelled = {"per_video": [{"path": "0.mp4", "label": None, "top5": []}]}
    with pytest.raises(ValueError, match="without labels"):
        compare(result_of([True]), unlabelled)


def test_a_video_without_an_answer_is_wrong():
    broken = result_of([True])
    broken["per_video"][0]["predicted"] = None
    assert compare(result_of([True]), broken)["only_first"] == 1


@pytest.mark.parametrize(
    "only_first, only_second, p", [(0, 0, 1), (1, 0, 1), (4, 4, 1), (0, 5, 2 / 32), (5, 0, 2 / 32), (1, 7, 18 / 256)]
)
def test_p_counts_the_tosses_of_a_coin(only_first, only_second, p):
    assert paired_p(only_first, only_second) == pytest.approx(p)


def test_p_of_equally_good_networks_is_small_as_rarely_as_it_says():
    """Over all outcomes of 12 tosses, p <= level happens with a probability of at most the level."""
    ways = {k: math.comb(12, k) / 2**12 for k in range(13)}
    for level in (0.01, 0.05, 0.2):
        assert sum(share for k, share in ways.items() if paired_p(k, 12 - k) <= level) <= level
