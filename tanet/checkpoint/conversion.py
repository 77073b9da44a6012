"""Looking into a checkpoint, and writing it in another layout; the commands of `python -m tanet.checkpoint`."""

import dataclasses
import json
import os
import re

import torch

from tanet.checkpoint import layouts
from tanet.checkpoint.checkpoint import FORMAT, Checkpoint, classifier_names, load_model, read
from tanet.checkpoint.formats import write_safetensors
from tanet.errors import CheckpointError
from tanet.recipes import Recipe
from tanet.runtime import atomic_write, sha256

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
    """Writes a checkpoint to `target` in another layout; returns what was written, read back.

    "tanet": safetensors with the metadata that testing needs. "mmaction2", "official": a file that their code loads,
    the classifier's rows in the order their code expects. `recipe` is needed where the file fits several, `listed`, the
    class names in the order of the data's label file, where the file does not name them and rows must be moved.
    """
    if to not in ("tanet", *CLASS_ORDERS):
        raise ValueError(f"to must be tanet, mmaction2 or official; got {to!r}")
    stored = source if isinstance(source, Checkpoint) else read(source)
    _, recipe, names = load_model(stored, recipe)  # so that nothing is written that does not fit its recipe
    if listed is not None:
        if len(listed) != recipe.num_classes:
            raise CheckpointError(
                f"{stored.path}: {len(listed)} class names for a network of {recipe.num_classes} classes"
            )
        names = classifier_names(stored, recipe, listed)
    said = f"{stored.path.name}, layout {stored.layout}, sha256 {sha256(stored.path)}"
    stored = dataclasses.replace(stored, recipe=recipe, class_names=names, source=stored.source or said)
    if to == "tanet":
        write_safetensors(target, stored.weights, header(stored))
    else:
        _write_theirs(stored, target, to, listed)
    return read(target)


def header(stored: Checkpoint) -> dict[str, str]:
    """The metadata of a safetensors file: what testing reads, and in words, for whoever reads it without this package."""
    recipe, names = stored.recipe, stored.class_names
    said = {
        "format": FORMAT,
        "recipe": recipe.to_json(),
        "class_order": stored.class_order,
        "source": stored.source,
        "num_frames": str(recipe.num_frames),
        "num_classes": str(recipe.num_classes),
        "resize": RESIZE[recipe.style],
        "view_averaging": AVERAGING[recipe.style],
    }
    return said if names is None else said | {"class_names": json.dumps(names)}


def _write_theirs(stored: Checkpoint, target: str | os.PathLike, layout: str, listed: tuple[str, ...] | None):
    if stored.recipe.temporal != "tam":
        raise CheckpointError(f"{stored.path}: has no TAM; networks without it are not written in the {layout} layout")
    order, names = CLASS_ORDERS[layout], stored.class_names
    wanted = listed if layout == "mmaction2" else names and tuple(sorted(names))
    if wanted and names:
        theirs = stored.reordered(wanted, order)
    elif stored.class_order == order:
        theirs = stored
    else:
        raise CheckpointError(
            f"{stored.path}: the {layout} code has its classes {order}, this file has them {stored.class_order}; say where "
            "the data's label file is (--data-root)"
        )
    # The official file is read back into the order that its metadata name, see tanet.checkpoint.read.
    said = header(stored if layout == "official" else theirs)
    state = {"state_dict": layouts.from_ours(theirs.weights, layout), "tanet": said}
    # What their loaders look for beside the weights.
    arch = (stored.arch or stored.recipe.arch).replace("tanet", "resnet")
    state |= {"meta": {}} if layout == "mmaction2" else {"epoch": stored.recipe.epochs, "arch": arch}
    with atomic_write(target) as file:
        torch.save(state, file)


def describe(stored: Checkpoint) -> str:
    """What there is to know of a checkpoint, line by line."""
    digest, named = sha256(stored.path), re.search(r"-([0-9a-f]{8})\.", stored.path.name)
    if named:  # MMAction2 and torchvision put the first digits into the file's name
        digest += " (as its name says)" if digest.startswith(named[1]) else f" (ITS NAME SAYS {named[1]}...)"
    numbers = sum(value.numel() for value in stored.weights.values())
    lines = {
        "file": f"{stored.path.name}, {stored.path.stat().st_size / 2**20:.1f} MiB",
        "sha256": digest,
        "layout": stored.layout,
        "network": f"{stored.arch or 'a ResNet of another depth'}, {len(stored.weights)} tensors, {numbers / 1e6:.2f}M numbers",
        "frames": stored.num_frames or "any: no TAM in it",
        "classes": f"{stored.num_classes or 'no classifier'}, {_order_in_words(stored)}",
        "also in it": ", ".join(map(str, stored.rest)) or "nothing",
    }
    if stored.source:
        lines["source"] = stored.source
    if stored.layout != "resnet":
        lines["resize"], lines["averaging"] = RESIZE[stored.style], AVERAGING[stored.style]
    try:
        _, recipe, _ = load_model(stored)
        lines["fits"] = f"recipe {recipe.name}: every tensor, none missing"
    except CheckpointError as error:
        lines["fits"] = str(error).removeprefix(f"{stored.path}: ")
    return "\n".join(f"{name:11}{text}" for name, text in lines.items())


def _order_in_words(stored: Checkpoint) -> str:
    if stored.class_names is not None:
        return f"named in the file: {', '.join(stored.class_names[:3])}, ..."
    return "sorted by name" if stored.class_order == "sorted" else "in the order of the data's label file"
