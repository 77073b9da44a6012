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

"mmaction2" is MMAction2 0.x and 1.x, which agree. "official" is the authors' release. "resnet" is torchvision's. Files
of any layout may carry "module." before every name.
"""

import re
from collections.abc import Iterable, Mapping

import torch

from tanet.model import PIXEL_MEAN

MMACTION2_1X_MEAN = (123.675, 116.28, 103.5)  # in configs/_base_/models/tanet_r50.py
LAYOUTS = ("tanet", "mmaction2", "official", "resnet")

# (pattern, replacement), applied in this order, to a name without "module.".
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
    names = {name.removeprefix("module.") for name in names}
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
    blue. All others have 103.53.
    """
    stored = weights.get("data_preprocessor.mean")
    if isinstance(stored, torch.Tensor) and stored.numel() == 3:
        return tuple(round(value, 4) for value in stored.flatten().tolist())  # float32 of a short number
    meta = meta if isinstance(meta, Mapping) else {}
    mean = re.search(r"\bmean\s*=\s*[\[(]([\d.,\s]+)[\])]", str(meta.get("cfg", meta.get("config", ""))))
    numbers = [float(number) for number in re.findall(r"[\d.]+", mean[1])] if mean else []
    if len(numbers) == 3:
        return tuple(numbers)
    return MMACTION2_1X_MEAN if temporal == "tam" and "mmengine_version" in meta else PIXEL_MEAN


def to_ours(weights: Mapping[str, object], layout: str) -> dict[str, object]:
    """The same weights by this package's names, without MMAction2's buffers for pixels, see `pixel_mean`.

    ValueError if two names become one.
    """
    renamed = {}
    for name, value in weights.items():
        if name.startswith("data_preprocessor."):
            continue
        ours = _substitute(name.removeprefix("module."), _TO_OURS.get(layout, ()))
        if ours in renamed:
            raise ValueError(f"{name} and another key both stand for {ours}")
        renamed[ours] = value
    return renamed


def from_ours(weights: Mapping[str, object], layout: str) -> dict[str, object]:
    """Weights by this package's names -> the same by the names of "mmaction2" or "official"."""
    if layout not in _FROM_OURS:
        raise ValueError(f"layout must be one of {', '.join(_FROM_OURS)}; got {layout!r}")
    return {_substitute(name, _FROM_OURS[layout]): value for name, value in weights.items()}


def _substitute(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
