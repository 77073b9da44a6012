"""The order of a classifier's classes, which a published file does not say itself.

MMAction2 numbers the classes in the order of the data's label file, the official code sorts their names. For
Something-Something V1 the two orders agree on 1 of 174 classes; a network read in the wrong order scores 0.5%.
"""

import hashlib
import re

from tanet.checkpoint.checkpoint import Checkpoint
from tanet.errors import CheckpointError, DataError
from tanet.recipes import Recipe

# Of Something-Something V1's label file as published: SHA-256 of its names' letters, one name a line.
SSV1_DIGEST = "e37a01119c26c3ee9a59c87926b9d952cca4a8c9c60bb1c8634b126b3803dbfe"
SSV1_CLASSES = 174
SORTED_CLASSES = {"kinetics": 400, "something_v2": 174}  # data sets whose published label file is sorted


def classifier_names(stored: Checkpoint, recipe: Recipe, listed: tuple[str, ...]) -> tuple[str, ...]:
    """The class names in the order of a checkpoint's classifier; `listed`: the names in the label file, in its order.

    They are the checkpoint's own names if it has any; CheckpointError if these are other classes than the listed ones.
    Otherwise the order follows from the checkpoint's layout. Then the label file of a published data set must be in the
    published order; DataError if it is not.
    """
    if stored.class_names is not None:
        if set(stored.class_names) != set(listed):
            differing = sorted(set(stored.class_names) ^ set(listed))[:3]
            raise CheckpointError(
                f"{stored.path}: was trained on other classes than the data have ({', '.join(differing)}, ...)"
            )
        return stored.class_names
    if stored.class_order == "sorted":
        return tuple(sorted(listed))
    check_published_order(recipe, listed)
    return listed


def check_published_order(recipe: Recipe, listed: tuple[str, ...]) -> None:
    """DataError if `listed`, the classes of a published data set, are not in the order of its published label file."""
    if recipe.dataset == "something_v1" and len(listed) == SSV1_CLASSES:
        letters = "\n".join(re.sub("[^a-z]", "", name.lower()) for name in listed)  # copies differ in quotes, brackets
        if hashlib.sha256(letters.encode()).hexdigest() != SSV1_DIGEST:
            raise DataError(
                "the label file of Something-Something V1 is not the published one: its names or their order differ. "
                "This checkpoint's classes are numbered by the published file; restore the original"
            )
    elif len(listed) == SORTED_CLASSES.get(recipe.dataset) and list(listed) != sorted(listed):
        raise DataError(f"the label file of {recipe.dataset} is not in its published order, which is sorted; sort it")


def published_names(recipe: Recipe) -> tuple[str, ...] | None:
    """The names of Kinetics-400's classes in their published order, if the recipe is for them; None for other data.

    torchvision brings them with a network of its own, so nothing is downloaded.
    """
    if (recipe.dataset, recipe.num_classes) != ("kinetics", SORTED_CLASSES["kinetics"]):
        return None
    from torchvision.models.video import R3D_18_Weights  # see tanet.data.video for why not at the top

    return tuple(R3D_18_Weights.KINETICS400_V1.meta["categories"])
