"""Activation checkpointing: less memory for training in exchange for a second forward pass, block by block."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def blocks(layer: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """layer(x); each block keeps its input alone and is computed again when its gradient is wanted."""
    for block in layer:
        contexts = partial(_contexts, block)
        x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    return x


def _contexts(block: nn.Module):
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """BatchNorm's running statistics have seen this batch already."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
