"""Weights into a network: every tensor of it accounted for, or an error that lists what does not fit."""

from urllib.error import URLError

import torch
import torchvision
from torch import nn

from tanet.model.tam import TAM


def load_imagenet(model: nn.Module, resnet: str, weights: str | None) -> nn.Module:
    if weights is None:
        return model
    if weights != "imagenet":
        raise ValueError(f'weights must be None or "imagenet", got {weights!r}')
    published = torchvision.models.get_model_weights(resnet)["IMAGENET1K_V1"]
    try:
        state = published.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        raise RuntimeError(
            f"cannot download the ImageNet weights of {resnet} ({error}). Fetch {published.url} on a machine with "
            f"internet access, put it into {torch.hub.get_dir()}/checkpoints/ and try again, or train with "
            "init='none' to start from random weights."
        ) from error
    return load_resnet(model, state)


def load_resnet(model: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module:
    """Copies a torchvision ResNet's weights, its 1000-class head left out, into `model`; every other key must fit."""
    load_state(
        model, {key: value for key, value in state.items() if not key.startswith("fc.")}, keep=("temporal", "fc")
    )
    return model


def load_state(model: nn.Module, weights: dict[str, torch.Tensor], keep: tuple[str, ...] = ()) -> list[str]:
    """Copies `weights` into `model` and returns the keys of the network that were left as they are.

    Only parts named in `keep` ("temporal", "fc") may be left. Any other key that is missing, unexpected or of another
    shape or kind is listed in a ValueError, and the network is untouched.
    """
    own = model.state_dict()
    kept = sorted(key for key in own.keys() - weights.keys() if set(key.split(".")) & set(keep))
    problems = [f"missing {key}" for key in sorted(own.keys() - weights.keys() - set(kept))]
    problems += [f"unexpected {key}" for key in sorted(weights.keys() - own.keys())]
    shared = sorted(own.keys() & weights.keys())
    problems += [
        f"{key} is {tuple(weights[key].shape)}, the network has {tuple(own[key].shape)}"
        for key in shared
        if own[key].shape != weights[key].shape
    ]
    problems += [
        f"{key} is {weights[key].type()}, no plain tensor of {own[key].dtype}"
        for key in shared
        if not _plain(weights[key]) or weights[key].is_floating_point() != own[key].is_floating_point()
    ]
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        listed = "; ".join(problems[:8]) + more
        raise ValueError(f"{_in_words(model, weights)}{len(problems)} keys do not fit this network: {listed}")
    model.load_state_dict(own | weights)
    return kept


def _plain(tensor: torch.Tensor) -> bool:
    """Not sparse, quantized or without content: such fail in the middle of copying."""
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta


def _in_words(model: nn.Module, weights: dict[str, torch.Tensor]) -> str:
    """The two misfits that have a name, ahead of the list of keys."""
    classes, frames = count_classes(weights), count_frames(weights)
    words = ""
    if classes not in (None, model.num_classes):
        words += f"the weights are for {classes} classes, the network for {model.num_classes}; "
    if frames not in (None, model.num_frames) and isinstance(model.layer1[0].temporal, TAM):
        words += f"the weights are for {frames} frames, the network for {model.num_frames}; "
    return words


def count_classes(weights: dict[str, torch.Tensor]) -> int | None:
    """How many classes these weights tell apart; None without a classifier among them."""
    return len(weights["fc.weight"]) if "fc.weight" in weights else None


def count_frames(weights: dict[str, torch.Tensor]) -> int | None:
    """How many frames a clip has for these weights; None without TAM among them."""
    first = weights.get("layer1.0.temporal.global_branch.0.weight")  # [2T, T]
    return None if first is None else first.shape[-1]
