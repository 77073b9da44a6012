"""The order of classes: a classifier's rows mean nothing without it, and the two published code bases disagree.

MMAction2 takes the order of the data's label file, the official code sorts the names. For Something-Something V1 they
agree on 1 of 174 classes, so a network tested in the wrong order scores 0.5%.
"""

from tanet.checkpoint import Checkpoint
from tanet.data import DataError
from tanet.files import CheckpointError
from tanet.recipes import Recipe
from tanet.transforms import mirrored_classes

# Places of the mirrored classes in Something-Something V1's label file, which tell its order from any other.
SSV1_PAIRS = {2: 4, 30: 41, 52: 66}


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
        mirrored = mirrored_classes(list(listed))
        pairs = {index: other for index, other in enumerate(mirrored) if index < other}
        if pairs != SSV1_PAIRS:
            raise DataError(
                f"the label file of Something-Something V1 is not in its published order: mirrored classes at {pairs}, "
                f"published {SSV1_PAIRS}; restore the original file"
            )
    elif len(listed) == {"kinetics": 400, "something_v2": 174}.get(recipe.dataset) and list(listed) != sorted(listed):
        raise DataError(f"the label file of {recipe.dataset} is not in its published order, which is sorted; sort it")
