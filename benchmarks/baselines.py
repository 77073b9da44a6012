"""The baselines of the benchmarks: TAM with the steps of the published code bases, and MMAction2's own class.

They compute what `tanet.TAM` computes, at another cost: x is copied to channel-major order, pooled, reweighted into a
second tensor, convolved with one group for each channel of each clip, and copied back.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from tanet import TAM
from tanet.model import Bottleneck, TANet


class PublishedTAM(nn.Module):
    """The published formulation of `tam`, with the same branch modules.

    x [N*T, C, H, W] -> y of the same shape, contiguous. Under autocast, theta and both branches use its dtype.
    It is not a subclass of TAM, so that a network does not fuse it with its BatchNorm.
    """

    def __init__(self, tam: TAM):
        super().__init__()
        self.num_frames, self.kernel_size = tam.num_frames, tam.kernel_size
        self.local_branch, self.global_branch = tam.local_branch, tam.global_branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t, (c, h, w) = self.num_frames, x.shape[1:]
        x = x.unflatten(0, (-1, t)).permute(0, 2, 1, 3, 4).contiguous()  # [N, C, T, H, W]
        n = x.shape[0]
        theta = F.adaptive_avg_pool2d(x.view(n * c, t, h, w), 1).view(n * c, t)
        kernel = self.global_branch(theta).view(n * c, 1, self.kernel_size, 1)
        importance = self.local_branch(theta.view(n, c, t)).view(n, c, t, 1, 1)
        weighted = (x * importance).view(1, n * c, t, h * w)
        y = F.conv2d(weighted, kernel, padding=(self.kernel_size // 2, 0), groups=n * c)
        return y.view(n, c, t, h, w).permute(0, 2, 1, 3, 4).contiguous().view(n * t, c, h, w)


def mmaction2_tam(folder: Path) -> type:
    """MMAction2's own class, from `pip install --no-deps --target FOLDER mmaction2`. Its file imports only torch."""
    path = folder / "mmaction" / "models" / "common" / "tam.py"
    if not path.exists():
        raise SystemExit(f"{path} not found; run pip install --no-deps --target {folder} mmaction2")
    spec = importlib.util.spec_from_file_location("mmaction2_tam", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TAM


def as_mmaction2(tam: TAM, folder: Path) -> nn.Module:
    """MMAction2's module with the branches of `tam`."""
    module = mmaction2_tam(folder)(
        tam.channels,
        tam.num_frames,
        adaptive_kernel_size=tam.kernel_size,
        adaptive_convolution_padding=tam.kernel_size // 2,
    )
    module.G, module.L = tam.global_branch, tam.local_branch
    return module


def replace_tam(model: TANet, make: Callable[[TAM], nn.Module]) -> TANet:
    """Replaces the TAM of every bottleneck by `make(tam)`; returns `model`."""
    for module in model.modules():
        if isinstance(module, Bottleneck):
            module.temporal = make(module.temporal)
    return model
