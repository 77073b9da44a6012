"""Training with less memory: the activations inside a block are computed again in the backward pass."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recomputed(layer: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """layer(x). Each block keeps only its input and runs a second time when the backward pass reaches it."""
    for block in layer:
        if torch.compiler.is_compiling():  # compiled code updates the statistics once, and admits no such contexts
            x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
        else:
            contexts = partial(_contexts, block)
            x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """The contexts of a block's first and second run."""
    return nullcontext(), _running_statistics_kept(block)


@contextmanager
def _running_statistics_kept(block: nn.Module) -> Iterator[None]:
    """BatchNorm does not update its running statistics: the first run has updated them with this batch."""
    norms = []
    for module in block.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            norms.append(module)
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
