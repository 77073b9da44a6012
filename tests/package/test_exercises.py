"""Each notebook ends with three exercises; its solutions notebook asks the same and passes the same checks."""

import ast

import nbformat
import pytest
from support.paths import NOTEBOOKS, SOLUTIONS

from tanet import exercises

NUMBERS = [1, 2, 3]
ANSWER = "# your answer"
NO_EXERCISES = {"11_explore"}  # it is a tool
PAIRS = [pytest.param(path.parents[1] / path.name, path, id=path.stem) for path in SOLUTIONS]
by_pair = pytest.mark.parametrize("notebook, solutions", PAIRS)


def test_every_notebook_has_exercises_but_the_tool():
    with_exercises = {path.stem for path in SOLUTIONS}
    assert {path.stem for path in NOTEBOOKS if path.stem not in with_exercises} == NO_EXERCISES


def exercises_of(path) -> list[tuple]:
    """(question, answer, check) of each exercise: a Markdown cell and the two code cells behind it."""
    cells = nbformat.read(path, 4).cells
    return [
        (cell, *cells[index + 1 : index + 3])
        for index, cell in enumerate(cells)
        if cell.cell_type == "markdown" and cell.source.startswith("### Exercise ")
    ]


def names_in(answer) -> set[str]:
    """The functions and variables that an answer's cell defines."""
    statements = ast.parse(answer.source).body
    functions = {node.name for node in statements if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assigned = [node.targets[0] for node in statements if isinstance(node, ast.Assign)]
    return functions | {node.id for target in assigned for node in ast.walk(target) if isinstance(node, ast.Name)}


def printed(check) -> str:
    return "".join(output.get("text", "") for output in check.outputs)


@by_pair
def test_a_notebook_ends_with_three_exercises_and_its_solutions_are_for_the_same(notebook, solutions):
    assert notebook in NOTEBOOKS
    asked, solved = exercises_of(notebook), exercises_of(solutions)
    assert len(asked) == len(solved) == len(NUMBERS)
    assert nbformat.read(notebook, 4).cells[-1].id == asked[-1][2].id
    for number, (question, answer, check), (same_question, solution, same_check) in zip(NUMBERS, asked, solved):
        assert question.source.startswith(f"### Exercise {number}: ")
        assert same_question.source == question.source and same_check.source == check.source
        assert check.source.startswith(f"exercises.check_{number}(")
        assert names_in(answer) <= names_in(solution)


@by_pair
def test_an_exercise_has_an_empty_place_and_its_solution_fills_it(notebook, solutions):
    """The stored outputs; nbval compares them with those of a new run."""
    for number, (_, answer, check) in zip(NUMBERS, exercises_of(notebook)):
        assert ANSWER in answer.source
        assert printed(check) == f"exercise {number}: not answered yet\n"
    for number, (_, answer, check) in zip(NUMBERS, exercises_of(solutions)):
        assert ANSWER not in answer.source
        assert printed(check) == f"exercise {number}: right\n"


@by_pair
def test_nothing_hides_the_error_of_a_wrong_answer(notebook, solutions):
    for path in (notebook, solutions):
        for _, answer, check in exercises_of(path):
            tags = {*answer.metadata.get("tags", []), *check.metadata.get("tags", [])}
            assert not tags & {"raises-exception", "nbval-ignore-output", "nbval-skip"}
            assert not any(isinstance(node, ast.Try) for node in ast.walk(ast.parse(check.source)))


@by_pair
def test_the_checks_are_those_of_the_file_with_the_notebook_s_number(notebook, solutions):
    checks = f"notebook_{notebook.stem[:2]}"
    for path in (notebook, solutions):
        code = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
        assert f"from tanet.exercises import {checks} as exercises\n" in code
    assert all(callable(getattr(getattr(exercises, checks), f"check_{number}")) for number in NUMBERS)
