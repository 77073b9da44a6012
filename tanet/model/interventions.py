"""What a trained network loses without a part of TAM: its maps are replaced, its weights stay as they are.

The replacing maps are made of those that the unchanged network computes, by a function (V, W) -> (V, W) that is called
for each TAM. None leaves a branch alone: it computes its map from what it gets, which may be changed already. So "V is
its mean over the clips" is `lambda V, W: (V.mean(0, keepdim=True), None)`. With `(V.mean(0, keepdim=True), W)` the
network would keep the W of the unchanged one, and with it what the unchanged V told it.

M clips, T frames, C channels, H x W pixels, K taps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from tanet.model.folding import ClipNetwork
from tanet.model.tam import TAM

Maps = dict[str, tuple[torch.Tensor, torch.Tensor]]  # TAM's block -> V [M, C, T], W [M, C, K]
Replacement = tuple[torch.Tensor | None, torch.Tensor | None]
Change = Callable[[torch.Tensor, torch.Tensor], Replacement]
BATCH = 64  # clips at once


def _of_another(maps: torch.Tensor) -> torch.Tensor:
    """Each clip gets the map of another one, drawn by a fixed seed. Of fewer than two clips they stay."""
    order = torch.randperm(len(maps), generator=torch.Generator().manual_seed(0))
    others = torch.empty_like(order)
    others[order] = order.roll(1)  # one circle through all clips, so no clip gets its own
    return maps[others]


# What is replaced -> how.
CHANGES: dict[str, Change] = {
    "nothing": lambda V, W: (None, None),
    "V by its mean over the clips": lambda V, W: (V.mean(0, keepdim=True), None),
    "W by its mean over the clips": lambda V, W: (None, W.mean(0, keepdim=True)),
    "V and W by their means": lambda V, W: (V.mean(0, keepdim=True), W.mean(0, keepdim=True)),
    "V by its mean over time": lambda V, W: (V.mean(2, keepdim=True), None),
    "V by another clip's": lambda V, W: (_of_another(V), None),
    "W by another clip's": lambda V, W: (None, _of_another(W)),
}


def maps_of(model: ClipNetwork, clips: torch.Tensor) -> Maps:
    """As `ClipNetwork.temporal_maps`, for any number of clips [M, T, 3, H, W]: it runs them in parts.

    ValueError for a network that has no TAM, or that is in training mode.
    """
    if model.training:
        raise ValueError("the network is in training mode, where a clip's maps depend on the batch: call eval() first")
    parts = [model.temporal_maps(part) for part in clips.split(BATCH)]
    if not parts[0]:
        raise ValueError("the network has no TAM, so there are no maps to read or to replace")
    return {block: tuple(torch.cat(maps) for maps in zip(*[part[block] for part in parts])) for block in parts[0]}


@torch.no_grad()
def scores(model: ClipNetwork, clips: torch.Tensor, maps: Mapping[str, Replacement]) -> torch.Tensor:
    """The network's logits [M, classes] for clips [M, T, 3, H, W] if its TAMs used `maps` in place of their own.

    A branch whose map is None computes its own, and so does a TAM whose block is not in `maps`. A map's sizes may also
    be 1: the same value for all clips, channels or frames. ValueError as for `maps_of`, for a block that the network
    does not have, and for maps of other sizes.
    """
    own_maps = maps_of(model, clips[:1])
    wide = {}  # block -> V [M, C, T], W [M, C, K]
    for block, pair in maps.items():
        if block not in own_maps:
            raise ValueError(f"the network has no TAM in {block}; it has: {', '.join(own_maps)}")
        wide[block] = []
        for name, replacing, own in zip("VW", pair, own_maps[block]):
            size = (len(clips), *own.shape[1:])
            if replacing is not None:
                if replacing.ndim != 3 or any(a not in (1, b) for a, b in zip(replacing.shape, size)):
                    raise ValueError(f"{name} of {block} must be {list(size)} or 1, got {list(replacing.shape)}")
                replacing = replacing.expand(size)
            wide[block].append(replacing)
    answers = []
    for start in range(0, len(clips), BATCH):
        part = slice(start, start + BATCH)
        chosen = {block: [None if each is None else each[part] for each in pair] for block, pair in wide.items()}
        with _replaced(model, chosen):
            answers.append(model(clips[part]))
    return torch.cat(answers)


def accuracy(
    model: ClipNetwork,
    clips: torch.Tensor,
    labels: torch.Tensor,
    change: Change,
    blocks: Sequence[str] | None = None,
    maps: Maps | None = None,
) -> float:
    """The per cent of clips [M, T, 3, H, W] with labels [M] that are right if `change` replaces the maps of `blocks`.

    change: as in `CHANGES`. blocks: names such as "layer1.0"; None: all that have a TAM. maps: what `maps_of` returns,
    if it is known already. A TAM behind a changed one gets other features; what replaces its maps still comes from the
    unchanged network. ValueError as for `scores`.
    """
    maps = maps_of(model, clips) if maps is None else maps
    chosen = {block: change(*maps[block]) for block in (maps if blocks is None else blocks)}
    return 100 * (scores(model, clips, chosen).argmax(1) == labels).double().mean().item()


def without_frame(clips: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Deletes one frame of each clip: clips [M, T, ...], frames [M] -> clips of the same shape and type.

    The frame before it stands in its place, for the first frame the one behind it: T stays, the order stays.
    """
    before = torch.where(frames > 0, frames - 1, 1)
    changed = clips.clone()
    every = torch.arange(len(clips))
    changed[every, frames] = clips[every, before]
    return changed


@contextmanager
def _replaced(model: ClipNetwork, maps: Mapping[str, Sequence[torch.Tensor | None]]) -> Iterator[None]:
    """While it is open, the TAMs use these maps, V [N, C, T] and W [N, C, K], for batches of N clips."""
    hooks = []
    for name, module in model.named_modules():
        block = name.removesuffix(".temporal")
        if isinstance(module, TAM) and block in maps:
            V, W = maps[block]
            if V is not None:
                hooks.append(module.local_branch.register_forward_hook(partial(_instead, V)))
            if W is not None:  # the branch sees each channel by itself, [N*C, T]
                hooks.append(module.global_branch.register_forward_hook(partial(_instead, W.flatten(0, 1))))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _instead(replacing: torch.Tensor, module, inputs, output: torch.Tensor) -> torch.Tensor:
    return replacing.to(output)
