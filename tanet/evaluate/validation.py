"""Loss and accuracy on the validation videos during training; tanet.evaluate.testing has the published protocols."""

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.utils.data import DataLoader

from tanet.data import Unreadable, explain_worker_failure, raise_unreadable
from tanet.evaluate.metrics import label_ranks
from tanet.model import TANet
from tanet.runtime import CapturedForward, Process, copy_to_cpu, delayed_by_one, to_device, track


@torch.no_grad()
def validate(
    model: TANet,
    loader: DataLoader,
    process: Process,
    precision: str,
    label: str = "validation",
    after_batch: Callable[[list[Unreadable]], None] = raise_unreadable,
    quiet: bool = False,
) -> dict:
    """Loss and accuracy on one centred clip of every validation video, each counted once over all processes.

    `after_batch` receives the videos of each batch that could not be read. They do not count. By default any such video
    raises VideoError.
    """
    model.eval()
    device, forward = process.device, CapturedForward(model, precision)

    def started_batches() -> Iterator[tuple[Callable[[], torch.Tensor], torch.Tensor]]:
        """For each batch a function that waits for its logits [N, classes], and its labels [N]."""
        quiet_here = quiet or not process.is_main
        for clips, labels, _, unreadable in track(loader, len(loader), f"{label}, batches", quiet_here):
            if clips is not None:
                logits = forward(*to_device(device, clips))
                yield copy_to_cpu(logits.float()), labels
            after_batch(unreadable)

    totals = torch.zeros(4, dtype=torch.float64)  # loss, top-1, top-5, clips
    with explain_worker_failure(loader):
        for wait_for_logits, labels in delayed_by_one(started_batches(), device):
            totals += _batch_totals(wait_for_logits(), labels)
    loss, top1, top5, count = torch.stack(process.gather(totals)).sum(0).tolist()
    count = max(count, 1)
    return {"val_loss": loss / count, "val_top1": 100 * top1 / count, "val_top5": 100 * top5 / count}


def _batch_totals(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Logits [N, classes] and labels [N] -> sums over the batch: loss, top-1, top-5, clips."""
    rank = label_ranks(logits.numpy(), labels.numpy())
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum").item()
    return torch.tensor([loss, (rank < 1).sum(), (rank < 5).sum(), len(rank)], dtype=torch.float64)
