"""Helpers for the notebooks: check parameters, hold what the text says, play clips, ask whether somebody is there."""

import ast
import base64
import html
import os
import platform
import typing
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

INJECTED = "# Parameters"  # the first line of the cell that papermill injects


def check_parameters(namespace: dict, **types) -> None:
    """Checks the parameters that papermill injected. Call it below the `parameters` cell with `globals()`.

    `types` declares every parameter: `check_parameters(globals(), recipe=str, data_root=str | None, gpus=int)`. Raises
    ValueError for a parameter that is not declared (papermill only warns) and TypeError for a value of another type.
    An int is accepted for a float; a bool is not accepted for an int. A path below the home folder may begin with `~`.
    """
    unknown = sorted(_injected_names(namespace) - set(types))
    if unknown:
        raise ValueError(f"unknown parameter(s) {', '.join(unknown)}; this notebook has: {', '.join(types)}")
    for name, expected in types.items():
        value = namespace[name]
        accepted = typing.get_args(expected) or (expected,)
        if type(value) is int and float in accepted:
            continue
        if type(value) not in accepted:  # not isinstance, for which True is an int
            type_name = getattr(expected, "__name__", expected)
            raise TypeError(f"parameter {name} must be {type_name}, got {value!r} ({type(value).__name__})")
        if isinstance(value, str):
            namespace[name] = os.path.expanduser(value)


def _injected_names(namespace: dict) -> set[str]:
    """Names that the injected cells assign, read from `In`, IPython's list of the cells that it has run."""
    names = set()
    for source in namespace.get("In", []):
        if source.startswith(INJECTED):
            for statement in ast.parse(source).body:
                if isinstance(statement, ast.Assign):
                    names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return names


def claims_of(described: bool) -> Callable[[str, bool], None]:
    """Returns `claim(sentence, holds)`, for what a notebook's text says of the network that it shows.

    described: whether the network is the one that the text was written for. If so, a claim that does not hold raises
    AssertionError. For another network `claim` prints whether the sentence holds for it.
    """

    def claim(sentence: str, holds: bool) -> None:
        assert holds or not described, f"the text says: {sentence}"
        if described:
            print(f"holds: {sentence}")
        else:
            print(f"holds for this network, too: {sentence}" if holds else f"NOT SO for this network: {sentence}")

    return claim


def has_front_end() -> bool:
    """Whether somebody can use a notebook's sliders and buttons.

    A front end, such as JupyterLab, tells with every cell that it can answer `input`. nbconvert, papermill and pytest
    tell that they cannot, and outside a notebook nobody tells.
    """
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    if not hasattr(shell, "get_parent"):  # a script, or IPython in a terminal
        return False
    return bool(shell.get_parent().get("content", {}).get("allow_stdin"))


def play(gif: bytes, alt: str):
    """Shows an animated GIF, as `tanet.visualize.moving_picture` makes it. `alt` says what is in it.

    As HTML, because pages made from notebooks leave out outputs of the type image/gif.
    """
    from IPython.display import HTML  # not at the top: the package is used without notebooks

    return HTML(f'<img src="data:image/gif;base64,{base64.b64encode(gif).decode()}" alt="{html.escape(alt)}">')


def versions(*packages: str) -> str:
    """One line with the versions of Python and of the named packages."""
    package_versions = [f"{package} {_version(package)}" for package in packages]
    return ", ".join([f"Python {platform.python_version()}", *package_versions])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # decord on macOS, where eva-decord replaces it
        return "not installed"
