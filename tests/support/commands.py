"""Commands that pages show, checked without being run: each by the parser that would read it.

`problems_of(script)` lists what is wrong with the commands of a shell script: an option, a value, a recipe field, a
notebook's parameter, a target of the Makefile or a file that does not exist, and programs that nothing here can check.
"""

import argparse
import ast
import contextlib
import io
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
from nbconvert.nbconvertapp import NbConvertApp
from papermill.cli import papermill
from support.pages import defined_in
from support.paths import ROOT
from torch.distributed.run import get_args_parser

from data_scripts import kinetics400, something
from tanet import cli, recipes

PARSERS = {
    "tanet": cli._parser,
    "data_scripts.kinetics400": kinetics400._parser,
    "data_scripts.something": something._parser,
}
# The shell's own words, and a cluster's; `bash -n` checks how they are put together.
SHELL_WORDS = {"export", "rm", "trap", "wait", "source"}
# A command without what it needs, to check a part of one: `--set lr=0.02`.
BEGINNINGS = (
    "tanet train --recipe k400_8f --data-root DATA --run-dir RUN",
    "tanet evaluate CHECKPOINT --data-root DATA",
    "tanet predict FILE --weights W",
    "tanet export FILE TARGET --to onnx",
    "tanet checkpoint convert FILE TARGET",
    "tanet checkpoint pack RUN FOLDER",
    "tanet checkpoint push FOLDER USER/NAME",
    "python -m data_scripts.kinetics400 download --root ROOT",
    "python -m data_scripts.kinetics400 resize --root ROOT --out OUT",
    "python -m data_scripts.kinetics400 verify --root ROOT",
    "python -m data_scripts.something v1 extract --root ROOT",
)


def problems_of(script: str) -> list[str]:
    """What is wrong with a shell script: its syntax, and every command in it."""
    syntax = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True).stderr
    if syntax:
        return [syntax.strip()]
    return [
        f"{shlex.join(words)}: {problem}" for words in commands_in(script) for problem in problems_of_command(words)
    ]


def commands_in(script: str) -> Iterator[list[str]]:
    """The words of each command, one command a line, with the script's own variables put in.

    A variable's value is not a command here, although it may come from one: `head=$(scontrol ...)`.
    """
    variables = {}
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removesuffix("&"), comments=True)
        while words and (assigned := re.fullmatch(r"(\w+)=(.*)", words[0])):
            variables[assigned[1]] = assigned[2]
            words = [] if assigned[2].startswith("$(") else words[1:]
        if words:
            yield [part for word in words for part in _expanded(word, variables)]


def _expanded(word: str, variables: dict[str, str]) -> list[str]:
    """A word, or the words in the variable that it names."""
    name = word.removeprefix("$")
    return variables[name].split() if word.startswith("$") and name in variables else [word]


def problems_of_command(words: list[str]) -> list[str]:
    """What is wrong with one command."""
    program, *rest = words
    if any(word in ("&&", "||", "|") or word.endswith(";") for word in words):
        return ["write one command a line"]
    if program in SHELL_WORDS:
        return []
    if program not in CHECKS:
        return [f"nothing here can check the program {program}"]
    return CHECKS[program](rest)


def parse(words: list[str]) -> argparse.Namespace:
    """What one of PARSERS makes of `tanet ...` or `python -m MODULE ...`; ValueError if it refuses the words.

    An option must be written out, although argparse would complete it.
    """
    module, rest = (words[2], words[3:]) if words[:2] == ["python", "-m"] else (words[0], words[1:])
    if module not in PARSERS:
        raise ValueError(f"nothing here can check {module}")
    parser, said = PARSERS[module](), io.StringIO()
    known = set(_options(parser, rest))
    unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in known]
    if unknown:
        raise ValueError(f"there is no option {', '.join(unknown)}")
    with contextlib.redirect_stderr(said):
        try:
            chosen = parser.parse_args(rest)
        except SystemExit:
            raise ValueError(said.getvalue().strip().splitlines()[-1]) from None
    if module == "tanet":
        _check_recipe(chosen)
    return chosen


def _options(parser: argparse.ArgumentParser, words: list[str]) -> Iterator[str]:
    """The options of a parser and of its commands that are among the words."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                if name in words:
                    yield from _options(command, words)


def _check_recipe(chosen: argparse.Namespace) -> None:
    """ValueError for a recipe that does not exist and for changes that it does not allow."""
    names = getattr(chosen, "recipe", None) or "k400_8f"
    changes = cli.parse_changes(getattr(chosen, "set", []))
    for name in [names] if isinstance(names, str) else names:
        recipes.get(name).with_changes(changes)


def _check_parsed(words: list[str]) -> list[str]:
    try:
        parse(words)
    except ValueError as error:
        return [str(error)]
    return []


def _check_python(words: list[str]) -> list[str]:
    """`python -m MODULE ...`, or `python FILE ...`, whose options must stand in the file."""
    if words[0] == "-m":
        return _check_parsed(["python", *words])
    file = ROOT / words[0]
    if not file.is_file():
        return [f"no file {words[0]}"]
    return [f"{words[0]} has no option {word}" for word in words[1:] if f'"{word}"' not in file.read_text()]


def _check_make(words: list[str]) -> list[str]:
    return [f"the Makefile has no target {word}" for word in words if word not in defined_in(ROOT / "Makefile")]


def _check_torchrun(words: list[str]) -> list[str]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            chosen = get_args_parser().parse_args(words)
        except SystemExit:
            return [said.getvalue().strip().splitlines()[-1]]
    return _check_python((["-m"] if chosen.module else []) + [chosen.training_script, *chosen.training_script_args])


def _check_papermill(words: list[str]) -> list[str]:
    """The command by papermill's own parser, its parameters by the notebook's cell of parameters."""
    try:
        chosen = papermill.make_context("papermill", list(words)).params
    except click.ClickException as error:
        return [error.format_message()]
    notebook = ROOT / chosen["notebook_path"]
    if not notebook.is_file():
        return [f"no notebook {chosen['notebook_path']}"]
    given, known = dict(chosen["parameters"]), parameters_of(notebook)
    problems = [f"{notebook.name} has no parameter {name}" for name in given if name not in known]
    if given.get("recipe", "k400_8f") not in recipes.RECIPES:
        problems.append(f"no recipe {given['recipe']}")
    return problems


@cache
def parameters_of(notebook: Path) -> set[str]:
    """The names that a notebook's cell tagged `parameters` assigns."""
    cells = json.loads(notebook.read_text())["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return {node.targets[0].id for node in ast.parse("".join(cell["source"])).body}


def _check_srun(words: list[str]) -> list[str]:
    return problems_of_command(words)


def _check_bash(words: list[str]) -> list[str]:
    """`bash -c SCRIPT`."""
    return problems_of(words[1]) if words[0] == "-c" else [f"only bash -c is checked, not {words[0]}"]


def _check_pytest(words: list[str]) -> list[str]:
    """Files must exist, and the word behind -k must be a part of a test's name in them."""
    options = argparse.ArgumentParser(exit_on_error=False, add_help=False)
    options.add_argument("files", nargs="+")
    options.add_argument("-k")
    options.add_argument("--nbval", action="store_true")
    try:
        chosen, unknown = options.parse_known_args(words)
    except argparse.ArgumentError as error:
        return [str(error)]
    problems = [f"the option {word} is not checked here" for word in unknown]
    problems += [f"no file {file}" for file in chosen.files if not (ROOT / file).is_file()]
    if chosen.k and not problems:
        tests = " ".join(re.findall(r"def (test_\w+)", "".join((ROOT / file).read_text() for file in chosen.files)))
        problems += [] if chosen.k in tests else [f"no test has {chosen.k} in its name"]
    return problems


def _check_jupyter(words: list[str]) -> list[str]:
    """`jupyter nbconvert`: its options, and the notebooks."""
    if words[0] != "nbconvert":
        return [f"only jupyter nbconvert is checked, not {words[0]}"]
    known = {f"--{name}" for name in (*NbConvertApp.flags, *NbConvertApp.aliases)}
    problems = [f"nbconvert has no option {word}" for word in words if word.startswith("--") and word not in known]
    return problems + [
        f"no notebook {word}" for word in words if word.endswith(".ipynb") and not (ROOT / word).is_file()
    ]


CHECKS = {
    "bash": _check_bash,
    "jupyter": _check_jupyter,
    "make": _check_make,
    "papermill": _check_papermill,
    "pytest": _check_pytest,
    "python": _check_python,
    "srun": _check_srun,
    "tanet": lambda words: _check_parsed(["tanet", *words]),
    "torchrun": _check_torchrun,
}


def problems_within(page: str) -> list[str]:
    """What is wrong with the `code` in a page's sentences that is a command of ours, or options of one.

    Capital letters stand for what the reader puts in, `...` for the rest of a command.
    """
    problems = []
    for code in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)):
        words = " ".join(code.split()).split(" ")
        if words[0].startswith("--"):
            found = problem_of_part(words)
        elif words[0] == "tanet" and len(words) > 2 and "..." not in words and "|" not in code:
            found = "; ".join(_check_parsed(words))
        else:
            continue
        problems += [f"`{code}`: {found}"] if found else []
    return problems


def problem_of_part(words: list[str]) -> str:
    """Why no command of BEGINNINGS takes these options; an empty string if one does.

    An option alone names itself, so its value may be missing.
    """
    words = [_filled(word) for word in words]
    reasons = []
    for beginning in BEGINNINGS:
        found = _check_parsed([*beginning.split(), *words])
        if not found or (len(words) == 1 and found[0].endswith(f"{words[0]}: expected one argument")):
            return ""
        reasons.append(found[0])
    return next((reason for reason in reasons if "no option" not in reason), reasons[0])


def _filled(word: str) -> str:
    """`FIELD=VALUE` stands for any change of a recipe."""
    return "epochs=1" if word == "FIELD=VALUE" else word
