"""Scores on disk while a test runs, so that a test that was killed goes on where it was."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tanet.runtime import write_text


class PartialScores:
    """A folder beside the result: test.json says which test it is, scores-*.jsonl hold a line for each finished video.

    `test` is everything that decides the scores; a folder of another test is refused with the difference.
    """

    def __init__(self, result: str | os.PathLike, test: dict):
        self.folder, self.test = Path(f"{result}.partial"), test
        self.header = self.folder / "test.json"

    def check(self) -> None:
        """ValueError if the folder holds a part of another test."""
        if not self.header.exists():
            return
        found = json.loads(self.header.read_text())
        differences = [
            f"{key}: {found.get(key)!r} there, {value!r} now"
            for key, value in self.test.items()
            if found.get(key) != value
        ]
        if differences:
            raise ValueError(
                f"{self.folder} holds a part of another test ({'; '.join(differences)}); finish that one, or remove the folder"
            )

    def prepare(self) -> dict[int, np.ndarray]:
        """Makes the folder, or reads the scores that are there: index of the video -> scores. Only one process calls it."""
        self.check()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.header.exists():
            self._forget(self.folder.glob("scores-*"))  # whose test nobody knows any more
            write_text(self.header, json.dumps(self.test))
            return {}
        scores = dict(row for path in sorted(self.folder.glob("scores-*.jsonl")) for row in _rows(path))
        # One file of whole lines, so that nothing is appended to a line that a kill cut short.
        write_text(self.folder / "scores-before.jsonl", "".join(_line(index, row) for index, row in scores.items()))
        self._forget(self.folder.glob("scores-[0-9]*.jsonl"))
        return scores

    def add(self, rank: int, index: int, scores: np.ndarray) -> None:
        """Appends a video's scores, float32, in the file of process `rank`."""
        with open(self.folder / f"scores-{rank}.jsonl", "a") as file:
            file.write(_line(index, scores))

    def remove(self) -> None:
        """After the result is written."""
        shutil.rmtree(self.folder)

    @staticmethod
    def _forget(paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink()


def exact(scores: np.ndarray) -> list[float]:
    """float32 values as the shortest decimals that give them back."""
    return [float(str(value)) for value in scores]


def _line(index: int, scores: np.ndarray) -> str:
    return json.dumps([index, exact(scores)]) + "\n"


def _rows(path: Path):
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):  # else it was cut short by a kill
            index, scores = json.loads(line)
            yield index, np.array(scores, np.float32)
