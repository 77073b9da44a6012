import random

import pytest
import torch
from support.paths import GOLD

from tanet import recipes
from tanet.checkpoint import Checkpoint, check_published_order, classifier_names
from tanet.data import mirrored_classes
from tanet.errors import CheckpointError, DataError

LISTED = tuple((GOLD / "sthv1_labels.txt").read_text().splitlines())  # Something-Something V1's label file
V1, V2, K400 = (recipes.get(name) for name in ("sthv1_8f", "sthv2_8f", "k400_8f"))


def file_of(names=None, order="listed"):
    return Checkpoint("file.pth", "mmaction2", {"fc.weight": torch.zeros(174, 1)}, class_names=names, class_order=order)


def test_the_two_orders_of_something_something_v1_map_onto_each_other():
    """MMAction2's is the label file's, the official one sorts; they agree on 1 of 174 classes."""
    listed, by_name = classifier_names(file_of(), V1, LISTED), classifier_names(file_of(order="sorted"), V1, LISTED)
    assert listed == LISTED and by_name == tuple(sorted(LISTED)) and len(set(listed)) == 174
    assert sum(one == other for one, other in zip(listed, by_name)) == 1
    to_sorted = [by_name.index(name) for name in listed]
    to_listed = [listed.index(name) for name in by_name]
    assert [to_listed[to_sorted[i]] for i in range(174)] == list(range(174)) and to_sorted != to_listed


def test_scores_of_either_order_mean_the_same_classes():
    by_name = classifier_names(file_of(order="sorted"), V1, LISTED)
    scores = torch.arange(174)  # of a classifier whose classes are sorted
    columns = [by_name.index(name) for name in LISTED]
    assert [by_name[index] for index in scores[columns]] == list(LISTED)


def test_mirrored_classes_are_the_same_names_in_either_order():
    pairs = []
    for names in (LISTED, tuple(sorted(LISTED))):
        mirrored = mirrored_classes(list(names))
        pairs.append({(names[i], names[j]) for i, j in enumerate(mirrored) if i != j})
    assert pairs[0] == pairs[1] and len(pairs[0]) == 6


def test_a_label_file_in_another_order_is_refused_where_the_checkpoint_has_no_names():
    swapped = [LISTED[1], LISTED[0], *LISTED[2:]]
    for order in (sorted(LISTED), random.Random(0).sample(LISTED, 174), [*LISTED[1:], LISTED[0]], swapped):
        with pytest.raises(DataError, match="V1 is not the published one"):
            classifier_names(file_of(), V1, tuple(order))
        assert classifier_names(file_of(order="sorted"), V1, tuple(order)) == tuple(sorted(LISTED))


def test_quotes_and_brackets_in_the_label_file_do_not_matter():
    for change in (lambda name: f'"{name}"', lambda name: name.replace("something", "[something]"), str.upper):
        check_published_order(V1, tuple(map(change, LISTED)))


@pytest.mark.parametrize("recipe, count", [(V2, 174), (K400, 400)])
def test_the_other_published_label_files_are_sorted(recipe, count):
    names = tuple(f"class {i:03d}" for i in range(count))
    check_published_order(recipe, names)
    with pytest.raises(DataError, match="not in its published order"):
        check_published_order(recipe, names[::-1])
    check_published_order(recipe, names[:7][::-1])  # any other data set may have any order


def test_names_in_the_file_take_precedence():
    names = tuple(random.Random(0).sample(LISTED, 174))
    assert classifier_names(file_of(names, "sorted"), V1, LISTED) == names
    with pytest.raises(CheckpointError, match=r"file.pth.*other classes.*Humming"):
        classifier_names(file_of(("Humming", *names[1:])), V1, LISTED)
