"""TAM, the temporal adaptive module.

Liu, Wang, Wu, Qian, Lu: "TAM: Temporal Adaptive Module for Video Recognition", ICCV 2021, section 3.
Written from the paper's equations. Sub-module numbering of the two branches follows the authors' release, so that
published weights map onto it name by name.

N clips, T frames, C channels, H x W pixels, K taps of the aggregation kernel.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from tanet.ops import aggregate, dense, fused, kernels_for, number


class TAM(nn.Module):
    """Reweights each channel's frames, then convolves them over time with a kernel computed from the clip itself.

    The local branch looks at a short temporal neighbourhood and yields the importance map V; the global branch looks
    at all T frames of one channel and yields the aggregation kernel W. Both see only theta, the spatial mean of x.

    Parameters: `channels` C, divisible by `beta`; `num_frames` T, fixed by the global branch's fully connected layers;
    `kernel_size` K, odd; `alpha` widens the global branch, `beta` narrows the local one (paper section 3.2, 3.3).
    """

    def __init__(self, channels: int, num_frames: int, kernel_size: int = 3, alpha: int = 2, beta: int = 4):
        super().__init__()
        if kernel_size % 2 == 0 or kernel_size < 1:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        if channels % beta:
            raise ValueError(f"channels ({channels}) must be divisible by beta ({beta})")
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {num_frames}")
        self.channels, self.num_frames, self.kernel_size = channels, num_frames, kernel_size
        self.local_branch = nn.Sequential(  # theta [N, C, T] -> V [N, C, T]
            nn.Conv1d(channels, channels // beta, 3, padding=1, bias=False),
            nn.BatchNorm1d(channels // beta),
            nn.ReLU(inplace=True),
            _PointwiseConv1d(channels // beta, channels, 1, bias=False),
            nn.Sigmoid(),
        )
        self.global_branch = nn.Sequential(  # theta [N*C, T] -> W [N*C, K]
            nn.Linear(num_frames, alpha * num_frames, bias=False),
            nn.BatchNorm1d(alpha * num_frames),
            nn.ReLU(inplace=True),
            nn.Linear(alpha * num_frames, kernel_size, bias=False),
            _SoftmaxOverTaps(),
        )

    def forward(self, x: torch.Tensor, norm: nn.BatchNorm2d | None = None) -> torch.Tensor:
        """x [N*T, C, H, W], the frames of a clip one after another -> the same shape, type and memory format.

        With `norm`, the module's input is relu(norm(x)), which is then computed on the way, see tanet.ops.fused.
        """
        clips = self._clips(x)
        if torch.compiler.is_compiling():  # or exporting, which need operations that they know
            x = x if norm is None else torch.relu(norm(x))
            return aggregate(self._clips(x), *self._maps(self.theta(x))).flatten(0, 1)
        kernels = kernels_for(clips, self.kernel_size)
        if norm is None:
            return fused.tam(clips, self._maps, kernels).flatten(0, 1)
        if fused.can_fuse(norm, kernels, clips):
            return fused.batchnorm_relu_tam(clips, norm, self._maps, kernels).flatten(0, 1)
        return self(torch.relu_(norm(x)))

    def theta(self, x: torch.Tensor) -> torch.Tensor:
        """x [N*T, C, H, W] -> its mean over H and W, [N, C, T], in float32, or float64 for float64."""
        clips = self._clips(x)
        if torch.compiler.is_compiling():
            return clips.mean((-2, -1), dtype=number(x.dtype)).transpose(1, 2)
        return fused.theta(clips, kernels_for(clips, self.kernel_size))

    def _clips(self, x):
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"TAM expects [N*T, {self.channels}, H, W], got shape {tuple(x.shape)}")
        if x.shape[0] % self.num_frames:
            raise ValueError(f"{x.shape[0]} frames are not a whole number of clips of {self.num_frames} frames")
        return dense(x.unflatten(0, (-1, self.num_frames)))  # [N, T, C, H, W]

    def _maps(self, theta):
        return self._importance(theta).to(theta.dtype), self._kernel(theta).to(theta.dtype)

    def importance_map(self, x: torch.Tensor) -> torch.Tensor:
        """V = sigmoid(Conv1d(ReLU(BN(Conv1d(theta))))): x [N*T, C, H, W] -> [N, C, T] in (0, 1) (local branch)."""
        return self._importance(self.theta(x))

    def aggregation_kernel(self, x: torch.Tensor) -> torch.Tensor:
        """W = softmax(FC(ReLU(BN(FC(theta))))): x [N*T, C, H, W] -> [N, C, K], summing to 1 over K (global branch)."""
        return self._kernel(self.theta(x))

    def _importance(self, theta):
        with _without_autocast(theta.device.type):
            return self.local_branch(theta.to(self.local_branch[0].weight.dtype))

    def _kernel(self, theta):
        n, c, t = theta.shape
        with _without_autocast(theta.device.type):
            own = theta.reshape(n * c, t).to(self.global_branch[0].weight.dtype)
            return self.global_branch(own).view(n, c, self.kernel_size)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_frames={self.num_frames}, kernel_size={self.kernel_size}"


class _PointwiseConv1d(nn.Conv1d):
    """Kernel size 1 as the matrix product that it is: up to 4 times as fast as torch's convolution on CPUs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(self.weight[..., 0], x)


class _SoftmaxOverTaps(nn.Module):
    """[N*C, K] -> the same, softmax over K; with K as the outer dimension, since rows of 3 numbers cannot be vectorised."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.T.contiguous().softmax(0).T


def _without_autocast(device_type: str) -> AbstractContextManager:
    """The branches stay in float32 under autocast: they are tiny, and everything after them depends on their result."""
    if device_type == "meta":  # it computes shapes alone and has no autocast
        return nullcontext()
    return torch.autocast(device_type, enabled=False)
