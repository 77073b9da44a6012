"""What the checks of all notebooks share.

An answer is a function or a value. Until the reader has answered, it is `...` or a function that returns `...`.
"""

from collections.abc import Callable
from functools import wraps
from types import FunctionType

import torch


class WrongAnswer(AssertionError):
    """An answer that is not right; the message says where, and what to look at."""


class _NotAnswered(Exception):
    pass


def exercise(number: int) -> Callable:
    """Makes a check of a function that compares answers with `require` and `require_close`.

    The check prints `exercise N: right`, or `exercise N: not answered yet` if an answer is still `...`; a tuple with
    `...` in it counts as missing, too. Errors go through: WrongAnswer, and whatever the reader's code raises.
    """

    def decorate(compare: Callable) -> Callable:
        @wraps(compare)
        def check(*answers) -> None:
            try:
                compare(*[_answered(answer) for answer in answers])
            except _NotAnswered:
                print(f"exercise {number}: not answered yet")
            else:
                print(f"exercise {number}: right")

        return check

    return decorate


def require(condition: bool, hint: str) -> None:
    """Raises WrongAnswer with the hint unless the condition holds."""
    if not condition:
        raise WrongAnswer(hint)


def require_close(got, wanted: torch.Tensor | float, name: str, tolerance: float = 1e-5) -> None:
    """Raises WrongAnswer unless `got` (tensor, array, list or number) has the shape and the values of `wanted`.

    The message calls the answer `name` and shows its largest error. `tolerance` is absolute.
    """
    _answered(got)
    wanted = torch.as_tensor(wanted)
    try:
        got = torch.as_tensor(got, dtype=wanted.dtype)
    except (TypeError, ValueError, RuntimeError):
        raise WrongAnswer(f"{name} must be {_kind(wanted)}, got {got!r:.200}") from None
    require(got.shape == wanted.shape, f"{name} must be {_kind(wanted)}, got {_kind(got)}")
    errors = (got - wanted).abs().nan_to_num(nan=torch.inf)
    if wanted.numel() and errors.max() > tolerance:
        place = [int(index) for index in torch.unravel_index(errors.argmax(), errors.shape)]
        where = f"{name}{place}" if place else name
        raise WrongAnswer(f"{where} is {got[tuple(place)]:.4g}, but should be {wanted[tuple(place)]:.4g}")


def _answered(answer):
    """The answer itself, or the function that it is and that must not return `...`. Raises _NotAnswered."""
    if answer is ... or isinstance(answer, tuple | list) and any(part is ... for part in answer):
        raise _NotAnswered
    if not isinstance(answer, FunctionType):
        return answer

    @wraps(answer)
    def function(*arguments, **options):
        return _answered(answer(*arguments, **options))

    return function


def _kind(values: torch.Tensor) -> str:
    return f"a tensor of shape {list(values.shape)}" if values.ndim else "a number"
