"""Parameters, multiply-accumulates and activation memory of a network, without running it on data.

Counted on torch's meta device, which computes shapes only: seconds, whatever the size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from tanet.model.tam import TAM
from tanet.model.tanet import TANet, build
from tanet.recipes import Recipe, published_results
from tanet.runtime import autocast


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
    sizes = {(row.parameters, row.macs) for row in published_results(recipe.name) if row.macs}
    return ", ".join(f"{parameters}M, {macs}G" for parameters, macs in sizes) or "-"


KINDS = ("convolutions of frames", "BatchNorm, ReLU, additions", "temporal modules", "all else")
# What else than convolutions belongs to the temporal modules: the passes over frames here, and of the published
# formulation the copies and the reweighting, the only ones of tensors with five dimensions. The branches' matrix products
# look like the classifier's and are as small: they count as the rest.
TEMPORAL = ("_Pool", "_Mix")
FIVE_DIMENSIONS = ("aten::copy_", "aten::mul")
NORMS = ("batch_norm", "relu", "threshold", "clamp_min", "aten::add")


def time_by_kind(model: nn.Module, clips: torch.Tensor, precision: str = "float32", steps: int = 3) -> dict[str, float]:
    """Milliseconds of a forward and backward pass of `model` on `clips`, mean of `steps` after one to warm up, by KINDS.

    `clips` of at least 64 pixels: where frames shrink to a row, they cannot be told from what the branches see.
    """
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * clips.is_cuda
    _passes(model, clips, precision, 1)
    with profile(activities=activities, record_shapes=True, acc_events=True) as found:
        _passes(model, clips, precision, steps)
    times = dict.fromkeys(KINDS, 0.0)
    for event in found.key_averages(group_by_input_shape=True):
        microseconds = event.self_device_time_total if clips.is_cuda else event.self_cpu_time_total
        times[_kind(event)] += microseconds / 1e3 / steps
    return times


def _passes(model: nn.Module, clips: torch.Tensor, precision: str, steps: int) -> None:
    for _ in range(steps):
        with autocast(clips.device, precision):
            loss = model(clips).float().sum()
        loss.backward()
        model.zero_grad(set_to_none=True)


def _kind(event) -> str:
    convolutions, norms, temporal, rest = KINDS
    if "conv" in event.key:
        return temporal if _is_of_tam(event.input_shapes) else convolutions
    is_5d = any(len(shape) == 5 and shape[2] != 3 for shape in event.input_shapes)  # nor the clips themselves
    if event.key.startswith(TEMPORAL) or event.key in FIVE_DIMENSIONS and is_5d:
        return temporal
    return norms if any(name in event.key for name in NORMS) else rest


def _is_of_tam(shapes: Sequence) -> bool:
    """A convolution along time: of a branch, over [N, C, T] or, as torch may have it, [N, C, 1, T]; or of the published
    formulation, with a kernel [N*C, 1, K, 1] of one channel a group."""
    over_time = len(shapes[0]) == 3 or len(shapes[0]) == 4 and shapes[0][2] == 1
    return over_time or any(len(shape) == 4 and shape[1] == 1 for shape in shapes)
