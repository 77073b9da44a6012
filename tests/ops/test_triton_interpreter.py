"""The values of Triton's programs in its interpreter, which needs no GPU: those tests, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


@pytest.mark.slow
def test_values_in_the_interpreter():
    at_least = {"test_triton_kernels.py": 40, "test_triton_branches.py": 19}
    files = [Path(__file__).with_name(name) for name in at_least]
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-rp", "-p", "no:cacheprovider", "-p", "no:nbval", *files]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    for name, count in at_least.items():
        assert done.stdout.count(f"PASSED tests/ops/{name}::") >= count
