"""Videos that cannot be read: they end the run, or the run skips them, lists them in its folder and counts them."""

import json
from pathlib import Path

from tanet.data import Unreadable, VideoList, raise_unreadable
from tanet.errors import VideoError
from tanet.runtime import Process
from tanet.train.run_folder import SKIPPED, read_lines


class Skips:
    """A training's unreadable videos, listed the same in every process.

    With `on_error` "raise" the first one ends the run. With "skip" each gets a row in skipped.jsonl: `split`, `epoch`,
    the number of `clips` done when the row was written, `path`, `reason`. The run ends, too, if an epoch has more than
    the share `limit` of the list's videos.
    """

    def __init__(self, process: Process, run_dir: Path, on_error: str, limit: float):
        self.process, self.path, self.on_error, self.limit = process, run_dir / SKIPPED, on_error, limit
        self.new: list[Unreadable] = []  # of this process, not listed yet
        self.listed: set[tuple] = set()  # (epoch, split, path), of all processes

    def begin(self) -> None:
        """Reads the skipped videos of a resumed run; all processes call it."""
        rows = self.process.gather(read_lines(self.path) if self.process.is_main else None)[0]
        self.listed = {(row["epoch"], row["split"], row["path"]) for row in rows}

    def add(self, unreadable: list[Unreadable]) -> None:
        """Takes a batch's unreadable videos; raises VideoError if there are some and `on_error` is "raise"."""
        if self.on_error == "raise":
            raise_unreadable(
                unreadable, '; on_error="skip" (--on-error skip) leaves such videos out, counted and listed'
            )
        self.new += unreadable

    def list_new(self, split: str, videos: VideoList, epoch: int, clips: int) -> int:
        """Lists the new videos of all processes, which all call it; returns the number in this epoch and split.

        VideoError if that number is over the limit.
        """
        new = [bad for of_process in self.process.gather(self.new) for bad in of_process]
        self.new = []
        for bad in new:
            self._list(split, epoch, clips, str(videos.samples[bad.index].path), bad.reason)
        count = sum(key[:2] == (epoch, split) for key in self.listed)
        if count > self.limit * len(videos):
            raise VideoError(
                f"{count} of the {len(videos)} {split} videos cannot be read, more than skip_limit = {self.limit:.1%}. "
                f"They are listed in {self.path}; verify the data set, or raise the limit"
            )
        return count

    def _list(self, split: str, epoch: int, clips: int, path: str, reason: str) -> None:
        if (epoch, split, path) in self.listed:
            return
        self.listed.add((epoch, split, path))
        if self.process.is_main:
            row = {"split": split, "epoch": epoch, "clips": clips, "path": path, "reason": reason}
            with open(self.path, "a") as file:
                file.write(json.dumps(row) + "\n")
