"""Tests that need a CUDA GPU: skipped where there is none, and the only ones of `pytest -m gpu`."""

from collections.abc import Callable

import pytest
import torch

GPU_MARKS = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"))


def needs_gpu(test: Callable) -> Callable:
    """Marks a test that needs a CUDA GPU."""
    for mark in GPU_MARKS:
        test = mark(test)
    return test
