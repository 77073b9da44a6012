import nbformat
import papermill
import pytest

from tanet.notebook import check_parameters, versions


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


def test_versions_are_those_of_python_and_the_packages():
    import torch

    assert versions("torch").startswith("Python 3.") and f"torch {torch.__version__.split('+')[0]}" in versions("torch")


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
