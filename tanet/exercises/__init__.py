"""Checks of the answers to the exercises at the end of each notebook.

A notebook and its solutions, notebooks/solutions/, call the same checks: `check_1`, `check_2`, `check_3` of the file
that has the notebook's number. A check prints one line if the answer is right or still missing, and raises
`WrongAnswer` if it is wrong.

checking     what all checks share
notebook_00  Why time?
notebook_01  TAM, step by step
notebook_02  importance maps
notebook_03  from a video on disk to a clip
notebook_04  training on Kinetics-400
notebook_05  training on Something-Something
notebook_06  evaluation
notebook_07  from published checkpoints
notebook_08  speed
notebook_09  your own videos
notebook_10  which part of TAM does what
"""

from tanet.exercises import (
    notebook_00,
    notebook_01,
    notebook_02,
    notebook_03,
    notebook_04,
    notebook_05,
    notebook_06,
    notebook_07,
    notebook_08,
    notebook_09,
    notebook_10,
)
from tanet.exercises.checking import WrongAnswer

__all__ = [
    "WrongAnswer",
    "notebook_00",
    "notebook_01",
    "notebook_02",
    "notebook_03",
    "notebook_04",
    "notebook_05",
    "notebook_06",
    "notebook_07",
    "notebook_08",
    "notebook_09",
    "notebook_10",
]
