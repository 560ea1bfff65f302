import json
import pathlib
import re
import subprocess
import sys
import types

import jax
import pytest
from click.testing import CliRunner

import diffana
from diffana import config
from diffana.cli import main
from diffana.errors import RunError


FOLDER = pathlib.Path(__file__).parents[1] / "configs"
CONFIGS = sorted(
    path
    for path in FOLDER.glob("*.yaml")
    if not any(
        other(path) for other in (config.is_landscape, config.is_nsbi, config.is_sweep)
    )
)
BLOBS = next(path for path in CONFIGS if path.stem == "blobs")


def invoke(*argv):
    return CliRunner().invoke(main, [str(word) for word in argv])


@pytest.fixture
def workflow(monkeypatch):
    """Stands in for the package that does what the commands ask for."""
    module = types.ModuleType("diffana.workflow")
    monkeypatch.setitem(sys.modules, "diffana.workflow", module)
    monkeypatch.setattr(diffana, "workflow", module, raising=False)
    return module


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_the_commands(flag):
    result = invoke(flag)
    assert result.exit_code == 0
    for command in ("validate", "schema", "train", "evaluate"):
        assert command in result.output


def test_version():
    assert invoke("--version").output == f"diffana {diffana.__version__}\n"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_validate_is_calm_about_a_valid_file(path):
    result = invoke("validate", path)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith(f"{path} is valid: ")
    loaded = config.load(path)
    for items, noun in ((loaded.regions, "region"), (loaded.samples, "sample")):
        plural = "" if len(items) == 1 else "s"
        assert f" {len(items)} {noun}{plural}," in result.stdout


@pytest.mark.parametrize("command", ["validate", "train"])
def test_every_mistake_is_printed(tmp_path, command):
    path = tmp_path / "wrong.yaml"
    text = re.sub(r"Epochs: \d+", "Epochs: 1.5", BLOBS.read_text())
    path.write_text(text.replace("POI: mu", "POI: nu") + "Sytematics: []\n")
    out = ["--out", tmp_path / "run"] if command == "train" else []
    result = invoke(command, path, *out)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"Error: {path} has 3 mistakes:",
        "  General.POI: no norm factor 'nu'; known are mu",
        "  Train.Epochs: input should be a valid integer, but is 1.5",
        "  Sytematics: unknown key; did you mean Systematics?",
    ]
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_named(tmp_path):
    result = invoke("validate", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "none.yaml: cannot be read: No such file" in result.stderr


def test_schema_is_printed():
    assert json.loads(invoke("schema").stdout) == config.json_schema()


@pytest.mark.parametrize("resume", [False, True])
def test_train_delegates(workflow, tmp_path, resume):
    calls = []

    def train(settings, out, *, resume, console):
        console.print("[0.5] done")
        calls.append((settings, out, resume, jax.config.read("jax_enable_x64")))

    workflow.train = train
    flags = ["--resume"] if resume else []
    result = invoke("train", BLOBS, "--out", tmp_path / "run", *flags)
    assert result.exit_code == 0, result.output
    assert calls == [(config.load(BLOBS), tmp_path / "run", resume, True)]
    assert result.stdout == "[0.5] done\n"


def test_train_needs_a_folder():
    result = invoke("train", BLOBS)
    assert result.exit_code == 2
    assert "--out" in result.stderr


def test_evaluate_delegates(workflow, tmp_path):
    calls = []
    workflow.evaluate = lambda run, *, console: calls.append(run)
    assert invoke("evaluate", tmp_path).exit_code == 0
    assert calls == [tmp_path]


def test_what_the_user_can_mend_is_one_line(workflow, tmp_path):
    def evaluate(run, *, console):
        raise RunError(f"{run} is not a run folder")

    workflow.evaluate = evaluate
    result = invoke("evaluate", tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {tmp_path} is not a run folder\n"


def test_other_errors_are_not_hidden(workflow, tmp_path):
    def evaluate(run, *, console):
        raise ZeroDivisionError

    workflow.evaluate = evaluate
    assert isinstance(invoke("evaluate", tmp_path).exception, ZeroDivisionError)


@pytest.mark.parametrize("argv", [["--help"], ["validate", str(BLOBS)], ["schema"]])
def test_light_commands_import_nothing_heavy(argv):
    code = (
        "import sys\n"
        "from diffana.cli import main\n"
        f"main({argv!r}, standalone_mode=False)\n"
        "heavy = {'jax', 'numpy', 'equinox', 'pyhf', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
