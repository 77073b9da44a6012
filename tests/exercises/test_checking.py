import numpy as np
import pytest
import torch

from tanet.exercises import WrongAnswer
from tanet.exercises.checking import exercise, require, require_close


@exercise(3)
def doubles(answer):
    require_close(answer(torch.tensor([1.0, 2.0])), torch.tensor([2.0, 4.0]), "twice x")


@exercise(1)
def is_two(answer):
    require(answer == 2, "count again")


@pytest.mark.parametrize(
    "check, answer",
    [
        (is_two, ...),
        (is_two, (2, ...)),
        (doubles, ...),
        (doubles, lambda x: ...),
        (doubles, lambda x: (x, ...)),
        (doubles, type("Module", (), {"__call__": lambda self, x: ...})()),
    ],
)
def test_a_missing_answer_is_one_line_and_no_error(check, answer, capsys):
    check(answer)
    assert capsys.readouterr().out in ("exercise 1: not answered yet\n", "exercise 3: not answered yet\n")


@pytest.mark.parametrize("answer", [lambda x: 2 * x, lambda x: [2, 4], lambda x: np.array([2.0, 4.0])])
def test_a_right_answer_may_be_a_tensor_an_array_or_a_list(answer, capsys):
    doubles(answer)
    assert capsys.readouterr().out == "exercise 3: right\n"


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda x: x + 1, r"^twice x\[1\] is 3, but should be 4$"),
        (lambda x: x * torch.nan, r"^twice x\[0\] is nan, but should be 2$"),
        (lambda x: 2 * x[:1], r"^twice x must be a tensor of shape \[2\], got a tensor of shape \[1\]$"),
        (lambda x: 2.0, r"^twice x must be a tensor of shape \[2\], got a number$"),
        (lambda x: None, r"^twice x must be a tensor of shape \[2\], got None$"),
        (lambda x: "two", r"^twice x must be a tensor of shape \[2\], got 'two'$"),
    ],
)
def test_a_wrong_answer_is_an_error_that_says_where(answer, message, capsys):
    with pytest.raises(WrongAnswer, match=message):
        doubles(answer)
    assert capsys.readouterr().out == ""


def test_a_number_is_compared_with_a_number():
    require_close(0.5, 0.5, "p")
    with pytest.raises(WrongAnswer, match="^p is 0.4, but should be 0.5$"):
        require_close(torch.tensor(0.4), 0.5, "p")
    with pytest.raises(WrongAnswer, match="^count again$"):
        is_two(3)


@pytest.mark.parametrize("error", [NotImplementedError, ZeroDivisionError, KeyError])
def test_errors_of_the_readers_code_go_through(error):
    def answer(x):
        raise error("in the answer")

    with pytest.raises(error, match="in the answer"):
        doubles(answer)
