"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import pytest

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_09 import check_1, check_2, check_3


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda paths, group_of, share: [i < share * len(paths) for i in range(len(paths))], "on both sides"),
        (lambda paths, group_of, share: [False] * len(paths), "of the videos are for validation"),
        (lambda paths, group_of, share: [group_of(path) != "p0" for path in paths], "of the videos are for validation"),
        (lambda paths, group_of, share: [True], "an answer for each"),
    ],
)
def test_splits_that_part_groups_or_miss_the_share_are_refused(wrong, message):
    with pytest.raises(WrongAnswer, match=message):
        check_1(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda share, width: 100 / width,
        lambda share, width: (1.96 / width * 100) ** 2 * share * (1 - share),  # the width for half of it
        lambda share, width: 384,  # the textbook's 5 points, whatever is asked
    ],
)
def test_numbers_of_videos_that_forget_a_factor_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="points wide: "):
        check_2(wrong)


def answer(probabilities, labels, threshold, of_all):
    sure, predicted = probabilities.max(1)
    answered = sure >= threshold
    if not answered.any():
        return 0.0, None
    hits = ((predicted == labels) & answered).float()
    share = 100 * answered.float().mean()
    return share, 100 * (hits.mean() if of_all else hits.sum() / answered.sum())


def test_the_accuracy_of_the_answers_is_right(capsys):
    check_3(lambda *arguments: answer(*arguments, of_all=False))
    assert capsys.readouterr().out == "exercise 3: right\n"


def without_none(probabilities, labels, threshold):
    share, accuracy = answer(probabilities, labels, threshold, of_all=False)
    return share, 0.0 if accuracy is None else accuracy


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda *arguments: answer(*arguments, of_all=True), "share answered, accuracy"),
        (lambda p, labels, t: answer(p, labels, 0.0, of_all=False), "share answered, accuracy"),
        (without_none, "the accuracy None"),
    ],
)
def test_accuracies_of_all_videos_or_of_none_are_refused(wrong, message):
    with pytest.raises(WrongAnswer, match=message):
        check_3(wrong)
