"""What a network costs: parameters, multiply-accumulates, activation memory, and where a training step's time goes.

`measure` counts on torch's meta device, which computes only shapes: it takes seconds, whatever the network's size.
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
    """The cost of one clip."""

    parameters: int
    convolutions: int  # multiply-accumulates of convolutions and matrix products, with TAM's aggregation
    others: int  # multiply-accumulates of BatchNorm (2 an element) and average pooling (1 an element), as in fvcore
    activations: int  # bytes kept for the backward pass in float32, without parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates as the published figures count them, fvcore's convention."""
        return self.convolutions + self.others


def measure(recipe: Recipe, size: int) -> Complexity:
    """The cost of a recipe's network on one clip of `size` x `size` pixels."""
    with torch.device("meta"):
        model = build(recipe)
        clip = torch.empty(1, recipe.num_frames, 3, size, size)
    convolutions, others = _count(model.eval(), clip)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Complexity(parameters, convolutions, others, kept_for_backward(model.train(), clip))


def _count(model: TANet, clip: torch.Tensor) -> tuple[int, int]:
    """Multiply-accumulates of one forward pass: (of convolutions and matrix products, of the others)."""
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
        elif isinstance(module, TAM):  # theta and the aggregation; the branches are modules of their own
            hooks.append(module.register_forward_hook(add("others", lambda tam, x, _: x.numel())))
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
    """Bytes of the tensors that a forward pass keeps for the backward pass, without parameters."""
    parameters = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            kept[storage._cdata] = storage  # keeps the storage alive, so that no other gets the same identity
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(clip).sum()
    return sum(storage.nbytes() for storage in kept.values())


def summary_table(recipes: list[Recipe], size: int = 256) -> str:
    """A Markdown table of each recipe's network: sizes counted here, and sizes as published."""
    rows = [
        f"| recipe | network | parameters | MACs at {size} | convolutions alone | published | training memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for recipe in recipes:
        cost = measure(recipe, size)
        training = measure(recipe, recipe.crop_size)
        rows.append(
            f"| `{recipe.name}` | {recipe.arch}, {recipe.num_frames} frames, {recipe.num_classes} classes "
            f"| {cost.parameters / 1e6:.4f}M | {cost.macs / 1e9:.3f}G | {cost.convolutions / 1e9:.3f}G "
            f"| {_published_sizes(recipe)} | {recipe.clips_per_process} x {training.activations / 2**20:.0f} MiB |"
        )
    return "\n".join(rows)


def _published_sizes(recipe: Recipe) -> str:
    sizes = {(row.parameters, row.macs) for row in published_results(recipe.name) if row.macs}
    return ", ".join(f"{parameters}M, {macs}G" for parameters, macs in sizes) or "-"


KINDS = ("convolutions of frames", "BatchNorm, ReLU, additions", "temporal modules", "all else")
# What belongs to the temporal modules besides convolutions over time. In tanet: the operations of tanet.ops. In the
# published formulation: copies and the reweighting, the only ones of tensors with five dimensions. The branches' matrix
# products look like the classifier's: they count as "all else".
TEMPORAL = ("tanet::",)
FIVE_DIMENSIONS = ("aten::copy_", "aten::mul")
NORMS = ("batch_norm", "relu", "threshold", "clamp_min", "aten::add")


def time_by_kind(model: nn.Module, clips: torch.Tensor, precision: str = "float32", steps: int = 3) -> dict[str, float]:
    """Milliseconds of a forward and backward pass of `model` on `clips`, by KINDS: the mean of `steps` after a warm-up.

    clips: [N, T, 3, H, W] with H and W at least 64. In smaller clips frames shrink to a single row, and their
    convolutions look like those of the branches.
    """
    activities = [ProfilerActivity.CPU]
    if clips.is_cuda:
        activities.append(ProfilerActivity.CUDA)
    _passes(model, clips, precision, 1)
    with profile(activities=activities, record_shapes=True, acc_events=True) as profiler:
        _passes(model, clips, precision, steps)
    times = dict.fromkeys(KINDS, 0.0)
    for event in profiler.key_averages(group_by_input_shape=True):
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
    """The one of KINDS that a profiler's event belongs to."""
    convolutions, norms, temporal, others = KINDS
    if "conv" in event.key:
        return temporal if _is_over_time(event.input_shapes) else convolutions
    if event.key.startswith(TEMPORAL):
        return temporal
    # Clips [N, T, 3, H, W] have five dimensions, too, when they are normalised.
    if event.key in FIVE_DIMENSIONS and any(len(shape) == 5 and shape[2] != 3 for shape in event.input_shapes):
        return temporal
    if any(name in event.key for name in NORMS):
        return norms
    return others


def _is_over_time(shapes: Sequence) -> bool:
    """Whether a convolution with inputs of these shapes is one over time.

    In a branch its input is [N, C, T], or [N, C, 1, T] inside torch. In the published formulation the aggregation is a
    convolution with a kernel [N*C, 1, K, 1]: one channel a group.
    """
    in_branch = len(shapes[0]) == 3 or (len(shapes[0]) == 4 and shapes[0][2] == 1)
    return in_branch or any(len(shape) == 4 and shape[1] == 1 for shape in shapes)
