"""TAM's branches by Triton's programs, against the same in torch operations (tanet.ops.branches).

Values are tested on a GPU if there is one, and always in Triton's interpreter. That the programs compile for a GPU is
tested without one.
"""

import pytest
import torch
from torch import nn

triton = pytest.importorskip("triton")
from support.triton_here import (  # noqa: E402
    DEVICE,
    compiles,
    computes,
    memory_beyond_registers,
)

from tanet.ops import branches as plain  # noqa: E402
from tanet.ops import triton_branches  # noqa: E402
from tanet.ops.branches import Branch, Front, Norm  # noqa: E402

TOLERANCES = {torch.float64: 1e-11, torch.float32: 2e-5}
SHAPES = {  # N, T, C, taps
    "clips, channels and samples for several programs": (3, 3, 20, 3),
    "one frame, one tap": (2, 1, 4, 1),
    "five taps": (1, 5, 4, 5),
}


class Case:
    """Random sums over pixels, weights and statistics."""

    pixels = 7

    def __init__(self, shape, dtype, with_front=True, of_batch=True, blocks=2, device=DEVICE):
        n, t, c, taps = shape
        g = torch.Generator().manual_seed(0)

        def draw(*size):
            return torch.randn(size, generator=g, dtype=torch.float64).to(device, dtype)

        def norm(features):
            given = () if of_batch else (draw(features), draw(features).square() + 0.1)
            return Norm(draw(features), of_batch, draw(features), *given, eps=2**-10)

        parts = 2 if with_front else 1
        self.sums, self.correlations = draw(parts, blocks, n, c, t), draw(parts, blocks, n, c, t, taps)
        self.front = Front(draw(c), draw(c), draw(c), draw(c), of_batch) if with_front else None
        hidden = max(1, c // 4)
        self.local = Branch(draw(hidden, 3 * c) / c**0.5, norm(hidden), draw(c, hidden))
        self.glob = Branch(draw(2 * t, t), norm(2 * t), draw(taps, 2 * t))

    def computed(self, module):
        """All tensors of the forward and of the backward pass, named."""
        weights = self.front, self.local, self.glob
        maps = module.forward(self.sums, self.pixels, *weights)
        gradients = module.backward(self.correlations, self.pixels, *weights, maps)
        named = {**maps._asdict(), **gradients._asdict()}
        named |= {f"weights[{number}]": weight for number, weight in enumerate(named.pop("weights"))}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


@computes
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("with_front, of_batch", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("name", SHAPES)
def test_the_programs_compute_what_torch_computes(name, with_front, of_batch, dtype, monkeypatch):
    monkeypatch.setattr(triton_branches, "SAMPLES", 32)
    case = Case(SHAPES[name], dtype, with_front, of_batch)
    got, wanted = case.computed(triton_branches), case.computed(plain)
    assert got.keys() == wanted.keys()
    for key, exact in wanted.items():
        assert got[key].shape == exact.shape and got[key].dtype == exact.dtype, key
        scale = max(1.0, exact.abs().max().item())
        assert (got[key] - exact).abs().max() <= TOLERANCES[dtype] * scale, key


@computes
def test_running_statistics_follow_torchs():
    torch.manual_seed(0)
    norms = [nn.BatchNorm1d(features, momentum=momentum).to(DEVICE) for features, momentum in ((300, 0.1), (5, 0.5))]
    twins = [nn.BatchNorm1d(norm.num_features, momentum=norm.momentum).to(DEVICE) for norm in norms]
    updates, batches = [], [torch.randn(7, norm.num_features, device=DEVICE) for norm in norms]
    for norm, twin, batch in zip(norms, twins, batches):
        variance, mean = torch.var_mean(batch, 0, correction=0)
        updates.append((norm, mean, variance, len(batch)))
        twin(batch)
    triton_branches.update_running_statistics(updates)
    for norm, twin in zip(norms, twins):
        torch.testing.assert_close(dict(norm.named_buffers()), dict(twin.named_buffers()))


@compiles
@pytest.mark.parametrize("of_batch", [True, False])
@pytest.mark.parametrize("with_front", [True, False])
def test_the_programs_compile_for_a_gpu_and_fit_its_registers(compiled, with_front, of_batch, tmp_path):
    Case((2, 8, 64, 3), torch.float32, with_front, of_batch, blocks=5, device="cpu").computed(triton_branches)
    assert {name for name, _ in compiled} == {
        "theta", "norm_relu", "maps", "map_gradients", "norm_relu_backward", "weight_gradients", "theta_gradient"
    }  # fmt: skip
    for name, kernel in compiled:
        assert memory_beyond_registers(kernel, tmp_path) == 0, name
