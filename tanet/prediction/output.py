"""A prediction in words and as JSON, and files of features."""

import json
import math
import os
from collections.abc import Mapping

import numpy as np
import torch

from tanet.checkpoint import write_safetensors
from tanet.prediction.predicting import Prediction
from tanet.prediction.sources import is_stream
from tanet.runtime import atomic_write, user_path

FEATURE_FILES = (".npy", ".safetensors")


def as_text(prediction: Prediction, top: int = 5, clips: bool = False) -> str:
    """The path and its `top` classes, a line each; with `clips` the first class of each clip, too.

    A prediction of a stream has one clip, whose time stands beside the path.
    """
    lines = [f"{prediction.path}, {_span(prediction, 0)}" if is_stream(prediction.path) else prediction.path]
    lines += [f"  {probability:6.1%}  {name}" for name, probability in prediction.top(top)]
    if clips:
        lines += [_clip_line(prediction, clip) for clip in range(len(prediction.clips))]
    return "\n".join(lines)


def _clip_line(prediction: Prediction, clip: int) -> str:
    ((name, probability),) = prediction.top(1, clip)
    return f"    {_span(prediction, clip):>20}  {probability:6.1%}  {name}"


def _span(prediction: Prediction, clip: int) -> str:
    """From when to when a clip lasts: in seconds, or in frames where nothing tells the time."""
    first, last = prediction.seconds[clip].min(), prediction.seconds[clip].max()
    if math.isnan(first):
        return f"frames {prediction.frames[clip].min()} to {prediction.frames[clip].max()}"
    return f"{first:.2f} to {last:.2f} s"


def as_json(prediction: Prediction, top: int = 5) -> str:
    """One line of JSON: path, `top` classes with probabilities, and the same for each clip with its frames, seconds."""
    row = {"path": prediction.path, "top": _top(prediction, top), "clips": []}
    for clip, frames in enumerate(prediction.frames):
        seconds = [None if math.isnan(value) else round(value, 6) for value in prediction.seconds[clip].tolist()]
        row["clips"].append({"frames": frames.tolist(), "seconds": seconds, "top": _top(prediction, top, clip)})
    return json.dumps(row, ensure_ascii=False)


def _top(prediction: Prediction, count: int, clip: int | None = None) -> list[dict]:
    return [{"class": name, "probability": value} for name, value in prediction.top(count, clip)]


def check_feature_file(path: str | os.PathLike) -> None:
    """ValueError or FileNotFoundError if features cannot be written to `path`."""
    path = user_path(path)
    if path.suffix not in FEATURE_FILES:
        raise ValueError(f"{path}: features go to a file whose name ends in {' or '.join(FEATURE_FILES)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")


def write_features(path: str | os.PathLike, features: Mapping[str, np.ndarray]) -> None:
    """Writes features, {path of the video: float32 [C]}, as float32 [videos, C], whole or not at all.

    To a .npy file, or as "features" to a .safetensors file whose metadata "paths" are the videos' paths as JSON.
    """
    check_feature_file(path)
    paths, features = list(features), np.stack(list(features.values()))
    path = user_path(path)
    if path.suffix == ".npy":
        with atomic_write(path) as file:
            np.save(file, features)
    else:
        write_safetensors(path, {"features": torch.from_numpy(features)}, {"paths": json.dumps(paths)})
