"""Holds pyproject.toml, the pins, the README, the notebooks and the pages beside them against one another."""

import importlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from support.paths import NOTEBOOKS, ROOT, SOLUTIONS

import tanet
from tanet import recipes

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(text)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in group
]
README = ROOT / "README.md"
CHANGELOG = ROOT / "CHANGELOG.md"
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(work|root|tmp|home|Users|mnt)/")
by_name = pytest.mark.parametrize(
    "path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: path.relative_to(ROOT / "notebooks").as_posix()
)


def pins(file: str = "constraints.txt") -> dict[str, str]:
    """Package -> version of a constraints file. It holds nothing but exact pins, each once."""
    lines = (ROOT / file).read_text().splitlines()
    pinned = [Requirement(line.split(" #")[0]) for line in lines if line.strip() and not line.startswith("#")]
    names = [canonical(requirement.name) for requirement in pinned]
    assert len(set(names)) == len(names)
    specifiers = [list(requirement.specifier) for requirement in pinned]
    assert all(len(specifier) == 1 and specifier[0].operator == "==" for specifier in specifiers)
    return {name: specifier[0].version for name, specifier in zip(names, specifiers)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def is_for(requirement: Requirement, platform: str, machine: str = "x86_64", python: str = "3.11") -> bool:
    environment = {"sys_platform": platform, "platform_machine": machine, "python_version": python}
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_dependency_is_pinned_within_its_range(requirement):
    version = pins().get(canonical(requirement.name))
    assert version is not None and requirement.specifier.contains(version)


@pytest.mark.parametrize("requirement", [r for r in REQUIREMENTS if is_for(r, "linux")], ids=str)
def test_the_lowest_version_of_every_range_is_what_the_oldest_environment_pins(requirement):
    """`make test-oldest` runs the quick tests with constraints-oldest.txt."""
    (lowest,) = [specifier.version for specifier in requirement.specifier if specifier.operator == ">="]
    assert Version(pins("constraints-oldest.txt")[canonical(requirement.name)]) == Version(lowest)


@pytest.mark.parametrize(
    "platform, machine, python, package",
    [
        ("linux", "x86_64", "3.11", "decord"),
        ("linux", "x86_64", "3.14", "decord"),
        ("linux", "aarch64", "3.11", None),
        ("win32", "AMD64", "3.12", "decord"),
        ("darwin", "arm64", "3.11", "eva-decord"),
        ("darwin", "arm64", "3.12", None),
        ("darwin", "x86_64", "3.13", None),
    ],
)
def test_decord_is_installed_where_it_has_a_wheel_and_nowhere_stops_the_installation(
    platform, machine, python, package
):
    """The wheels of decord 0.6.0 are for any Python, those of eva-decord 0.6.1 for Python 3.11 and before."""
    assert pins()["decord"] == "0.6.0"
    named = [r.name for r in REQUIREMENTS if "decord" in r.name and is_for(r, platform, machine, python)]
    assert named == ([package] if package else [])


def test_conda_installs_the_project_itself_under_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (python,) = [d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python=")]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert "pip" in environment["dependencies"]
    words = " ".join(pip).split()
    assert words[words.index("--constraint") + 1] == "constraints.txt"
    target = words[words.index("--editable") + 1]
    assert target.startswith(".[")
    only_some_need = {"hub", "wandb", "mlflow", "site"}
    assert set(target[2:-1].split(",")) == set(PROJECT["optional-dependencies"]) - only_some_need
    makefile = (ROOT / "Makefile").read_text()
    assert f"--editable '{target}'" in makefile  # for test-oldest
    in_steps = re.findall(r"\$\(INSTALL\) '\.\[(.*)\]'", makefile)  # for the demo, and then for the tests
    assert set(",".join(in_steps).split(",")) == {*target[2:-1].split(","), "site"}
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python.removeprefix("python="))
    assert len(words) == 4  # no second list of packages beside pyproject.toml


def test_the_version_is_the_same_everywhere():
    assert PROJECT["version"] == tanet.__version__ == CITATION["version"]


def test_the_citation_is_that_of_the_readme():
    """CITATION.cff 1.2.0: the software, and the paper as what to cite."""
    assert CITATION["cff-version"] == "1.2.0" and CITATION["license"] == PROJECT["license"]
    assert all(CITATION[field] for field in ("message", "title", "authors"))
    paper, bibtex = CITATION["preferred-citation"], README.read_text().partition("```bibtex")[2]
    assert f"title={{{paper['title']}}}" in bibtex and f"year={{{paper['year']}}}" in bibtex
    assert f"pages={{{paper['start']}--{paper['end']}}}" in bibtex
    names = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert f"author={{{' and '.join(names)}}}" in bibtex


def test_hooks_run_the_pinned_ruff():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (ruff,) = [repository for repository in hooks if repository["repo"].endswith("/ruff-pre-commit")]
    assert ruff["rev"] == f"v{pins()['ruff']}"
    assert {hook["id"] for hook in ruff["hooks"]} == {"ruff-format", "ruff-check"}


def test_the_workflow_runs_the_commands_of_the_readme():
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    readme = README.read_text().partition("## Two commands")[2].partition("\n## ")[0]
    assert commands == re.findall(r"^(make \w+)", readme, re.MULTILINE) == ["make demo", "make test"]


def test_the_changelog_names_import_paths_that_exist():
    """The second column: a wing, then the names in it, which are those of the first column where none are given."""
    rows = re.findall(r"^\| (`\w.*) \| (`tanet.*) \|$", CHANGELOG.read_text(), re.MULTILINE)
    assert len(rows) > 30
    for before, now in rows:
        module, *names = re.findall(r"`([^`]+)`", now)
        names = names or [name for name in re.findall(r"`([^`]+)`", before) if "." not in name]
        wing, _, name = module.rpartition(".")
        if wing != "tanet":
            module, names = wing, [name]
        for name in names:
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    """Built in a copy, since setuptools leaves build/ behind, and without isolation, so that nothing is downloaded."""
    for folder in ("tanet", "data_scripts", "tests", "benchmarks", "notebooks", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / file, tmp_path / file)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index"]
    build = subprocess.run([*command, "--wheel-dir", "wheels"], cwd=tmp_path, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout + build.stderr
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        (commands,) = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        assert "tanet = tanet.cli:main" in archive.read(commands).decode()
    files = [path for path in (ROOT / "tanet").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    sources = {path.relative_to(ROOT).as_posix() for path in files}
    assert packed == sources
    assert {".py", ".cpp", ".typed"} <= {Path(name).suffix for name in packed}


def test_make_help_lists_every_target():
    targets = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert sorted(re.findall(r"^  make ([\w-]+) +\w", listed, re.MULTILINE)) == sorted(" ".join(targets).split())


def test_there_are_notebooks():
    assert NOTEBOOKS


def code_cells(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@by_name
def test_notebook_was_executed_from_top_to_bottom(path):
    """nbval compares only cells that have an execution_count: without them it would pass vacuously."""
    counts = [cell["execution_count"] for cell in code_cells(path) if "".join(cell["source"]).strip()]
    assert counts and None not in counts
    assert counts == sorted(set(counts))


@by_name
def test_notebook_holds_outputs_and_no_errors(path):
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_one_cell_of_parameters_and_checks_them(path):
    cells = code_cells(path)
    tagged = [i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert any(
        re.search(r"check_parameters\(\s*globals\(\)", "".join(cell["source"])) for cell in cells[tagged[0] + 1 :]
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_site_folds_what_a_notebook_sets_up(path):
    """The code between the title and the first text after it: parameters, imports, versions."""
    cells = json.loads(path.read_text())["cells"]
    second = [index for index, cell in enumerate(cells) if cell["cell_type"] == "markdown"][1]
    folded = ["hide-input" in cell["metadata"].get("tags", []) for cell in cells[1:]]
    assert folded[: second - 1] == [True] * (second - 1) and not any(folded[second - 1 :])


def texts(cell):
    """A cell's source and everything in its outputs that people read."""
    yield "".join(cell["source"])
    for output in cell.get("outputs", []):
        yield "".join(output.get("text", ""))
        yield from ("".join(data) for kind, data in output.get("data", {}).items() if kind.startswith("text/plain"))


@by_name
def test_notebook_names_no_path_of_one_machine(path):
    for cell in json.loads(path.read_text())["cells"]:
        for text in texts(cell):
            assert not MACHINE_PATH.search(text), text[:300]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_pages_name_only_files_that_exist(page):
    text = (ROOT / page).read_text()
    folders = "notebooks|tanet|data_scripts|tests|benchmarks|docs|shared"
    links = {
        link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link and not link.startswith("mailto:")
    }
    paths = set(re.findall(rf"(?<![\w/.-])((?:{folders})/[\w*./-]+\.(?:ipynb|py|md|json|txt|yml))", text))
    notebooks = {f"notebooks/{name}" for name in re.findall(r"(?<![\w/])(\d\d_\w+\.ipynb)", text)}
    named = links | paths | notebooks
    assert named
    assert not [name for name in sorted(named) if not list(ROOT.glob(name.rstrip("/")))]


def test_docs_hold_every_field_of_every_recipe_with_its_source():
    page = ROOT / "docs/recipes.md"
    assert recipes.recipes_page() == page.read_text(), "remake the page as CONTRIBUTING.md says"
    assert all(f"[{name}](#{name})" in page.read_text() for name in recipes.RECIPES)
