"""What every network of clips shares: it normalises pixels, folds frames into the batch, and averages scores over time.

N clips, T frames, C channels, H x W pixels.
"""

from functools import partial

import torch
from torch import nn

from tanet.model.tam import TAM

PIXEL_MEAN = (123.675, 116.28, 103.53)  # ImageNet, RGB, 0-255
PIXEL_STD = (58.395, 57.12, 57.375)


class ClipNetwork(nn.Module):
    """A network that sees a clip's frames as images [N*T, 3, H, W]. Only its temporal modules connect them.

    num_frames: T. pixel_mean, pixel_std: of R, G and B, 0-255; buffers that are no part of the state dict.
    """

    def __init__(self, num_frames: int, pixel_mean=PIXEL_MEAN, pixel_std=PIXEL_STD):
        super().__init__()
        self.num_frames = num_frames
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(3, 1, 1), persistent=False)

    def fold(self, clips: torch.Tensor) -> torch.Tensor:
        """[N, T, 3, H, W], uint8 RGB or normalised floats -> normalised frames [N*T, 3, H, W].

        ValueError for another T or no 3 channels.
        """
        if clips.ndim != 5 or clips.shape[1:3] != (self.num_frames, 3):
            raise ValueError(
                f"clips must be [N, T, 3, H, W] with T = {self.num_frames}, the number of frames this network "
                f"was built for; got shape {tuple(clips.shape)}"
            )
        return self.normalize(clips).flatten(0, 1)

    def unfold(self, x: torch.Tensor) -> torch.Tensor:
        """[N*T, ...] -> [N, T, ...]."""
        return x.unflatten(0, (-1, self.num_frames))

    def normalize(self, clips: torch.Tensor) -> torch.Tensor:
        """uint8 RGB -> floats of zero mean and unit variance per ImageNet channel. Floats are returned unchanged."""
        if clips.is_floating_point():
            return clips
        return (clips - self.pixel_mean) / self.pixel_std

    @torch.no_grad()
    def temporal_maps(self, clips: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """What each TAM does to these clips: {"layer1.0": (importance map [N, C, T], kernel [N, C, K]), ...}.

        Runs the network in its present mode: call `eval()` first to get the maps that testing uses.
        """
        modules = {name: module for name, module in self.named_modules() if isinstance(module, TAM)}
        importance, kernels, hooks = {}, {}, []
        for name, module in modules.items():
            hooks.append(module.local_branch.register_forward_hook(partial(_keep_output, importance, name)))
            hooks.append(module.global_branch.register_forward_hook(partial(_keep_output, kernels, name)))
        try:
            self(clips)
        finally:
            for hook in hooks:
                hook.remove()
        maps = {}
        for name, module in modules.items():
            kernel = kernels[name].unflatten(0, (-1, module.channels))  # [N*C, K] -> [N, C, K]
            maps[name.removesuffix(".temporal")] = importance[name], kernel
        return maps


def _keep_output(outputs: dict, name: str, module, inputs, output) -> None:
    outputs[name] = output
