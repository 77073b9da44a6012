"""What stands in a bottleneck's slot for a temporal module: TAM, one of its branches, or a module to compare with.

    tam         both branches: what matters when (V), and a kernel of the clip's own (W)
    tam_local   the local branch alone: y = V * x, every frame stays in its place (paper section 3.2)
    tam_global  the global branch alone: the kernel W, all frames count alike (section 3.3)
    conv        a temporal convolution for each channel, learned, the same for every clip
    tsm         TSM's shift: fixed, not learned; it stands in front of conv1, whatever the position of the others
    none        nothing: TSN

N clips, T frames, C channels, H x W pixels, K taps.
"""

from dataclasses import dataclass

import torch
from torch import nn

from tanet.model.tam import TAM

TEMPORAL_MODULES = ("tam", "tam_local", "tam_global", "conv", "tsm", "none")
POSITIONS = ("conv1", "conv2", "conv3")


@dataclass(frozen=True)
class Slots:
    """Where the temporal modules stand, and their sizes. The defaults are the paper's choices (section 4.2).

    stages: numbers of the stages that get modules, 1 to 4. position: the convolution of the bottleneck that the module
    stands in front of. kernel_size: K, odd. alpha, beta: as in `TAM`.
    """

    stages: tuple[int, ...] = (1, 2, 3, 4)
    position: str = "conv2"
    kernel_size: int = 3
    alpha: int = 2
    beta: int = 4


class TemporalShift(nn.Module):
    """1/8 of the channels see the next frame, 1/8 the frame before, the others stay (Lin et al., TSM, ICCV 2019).

    It stands at the start of a bottleneck's residual branch, before conv1; the shortcut is not shifted.
    """

    def __init__(self, num_frames: int):
        super().__init__()
        self.num_frames = num_frames

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [N*T, C, H, W] -> the same shape."""
        clips = x.unflatten(0, (-1, self.num_frames))  # [N, T, C, H, W]
        fold = clips.shape[2] // 8
        shifted = torch.zeros_like(clips)
        shifted[:, :-1, :fold] = clips[:, 1:, :fold]
        shifted[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]
        shifted[:, :, 2 * fold :] = clips[:, :, 2 * fold :]
        return shifted.flatten(0, 1)


class TemporalConvolution(nn.Module):
    """A convolution over time for each channel: y[n,t,c] = sum_k weight[c,k] * x[n,t+k-p,c], p = K // 2.

    It is what TAM would be if V were 1 and W a weight: learned, but the same for every clip. It starts as TSM's shift,
    so that it has no worse a start. channels: C. num_frames: T. kernel_size: K, odd and at least 3.
    """

    def __init__(self, channels: int, num_frames: int, kernel_size: int = 3):
        super().__init__()
        if kernel_size % 2 == 0 or kernel_size < 3:
            raise ValueError(f"kernel_size must be odd and at least 3, got {kernel_size}")
        self.num_frames = num_frames
        self.conv = nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False)
        fold, middle = channels // 8, kernel_size // 2
        with torch.no_grad():
            self.conv.weight.zero_()  # [C, 1, K]
            self.conv.weight[:fold, 0, middle + 1] = 1
            self.conv.weight[fold : 2 * fold, 0, middle - 1] = 1
            self.conv.weight[2 * fold :, 0, middle] = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [N*T, C, H, W] -> the same shape."""
        _, c, h, w = x.shape
        pixels = x.view(-1, self.num_frames, c, h * w).permute(0, 3, 2, 1)  # [N, H*W, C, T]
        y = self.conv(pixels.flatten(0, 1)).view(-1, h * w, c, self.num_frames)
        return y.permute(0, 3, 2, 1).reshape(x.shape)


class _AllAlike(nn.Module):
    """In place of the local branch: V is 1 everywhere."""

    def forward(self, theta: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(theta)  # [N, C, T]


class _InPlace(nn.Module):
    """In place of the global branch: W takes the frame itself and no neighbour."""

    def __init__(self, kernel_size: int):
        super().__init__()
        self.kernel_size = kernel_size

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """[N*C, T] -> [N*C, K]."""
        taps = torch.arange(self.kernel_size, device=channels.device)
        return (taps == self.kernel_size // 2).to(channels.dtype).expand(len(channels), -1)


def temporal_module(temporal: str, channels: int, num_frames: int, slots: Slots) -> nn.Module:
    """What stands in front of the convolution `slots.position`, for [N*T, C, H, W] with C = `channels`."""
    if temporal in ("none", "tsm"):
        return nn.Identity()
    if temporal == "conv":
        return TemporalConvolution(channels, num_frames, slots.kernel_size)
    tam = TAM(channels, num_frames, slots.kernel_size, slots.alpha, slots.beta)
    if temporal == "tam_local":
        tam.global_branch = nn.Sequential(_InPlace(slots.kernel_size))
    if temporal == "tam_global":
        tam.local_branch = nn.Sequential(_AllAlike())
    return tam
