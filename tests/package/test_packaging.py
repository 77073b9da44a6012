import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import tanet
from tanet import recipes
from tanet.model import summary_table
from tanet.recipes import published_table

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(text)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in group
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
README = ROOT / "README.md"
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(work|root|tmp|home|Users|mnt)/")
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def pins():
    """Package -> version of constraints.txt, which holds nothing but exact pins, each once."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line.split(" #")[0]) for line in lines if line.strip() and not line.startswith("#")]
    names = [canonical(requirement.name) for requirement in found]
    assert len(set(names)) == len(names)
    specifiers = {canonical(r.name): list(r.specifier) for r in found}
    assert all(len(s) == 1 and s[0].operator == "==" for s in specifiers.values())
    return {name: s[0].version for name, s in specifiers.items()}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_dependency_is_pinned_within_its_range(requirement):
    """Those for macOS alone too, should there be a pin."""
    version = pins().get(canonical(requirement.name))
    if version is None and requirement.marker and not requirement.marker.evaluate({"sys_platform": "linux"}):
        pytest.skip("not installed on Linux, not pinned")
    assert version is not None and requirement.specifier.contains(version)


def test_decord_is_what_is_pinned_on_linux():
    assert pins()["decord"] == "0.6.0"
    wanted = {p: [r.name for r in REQUIREMENTS if "decord" in r.name and r.marker.evaluate({"sys_platform": p})]
              for p in ("linux", "darwin")}  # fmt: skip
    assert wanted == {"linux": ["decord"], "darwin": ["eva-decord"]}


def test_conda_installs_the_project_itself_under_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (python,) = [d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python=")]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert "pip" in environment["dependencies"]
    words = " ".join(pip).split()
    assert words[words.index("--constraint") + 1] == "constraints.txt"
    target = words[words.index("--editable") + 1]
    assert target.startswith(".[")
    assert set(target[2:-1].split(",")) == set(PROJECT["optional-dependencies"])
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python.removeprefix("python="))
    assert len(words) == 4  # no second list of packages beside pyproject.toml


def test_the_version_is_said_once_for_all():
    assert PROJECT["version"] == tanet.__version__


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


@by_name
def test_notebook_has_one_cell_of_parameters_and_checks_them(path):
    cells = code_cells(path)
    tagged = [i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert any(
        re.search(r"check_parameters\(\s*globals\(\)", "".join(cell["source"])) for cell in cells[tagged[0] + 1 :]
    )


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


def test_readme_names_only_files_that_are_there():
    text = README.read_text()
    folders = "notebooks|tanet|data_scripts|tests|benchmarks|shared"
    links = {
        link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link and not link.startswith("mailto:")
    }
    paths = set(re.findall(rf"(?<![\w/.-])((?:{folders})/[\w*./-]+\.(?:ipynb|py|md|json|txt|yml))", text))
    notebooks = {f"notebooks/{name}" for name in re.findall(r"(?<![\w/])(\d\d_\w+\.ipynb)", text)}
    named = links | paths | notebooks
    assert named
    assert not [name for name in sorted(named) if not list(ROOT.glob(name.rstrip("/")))]


def test_readme_holds_the_generated_tables():
    assert published_table() in README.read_text(), "paste tanet.published.published_table()"
    made = [recipes.get(name) for name in recipes.RECIPES]
    table = summary_table([recipe for recipe in made if recipe.init == "imagenet"])
    assert table in README.read_text(), "paste what python -m tanet.model summary prints"
