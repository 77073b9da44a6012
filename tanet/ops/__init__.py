"""The temporal aggregation, the operation at the heart of TAM (paper sections 3.1-3.3).

aggregation      the equation, its reference, and its backward pass
dispatch         which of the three paths computes it on this device
fused            TAM and the BatchNorm and ReLU in front of it as one operation
branches         TAM's two branches, from sums over pixels to the maps and back
plain_kernels    path "plain": torch operations, on any device
cpp_kernels      path "cpp": C++ on CPUs (cpp_kernels.cpp, cpp_frames.h, cpp_vectors.h), compiled at first use
triton_kernels   path "triton": Triton on CUDA GPUs; triton_programs holds the programs that run there
triton_branches  the branches of that path; triton_branch_programs and triton_norm_programs hold their programs
constants        marks what torch's compiler need not look into
"""

from tanet.ops import fused
from tanet.ops.aggregation import aggregate, aggregate_reference
from tanet.ops.dispatch import kernels_for, paths, use
from tanet.ops.plain_kernels import dense, is_exporting, number

__all__ = [
    "aggregate",
    "aggregate_reference",
    "dense",
    "fused",
    "is_exporting",
    "kernels_for",
    "number",
    "paths",
    "use",
]
