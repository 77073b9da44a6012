"""Checks of the answers to the exercises at the end of each notebook.

A notebook and its solutions, notebooks/solutions/, call the same checks: `check_1`, `check_2`, `check_3` of the file
that has the notebook's number. A check prints one line if the answer is right or still missing, and raises
`WrongAnswer` if it is wrong.

checking     what all checks share
notebook_01  TAM, step by step
"""

from tanet.exercises import notebook_01
from tanet.exercises.checking import WrongAnswer

__all__ = [
    "WrongAnswer",
    "notebook_01",
]
