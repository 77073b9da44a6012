"""A checkpoint described, and written in another layout: the work of `tanet checkpoint inspect` and `convert`."""

import dataclasses
import json
import os
import re
from pathlib import Path

import torch

from tanet.checkpoint import layouts
from tanet.checkpoint.checkpoint import FORMAT, Checkpoint, load_model, read
from tanet.checkpoint.classes import classifier_names
from tanet.checkpoint.formats import write_safetensors
from tanet.errors import CheckpointError
from tanet.recipes import Recipe
from tanet.runtime import atomic_write, sha256, user_path

CLASS_ORDERS = {"mmaction2": "listed", "official": "sorted"}
AVERAGING = {"mmaction2": "mean of the views' probabilities", "official": "mean of the views' logits"}
RESIZE = {"mmaction2": "bilinear as OpenCV, no antialias", "official": "bilinear as Pillow, antialias"}


def convert(
    source: str | os.PathLike | Checkpoint,
    target: str | os.PathLike,
    to: str = "tanet",
    recipe: Recipe | None = None,
    listed: tuple[str, ...] | None = None,
) -> Checkpoint:
    """Writes a checkpoint to `target` in another layout; returns the written file, read back.

    "tanet": safetensors with the metadata that testing needs. "mmaction2", "official": a file that their code loads,
    the classifier's rows in the order that their code expects. `recipe` is needed where the file fits several recipes.
    `listed`, the class names in the order of the data's label file, is needed where the file does not name its classes
    and rows must be moved. Raises CheckpointError before anything is written.
    """
    if to not in ("tanet", *CLASS_ORDERS):
        raise ValueError(f"to must be tanet, mmaction2 or official; got {to!r}")
    stored, target = source if isinstance(source, Checkpoint) else read(source), user_path(target)
    _, recipe, names = load_model(stored, recipe)  # raises if the weights do not fit the recipe
    if listed is not None:
        if len(listed) != recipe.num_classes:
            raise CheckpointError(
                f"{stored.path}: {len(listed)} class names for a network of {recipe.num_classes} classes"
            )
        names = classifier_names(stored, recipe, listed)
    origin = stored.source or f"{stored.path.name}, layout {stored.layout}, sha256 {sha256(stored.path)}"
    if stored.weight_set and not stored.source:
        origin += f"; weights: {stored.weight_set}"
    stored = dataclasses.replace(stored, recipe=recipe, class_names=names, source=origin)
    if to == "tanet":
        write_safetensors(target, stored.weights, header(stored))
    else:
        _write_for_code_base(stored, target, to, listed)
    return read(target)


def header(stored: Checkpoint) -> dict[str, str]:
    """The metadata of a safetensors file: what testing reads, and in words what other readers need to know."""
    recipe = stored.recipe
    metadata = {
        "format": FORMAT,
        "recipe": recipe.to_json(),
        "class_order": stored.class_order,
        "pixel_mean": json.dumps(stored.pixel_mean),
        "source": stored.source,
        "num_frames": str(recipe.num_frames),
        "num_classes": str(recipe.num_classes),
        "resize": RESIZE[recipe.style],
        "view_averaging": AVERAGING[recipe.style],
    }
    if stored.class_names is not None:
        metadata["class_names"] = json.dumps(stored.class_names)
    return metadata


def _write_for_code_base(
    stored: Checkpoint, target: str | os.PathLike, layout: str, listed: tuple[str, ...] | None
) -> None:
    """Writes a file that MMAction2 or the official code loads."""
    if stored.recipe.temporal != "tam":
        raise CheckpointError(f"{stored.path}: has no TAM; networks without it are not written in the {layout} layout")
    converted = _in_class_order_of(stored, layout, listed)
    # `read` puts the classes of an official file back into the order that its metadata name.
    metadata = header(stored if layout == "official" else converted)
    state = {"state_dict": layouts.from_ours(converted.weights, layout), "tanet": metadata}
    if layout == "mmaction2":  # their loaders look for these keys
        state["meta"] = {}
    else:
        state["epoch"] = stored.recipe.epochs
        state["arch"] = (stored.arch or stored.recipe.arch).replace("tanet", "resnet")
    with atomic_write(target) as file:
        torch.save(state, file)


def _in_class_order_of(stored: Checkpoint, layout: str, listed: tuple[str, ...] | None) -> Checkpoint:
    """The checkpoint with its classifier's rows in the order that a code base expects."""
    order, names = CLASS_ORDERS[layout], stored.class_names
    expected_names = listed
    if layout == "official":
        expected_names = tuple(sorted(names)) if names else None
    if expected_names and names:
        return stored.reordered(expected_names, order)
    if stored.class_order == order:
        return stored
    raise CheckpointError(
        f"{stored.path}: the {layout} code has its classes {order}, this file has them {stored.class_order}; say where "
        "the data's label file is (--data-root)"
    )


def describe(stored: Checkpoint) -> str:
    """A checkpoint's file, layout, network, classes, style and the recipe that it fits, line by line."""
    numbers = sum(value.numel() for value in stored.weights.values())
    network = stored.arch or "a ResNet of another depth"
    lines = {
        "file": f"{stored.path.name}, {stored.path.stat().st_size / 2**20:.1f} MiB",
        "sha256": _checked_digest(stored.path),
        "layout": stored.layout,
        "network": f"{network}, {len(stored.weights)} tensors, {numbers / 1e6:.2f}M numbers",
        "frames": stored.num_frames or "any: no TAM in it",
        "classes": f"{stored.num_classes or 'no classifier'}, {_order_in_words(stored)}",
        "also in it": ", ".join(map(str, stored.rest)) or "nothing",
    }
    if stored.weight_set:
        lines["weights"] = stored.weight_set
    if stored.source:
        lines["source"] = stored.source
    lines["pixel mean"] = f"{', '.join(f'{value:g}' for value in stored.pixel_mean)} (RGB, 0-255)"
    if stored.layout != "resnet":
        lines["resize"], lines["averaging"] = RESIZE[stored.style], AVERAGING[stored.style]
    try:
        _, recipe, _ = load_model(stored)
        lines["fits"] = f"recipe {recipe.name}: every tensor, none missing"
    except CheckpointError as error:
        lines["fits"] = str(error).removeprefix(f"{stored.path}: ")
    return "\n".join(f"{name:11}{text}" for name, text in lines.items())


def _checked_digest(path: Path) -> str:
    """The file's SHA-256, compared with the first digits that MMAction2 and torchvision put into the file's name."""
    digest = sha256(path)
    named = re.search(r"-([0-9a-f]{8})\.", path.name)
    if not named:
        return digest
    if digest.startswith(named[1]):
        return f"{digest} (as its name says)"
    return f"{digest} (ITS NAME SAYS {named[1]}...)"


def _order_in_words(stored: Checkpoint) -> str:
    if stored.class_names is not None:
        return f"named in the file: {', '.join(stored.class_names[:3])}, ..."
    return "sorted by name" if stored.class_order == "sorted" else "in the order of the data's label file"
