"""Stages that keep their weights while the others are trained."""

from tanet.model.tanet import TANet


def freeze_stages(model: TANet, stages: int) -> None:
    """Freezes the stem (`stages` 0) and the stages 1 to `stages`; -1 freezes nothing.

    Frozen parts compute no gradients, and their BatchNorm normalises by its stored statistics. Call it again after
    `model.train()`, which would let BatchNorm follow the batches.
    """
    parts = [] if stages < 0 else [model.conv1, model.bn1, *(getattr(model, f"layer{i}") for i in range(1, stages + 1))]
    for part in parts:
        part.eval()
        part.requires_grad_(False)
