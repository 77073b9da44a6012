"""What a notebook needs of itself: its parameters checked, its versions shown."""

import ast
import platform
import typing
from importlib.metadata import PackageNotFoundError, version

INJECTED = "# Parameters"  # papermill begins the cell it injects with this line


def check_parameters(namespace: dict, **types) -> None:
    """Refuses what papermill was given wrongly; call it below the `parameters` cell with `globals()`.

    `types` declares every parameter: `check_parameters(globals(), recipe=str, data_root=str | None, gpus=int)`. Raises
    ValueError on a parameter that is not declared (papermill itself only warns) and TypeError on one of another type.
    """
    unknown = sorted(_injected_names(namespace) - set(types))
    if unknown:
        raise ValueError(f"unknown parameter(s) {', '.join(unknown)}; this notebook has: {', '.join(types)}")
    for name, expected in types.items():
        value = namespace[name]
        accepted = typing.get_args(expected) or (expected,)
        if type(value) is int and float in accepted:
            continue
        if type(value) not in accepted:
            wanted = getattr(expected, "__name__", expected)
            raise TypeError(f"parameter {name} must be {wanted}, got {value!r} ({type(value).__name__})")


def _injected_names(namespace: dict) -> set[str]:
    """Names assigned by the cells that papermill put in, read from IPython's history of this session's cells."""
    names = set()
    for source in namespace.get("In", []):
        if source.startswith(INJECTED):
            for statement in ast.parse(source).body:
                if isinstance(statement, ast.Assign):
                    names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return names


def versions(*packages: str) -> str:
    """One line that says what ran: Python and the named packages with their versions."""
    listed = [f"{package} {_version(package)}" for package in packages]
    return ", ".join([f"Python {platform.python_version()}", *listed])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # as decord, where another package stands in for it
        return "not installed"
