"""The order of classes: a classifier's rows mean nothing without it, and the two published code bases disagree.

MMAction2 takes the order of the data's label file, the official code sorts the names. For Something-Something V1 they
agree on 1 of 174 classes, so a network tested in the wrong order scores 0.5%.
"""

import re
from hashlib import sha256

from tanet.checkpoint import Checkpoint
from tanet.files import CheckpointError
from tanet.lists import DataError
from tanet.recipes import Recipe

# Of Something-Something V1's label file as published: SHA-256 of its names' letters, one name a line.
SSV1_DIGEST = "e37a01119c26c3ee9a59c87926b9d952cca4a8c9c60bb1c8634b126b3803dbfe"


def classifier_names(stored: Checkpoint, recipe: Recipe, listed: tuple[str, ...]) -> tuple[str, ...]:
    """The class names in the order of a checkpoint's classifier; `listed`: those of the data's label file, in its order.

    From the checkpoint if it holds them. Otherwise by its layout's habit; then the label file of a published data set
    must be in the published order, or DataError says that it is not.
    """
    if stored.class_names is not None:
        if set(stored.class_names) != set(listed):
            strange = sorted(set(stored.class_names) ^ set(listed))[:3]
            raise CheckpointError(
                f"{stored.path}: was trained on other classes than the data have ({', '.join(strange)}, ...)"
            )
        return stored.class_names
    if stored.class_order == "sorted":
        return tuple(sorted(listed))
    check_published_order(recipe, listed)
    return listed


def check_published_order(recipe: Recipe, listed: tuple[str, ...]) -> None:
    """DataError if `listed`, the classes of a published data set, are not in the order of its published label file."""
    if recipe.dataset == "something_v1" and len(listed) == 174:
        letters = "\n".join(re.sub("[^a-z]", "", name.lower()) for name in listed)  # quotes and brackets come and go
        if sha256(letters.encode()).hexdigest() != SSV1_DIGEST:
            raise DataError(
                "the label file of Something-Something V1 is not the published one, by whose order this checkpoint's classes "
                "are numbered: the names or their order differ; restore the original file"
            )
    elif len(listed) == {"kinetics": 400, "something_v2": 174}.get(recipe.dataset) and list(listed) != sorted(listed):
        raise DataError(f"the label file of {recipe.dataset} is not in its published order, which is sorted; sort it")
