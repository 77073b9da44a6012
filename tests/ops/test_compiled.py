"""Compiled networks: a second start compiles nothing again, and what the compiler need not look into is marked."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from tanet.ops.constants import constant_when_compiled

PROGRAM = """
import json, torch
from torch._dynamo.utils import counters
from tanet.model import TAM

torch.manual_seed(0)
norm, tam = torch.nn.BatchNorm2d(4), TAM(4, 2)
torch.compile(tam)(torch.randn(4, 4, 3, 3, requires_grad=True), norm).sum().backward()
print(json.dumps(counters["inductor"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch compiles for CPUs with a C++ compiler")
def test_a_second_start_finds_what_the_first_compiled(tmp_path):
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    starts = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        starts.append(json.loads(done.stdout.splitlines()[-1]))
    first, second = starts
    assert first["fxgraph_cache_miss"] == second["fxgraph_cache_hit"] == 2  # forward and backward
    assert "fxgraph_cache_miss" not in second


def test_a_mark_for_the_compiler_is_the_one_that_torch_sets():
    def torchs():
        pass

    def ours():
        pass

    torch.compiler.assume_constant_result(torchs)
    assert vars(constant_when_compiled(ours)) == vars(torchs) != {}
