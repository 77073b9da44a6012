"""Scores on disk while a test runs, so that a killed test can be resumed."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tanet.runtime import exists, read_json, read_text, write_text


class PartialScores:
    """A folder beside the result: test.json describes the test, scores-*.jsonl have a line for each finished video.

    `test` holds everything that decides the scores. A folder of another test is refused with the differences.
    """

    def __init__(self, result: str | os.PathLike, test: dict):
        self.folder, self.test = Path(f"{result}.partial"), test
        self.header = self.folder / "test.json"

    def check(self) -> None:
        """ValueError if the folder holds a part of another test."""
        if not exists(self.header):
            return
        stored_test = read_json(self.header)
        differences = [
            f"{key}: {stored_test.get(key)!r} there, {value!r} now"
            for key, value in self.test.items()
            if stored_test.get(key) != value
        ]
        if differences:
            raise ValueError(
                f"{self.folder} holds a part of another test ({'; '.join(differences)}); finish that test, or remove "
                "the folder"
            )

    def prepare(self) -> dict[int, np.ndarray]:
        """Makes the folder, or reads the scores in it: index of the video -> scores. Only one process may call it."""
        self.check()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not exists(self.header):
            self._remove(self.folder.glob("scores-*"))  # of an unknown test, since the header is gone
            write_text(self.header, json.dumps(self.test))
            return {}
        scores = {}
        for path in sorted(self.folder.glob("scores-*.jsonl")):
            scores.update(_complete_rows(path))
        # One file of whole lines, so that nothing is appended to a line that a kill cut short.
        write_text(self.folder / "scores-before.jsonl", "".join(_line(index, row) for index, row in scores.items()))
        self._remove(self.folder.glob("scores-[0-9]*.jsonl"))
        return scores

    def add(self, rank: int, index: int, scores: np.ndarray) -> None:
        """Appends a video's scores, float32 [classes], to the file of process `rank`."""
        with open(self.folder / f"scores-{rank}.jsonl", "a") as file:
            file.write(_line(index, scores))

    def remove(self) -> None:
        """Removes the folder; call it once the result is written."""
        shutil.rmtree(self.folder)

    @staticmethod
    def _remove(paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink()


def exact(scores: np.ndarray) -> list[float]:
    """float32 values as the shortest decimals that give them back."""
    return [float(str(value)) for value in scores]


def _line(index: int, scores: np.ndarray) -> str:
    return json.dumps([index, exact(scores)]) + "\n"


def _complete_rows(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    for line in read_text(path).splitlines(keepends=True):
        if not line.endswith("\n"):  # a kill cut it short
            continue
        index, scores = json.loads(line)
        yield index, np.array(scores, np.float32)
