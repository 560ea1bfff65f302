"""Notebooks are in step with their scripts, and run from beginning to end."""

import ast
import os
import pathlib

import jupytext
import nbclient
import pytest


FOLDER = pathlib.Path(__file__).parents[2] / "notebooks"
# The sizes of a study take minutes; these show that every cell works. The tour needs as
# much training as it takes to fill the bins, for without that there is no limit.
SMALL = {
    "first_tour": {"EVENTS_PER_BLOB": 4000, "EPOCHS": 10, "BATCH_SIZE": 1000},
    "what_each_loss_does": {
        "LOSSES": ("bce", "sigma_mu"),
        "SEEDS": (0, 1),
        "EVENTS_PER_BLOB": 400,
        "EPOCHS": 2,
        "BATCH_SIZE": 400,
    },
    "landscapes": {"POINTS": 5},
    "bring_your_own_workspace": {
        "EVENTS_PER_BLOB": 400,
        "EPOCHS": 1,
        "BATCH_SIZE": 800,
    },
}
FAST = "landscapes"
# As in pyproject.toml.
STRICT = """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "jsonschema.RefResolver is", DeprecationWarning)
"""


def parameters(notebook):
    """The one cell whose values a test may replace."""
    (cell,) = (
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    )
    return cell


def source(notebook):
    return [
        (cell.cell_type, cell.source, cell.metadata.get("tags", []))
        for cell in notebook.cells
    ]


def test_every_notebook_is_tested():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SMALL)
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_script_and_notebook_are_the_same(name):
    script = jupytext.read(FOLDER / f"{name}.py")
    notebook = jupytext.read(FOLDER / f"{name}.ipynb")
    assert source(script) == source(notebook), "jupytext --sync notebooks/*.py"


@pytest.mark.parametrize("name", SMALL)
def test_notebooks_are_kept_without_outputs(name):
    notebook = jupytext.read(FOLDER / f"{name}.ipynb")
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("name", SMALL)
def test_only_values_that_are_there_are_replaced(name):
    cell = parameters(jupytext.read(FOLDER / f"{name}.py"))
    assigned = {node.targets[0].id for node in ast.parse(cell.source).body}
    assert assigned == set(SMALL[name])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == FAST else pytest.mark.slow)
        for name in SMALL
    ],
)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    """With small sizes, in a fresh kernel where warnings are errors."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    cell = parameters(notebook)
    values = (f"{key} = {value!r}" for key, value in SMALL[name].items())
    cell.source = "\n".join([cell.source, *values, STRICT])
    for key, value in {
        "JAX_PLATFORMS": "cpu",
        # Programs run a few times only: compiling them is what costs.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "IPYTHONDIR": str(tmp_path),
    }.items():
        monkeypatch.setitem(os.environ, key, value)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": tmp_path}},
    )
    client.execute()
    drawn = [
        output
        for one in notebook.cells
        for output in one.get("outputs", [])
        if output.output_type == "display_data" and "image/png" in output.data
    ]
    assert len(drawn) == sum("plt.show()" in one.source for one in notebook.cells)
