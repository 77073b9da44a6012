"""Weights on disk: ours and those that others published.

formats     files of torch.save and safetensors, read without running code from them
layouts     other code bases' names of the same weights
checkpoint  Checkpoint: what a file holds, and which recipe and class order belong to it
conversion  a checkpoint described, and written in another layout
"""

from tanet.checkpoint import layouts
from tanet.checkpoint.checkpoint import (
    FORMAT,
    Checkpoint,
    Loaded,
    check_published_order,
    classifier_names,
    load_model,
    load_weights,
    read,
    recipe_of,
    save,
)
from tanet.checkpoint.conversion import CLASS_ORDERS, convert, describe
from tanet.checkpoint.formats import read_file, write_safetensors
from tanet.checkpoint.layouts import from_ours

__all__ = [
    "CLASS_ORDERS",
    "Checkpoint",
    "FORMAT",
    "Loaded",
    "check_published_order",
    "classifier_names",
    "convert",
    "describe",
    "from_ours",
    "layouts",
    "load_model",
    "load_weights",
    "read",
    "read_file",
    "recipe_of",
    "save",
    "write_safetensors",
]
