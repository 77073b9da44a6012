"""Weights on disk: ours and those that others published.

formats     files of torch.save and safetensors, read without running code from them
published   published files by name, downloaded where needed
layouts     other code bases' names of the same weights
weight_sets which weights of a file are read: those of the network, or of a moving average
checkpoint  Checkpoint: the content of a file, and the recipe that belongs to it
classes     the order of a classifier's classes, and the names of Kinetics-400's
conversion  a checkpoint described, and written in another layout
"""

from tanet.checkpoint import layouts
from tanet.checkpoint.checkpoint import (
    FORMAT,
    Checkpoint,
    Loaded,
    load_model,
    load_weights,
    read,
    recipe_of,
    save,
)
from tanet.checkpoint.classes import check_published_order, classifier_names, published_names
from tanet.checkpoint.conversion import CLASS_ORDERS, convert, describe
from tanet.checkpoint.formats import read_file, write_safetensors
from tanet.checkpoint.layouts import from_ours
from tanet.checkpoint.published import PUBLISHED_FILES, published_files_table

__all__ = [
    "CLASS_ORDERS",
    "Checkpoint",
    "FORMAT",
    "PUBLISHED_FILES",
    "Loaded",
    "check_published_order",
    "classifier_names",
    "convert",
    "describe",
    "from_ours",
    "layouts",
    "published_files_table",
    "published_names",
    "load_model",
    "load_weights",
    "read",
    "read_file",
    "recipe_of",
    "save",
    "write_safetensors",
]
