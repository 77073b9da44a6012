"""The gradients of a step: forward and backward pass of its batches, on GPUs as CUDA graphs.

At the published batch of 8 clips Python takes longer to launch the kernels of a step than the GPU to compute them. A
graph launches them at once. It computes the same bits: dropout, too, because a graph draws from the seed and the
position that torch's generator has when it is replayed.

    first batch of a step       graph 1 writes the gradients into tensors that stay
    further ones (accumulation) graph 2 adds to them
    a batch with other shapes   the step runs without graphs: unreadable videos were left out

Several processes average their gradients after the graphs, not inside. NCCL demands that all ranks replay a captured
exchange or none does, but a rank with an unreadable video has to compute without its graphs.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tanet.runtime import WARM_UP, Captured, Process, autocast, capture, first_line, to_device


def compute_gradients(
    network: nn.Module,
    batches: list[tuple],
    precision: str,
    process: Process,
    graphs: "StepGraphs | None",
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Gradients of the loss of a step's `batches`, into .grad, which must be None before. They may be StepGraphs' own.

    A batch: clips uint8 [N, T, 3, S, S], labels [N], and more. Its loss is the mean over its clips, the step's loss the
    mean over the batches. Returns float64 [2], sums over the clips: of the loss, and of the correct ones.
    """
    use_graphs = graphs is not None and graphs.take([batch[:2] for batch in batches])
    sums = []
    for number, (clips, labels, *_) in enumerate(batches, 1):
        clips, labels = to_device(process.device, clips, labels)
        options = {"precision": precision, "batches": len(batches), "label_smoothing": label_smoothing}
        compute = partial(forward_backward, network, **options)
        # The ranks average their gradients once a step. DistributedDataParallel does it during the last backward pass.
        waits = isinstance(network, DistributedDataParallel) and number < len(batches)
        with network.no_sync() if waits else nullcontext():
            sums.append(graphs.compute(compute, clips, labels, number) if use_graphs else compute(clips, labels))
    if graphs is not None:
        process.average([parameter.grad for parameter in graphs.parameters])
    return torch.stack(sums).sum(0)


def forward_backward(
    network: nn.Module,
    clips: torch.Tensor,
    labels: torch.Tensor,
    precision: str,
    batches: int,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Adds a batch's share of a step of so many `batches` to .grad; returns what `compute_gradients` returns."""
    with autocast(clips.device, precision):
        logits = network(clips)  # [N, classes]
    # [], the mean over N clips
    loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    (loss / batches).backward()
    correct = (logits.argmax(1) == labels).sum()
    return torch.stack([loss.detach().double() * len(labels), correct.double()])


class StepGraphs:
    """The CUDA graphs of a training's steps. The first WARM_UP steps run without, the next one captures.

    `parameters`: of the network, all of which get gradients. `clips_shape`: [N, T, 3, S, S], of a batch without
    unreadable videos. `fails` is called with a reason if a capture fails; that step and all others then run without
    graphs. Nothing here belongs into a checkpoint.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        clips_shape: tuple[int, ...],
        device: torch.device,
        fails: Callable[[str], None],
    ):
        self.parameters, self.device, self.fails = parameters, device, fails
        self.steps = 0  # without graphs, of the shapes that are to be captured
        self.works = True
        self._captured: dict[bool, Captured] = {}  # by whether the batch is the first of its step
        self._gradients: list[torch.Tensor] = []  # where the graphs write
        self._clips = torch.empty(clips_shape, dtype=torch.uint8, device=device)
        self._labels = torch.empty(clips_shape[:1], dtype=torch.int64, device=device)

    def take(self, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> bool:
        """Whether the step of these (clips, labels) is one for graphs; counts the steps of warm-up."""
        fits = all(clips.shape == self._clips.shape and clips.dtype == self._clips.dtype for clips, _ in batches)
        if self.works and not fits:
            self._make_room()
        if not self.works or not fits:
            return False
        self.steps += 1
        return self.steps > WARM_UP

    def compute(self, function: Callable, clips: torch.Tensor, labels: torch.Tensor, number: int) -> torch.Tensor:
        """Does what `function(clips, labels)` does: adds to .grad, which is None before batch 1, and returns sums."""
        self._clips.copy_(clips)
        self._labels.copy_(labels)
        is_first = number == 1
        if self.works and is_first not in self._captured:
            self._capture(partial(function, self._clips, self._labels), is_first)
        if not self.works:
            return function(clips, labels)
        captured = self._captured[is_first]
        captured.replay()
        if is_first:
            self._set_gradients(self._gradients)
        return captured.result.clone()  # the next replay overwrites it

    def _capture(self, function: Callable[[], torch.Tensor], is_first: bool) -> None:
        """If .grad is None, backward passes allocate the gradients, without additions; and these tensors stay."""
        pool = None if is_first else self._captured[True].pool
        try:
            self._captured[is_first] = capture(function, self.device, pool)
        except Exception as error:  # kernels may raise any exception
            if is_first:
                self._set_gradients([None] * len(self.parameters))
            self.works, self._captured = False, {}
            self.fails(first_line(error))
            return
        if is_first:
            self._gradients = [parameter.grad for parameter in self.parameters]

    def _make_room(self) -> None:
        """Before a step without graphs: gives them up if there is no memory beside them. They are captured again."""
        size = sum(captured.size for captured in self._captured.values())
        if size and memory_beside(size, self.device) < size:
            self._captured, self._gradients = {}, []

    def _set_gradients(self, gradients: list[torch.Tensor | None]) -> None:
        for parameter, gradient in zip(self.parameters, gradients):
            parameter.grad = gradient


def memory_beside(size: int, device: torch.device) -> int:
    """Bytes that a GPU with graphs of this size, in bytes, has left for tensors."""
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device) - size
    return torch.cuda.mem_get_info(device)[0] + max(0, idle)
