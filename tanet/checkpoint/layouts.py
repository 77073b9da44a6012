"""Names of a network's weights in the checkpoints that circulate, translated to this package's and back.

A bottleneck's convolution and its BatchNorm:

    tanet       layer1.0.conv1.weight                        layer1.0.bn1.weight
    mmaction2   backbone.layer1.0.block.conv1.conv.weight    backbone.layer1.0.block.conv1.bn.weight
    official    base_model.layer1.0.net.conv1.weight         base_model.layer1.0.net.bn1.weight
    resnet      layer1.0.conv1.weight                        layer1.0.bn1.weight

TAM's local branch, and the classifier:

    tanet       layer1.0.temporal.local_branch               fc
    mmaction2   backbone.layer1.0.tam.L                      cls_head.fc_cls
    official    base_model.layer1.0.tam.L                    new_fc
    resnet      none                                         fc, ImageNet's

A TSM network has the convolution behind its shift one level deeper, which tells it from a TSN:

    mmaction2   backbone.layer1.0.conv1.conv.net.weight
    official    base_model.layer1.0.conv1.net.weight         (mit-han-lab's TSM, from which the authors' code descends)

"mmaction2" is MMAction2 0.x and 1.x, which agree. "official" is the authors' release. "resnet" is torchvision's. A
network of any layout may have been wrapped, as a whole or in parts, for parallel training or by torch.compile:

    module.layer1.0.conv1.weight    _orig_mod.module.layer1.0.conv1.weight    layer1._orig_mod.0.conv1.weight
"""

import re
from collections.abc import Iterable, Mapping

import torch

from tanet.model import PIXEL_MEAN, PIXEL_STD

MMACTION2_1X_MEAN = (123.675, 116.28, 103.5)  # in configs/_base_/models/tanet_r50.py
LAYOUTS = ("tanet", "mmaction2", "official", "resnet")
# Parts of names that wrappers add: DataParallel, torch.compile, FSDP, activation checkpointing.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
COUNTERS = {"n_averaged", "steps"}  # beside the weights of a wrapper that averages: torch's AveragedModel, mmengine's
PIXELS = {"data_preprocessor.mean", "data_preprocessor.std"}  # mmengine's buffers for pixels

# (pattern, replacement), applied in this order, to a name without the parts of wrappers.
_TO_OURS = {
    "mmaction2": (
        (r"^backbone\.", ""),
        (r"^cls_head\.fc_cls\.", "fc."),
        (r"\.block\.", "."),
        (r"\bconv(\d)\.conv\.(net\.)?", r"conv\1."),
        (r"\bconv(\d)\.bn\.", r"bn\1."),
        (r"\bdownsample\.conv\.", "downsample.0."),
        (r"\bdownsample\.bn\.", "downsample.1."),
        (r"\.tam\.L\.", ".temporal.local_branch."),
        (r"\.tam\.G\.", ".temporal.global_branch."),
    ),
    "official": (
        (r"^base_model\.", ""),
        (r"^new_fc\.", "fc."),
        (r"(layer\d\.\d+)\.net\.", r"\1."),
        (r"\bconv(\d)\.net\.", r"conv\1."),
        (r"\.tam\.L\.", ".temporal.local_branch."),
        (r"\.tam\.G\.", ".temporal.global_branch."),
    ),
}
_FROM_OURS = {
    "mmaction2": (
        (r"^(?!fc\.)", "backbone."),
        (r"^fc\.", "cls_head.fc_cls."),
        (r"\bconv(\d)\.", r"conv\1.conv."),
        (r"\bbn(\d)\.", r"conv\1.bn."),
        (r"\bdownsample\.0\.", "downsample.conv."),
        (r"\bdownsample\.1\.", "downsample.bn."),
        (r"(layer\d\.\d+)\.(conv|downsample)", r"\1.block.\2"),
        (r"\.temporal\.local_branch\.", ".tam.L."),
        (r"\.temporal\.global_branch\.", ".tam.G."),
    ),
    "official": (
        (r"^(?!fc\.)", "base_model."),
        (r"^fc\.", "new_fc."),
        (r"(layer\d\.\d+)\.(conv|bn|downsample)", r"\1.net.\2"),
        (r"\.temporal\.local_branch\.", ".tam.L."),
        (r"\.temporal\.global_branch\.", ".tam.G."),
        (r"^", "module."),
    ),
}


def recognise(names: Iterable[str]) -> str | None:
    """The layout of a file by its weights' names; None if it is none of LAYOUTS."""
    names = set(map(_bare, names))
    if any(name.startswith("base_model.") for name in names):
        return "official"
    if any(name.startswith("backbone.") for name in names):
        return "mmaction2"
    if not {"conv1.weight", "layer1.0.conv1.weight"} <= names:
        return None
    return "tanet" if any(".temporal." in name for name in names) else "resnet"


def temporal_kind(names: Iterable[str], layout: str) -> str | None:
    """The kind of network, "tam", "tsm" or "none" (TSN), by the names in a file; None if the names do not tell."""
    names = list(names)
    if any(".tam." in name or ".temporal." in name for name in names):
        return "tam"
    if layout not in _TO_OURS:
        return None
    is_shifted = any(re.search(r"\bconv1\.(conv\.)?net\.", name) for name in names)
    return "tsm" if is_shifted else "none"


def pixel_mean(weights: Mapping[str, torch.Tensor], meta: object, temporal: str | None) -> tuple[float, ...]:
    """The mean of R, G and B, 0-255, that a published file's network subtracts; `meta` is the file's "meta", if any.

    MMAction2 stores it among the weights (early 1.x) or in the text of the configuration ("config" in 0.x, "cfg" in
    1.x). A file that has neither was trained by its code base's own configuration. For TANet that of 1.x has 103.5 for
    blue. All others have 103.53. ValueError if the file's standard deviation is not the one that all networks here
    divide by: its network saw other pixels, or the channels in the order BGR.
    """
    meta = meta if isinstance(meta, Mapping) else {}
    text = str(meta.get("cfg", meta.get("config", "")))
    std = _pixel_numbers("std", weights, text)
    if std and any(abs(ours - theirs) > 0.01 for ours, theirs in zip(PIXEL_STD, std)):
        raise ValueError(
            f"its network divides pixels by {', '.join(f'{value:g}' for value in std)} (data_preprocessor.std), the "
            f"networks here by {', '.join(f'{value:g}' for value in PIXEL_STD)} (RGB); they cannot stand for each other"
        )
    usual = MMACTION2_1X_MEAN if temporal == "tam" and "mmengine_version" in meta else PIXEL_MEAN
    return _pixel_numbers("mean", weights, text) or usual


def _pixel_numbers(name: str, weights: Mapping[str, torch.Tensor], text: str) -> tuple[float, ...]:
    """The three numbers "mean" or "std" among the weights, else in a configuration's text; () if there are none."""
    stored = weights.get(f"data_preprocessor.{name}")
    if isinstance(stored, torch.Tensor) and stored.numel() == 3:
        return tuple(round(value, 4) for value in stored.flatten().tolist())  # float32 of a short number
    written = re.search(rf"\b{name}\s*=\s*[\[(]([\d.,\s]+)[\])]", text)
    numbers = tuple(float(number) for number in re.findall(r"[\d.]+", written[1])) if written else ()
    return numbers if len(numbers) == 3 else ()


def unwrapped(weights: Mapping[str, object]) -> dict[str, object]:
    """The same weights by the names that they have in the bare network. ValueError if two names become one."""
    return _renamed(weights, (), COUNTERS)


def to_ours(weights: Mapping[str, object], layout: str) -> dict[str, object]:
    """The same weights by this package's names, without MMAction2's buffers for pixels, see `pixel_mean`.

    ValueError if two names become one.
    """
    return _renamed(weights, _TO_OURS.get(layout, ()), COUNTERS | PIXELS)


def _renamed(weights: Mapping[str, object], rules: Iterable[tuple[str, str]], dropped: set[str]) -> dict[str, object]:
    renamed = {}
    for name, value in weights.items():
        bare = _bare(name)
        if bare in dropped:
            continue
        ours = _substitute(bare, rules)
        if ours in renamed:
            raise ValueError(f"{name} and another key both stand for {ours}")
        renamed[ours] = value
    return renamed


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def from_ours(weights: Mapping[str, object], layout: str) -> dict[str, object]:
    """Weights by this package's names -> the same by the names of "mmaction2" or "official"."""
    if layout not in _FROM_OURS:
        raise ValueError(f"layout must be one of {', '.join(_FROM_OURS)}; got {layout!r}")
    return {_substitute(name, _FROM_OURS[layout]): value for name, value in weights.items()}


def _substitute(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
