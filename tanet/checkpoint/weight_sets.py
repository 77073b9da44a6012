"""Which weights of a file are read: it may hold a second set, that of a moving average (EMA).

    mmcv      state_dict: backbone.conv1.weight, ... and ema_backbone_conv1_weight, ...
    mmengine  state_dict, and ema_state_dict: module.backbone.conv1.weight, ..., steps
    timm      state_dict, and state_dict_ema

mmcv averages parameters alone: the running statistics of BatchNorm belong to both sets. mmengine exchanges the two sets
when it saves, so that state_dict holds the averaged weights. mmcv does so only if its EMA hook runs before its
checkpoint hook, which a file does not say.
"""

from pathlib import Path

import torch

from tanet.checkpoint.formats import StandIn
from tanet.checkpoint.layouts import unwrapped
from tanet.errors import CheckpointError

NETWORK = ("model", "state_dict")
EMA = ("ema_state_dict", "state_dict_ema", "model_ema")
# In words, for people who must know which set was tested.
EXCHANGED = "mmengine exchanges the sets when it saves"
FIRST = {"ema_state_dict": f", which holds the averaged weights ({EXCHANGED})"}
SECOND = {"ema_state_dict": f"which holds the weights before averaging ({EXCHANGED})"}
AVERAGE = "of a moving average (EMA)"


def choose(content: dict, path: Path, ema: bool) -> tuple[dict[str, torch.Tensor], dict, str]:
    """The weights of a file's content, everything else in it, and in words which of two sets these are, else "".

    The names of the weights are those in the bare network. `ema` asks for the second set. CheckpointError if the file
    has no such set, or no weights.
    """
    key = next((key for key in (*NETWORK, *EMA) if isinstance(content.get(key), dict)), None)
    rest = {} if key is None else {name: value for name, value in content.items() if name != key}
    weights = _bare_weights(content if key is None else content[key], content, path)
    second_key = next((name for name in EMA if isinstance(rest.get(name), dict)), None)
    if second_key is not None:
        second = _bare_weights(rest.pop(second_key), content, path)
    else:
        weights, second = _without_ema_names(weights)
    if not second:
        if ema:
            raise CheckpointError(
                f"{path}: holds no second set of weights, {AVERAGE}: leave out --ema (ema=True). Of this package's own "
                "runs with ema the averaged weights are tested anyway"
            )
        return weights, rest, ""
    first_name, second_name = key or "the file", second_key or "the names ema_..."
    if ema:
        words = (
            f"the second set, of {second_name}, {SECOND.get(second_key, AVERAGE)}; without --ema that of {first_name}"
        )
        return second, rest, words
    words = f"those of {first_name}{FIRST.get(second_key, '')}; --ema takes the second set, {AVERAGE}, of {second_name}"
    return weights, rest, words


def _without_ema_names(weights: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """mmcv's two sets: ema_backbone_conv1_weight is the average of backbone.conv1.weight. The second may be empty."""
    averages = {f"ema_{name.replace('.', '_')}": name for name in weights}
    second = {averages[name]: value for name, value in weights.items() if name in averages}
    first = {name: value for name, value in weights.items() if name not in averages}
    return first, {**first, **second} if second else {}


def _bare_weights(weights: dict, content: dict, path: Path) -> dict[str, torch.Tensor]:
    if weights and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in weights.items()):
        try:
            return unwrapped(weights)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
    has_optimizer = "optimizer" in content or "param_groups" in content
    contained = "an optimizer's state" if has_optimizer else "no weights"
    if any(isinstance(value, StandIn) for value in weights.values()):
        contained = "arrays or objects in place of tensors"
    keys = ", ".join(map(str, list(content)[:6]))
    raise CheckpointError(f"{path}: holds {contained} and no network (its keys: {keys})")
