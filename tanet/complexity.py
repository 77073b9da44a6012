"""Parameters, multiply-accumulates and activation memory of a network, without running it on data.

Counted on torch's meta device, which computes shapes only: seconds, whatever the size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from tanet.model import TANet, build
from tanet.published import published
from tanet.recipes import Recipe
from tanet.tam import TAM


@dataclass(frozen=True)
class Complexity:
    """Of one clip."""

    parameters: int
    convolutions: int  # multiply-accumulates of convolutions and matrix products, TAM's aggregation included
    others: int  # of BatchNorm (2 an element) and average pooling (1 an element), which fvcore counts too
    activations: int  # bytes that the backward pass keeps in float32, parameters not counted

    @property
    def macs(self) -> int:
        """Multiply-accumulates as the published figures count them, fvcore's convention."""
        return self.convolutions + self.others


def measure(recipe: Recipe, size: int) -> Complexity:
    """A recipe's network on one clip of `size` x `size` pixels."""
    with torch.device("meta"):
        model = build(recipe)
        clip = torch.empty(1, recipe.num_frames, 3, size, size)
    convolutions, others = _count(model.eval(), clip)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Complexity(parameters, convolutions, others, kept_for_backward(model.train(), clip))


def _count(model: TANet, clip: torch.Tensor) -> tuple[int, int]:
    counts = {"convolutions": 0, "others": 0}

    def add(kind: str, number: Callable) -> Callable:
        def hook(module, inputs, output):
            counts[kind] += number(module, inputs[0], output)

        return hook

    hooks = []
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            hook = add("convolutions", lambda conv, _, out: out.numel() * conv.weight[0].numel())
        elif isinstance(module, nn.Linear):
            hook = add("convolutions", lambda linear, _, out: out.numel() * linear.in_features)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            hook = add("others", lambda _, x, out: 2 * out.numel())
        elif isinstance(module, TAM):  # its branches are counted as modules of their own
            hooks.append(module.register_forward_hook(add("others", lambda tam, x, _: x.numel())))  # theta
            hook = add("convolutions", lambda tam, _, out: out.numel() * tam.kernel_size)
        else:
            continue
        hooks.append(module.register_forward_hook(hook))
    with torch.no_grad():
        features = model.forward_features(clip)
        model.forward_head(features)
    for hook in hooks:
        hook.remove()
    return counts["convolutions"], counts["others"] + features.numel()


def kept_for_backward(model: nn.Module, clip: torch.Tensor) -> int:
    """Bytes of the tensors that a forward pass keeps for the backward pass, parameters not counted."""
    parameters = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            kept[storage._cdata] = storage  # held, so that its identity is not used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(clip).sum()
    return sum(storage.nbytes() for storage in kept.values())


def summary_table(recipes: list[Recipe], size: int = 256) -> str:
    """A Markdown table: each recipe's network, counted here and as published."""
    rows = [
        f"| recipe | network | parameters | MACs at {size} | convolutions alone | published | training memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for recipe in recipes:
        found, crop = measure(recipe, size), measure(recipe, recipe.crop_size)
        rows.append(
            f"| `{recipe.name}` | {recipe.arch}, {recipe.num_frames} frames, {recipe.num_classes} classes "
            f"| {found.parameters / 1e6:.4f}M | {found.macs / 1e9:.3f}G | {found.convolutions / 1e9:.3f}G "
            f"| {_published_sizes(recipe)} | {recipe.clips_per_process} x {crop.activations / 2**20:.0f} MiB |"
        )
    return "\n".join(rows)


def _published_sizes(recipe: Recipe) -> str:
    sizes = {(row.parameters, row.macs) for row in published(recipe.name) if row.macs}
    return ", ".join(f"{parameters}M, {macs}G" for parameters, macs in sizes) or "-"
