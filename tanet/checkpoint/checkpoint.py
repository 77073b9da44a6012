"""Checkpoints: ours and those published by others, read without running code from them, written whole or not at all.

    python -m tanet.checkpoint inspect FILE
    python -m tanet.checkpoint convert FILE OUT.safetensors [--to mmaction2|official]
    python -m tanet.checkpoint pack RUN_DIR FOLDER

`read` recognises the layouts of tanet.checkpoint.layouts by their keys. What a file does not say itself follows from its layout:
whose style of testing it wants, and in which order its classifier has the classes.
"""

import dataclasses
import json
import os
import re
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import torch

from tanet import recipes
from tanet.checkpoint import layouts
from tanet.checkpoint.formats import read_file
from tanet.errors import CheckpointError, DataError
from tanet.model import DEPTHS, TANet, build, count_classes, count_frames, load_state
from tanet.recipes import Recipe
from tanet.runtime import atomic_write

FORMAT = "tanet-1"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds, its weights by this package's names."""

    path: Path
    layout: str  # one of tanet.checkpoint.layouts.LAYOUTS
    weights: dict[str, torch.Tensor] = field(repr=False)
    recipe: Recipe | None = None
    class_names: tuple[str, ...] | None = None  # in the order of the classifier, where the file says it
    class_order: str = "listed"  # the classifier's: "listed" as in the data's label file, or "sorted" by name
    source: str = ""  # where the weights come from, for files converted from others
    rest: dict = field(default_factory=dict, repr=False)  # whatever else it holds: optimizer, epoch, ...

    @property
    def arch(self) -> str | None:
        """ "tanet50", ... by the number of bottlenecks of each stage; None for another network."""
        blocks = {tuple(key.split(".")[:2]) for key in self.weights if key.startswith("layer")}
        stages = sorted({stage for stage, _ in blocks})
        depths = tuple(sum(stage == block[0] for block in blocks) for stage in stages)
        return next((arch for arch, known in DEPTHS.items() if known == depths), None)

    @property
    def num_classes(self) -> int | None:
        return count_classes(self.weights)

    @property
    def num_frames(self) -> int | None:
        return count_frames(self.weights)

    @property
    def style(self) -> str:
        """Whose way of testing belongs to these weights."""
        return self.recipe.style if self.recipe else "official" if self.layout == "official" else "mmaction2"

    def reordered(self, class_names: tuple[str, ...], class_order: str) -> "Checkpoint":
        """The same network with its classifier's rows in the order of `class_names`, a permutation of its own."""
        rows = torch.tensor([self.class_names.index(name) for name in class_names])
        classifier = {key: value[rows] for key, value in self.weights.items() if key.startswith("fc.")}
        return dataclasses.replace(
            self, weights=self.weights | classifier, class_names=class_names, class_order=class_order
        )


def read(path: str | os.PathLike) -> Checkpoint:
    """Any file in one of the layouts, on the CPU. Raises FileNotFoundError or CheckpointError; runs no code from it."""
    path = Path(path)
    content, metadata = read_file(path)
    own = content.get("format") == FORMAT or metadata.get("format") == FORMAT
    weights, rest = _split(content, path)
    layout = "tanet" if own else layouts.recognise(weights)
    if layout is None:
        listed = ", ".join(sorted(weights)[:4])
        raise CheckpointError(f"{path}: weights of another kind of network ({listed}, ...)")
    try:
        weights = layouts.to_ours(weights, layout)
        said = _metadata(metadata or rest.pop("tanet", None) or (rest if own else {}))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    order = "sorted" if layout == "official" else "listed"
    stored = Checkpoint(path, layout, weights, **{"class_order": order} | said, rest=rest)
    names = stored.class_names
    if names is not None and stored.num_classes not in (None, len(names)):
        raise CheckpointError(f"{path}: names {len(names)} classes, its classifier has {stored.num_classes}")
    if layout == "official" and names is not None:  # written by `convert`, with its rows sorted: back to our order
        return dataclasses.replace(stored, class_names=tuple(sorted(names))).reordered(names, stored.class_order)
    return stored


def _split(content: dict, path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """The weights of a file, and what else is in it."""
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), dict):
            weights, rest = content[key], {name: value for name, value in content.items() if name != key}
            break
    else:
        weights, rest = content, {}
    if not weights or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in weights.items()):
        optimizer = {"optimizer", "param_groups"} & content.keys()
        what = "an optimizer's state" if optimizer else "no weights"
        raise CheckpointError(
            f"{path}: holds {what} and no network (its keys: {', '.join(map(str, list(content)[:6]))})"
        )
    return weights, rest


def _metadata(said: dict) -> dict:
    """Fields of a Checkpoint from a file's metadata, checked; a safetensors header has strings only."""
    if not isinstance(said, dict):
        raise ValueError(f"its metadata are no table but {type(said).__name__}")
    found = {key: said[key] for key in ("class_order", "source") if key in said}
    if said.get("recipe") is not None:
        found["recipe"] = recipes.from_json(said["recipe"])
    if said.get("class_names") is not None:
        names = said["class_names"]
        names = json.loads(names) if isinstance(names, str) else names
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise ValueError("its class_names are not a list of different names")
        found["class_names"] = tuple(names)
    if found.get("class_order", "listed") not in ("listed", "sorted") or not isinstance(found.get("source", ""), str):
        raise ValueError(f"its class_order is {found.get('class_order')!r}, its source {found.get('source')!r}")
    return found


@dataclass(frozen=True)
class Loaded:
    """What `load_weights` did."""

    layout: str
    copied: int  # tensors
    kept: tuple[str, ...]  # names of the network's own tensors that were left as they were
    unused: tuple[str, ...]  # names, by this package, of the file's tensors that were left out

    def __str__(self) -> str:
        unused = f"{len(self.unused)} of the file's left out" if self.unused else "all of the file's"
        kept = f"{len(self.kept)} of the network's left as they were" if self.kept else "all of the network's"
        return f"layout {self.layout}: {self.copied} tensors copied, {unused}, {kept}"


def load_weights(model: TANet, source: str | os.PathLike | Checkpoint, classifier: bool = True) -> Loaded:
    """Copies a checkpoint's weights, in any layout of tanet.checkpoint.layouts, into `model`; says what matched.

    Every key must be there with its shape; otherwise CheckpointError lists what is not, and the model is untouched. Left
    as they are: with `classifier=False`, to go on with other classes, the classifier; of a torchvision ResNet TAM, and the
    classifier if it does not fit.
    """
    stored = source if isinstance(source, Checkpoint) else read(source)
    keep = () if classifier else ("fc",)
    if stored.layout == "resnet":
        keep = ("temporal",) if classifier and stored.num_classes == model.num_classes else ("temporal", "fc")
    unused = tuple(key for key in stored.weights if key.split(".")[0] in keep)
    try:
        kept = load_state(model, {key: stored.weights[key] for key in stored.weights if key not in unused}, keep)
    except ValueError as error:
        raise CheckpointError(f"{stored.path}: {error}") from error
    return Loaded(stored.layout, len(stored.weights) - len(unused), tuple(kept), unused)


def load_model(
    source: str | os.PathLike | Checkpoint, recipe: Recipe | None = None
) -> tuple[TANet, Recipe, tuple[str, ...] | None]:
    """The network of a checkpoint, ready for testing, its recipe, and its class names in index order, None if unknown.

    `recipe` is needed where the file does not say its own and its sizes fit several, or none.
    """
    stored = source if isinstance(source, Checkpoint) else read(source)
    recipe = recipe_of(stored, recipe)
    model = build(recipe)
    load_weights(model, stored)
    return model.eval(), recipe, stored.class_names


def recipe_of(stored: Checkpoint, given: Recipe | None = None, datasets: tuple[str, ...] | None = None) -> Recipe:
    """The recipe that a checkpoint is tested by, in the style that belongs to its weights.

    `given`, or the file's own, or the one whose network this is; `datasets` narrows these. CheckpointError if none or
    several fit.
    """
    if given is not None:
        return recipes.in_style(given, stored.style)
    if stored.recipe is not None:
        return stored.recipe
    if stored.num_classes is None or stored.layout == "resnet":
        raise CheckpointError(
            f"{stored.path}: the weights of an image network; they can start a training, not be tested"
        )
    found = [
        recipe
        for recipe in map(recipes.get, recipes.RECIPES)
        if (recipe.arch, recipe.num_classes, recipe.num_frames) == (stored.arch, stored.num_classes, stored.num_frames)
        and (datasets is None or recipe.dataset in datasets)
    ]
    if len(found) == 1:
        return recipes.in_style(found[0], stored.style)
    frames = f"{stored.num_frames} frames" if stored.num_frames else "no TAM (the weights of TSN and TSM look alike)"
    names = ", ".join(recipe.name for recipe in found) or "none"
    raise CheckpointError(
        f"{stored.path}: {stored.arch or 'another ResNet'}, {stored.num_classes} classes, {frames}. Recipes that fit: {names}; "
        "say which to use with recipe= (--recipe on a command line)"
    )


def save(path: str | os.PathLike, state: dict) -> None:
    """Writes a training's `state` (tensors and plain values) so that `path` is never half-written."""
    with atomic_write(path) as file:
        torch.save({"format": FORMAT} | state, file)


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
