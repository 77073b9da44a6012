"""TAM with other layers or sizes than its own, and gradients in another memory format than the frames."""

import copy

import pytest
import torch
from torch import nn

from tanet import TAM
from tanet.ops import aggregate, aggregate_reference, paths, use

FORMATS = (torch.contiguous_format, torch.channels_last)
REPLACED = {
    "local_branch.0": [nn.Conv1d(8, 2, 3, padding=1), nn.Conv1d(8, 2, 5, padding=2, bias=False)]
    + [nn.Conv1d(8, 2, 3, padding=2, dilation=2, bias=False), nn.Conv1d(8, 2, 3, padding=1, groups=2, bias=False)],
    "local_branch.3": [nn.Conv1d(2, 8, 1), nn.Conv1d(2, 8, 3, padding=1, bias=False)],
    "global_branch.0": [nn.Linear(4, 8)],
    "global_branch.3": [nn.Linear(8, 3)],
}
CASES = [(name, layer) for name, layers in REPLACED.items() for layer in layers]


@pytest.fixture(params=["plain", "cpp"])
def path(request):
    if request.param not in paths("cpu"):
        pytest.skip("no compiler")
    with use(request.param):
        yield request.param


def by_its_modules(tam, z):
    """TAM of z [N*T, C, H, W] from the modules of its branches."""
    clips = z.unflatten(0, (-1, tam.num_frames))
    theta = clips.mean((3, 4)).transpose(1, 2)  # [N, C, T]
    kernel = tam.global_branch(theta.flatten(0, 1)).unflatten(0, theta.shape[:2])
    return aggregate_reference(clips, tam.local_branch(theta), kernel).flatten(0, 1)


@pytest.mark.parametrize("name, layer", CASES, ids=[f"{name} {layer}" for name, layer in CASES])
def test_a_replaced_layer_computes_what_it_is(path, name, layer):
    torch.manual_seed(0)
    tam = TAM(8, 4).double()
    tam.set_submodule(name, copy.deepcopy(layer).double())
    z = torch.randn(12, 8, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(tam(z), by_its_modules(tam, z))


def test_batchnorms_without_bias_compute_as_torch_does(path):
    torch.manual_seed(0)
    norm, tam = nn.BatchNorm2d(8).double(), TAM(8, 4).double()
    norm.bias = tam.local_branch[1].bias = tam.global_branch[1].bias = None
    z = torch.randn(12, 8, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(tam(z, norm), by_its_modules(tam, torch.relu(norm(z))))


def test_no_clips_give_no_frames(path):
    assert TAM(8, 4).eval()(torch.ones(0, 8, 3, 2), nn.BatchNorm2d(8).eval()).shape == (0, 8, 3, 2)


def test_a_single_sample_of_the_global_branch_raises_torchs_own_error(path):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        TAM(1, 8, beta=1)(torch.ones(8, 1, 3, 2))


@pytest.mark.parametrize("of_y", FORMATS)
@pytest.mark.parametrize("of_z", FORMATS)
@pytest.mark.parametrize("function", ["aggregate", "tam", "tam and norm"])
def test_the_gradient_has_the_memory_format_of_the_frames(path, function, of_z, of_y):
    """A compiler plans with this format, and stops with an error where it gets another."""
    torch.manual_seed(0)
    norm, tam = nn.BatchNorm2d(8), TAM(8, 4)
    z = torch.randn(12, 8, 3, 2).to(memory_format=of_z).requires_grad_()
    if function == "aggregate":
        y = aggregate(z.unflatten(0, (3, 4)), torch.rand(3, 8, 4), torch.rand(3, 8, 3)).flatten(0, 1)
    else:
        y = tam(z, norm if function == "tam and norm" else None)
    (grad,) = torch.autograd.grad(y, z, torch.randn(y.shape).to(memory_format=of_y))
    assert grad.stride() == z.stride()
