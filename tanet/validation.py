"""Loss and accuracy on the validation videos while a training runs; for published protocols see tanet.evaluate."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader

from tanet.distributed import Process
from tanet.metrics import label_ranks
from tanet.model import TANet
from tanet.numerics import autocast
from tanet.progress import track


@torch.no_grad()
def validate(
    model: TANet,
    loader: DataLoader,
    process: Process,
    precision: str,
    label: str = "validation",
    after_batch: Callable = lambda: None,
    quiet: bool = False,
) -> dict:
    """Loss and accuracy on one centred clip of every validation video, each counted once over all processes."""
    model.eval()
    totals = torch.zeros(4, dtype=torch.float64)  # loss, top-1, top-5, clips
    for clips, labels, _ in track(loader, len(loader), f"{label}, batches", quiet=quiet or not process.is_main):
        with autocast(process.device, precision):
            logits = model(clips.to(process.device, non_blocking=True)).float().cpu()
        rank = label_ranks(logits.numpy(), labels.numpy())
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        totals += torch.tensor([loss, (rank < 1).sum(), (rank < 5).sum(), len(rank)], dtype=torch.float64)
        after_batch()
    loss, top1, top5, count = torch.stack(process.gather(totals)).sum(0).tolist()
    return {"val_loss": loss / count, "val_top1": 100 * top1 / count, "val_top5": 100 * top5 / count}
