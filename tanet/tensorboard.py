"""metrics.jsonl for TensorBoard, for who looks at many runs side by side: `tensorboard --logdir runs`."""

from importlib.util import find_spec
from pathlib import Path

PLACE = {"epoch", "clips", "progress", "step"}  # of a row: where it is, not what was measured


def require_tensorboard() -> None:
    """ModuleNotFoundError if the package is not installed."""
    if find_spec("tensorboard") is None:
        raise ModuleNotFoundError("tensorboard=True needs a package that is not installed: pip install tensorboard")


class ScalarWriter:
    """Writes rows of metrics.jsonl into run_dir/tensorboard, over the number of clips trained on.

    `rows` that are there already, of a run that goes on, are written anew, and what was written earlier is void: a kill may
    have come between the two files.
    """

    def __init__(self, run_dir: Path, epoch_clips: int, rows: list[dict]):
        from torch.utils.tensorboard import SummaryWriter  # here: it takes a second, and is an option

        self.epoch_clips = epoch_clips
        self.writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=0)
        for row in rows:
            self.add(row)

    def __enter__(self) -> "ScalarWriter":
        return self

    def __exit__(self, *_) -> None:
        self.writer.close()

    def add(self, row: dict) -> None:
        kind, clips = ("step" if "step" in row else "epoch"), round(row["progress"] * self.epoch_clips)
        for name in row.keys() - PLACE:
            self.writer.add_scalar(f"{kind}/{name}", row[name], clips)
        self.writer.flush()
