"""The rules of the house. Each rule is a function that lists what breaks it; a bad example shows that it can fail.

The wings of `tanet` stand on floors. A wing imports only from lower floors, and only what the lower wing's `__init__`
exports. Inside a wing, files import one another by name.
"""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest
from support.pages import items_of, names_in, section_of, wrong_names
from support.paths import NOTEBOOKS, ROOT, SOLUTIONS

PAGE = ROOT / "docs" / "architecture.md"
# Top floor first. A new wing gets a place here and in the docstring of tanet/__init__.py.
FLOORS = (
    "cli",
    "exercises",
    "demo",
    "share",
    "explore",
    "prediction",
    "exporting",
    "train",
    "evaluate",
    "checkpoint",
    "prepare",
    "data",
    "model",
    "ops",
    "recipes",
    "runtime",
    "visualize",
    "notebook",
    "errors",
)
FILE_LINES = 300
COLUMNS = 120

Sources = dict[str, str]  # path below the checkout, with slashes -> the file's text


@cache
def parse(source: str) -> ast.Module:
    return ast.parse(source)


def is_door(path: str) -> bool:
    """Whether a file of `tanet` only passes names on: the package's face, `tanet.sampling`, `python -m tanet.WING`.

    Users come in through these files, so they may import from every floor. No file of a wing imports them.
    """
    return path in ("tanet/__init__.py", "tanet/sampling.py") or path.endswith("/__main__.py")


def wing_of(path: str) -> str:
    """`data` of tanet/data/lists.py, `cli` of tanet/cli.py, the empty string for files outside the package."""
    parts = path.removesuffix(".py").split("/")
    return parts[1] if parts[0] == "tanet" else ""


def is_python(path: str) -> bool:
    return path.endswith((".py", ".ipynb"))


def modules_of(sources: Sources) -> dict[str, str]:
    """Dotted module name -> path, for the package's modules."""
    paths = [path for path in sources if path.startswith("tanet/") and path.endswith(".py")]
    return {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in paths}


def imports_of(path: str, source: str) -> Iterator[tuple[int, str, str]]:
    """(line, module, name) of all imports from `tanet`, inside functions too; name is empty for a whole module.

    `tanet.data.load_list` after `import tanet` counts as an import, and so does `import_module("tanet.data")`.
    """
    nodes = list(ast.walk(parse(source)))
    has_package = any(isinstance(node, ast.Import) and _binds_tanet(node) for node in nodes)
    for node in nodes:
        for module, name in _imported(node, path.split("/")[:-1], has_package):
            if module == "tanet" or module.startswith("tanet."):
                yield node.lineno, module, name


def _imported(node: ast.AST, package: list[str], has_package: bool) -> list[tuple[str, str]]:
    """The (module, name) pairs of one node; `has_package` says whether the name `tanet` is the package."""
    if isinstance(node, ast.Import):
        return [(alias.name, "") for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parents = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join(parents + ([node.module] if node.module else []))
        return [(module, alias.name) for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        return [(word.value, "") for word in node.args if isinstance(word, ast.Constant)]
    if has_package and isinstance(node, ast.Attribute):
        owner = ast.unparse(node.value)
        return [(owner, node.attr)] if re.fullmatch(r"tanet(\.\w+)?", owner) else []
    return []


def _binds_tanet(node: ast.Import) -> bool:
    return any(alias.name.split(".")[0] == "tanet" and alias.asname is None for alias in node.names)


def targets_of(path: str, sources: Sources) -> Iterator[tuple[int, str]]:
    """(line, path of the file that is imported) of all imports from `tanet`."""
    modules = modules_of(sources)
    for line, module, name in imports_of(path, sources[path]):
        target = modules.get(f"{module}.{name}") or modules.get(module)
        if target is not None:
            yield line, target


def exported(source: str) -> set[str]:
    """The names in `__all__`."""
    for node in parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def import_circles(sources: Sources) -> list[str]:
    """The first circle of imports between modules, also of a module with itself."""
    graph = {path: {target for _, target in targets_of(path, sources)} for path in modules_of(sources).values()}
    problems = [f"{path} imports itself" for path, targets in graph.items() if path in targets]
    try:
        TopologicalSorter({path: targets - {path} for path, targets in graph.items()}).prepare()
    except CycleError as error:
        problems.append(" <- ".join(error.args[1]))
    return problems


def upward_imports(sources: Sources) -> list[str]:
    """Imports from a lower floor to a higher one, imports of a door by a wing, and wings without a floor."""
    problems = []
    for path in modules_of(sources).values():
        if is_door(path):
            continue
        if wing_of(path) not in FLOORS:
            problems.append(f"{path}: the wing {wing_of(path)} has no floor; give it one in FLOORS")
            continue
        for line, target in targets_of(path, sources):
            if is_door(target):
                problems.append(f"{path}:{line} imports {target}, which stands above all wings")
            elif wing_of(target) in FLOORS and FLOORS.index(wing_of(target)) < FLOORS.index(wing_of(path)):
                problems.append(f"{path}:{line} imports {target}, which stands above it")
    return problems


def reaches_past_a_map(sources: Sources) -> list[str]:
    """Imports of what another wing's `__init__` does not export, by files of the package, scripts or notebooks."""
    modules, problems = modules_of(sources), []
    maps = {module: exported(sources[path]) for module, path in modules.items() if path.endswith("/__init__.py")}
    for path in filter(is_python, sources):
        for line, module, name in imports_of(path, sources[path]):
            owner = ".".join(module.split(".")[:2])
            if owner == "tanet":
                reaches = bool(name) and f"tanet.{name}" not in modules and name not in maps.get("tanet", ())
            elif owner in maps:
                reaches = module != owner or bool(name) and name not in maps[owner]
            else:
                reaches = name.startswith("_")  # of a wing that is one file
            inside = owner != "tanet" and owner == f"tanet.{wing_of(path)}"
            if reaches and not inside and not name.startswith("__"):
                problems.append(f"{path}:{line} takes {name or module} from {module}, past the map of {owner}")
    return problems


def gaps_in_maps(sources: Sources) -> list[str]:
    """Files that their wing's docstring does not name, and lines of a docstring that name no file."""
    problems = []
    for path in modules_of(sources).values():
        folder = path.removesuffix("__init__.py")
        if not path.endswith("/__init__.py") or folder == "tanet/":
            continue
        docstring = ast.get_docstring(parse(sources[path])) or ""
        files = [file.removeprefix(folder) for file in sources if file.startswith(folder)]
        stems = {file.split("/")[0].split(".")[0] for file in files} - {"__init__", "__main__"}
        unnamed = stems - set(re.findall(r"\w+", docstring))
        stale = set(re.findall(r"^(\w+)  +\S", docstring, re.MULTILINE)) - stems
        problems += [f"{path}: its docstring does not name {stem}" for stem in sorted(unnamed)]
        problems += [f"{path}: its docstring names {stem}, which is no file here" for stem in sorted(stale)]
    return problems


def hidden_modules(sources: Sources) -> list[str]:
    """Names in an `__init__` that are something else than the file of that name beside it."""
    modules, problems = modules_of(sources), []
    for package, path in modules.items():
        if not path.endswith("/__init__.py"):
            continue
        for node in parse(sources[path]).body:
            if isinstance(node, ast.ImportFrom):
                bound = {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                bound = {node.name: ""}
            elif isinstance(node, ast.Assign):
                bound = {ast.unparse(target): "" for target in node.targets}
            else:
                continue
            for name, origin in bound.items():
                if f"{package}.{name}" in modules and origin != f"{package}.{name}":
                    problems.append(f"{path}:{node.lineno}: {name} hides the module {package}.{name}")
    return problems


def long_files(sources: Sources) -> list[str]:
    counts = {path: len(text.splitlines()) for path, text in sources.items() if path.startswith("tanet/")}
    return [f"{path} has {count} lines, at most {FILE_LINES}" for path, count in counts.items() if count > FILE_LINES]


def long_lines(sources: Sources) -> list[str]:
    return [
        f"{path}:{number} has {len(line)} columns, at most {COLUMNS}"
        for path, text in sources.items()
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > COLUMNS
    ]


def questions_in(page: str) -> list[str]:
    """The items of the list under "Where is ...?"."""
    return [item for item in items_of(section_of(page, "Where is ...?")) if re.match(r"\d+\. ", item)]


@pytest.fixture(scope="module")
def house() -> Sources:
    """The package's files."""
    files = (path for path in sorted((ROOT / "tanet").rglob("*")) if path.suffix in (".py", ".cpp", ".h"))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in files}


@pytest.fixture(scope="module")
def neighbours() -> Sources:
    """The scripts and notebooks, which come in through the maps as any user does."""
    scripts = [path for folder in ("data_scripts", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    sources = {path.relative_to(ROOT).as_posix(): path.read_text() for path in scripts}
    for path in [*NOTEBOOKS, *SOLUTIONS]:
        cells = [cell["source"] for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        text = "\n\n".join("".join(cell) for cell in cells)
        sources[path.relative_to(ROOT).as_posix()] = re.sub(r"^\s*[%!].*", "", text, flags=re.MULTILINE)
    return sources


def hold(problems: list[str]) -> None:
    assert not problems, "\n".join(problems)


def test_no_circle_of_imports(house):
    hold(import_circles(house))


def test_wings_import_only_from_lower_floors(house):
    hold(upward_imports(house))


def test_nobody_reaches_past_a_map(house, neighbours):
    hold(reaches_past_a_map(house | neighbours))


def test_each_map_names_the_files_of_its_wing(house):
    hold(gaps_in_maps(house))


def test_the_package_lists_its_wings_top_floor_first(house):
    docstring = ast.get_docstring(parse(house["tanet/__init__.py"]))
    listed = re.findall(r"^    (\w+(?:, \w+)*)(?:  .*)?$", docstring.partition("top floor first")[2], re.MULTILINE)
    assert ", ".join(listed).split(", ") == list(FLOORS)


def test_no_name_hides_a_module(house):
    hold(hidden_modules(house))


def test_files_of_the_package_are_short(house):
    hold(long_files(house))


def test_lines_are_short(house):
    folders = ("tests", "data_scripts", "benchmarks")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    files += sorted(ROOT.glob("*.toml"))
    others = {path.relative_to(ROOT).as_posix(): path.read_text() for path in files}
    hold(long_lines(house | others))


def test_the_page_names_only_what_exists():
    hold(wrong_names(PAGE.read_text(), ROOT))


def test_the_places_for_new_things_exist():
    section = section_of((ROOT / "CONTRIBUTING.md").read_text(), "Where new things go")
    assert len(section) > 1000
    hold(wrong_names(section, ROOT))


def test_the_page_answers_thirty_questions_each_by_a_file_and_a_name():
    questions = questions_in(PAGE.read_text())
    assert len(questions) >= 30
    for question in questions:
        assert "?" in question and any(name for _, name in names_in(question)), question


@pytest.mark.parametrize(
    "rule, sources, problem",
    [
        (
            import_circles,
            {
                "tanet/data/lists.py": "from tanet.data import video",
                "tanet/data/video.py": "def read():\n    from tanet.data.lists import Row",
            },
            "lists.py",
        ),
        (
            import_circles,
            {
                "tanet/data/lists.py": "from tanet.data import Row",
                "tanet/data/__init__.py": "from tanet.data.lists import Row",
            },
            "__init__.py",
        ),
        (import_circles, {"tanet/model/tam.py": "from tanet.model import tam"}, "imports itself"),
        (
            upward_imports,
            {"tanet/ops/fused.py": "def run():\n    import tanet.model", "tanet/model/__init__.py": ""},
            "fused.py:2",
        ),
        (upward_imports, {"tanet/data/lists.py": "from .. import train", "tanet/train/__init__.py": ""}, "lists.py:1"),
        (upward_imports, {"tanet/ops/fused.py": "import_module('tanet.cli')", "tanet/cli.py": ""}, "tanet/cli.py"),
        (upward_imports, {"tanet/data/clips.py": "from tanet import TAM", "tanet/__init__.py": ""}, "above all wings"),
        (upward_imports, {"tanet/attic/__init__.py": ""}, "attic has no floor"),
        (
            reaches_past_a_map,
            {
                "tanet/train/loop.py": "from tanet.data.lists import Row",
                "tanet/data/__init__.py": "__all__ = ['Row']",
                "tanet/data/lists.py": "",
            },
            "loop.py:1",
        ),
        (
            reaches_past_a_map,
            {
                "benchmarks/speed.py": "from tanet.data import lists",
                "tanet/data/__init__.py": "__all__ = ['Row']",
                "tanet/data/lists.py": "",
            },
            "takes lists",
        ),
        (
            reaches_past_a_map,
            {
                "notebooks/1.ipynb": "import tanet\ntanet.data.lists.Row()",
                "tanet/data/__init__.py": "__all__ = ['Row']",
                "tanet/data/lists.py": "",
            },
            "1.ipynb:2",
        ),
        (reaches_past_a_map, {"tanet/share.py": "from tanet.cli import _train", "tanet/cli.py": ""}, "takes _train"),
        (
            gaps_in_maps,
            {
                "tanet/data/__init__.py": '"""Data.\n\nlists  videos\n"""',
                "tanet/data/lists.py": "",
                "tanet/data/video.py": "",
            },
            "does not name video",
        ),
        (gaps_in_maps, {"tanet/ops/__init__.py": '"""Kernels."""', "tanet/ops/mix.cpp": ""}, "does not name mix"),
        (gaps_in_maps, {"tanet/data/__init__.py": '"""Data.\n\nlists  videos\n"""'}, "no file here"),
        (
            hidden_modules,
            {"tanet/ops/__init__.py": "from tanet.ops.aggregate import aggregate", "tanet/ops/aggregate.py": ""},
            "hides the module tanet.ops.aggregate",
        ),
        (hidden_modules, {"tanet/ops/__init__.py": "def use(): ...", "tanet/ops/use.py": ""}, "tanet.ops.use"),
        (long_files, {"tanet/ops/mix.cpp": "\n" * 301}, "301 lines"),
        (long_lines, {"pyproject.toml": "x" * 121}, "121 columns"),
    ],
)
def test_each_rule_sees_what_breaks_it(rule, sources, problem):
    (listed,) = rule(sources)
    assert problem in listed


@pytest.mark.parametrize("rule", [import_circles, upward_imports, reaches_past_a_map, gaps_in_maps, hidden_modules])
def test_the_rules_accept_a_tidy_house(rule):
    """A door on top, an import between files of a wing, an exported module, and an import down through a map."""
    assert not rule(
        {
            "tanet/__init__.py": "from tanet.train import fit\n__all__ = ['fit']",
            "tanet/train/__init__.py": '"""Training.\n\nloop  fit\n"""\n'
            'from tanet.train.loop import fit\n__all__ = ["fit"]',
            "tanet/train/loop.py": "from tanet.data import Row, video\nfrom tanet import data, errors",
            "tanet/train/__main__.py": "from tanet.cli import main",
            "tanet/cli.py": "from tanet import train\ntrain.fit()",
            "tanet/errors.py": "",
            "tanet/data/__init__.py": '"""Data.\n\nlists  rows\nvideo  frames\n"""\nfrom tanet.data import video\n'
            'from tanet.data.lists import Row\n__all__ = ["Row", "video"]',
            "tanet/data/lists.py": "from tanet.data import video\nfrom .video import Frame",
            "tanet/data/video.py": "",
            "benchmarks/speed.py": "import tanet\ntanet.data.video.Frame()\ntanet.fit()\ntanet.__version__",
        }
    )


def test_a_page_that_names_what_is_gone_is_found(tmp_path):
    (tmp_path / "here.py").write_text("LIMIT: int = 1\nclass Clip:\n    def crop(self): ...\n")
    page = (
        "Nothing `crop`.\n\n1. `here.py`, `Clip.crop`, `LIMIT`,\n   `tanet train`, `Clip.flip`\n2. `gone.py`, `crop`\n"
    )
    assert [problem.partition(" in:")[0] for problem in wrong_names(page, tmp_path)] == [
        "crop: no file is named before it",
        "here.py: defines no Clip.flip",
        "gone.py: no such file",
        "gone.py: no such file",
    ]
