"""The temporal aggregation, the operation at the heart of TAM (paper sections 3.1-3.3).

aggregation      the equation, its reference, and its backward pass
dispatch         which of the three paths computes it on this device
fused            BatchNorm, ReLU, spatial mean and aggregation in one go
plain_kernels    torch operations, on any device
cpp_kernels      C++ on CPUs, compiled at first use
triton_kernels   Triton on CUDA GPUs; triton_programs holds what runs there
"""

from tanet.ops import fused
from tanet.ops.aggregation import aggregate, aggregate_reference
from tanet.ops.dispatch import kernels_for, paths, use
from tanet.ops.plain_kernels import dense, number

__all__ = ["aggregate", "aggregate_reference", "dense", "fused", "kernels_for", "number", "paths", "use"]
