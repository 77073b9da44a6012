"""Testing Triton's programs without a GPU: by its interpreter, and by compiling for a GPU that is not there."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
import triton
from support.gpu import needs_gpu
from triton.backends.compiler import GPUTarget

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
computes = (lambda test: test) if INTERPRETED else needs_gpu
compiles = pytest.mark.skipif(INTERPRETED, reason="nothing is compiled in the interpreter")


class HopperHere:
    """A stand-in for Triton's driver, with all that Triton asks before it compiles."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 99  # Triton caches compiled kernels by device; this one is no real device

    def get_current_stream(self, device):
        return 0


def memory_beyond_registers(kernel, folder: Path) -> int:
    """Bytes a thread of a compiled program that do not fit into registers."""
    path = folder / "kernel.cubin"
    path.write_bytes(kernel.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    usage = subprocess.run([tool, "--dump-resource-usage", path], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"STACK:(\d+)", usage)[1])
