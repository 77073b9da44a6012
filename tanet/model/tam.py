"""TAM, the temporal adaptive module (paper section 3).

Liu, Wang, Wu, Qian, Lu: "TAM: Temporal Adaptive Module for Video Recognition", ICCV 2021. Written from the paper's
equations:

    theta[n,c,t] = mean over H, W of x[n,t,c]                  what both branches see (section 3.1)
    V = sigmoid(Conv1d(ReLU(BN(Conv1d(theta)))))               local branch: the importance map (section 3.2)
    W = softmax(FC(ReLU(BN(FC(theta)))))                       global branch: the aggregation kernel (section 3.3)
    y[n,t,c] = sum_k W[n,c,k] * V[n,c,t+k-p] * x[n,t+k-p,c]    the aggregation, p = K // 2 (section 3.1)

The sub-modules of both branches are numbered as in the authors' release, so that published weights load by name.

N clips, T frames, C channels, H x W pixels, K taps of the aggregation kernel.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from tanet.ops import aggregate, dense, fused, is_exporting, number


class TAM(nn.Module):
    """Reweights each channel's frames, then convolves them over time with a kernel computed from the clip itself.

    The local branch looks at a short temporal neighbourhood and yields the importance map V. The global branch looks at
    all T frames of one channel and yields the aggregation kernel W. Both see only theta, the spatial mean of x.

    channels: C, divisible by `beta`. num_frames: T, fixed by the fully connected layers of the global branch.
    kernel_size: K, odd. alpha: widens the global branch (section 3.3). beta: narrows the local branch (section 3.2).
    ValueError for sizes that do not fit.
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
        self.local_branch = nn.Sequential(  # section 3.2: theta [N, C, T] -> V [N, C, T]
            nn.Conv1d(channels, channels // beta, 3, padding=1, bias=False),  # [N, C/beta, T]
            nn.BatchNorm1d(channels // beta),
            nn.ReLU(inplace=True),
            nn.Conv1d(channels // beta, channels, 1, bias=False),  # [N, C, T]
            nn.Sigmoid(),
        )
        self.global_branch = nn.Sequential(  # section 3.3: theta [N*C, T], each channel by itself -> W [N*C, K]
            nn.Linear(num_frames, alpha * num_frames, bias=False),  # [N*C, alpha*T]
            nn.BatchNorm1d(alpha * num_frames),
            nn.ReLU(inplace=True),
            nn.Linear(alpha * num_frames, kernel_size, bias=False),  # [N*C, K]
            nn.Softmax(-1),
        )

    def forward(self, x: torch.Tensor, norm: nn.BatchNorm2d | None = None) -> torch.Tensor:
        """x [N*T, C, H, W], the frames of a clip one after another -> y of the same shape, type and memory format.

        If `norm` is given, the module's input is relu(norm(x)); tanet.ops.fused computes it together with y.
        ValueError if x is not whole clips of T frames with C channels.
        """
        clips = self._clips(x)  # [N, T, C, H, W]
        # An exported program must run where tanet is not installed, so it holds torch's operations alone.
        is_plain = not is_exporting() and fused.has_plain_branches(clips, self.local_branch, self.global_branch)
        if norm is not None and not (is_plain and fused.can_fold(norm, clips, self.kernel_size)):
            x, norm = torch.relu_(norm(x)), None
            clips = self._clips(x)
        if is_plain:
            return fused.tam(clips, norm, self.local_branch, self.global_branch).flatten(0, 1)
        theta = self.theta(x)
        return aggregate(clips, self._importance(theta), self._kernel(theta)).flatten(0, 1)

    def theta(self, x: torch.Tensor) -> torch.Tensor:
        """x [N*T, C, H, W] -> its mean over H and W, [N, C, T], in float32, or float64 for float64 (section 3.1)."""
        return self._clips(x).mean((-2, -1), dtype=number(x.dtype)).transpose(1, 2)

    def importance_map(self, x: torch.Tensor) -> torch.Tensor:
        """V = sigmoid(Conv1d(ReLU(BN(Conv1d(theta))))): x [N*T, C, H, W] -> [N, C, T] in (0, 1) (section 3.2)."""
        return self._importance(self.theta(x))

    def aggregation_kernel(self, x: torch.Tensor) -> torch.Tensor:
        """W = softmax(FC(ReLU(BN(FC(theta))))): x [N*T, C, H, W] -> [N, C, K], summing to 1 over K (section 3.3)."""
        return self._kernel(self.theta(x))

    def _clips(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"TAM expects [N*T, {self.channels}, H, W], got shape {tuple(x.shape)}")
        if x.shape[0] % self.num_frames:
            raise ValueError(f"{x.shape[0]} frames are not a whole number of clips of {self.num_frames} frames")
        return dense(x.unflatten(0, (-1, self.num_frames)))  # [N, T, C, H, W]

    def _importance(self, theta: torch.Tensor) -> torch.Tensor:
        with _without_autocast(theta.device.type):
            return self.local_branch(theta.to(_dtype(self.local_branch, theta))).to(theta.dtype)  # [N, C, T]

    def _kernel(self, theta: torch.Tensor) -> torch.Tensor:
        n, c, t = theta.shape
        with _without_autocast(theta.device.type):
            channels = theta.reshape(n * c, t).to(_dtype(self.global_branch, theta))
            return self.global_branch(channels).view(n, c, self.kernel_size).to(theta.dtype)  # [N, C, K]

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_frames={self.num_frames}, kernel_size={self.kernel_size}"


def _dtype(branch: nn.Module, theta: torch.Tensor) -> torch.dtype:
    """The type that a branch computes in: its weights', or that of `theta` if it has none."""
    return next(branch.parameters(), theta).dtype


def _without_autocast(device_type: str) -> AbstractContextManager:
    """The branches stay in float32 under autocast: they are tiny, and all that follows depends on their result.

    Not torch.amp.is_autocast_available, which torch.compile cannot trace before torch 2.12.
    """
    if device_type == "meta":  # it computes shapes alone and has no autocast
        return nullcontext()
    if is_exporting() and not torch.is_autocast_enabled(device_type):  # each context is a program of its own there
        return nullcontext()
    return torch.autocast(device_type, enabled=False)
