"""Weights into a network. Every tensor of the network is accounted for, or an error lists what does not fit."""

from urllib.error import URLError

import torch
from torch import nn

from tanet.errors import DownloadError
from tanet.model.tam import TAM


def load_imagenet(model: nn.Module, resnet: str, weights: str | None) -> nn.Module:
    """Copies torchvision's ImageNet weights of `resnet` into `model` if weights is "imagenet"; nothing if it is None.

    DownloadError if the weights are neither in torch's cache nor can be downloaded.
    """
    if weights is None:
        return model
    if weights != "imagenet":
        raise ValueError(f'weights must be None or "imagenet", got {weights!r}')
    from torchvision.models import get_model_weights  # see tanet.data.video for why not at the top

    published = get_model_weights(resnet)["IMAGENET1K_V1"]
    try:
        state = published.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        raise DownloadError(
            f"cannot download the ImageNet weights of {resnet} ({error}). Fetch {published.url} on a machine with "
            f"internet access, put it into {torch.hub.get_dir()}/checkpoints/ and try again, or train with "
            "init='none' to start from random weights."
        ) from error
    return load_resnet(model, state)


def load_resnet(model: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module:
    """Copies a torchvision ResNet's weights without its 1000-class head into `model`; every other key must fit."""
    backbone = {key: value for key, value in state.items() if not key.startswith("fc.")}
    load_state(model, backbone, keep=("temporal", "fc"))
    return model


def load_state(model: nn.Module, weights: dict[str, torch.Tensor], keep: tuple[str, ...] = ()) -> list[str]:
    """Copies `weights` into `model` and returns the keys of the network that keep their values.

    Only keys with a part named in `keep` ("temporal", "fc") may be absent from `weights`. If any other key is missing,
    unexpected, or of another shape or kind, a ValueError lists the keys, and the network is unchanged.
    """
    state = model.state_dict()
    kept = [key for key in state if key not in weights and set(key.split(".")) & set(keep)]
    problems = _misfits({key: value for key, value in state.items() if key not in kept}, weights)
    if problems:
        listed = "; ".join(problems[:8])
        if len(problems) > 8:
            listed += f"; and {len(problems) - 8} more"
        summary = _other_classes_or_frames(model, weights)
        raise ValueError(f"{summary}{len(problems)} keys do not fit this network: {listed}")
    model.load_state_dict(state | weights)
    return sorted(kept)


def _misfits(state: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> list[str]:
    """One sentence for each key that is missing from `weights`, unexpected, or of another shape or kind."""
    missing = [f"missing {key}" for key in sorted(state.keys() - weights.keys())]
    unexpected = [f"unexpected {key}" for key in sorted(weights.keys() - state.keys())]
    shapes, kinds = [], []
    for key in sorted(state.keys() & weights.keys()):
        ours, theirs = state[key], weights[key]
        if ours.shape != theirs.shape:
            shapes.append(f"{key} is {tuple(theirs.shape)}, the network has {tuple(ours.shape)}")
        if not _plain(theirs) or theirs.is_floating_point() != ours.is_floating_point():
            kinds.append(f"{key} is {theirs.type()}, no plain tensor of {ours.dtype}")
    return missing + unexpected + shapes + kinds


def _plain(tensor: torch.Tensor) -> bool:
    """Neither sparse, quantized nor without content: copying such tensors fails halfway."""
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta


def _other_classes_or_frames(model: nn.Module, weights: dict[str, torch.Tensor]) -> str:
    """The two most likely reasons why keys do not fit, in words; "" if it is neither."""
    classes, frames = count_classes(weights), count_frames(weights)
    reasons = ""
    if classes not in (None, model.num_classes):
        reasons += f"the weights are for {classes} classes, the network for {model.num_classes}; "
    if frames not in (None, model.num_frames) and isinstance(model.layer1[0].temporal, TAM):
        reasons += f"the weights are for {frames} frames, the network for {model.num_frames}; "
    return reasons


def count_classes(weights: dict[str, torch.Tensor]) -> int | None:
    """The number of classes that these weights distinguish; None if they have no classifier."""
    if "fc.weight" not in weights:
        return None
    return len(weights["fc.weight"])


def count_frames(weights: dict[str, torch.Tensor]) -> int | None:
    """The number of frames in a clip for these weights; None if they have no TAM."""
    first_layer = weights.get("layer1.0.temporal.global_branch.0.weight")  # [2T, T]
    if first_layer is None:
        return None
    return first_layer.shape[-1]
