import ast
import logging

import nbformat
import papermill
import pytest
import torch
from support.paths import NOTEBOOKS, SOLUTIONS

from tanet.notebook import check_parameters, claims_of, has_front_end, play, versions

by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
COLUMNS = 110  # of a line of code: a page of 1,000 pixels cuts off what is longer
LOADS_VALIDATION = ("02", "04", "05", "06", "07")


def namespace(injected="", **values):
    """What globals() contains in a kernel into which papermill injected the lines `injected`."""
    cells = ["", "import this", "recipe = 'a'\ngpus = 0", f"# Parameters\n{injected}\n", "check_parameters(...)"]
    return {"In": cells, **values}


def test_declared_parameters_of_their_types_pass():
    names = namespace('recipe = "b"\ngpus = 2', recipe="b", gpus=2, data_root=None, fast=True, rate=0.5)
    check_parameters(names, recipe=str, gpus=int, data_root=str | None, fast=bool, rate=float)


@pytest.mark.parametrize("data_root", [None, "somewhere"])
def test_optional_parameters_may_be_none_or_given(data_root):
    check_parameters(namespace(data_root=data_root), data_root=str | None)


def test_undeclared_parameters_are_named_with_the_declared_ones():
    names = namespace('recipe = "b"\nepoch = 3\ngpu = 1', recipe="b", epoch=3, gpu=1)
    with pytest.raises(ValueError, match="epoch, gpu; this notebook has: recipe"):
        check_parameters(names, recipe=str)


def test_names_that_the_notebook_assigns_are_not_parameters():
    check_parameters(namespace(recipe="a", helper=3), recipe=str)
    check_parameters({"recipe": "a"}, recipe=str)  # a script, without IPython's history


@pytest.mark.parametrize(
    "value, expected, type_name",
    [
        ("2", int, "int"),
        (2.0, int, "int"),
        (True, int, "int"),
        (None, int, "int"),
        (5, str, "str"),
        (5, str | None, r"str \| None"),
        (True, int | None, r"int \| None"),
        ("yes", bool, "bool"),
        (1, bool, "bool"),
        (True, float, "float"),
    ],
)
def test_parameters_of_another_type_are_named_with_type_and_value(value, expected, type_name):
    with pytest.raises(TypeError, match=f"parameter gpus must be {type_name}, got {value!r}"):
        check_parameters(namespace(gpus=value), gpus=expected)


@pytest.mark.parametrize("value", [True, False, None])
def test_optional_flags_may_be_given(value):
    check_parameters(namespace(fast=value), fast=bool | None)


def test_a_clip_plays_as_html_that_says_what_it_shows():
    shown = play(b"GIF89a", 'a "clip"').data
    assert shown == '<img src="data:image/gif;base64,R0lGODlh" alt="a &quot;clip&quot;">'


def test_versions_are_those_of_python_and_the_packages():
    assert versions("torch").startswith("Python 3.") and f"torch {torch.__version__.split('+')[0]}" in versions("torch")


def test_a_claim_on_the_network_of_the_text_holds_or_fails(capsys):
    claim = claims_of(described=True)
    claim("kernels differ", torch.tensor(1.0) > 0.5)
    assert capsys.readouterr().out == "holds: kernels differ\n"
    with pytest.raises(AssertionError, match="the text says: kernels differ"):
        claim("kernels differ", False)


def test_a_claim_on_another_network_says_whether_it_holds(capsys):
    claim = claims_of(described=False)
    claim("kernels differ", True)
    claim("maps are flat", False)
    assert capsys.readouterr().out.splitlines() == [
        "holds for this network, too: kernels differ",
        "NOT SO for this network: maps are flat",
    ]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A small notebook: a `parameters` cell, the check, and a cell that prints the parameters."""
    path = tmp_path_factory.mktemp("notebook") / "small.ipynb"
    cell = nbformat.v4.new_code_cell
    cells = [
        cell("gpus = 0\ndata_root = None", metadata={"tags": ["parameters"]}),
        cell(
            "from tanet.notebook import check_parameters\ncheck_parameters(globals(), gpus=int, data_root=str | None)"
        ),
        cell("print('gpus', gpus, 'data_root', data_root)"),
    ]
    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def execute(notebook, **parameters):
    out = notebook.with_name("out.ipynb")
    return papermill.execute_notebook(notebook, out, parameters, progress_bar=False)


@pytest.mark.slow  # starts a kernel
def test_papermill_gives_declared_parameters(notebook):
    finished = execute(notebook, gpus=3, data_root="/data")
    assert finished.cells[-1].outputs[0].text == "gpus 3 data_root /data\n"


@pytest.mark.slow  # starts a kernel
def test_where_nobody_can_move_a_slider_there_is_no_front_end(tmp_path):
    """tests/explore/test_in_jupyterlab.py shows that there is one where somebody can."""
    assert not has_front_end()
    cell = nbformat.v4.new_code_cell("from tanet.notebook import has_front_end\nprint(has_front_end())")
    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), tmp_path / "small.ipynb")
    assert execute(tmp_path / "small.ipynb").cells[-1].outputs[0].text == "False\n"


@pytest.mark.slow  # starts a kernel
def test_papermill_fails_on_a_mistyped_parameter(notebook):
    with pytest.raises(papermill.PapermillExecutionError, match=r"unknown parameter\(s\) gpu; this notebook has: gpus"):
        execute(notebook, gpu=1)


@pytest.mark.slow  # starts a kernel
def test_papermill_fails_on_a_parameter_passed_as_text(notebook):
    with pytest.raises(papermill.PapermillExecutionError, match="gpus must be int, got '1'"):
        execute(notebook, gpus="1")


def test_paths_below_the_home_folder_are_written_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    names = namespace('data_root = "~/data"', data_root="~/data", out=None, recipe="a~/b", gpus=1)
    check_parameters(names, data_root=str | None, out=str | None, recipe=str, gpus=int)
    assert (names["data_root"], names["out"], names["recipe"]) == ("/home/someone/data", None, "a~/b")


def parameters_cell(path) -> str:
    cells = nbformat.read(path, 4).cells
    return next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))


def seen_by_papermill(path, caplog) -> dict[str, dict]:
    """{name: its default and its comment} as `papermill --help-notebook` shows them. papermill logs what it misses."""
    with caplog.at_level(logging.WARNING, logger="papermill"):
        return papermill.inspect_notebook(path)


@by_name
def test_papermill_sees_every_parameter_with_its_default_and_its_comment(path, caplog):
    source = parameters_cell(path)
    expected = {
        statement.targets[0].id: (ast.literal_eval(statement.value), source.splitlines()[statement.lineno - 1])
        for statement in ast.parse(source).body
    }
    seen = seen_by_papermill(path, caplog)
    assert not caplog.records
    assert list(seen) == list(expected)
    for name, (value, line) in expected.items():
        assert ast.literal_eval(seen[name]["default"]) == value
        assert line.partition("  # ")[2] == seen[name]["help"]


@pytest.mark.parametrize(
    "source, lost",
    [
        ("gpus = 0  # as with gpus = 1\nprocesses = 1", "gpus"),
        ("gpus = 0; processes = 1", "gpus"),
        ("name = 'a=b'\ngpus = 0", "name"),
    ],
)
def test_what_papermill_cannot_read_is_known(source, lost, tmp_path, caplog):
    """Two = signs in a line: papermill warns and hides the parameter. So the test above can fail."""
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), tmp_path / "small.ipynb")
    assert lost not in seen_by_papermill(tmp_path / "small.ipynb", caplog)
    assert "Unable to parse line 1" in caplog.text


@by_name
def test_a_notebook_declares_the_parameters_that_it_has(path):
    """`check_parameters` refuses what is not declared, and the cell's comment is all that people read of the others."""
    calls = [node for node in ast.walk(ast.parse(code_of(path))) if isinstance(node, ast.Call)]
    (check,) = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "check_parameters"]
    assigned = [statement.targets[0].id for statement in ast.parse(parameters_cell(path)).body]
    assert sorted(keyword.arg for keyword in check.keywords) == sorted(assigned)


def code_of(path) -> str:
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    return "\n".join(cell.replace("%matplotlib inline", "") for cell in cells)


@by_name
def test_a_notebook_that_reads_data_takes_lists_and_leaves_out_what_is_missing_or_broken(path):
    code, names = code_of(path), {statement.targets[0].id for statement in ast.parse(parameters_cell(path)).body}
    if "load_list" not in code and "evaluate.plan" not in code:
        return
    assert {"missing", "on_error"} <= names
    assert any(name.endswith("_list") for name in names) or path.name.startswith(
        "09"
    )  # a folder of one's own needs none
    if path.name.startswith(LOADS_VALIDATION):
        assert "val_list" in names


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_line_of_code_is_cut_off_on_a_page(path):
    assert [line for line in code_of(path).splitlines() if len(line) > COLUMNS] == []
