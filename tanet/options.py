"""Options of a training: how it is run. What it computes is the recipe's; only the videos it may leave out stand here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Keyword arguments of `tanet.train.fit` and `launch`; checked when made."""

    train_list: str | None = None  # a list of videos, see tanet.lists; None: the publisher's annotations
    val_list: str | None = None
    missing: str = "raise"  # about listed videos that are not there: "raise" or "skip"
    on_error: str = "raise"  # about videos that cannot be read: "raise" or "skip", see tanet.skips
    skip_limit: float = 0.01  # share of a list's videos that may be skipped in an epoch
    resume: str = "auto"  # about a run that is in the folder already: "auto" goes on with it, "never" is an error
    save_minutes: float = 10.0  # between checkpoints within an epoch
    tensorboard: bool = False  # write what goes to metrics.jsonl for TensorBoard, too
    quiet: bool = False  # no bar and no line an epoch, for who follows metrics.jsonl

    def __post_init__(self):
        for name, accepted in (("missing", SKIPPING), ("on_error", SKIPPING), ("resume", ("auto", "never"))):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be {accepted[0]} or {accepted[1]}, got {getattr(self, name)!r}")
        if not 0 <= self.skip_limit < 1:
            raise ValueError(f"skip_limit must be a share of at least 0 and under 1, got {self.skip_limit}")
        if self.save_minutes < 0:
            raise ValueError(f"save_minutes must not be negative, got {self.save_minutes}")


SKIPPING = ("raise", "skip")
