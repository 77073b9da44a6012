"""Checkpoints: ours and those published by others, read without running code from them, written whole or not at all.

`read` recognises the layouts of tanet.checkpoint.layouts by their keys. What a file does not say itself follows from
its layout: the style that it is tested in, and the order of its classifier's classes. The mean that its network
subtracts from the pixels belongs to the weights, too: a network trained from them, and its checkpoints, keep it.
"""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from tanet import recipes
from tanet.checkpoint import layouts, weight_sets
from tanet.checkpoint.formats import read_file
from tanet.checkpoint.published import fetch, published_file
from tanet.errors import CheckpointError
from tanet.model import DEPTHS, PIXEL_MEAN, TANet, build, count_classes, count_frames, load_state
from tanet.recipes import Recipe
from tanet.runtime import atomic_write, user_path

FORMAT = "tanet-1"
KINDS = {
    "tam": "TANet",
    "tam_local": "TANet of local branches alone",
    "tam_global": "TANet of global branches alone",
    "conv": "network of fixed temporal convolutions",
    "tsm": "TSM",
    "none": "TSN",
}


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file, with its weights by this package's names."""

    path: Path
    layout: str  # one of tanet.checkpoint.layouts.LAYOUTS
    weights: dict[str, torch.Tensor] = field(repr=False)
    temporal: str | None = None  # "tam", "tsm" or "none" (TSN); None if the file does not tell
    recipe: Recipe | None = None
    class_names: tuple[str, ...] | None = None  # in the order of the classifier; None if the file does not name them
    class_order: str = "listed"  # the classifier's: "listed" as in the data's label file, or "sorted" by name
    pixel_mean: tuple[float, ...] = PIXEL_MEAN  # of R, G and B, 0-255, subtracted from the pixels
    source: str = ""  # where the weights come from, for files converted from others
    weight_set: str = ""  # which weights of a file with two sets these are, in words
    rest: dict = field(default_factory=dict, repr=False)  # everything else in the file: optimizer, epoch, ...

    @property
    def arch(self) -> str | None:
        """ "tanet50", ... by the number of bottlenecks of each stage; None for another network."""
        blocks = {tuple(key.split(".")[:2]) for key in self.weights if key.startswith("layer")}
        stages = sorted({stage for stage, _ in blocks})
        depths = tuple(sum(stage == block[0] for block in blocks) for stage in stages)
        return next((arch for arch, arch_depths in DEPTHS.items() if arch_depths == depths), None)

    @property
    def num_classes(self) -> int | None:
        """The size of the classifier; None if there is none."""
        return count_classes(self.weights)

    @property
    def num_frames(self) -> int | None:
        """The frames that TAM is built for; None without TAM."""
        return count_frames(self.weights)

    @property
    def style(self) -> str:
        """The style of testing that belongs to these weights."""
        if self.recipe:
            return self.recipe.style
        return "official" if self.layout == "official" else "mmaction2"

    def reordered(self, class_names: tuple[str, ...], class_order: str) -> "Checkpoint":
        """The same network with its classifier's rows in the order of `class_names`, a permutation of its own."""
        rows = torch.tensor([self.class_names.index(name) for name in class_names])
        weights = dict(self.weights)
        for key in weights:
            if key.startswith("fc."):
                weights[key] = weights[key][rows]
        return replace(self, weights=weights, class_names=class_names, class_order=class_order)


def read(path: str | os.PathLike, ema: bool = False) -> Checkpoint:
    """Any file in one of the layouts, on the CPU; `ema` asks for its second set of weights, see weight_sets.

    `path`: a path, or a name in tanet.checkpoint.published; such a file is downloaded if it is not there. Raises
    FileNotFoundError, CheckpointError or DownloadError; runs no code from the file.
    """
    published = published_file(path)
    if published is not None:
        return replace(read(fetch(published), ema), recipe=recipes.get(published.recipe))
    content, metadata = read_file(path)
    path = user_path(path)
    is_ours = FORMAT in (content.get("format"), metadata.get("format"))
    weights, rest, weight_set = weight_sets.choose(content, path, ema)
    layout = "tanet" if is_ours else layouts.recognise(weights)
    if layout is None:
        listed = ", ".join(sorted(weights)[:4])
        raise CheckpointError(f"{path}: weights of another kind of network ({listed}, ...)")
    if not metadata:  # not safetensors; files that `convert` writes for other code bases have them under "tanet"
        metadata = rest.pop("tanet", None) or (rest if is_ours else {})
    temporal = layouts.temporal_kind(weights, layout)
    try:
        mean = layouts.pixel_mean(weights, rest.get("meta"), temporal)
        weights = layouts.to_ours(weights, layout)
        fields = _metadata_fields(metadata)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not is_ours:
        fields.setdefault("pixel_mean", mean)
    fields.setdefault("class_order", "sorted" if layout == "official" else "listed")
    if "recipe" in fields:
        temporal = fields["recipe"].temporal
    stored = Checkpoint(
        path=path, layout=layout, weights=weights, temporal=temporal, weight_set=weight_set, rest=rest, **fields
    )
    names = stored.class_names
    if names is not None and stored.num_classes not in (None, len(names)):
        raise CheckpointError(f"{path}: names {len(names)} classes, its classifier has {stored.num_classes}")
    if layout == "official" and names is not None:  # `convert` wrote it with sorted rows: back to our order
        return replace(stored, class_names=tuple(sorted(names))).reordered(names, stored.class_order)
    return stored


def _metadata_fields(metadata: dict) -> dict:
    """Fields of a Checkpoint from a file's metadata, checked; a safetensors header has strings only."""
    if not isinstance(metadata, dict):
        raise ValueError(f"its metadata must be a dict, got {type(metadata).__name__}")
    fields = {key: metadata[key] for key in ("class_order", "source") if key in metadata}
    if metadata.get("recipe") is not None:
        if not isinstance(metadata["recipe"], str):
            raise ValueError(f"its recipe must be JSON text, got {type(metadata['recipe']).__name__}")
        fields["recipe"] = recipes.from_json(metadata["recipe"])
    if metadata.get("class_names") is not None:
        names = metadata["class_names"]
        if isinstance(names, str):
            names = json.loads(names)
        are_names = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        if not are_names or len(set(names)) != len(names):
            raise ValueError("its class_names are not a list of different names")
        fields["class_names"] = tuple(names)
    if metadata.get("pixel_mean") is not None:
        fields["pixel_mean"] = _pixel_mean(metadata["pixel_mean"])
    if fields.get("class_order", "listed") not in ("listed", "sorted"):
        raise ValueError(f"its class_order must be listed or sorted, got {fields['class_order']!r}")
    if not isinstance(fields.get("source", ""), str):
        raise ValueError(f"its source must be a text, got {fields['source']!r}")
    return fields


def _pixel_mean(value: object) -> tuple[float, ...]:
    """Three numbers, from a list or its JSON text."""
    numbers = json.loads(value) if isinstance(value, str) else value
    if not isinstance(numbers, list | tuple) or len(numbers) != 3 or not all(type(n) in (int, float) for n in numbers):
        raise ValueError(f"its pixel_mean must be three numbers, got {value!r}")
    return tuple(map(float, numbers))


@dataclass(frozen=True)
class Loaded:
    """The outcome of `load_weights`."""

    layout: str
    copied: int  # tensors
    kept: tuple[str, ...]  # names of the network's own tensors that were left as they were
    unused: tuple[str, ...]  # names, by this package, of the file's tensors that were left out

    def __str__(self) -> str:
        unused = f"{len(self.unused)} of the file's left out" if self.unused else "all of the file's"
        kept = f"{len(self.kept)} of the network's left as they were" if self.kept else "all of the network's"
        return f"layout {self.layout}: {self.copied} tensors copied, {unused}, {kept}"


def load_weights(model: TANet, source: str | os.PathLike | Checkpoint, classifier: bool = True) -> Loaded:
    """Copies a checkpoint's weights, in any layout of tanet.checkpoint.layouts, into `model`; reports what matched.

    Every key must be present with its shape. Otherwise CheckpointError lists the keys that differ, and the model is
    untouched. With `classifier=False` the model keeps its own classifier, to go on with other classes. With the weights
    of a torchvision ResNet it keeps its own TAM, and its own classifier if the file's has another size. The model's
    `pixel_mean` becomes the checkpoint's.
    """
    stored = source if isinstance(source, Checkpoint) else read(source)
    if stored.temporal not in (None, model.temporal):
        raise CheckpointError(
            f"{stored.path}: the weights of a {KINDS[stored.temporal]} do not fit a {KINDS[model.temporal]}; build the "
            f"network with temporal={stored.temporal!r} (--set temporal={stored.temporal})"
        )
    kept_parts = () if classifier else ("fc",)
    if stored.layout == "resnet":
        classifier_fits = stored.num_classes == model.num_classes
        kept_parts = ("temporal",) if classifier and classifier_fits else ("temporal", "fc")
    unused = tuple(key for key in stored.weights if key.split(".")[0] in kept_parts)
    weights = {key: value for key, value in stored.weights.items() if key not in unused}
    try:
        kept = load_state(model, weights, kept_parts)
    except ValueError as error:
        raise CheckpointError(f"{stored.path}: {error}") from error
    model.pixel_mean.copy_(torch.tensor(stored.pixel_mean).view(3, 1, 1))
    return Loaded(layout=stored.layout, copied=len(weights), kept=tuple(kept), unused=unused)


def load_model(
    source: str | os.PathLike | Checkpoint, recipe: Recipe | None = None
) -> tuple[TANet, Recipe, tuple[str, ...] | None]:
    """The network of a checkpoint in eval mode, its recipe, and its class names in index order, None if unknown.

    `recipe` is needed where the file does not name its own and its sizes fit several recipes, or none.
    """
    stored = source if isinstance(source, Checkpoint) else read(source)
    recipe = recipe_of(stored, recipe)
    model = build(recipe)
    load_weights(model, stored)
    return model.eval(), recipe, stored.class_names


def recipe_of(stored: Checkpoint, given: Recipe | None = None, datasets: tuple[str, ...] | None = None) -> Recipe:
    """The recipe to test a checkpoint by, in the style that belongs to its weights.

    The recipe is `given`, or the file's own, or the only preset with this network; `datasets` narrows the presets.
    CheckpointError if none or several fit.
    """
    if given is not None:
        return recipes.in_style(given, stored.style)
    if stored.recipe is not None:
        return stored.recipe
    if stored.num_classes is None or stored.layout == "resnet":
        raise CheckpointError(
            f"{stored.path}: the weights of an image network; they can start a training, not be tested"
        )
    matches = [
        recipe
        for recipe in map(recipes.get, recipes.RECIPES)
        if (recipe.arch, recipe.num_classes, recipe.num_frames) == (stored.arch, stored.num_classes, stored.num_frames)
        and (datasets is None or recipe.dataset in datasets)
    ]
    if len(matches) == 1:
        return recipes.in_style(matches[0], stored.style)
    network = f"{stored.path}: {stored.arch or 'another ResNet'}, {stored.num_classes} classes"
    if stored.num_frames is None:
        kind = KINDS.get(stored.temporal, "TSN or TSM")
        raise CheckpointError(
            f"{network}, {kind}, whose weights fit any number of frames; say which recipe to use, with its temporal "
            "changed, by recipe= (--recipe NAME --set temporal=tsm or none)"
        )
    names = ", ".join(recipe.name for recipe in matches) or "none"
    raise CheckpointError(
        f"{network}, {stored.num_frames} frames. Recipes that fit: {names}; say which to use with recipe= (--recipe on "
        "a command line)"
    )


def save(path: str | os.PathLike, state: dict) -> None:
    """Writes a training's `state` (tensors and plain values) to `path`, whole or not at all."""
    with atomic_write(path) as file:
        torch.save({"format": FORMAT, **state}, file)
