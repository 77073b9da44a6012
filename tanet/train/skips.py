"""Videos that a run leaves out because they cannot be read: refused, or listed in its folder and counted up to a limit."""

import json
from pathlib import Path

from tanet.data import Unreadable, VideoList, raise_unreadable
from tanet.errors import VideoError
from tanet.runtime import Process
from tanet.train.run_folder import SKIPPED, read_lines


class Skips:
    """What a training does about unreadable videos, in every process alike.

    `on_error` "raise" ends the run at the first, "skip" lists them in skipped.jsonl: `split`, `epoch`, the number of `clips`
    done when it was written, `path`, `reason`. More of them than the share `limit` of a list's videos end the run as well.
    """

    def __init__(self, process: Process, run_dir: Path, on_error: str, limit: float):
        self.process, self.path, self.on_error, self.limit = process, run_dir / SKIPPED, on_error, limit
        self.new: list[Unreadable] = []  # by this process, since they were last listed
        self.listed: set[tuple] = set()  # (epoch, split, path)

    def begin(self) -> None:
        """Takes over what the run skipped before it was stopped; all processes call it."""
        rows = self.process.gather(read_lines(self.path) if self.process.is_main else None)[0]
        self.listed = {(row["epoch"], row["split"], row["path"]) for row in rows}

    def add(self, unreadable: list[Unreadable]) -> None:
        """VideoError if there are any and they are not to be skipped."""
        if self.on_error == "raise":
            raise_unreadable(
                unreadable, '; on_error="skip" (--on-error skip) leaves such videos out, counted and listed'
            )
        self.new += unreadable

    def list_new(self, split: str, videos: VideoList, epoch: int, clips: int) -> int:
        """Lists what is new, of all processes, which all call it; returns the number of this epoch and split.

        VideoError if that is more than the limit.
        """
        found, self.new = [bad for part in self.process.gather(self.new) for bad in part], []
        for bad in found:
            self._list(split, epoch, clips, str(videos.samples[bad.index].path), bad.reason)
        count = sum(key[:2] == (epoch, split) for key in self.listed)
        if count > self.limit * len(videos):
            raise VideoError(
                f"{count} of the {len(videos)} {split} videos cannot be read, more than skip_limit = {self.limit:.1%}. They are "
                f"listed in {self.path}; verify the data set, or raise the limit"
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
