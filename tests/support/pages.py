"""Pages that name files of the checkout and what they define: `tanet/data/lists.py`, `load_list`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path


def items_of(page: str) -> list[str]:
    """The page's paragraphs, list items and table rows, each one line; blocks of code left out."""
    page = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:\d+\.|-|\|) )", page)
    return [" ".join(part.split()) for part in parts if part.strip()]


def defined_in(path: Path) -> set[str]:
    """What a name on the page can be: a Python file's functions, classes, `Class.member` and constants, a C++ file's
    functions, a Makefile's targets."""
    text = path.read_text()
    if path.name == "Makefile":
        return set(re.findall(r"^([\w-]+):", text, re.MULTILINE))
    if path.suffix in (".cpp", ".h"):
        return set(re.findall(r"\b(\w+)\(", text))
    return set(_definitions(ast.parse(text).body)) if path.suffix == ".py" else set()


def _definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, f"{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (prefix + name.id for target in targets for name in ast.walk(target) if hasattr(name, "id"))


def names_in(item: str) -> list[tuple[str, str]]:
    """(file, "") and (file, name) of a paragraph's `code`; a name belongs to the file before it."""
    pairs, file = [], ""
    for code in re.findall(r"`([^`]+)`", item):
        if re.fullmatch(r"[\w./-]+\.(?:py|cpp|h|ipynb|toml|md|txt|yml)|Makefile", code):
            file = code
            pairs.append((file, ""))
        elif re.fullmatch(r"\w+(\.\w+)*", code):
            pairs.append((file, code))
    return pairs


def wrong_names(page: str, root: Path) -> list[str]:
    """What the page names and the checkout does not have."""
    problems = []
    for item in items_of(page):
        for file, name in names_in(item):
            if not file:
                problems.append(f"{name}: no file is named before it in: {item}")
            elif not (root / file).is_file():
                problems.append(f"{file}: no such file")
            elif name and name not in defined_in(root / file):
                problems.append(f"{file}: defines no {name}")
    return problems


def section_of(page: str, title: str) -> str:
    return page.partition(f"## {title}\n")[2].partition("\n## ")[0]
