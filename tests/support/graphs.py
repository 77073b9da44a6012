"""Stand-ins for tanet.runtime.capture on CPUs, as strict as CUDA: what a graph computes, where, and when."""

import math
from functools import partial

import torch
from torch import nn

from tanet.runtime import Captured


def tensors_of(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


class FakeCapture:
    """Captures a partial whose first argument is the network.

    As with CUDA, a capture leaves weights and running statistics as they are; its results and its new gradients hold
    nothing of use before a replay. A replay works on the tensors that were there during the capture, whatever .grad is
    by then. `broken` names the captures that fail, counted from 1; a failing one has run already.
    """

    def __init__(self, broken: tuple[int, ...] = ()):
        self.broken, self.captures, self.replays = broken, 0, 0

    def __call__(self, function: partial, device: torch.device, pool=None) -> Captured:
        self.captures += 1
        network = function.args[0]
        parameters = list(network.parameters())
        kept = [tensor.detach().clone() for tensor in tensors_of(network)]
        random_state = torch.get_rng_state()
        before = [parameter.grad for parameter in parameters]
        adds = before[0] is not None
        assert adds == (pool is not None)  # the graph that adds shares the memory of the first
        kept_gradients = [gradient.clone() for gradient in before if adds]
        result = function()
        gradients = [parameter.grad for parameter in parameters]
        with torch.no_grad():
            for tensor, value in zip(tensors_of(network), kept):
                tensor.copy_(value)
            for index, gradient in enumerate(gradients):
                gradient.copy_(kept_gradients[index] if adds else torch.tensor(math.nan))
        torch.set_rng_state(random_state)
        result.fill_(math.nan)
        if self.captures in self.broken:
            raise RuntimeError("operation not permitted when stream is capturing\nand much more")

        def replay() -> None:
            self.replays += 1
            present = [parameter.grad for parameter in parameters]
            for parameter, gradient in zip(parameters, gradients):
                parameter.grad = gradient if adds else None
            result.copy_(function())
            for parameter, gradient, is_now in zip(parameters, gradients, present):
                if not adds:
                    gradient.copy_(parameter.grad)
                parameter.grad = is_now

        return Captured(replay, result, pool=(1, 0), size=1)


def fake_capture(function, device: torch.device, pool=None) -> Captured:
    """Captures a function without side effects."""
    result = function()
    result.fill_(math.nan)
    return Captured(lambda: result.copy_(function()), result, pool=(1, 0), size=1)
