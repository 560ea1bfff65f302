"""The shell of the unbinned path: mistakes, damage, interruption, diagnosis."""

import json

import pytest
import yaml
from click.testing import CliRunner

from diffana.cli import main
from nsbi.tiny_run import CONFIG, document, trained


def invoke(*arguments):
    return CliRunner().invoke(main, [str(one) for one in arguments])


def written(folder, content):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("name", ["nsbi_interference", "nsbi_smeared"])
def test_shipped_configurations_are_valid(name):
    path = CONFIG.with_name(f"{name}.yaml")
    done = invoke("validate", path)
    assert done.exit_code == 0, done.output
    assert "is valid" in done.output


def mistaken(change):
    content = document()
    change(content)
    return content


MISTAKES = {
    "unknown key": (lambda c: c.update(Refrence=["B"]), "Refrence"),
    "unknown reference": (lambda c: c.update(Reference=["X"]), "X"),
    "unknown signal": (lambda c: c["Interference"].update(Signal="X"), "X"),
    "circle": (lambda c: c["Samples"][2].update(Through="S"), "Through"),
    "unknown loss": (lambda c: c["Ratios"].update(Loss="mse"), "Loss"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(tmp_path, name):
    change, message = MISTAKES[name]
    done = invoke("validate", written(tmp_path, mistaken(change)))
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output


def test_an_empty_region_is_refused(tmp_path):
    content = mistaken(lambda c: c["Region"].update(Filter="x > 1000"))
    out = tmp_path / "run"
    done = invoke("nsbi", "train", written(tmp_path, content), "--out", out)
    assert done.exit_code == 2
    assert done.output.strip().count("Error:") == 1
    assert not (out / "likelihood.json").exists()


def test_a_diverging_training_is_refused(tmp_path):
    content = document(
        Optimizer={"Type": "sgd", "LearningRate": 1e30}, Epochs=2, Members=1
    )
    out = tmp_path / "run"
    done = invoke("nsbi", "train", written(tmp_path, content), "--out", out)
    assert done.exit_code == 2
    assert "ratio '" in done.output
    assert not (out / "likelihood.json").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("tiny"))


def test_a_run_is_never_overwritten(run):
    done = invoke("nsbi", "train", run.parent / "config.yaml", "--out", run)
    assert done.exit_code == 2
    assert "exists" in done.output


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_bytes(run, tmp_path):
    out = tmp_path / "run"
    config = written(tmp_path, document())
    # Stopped by a full disk, a signal or whatever: without its end, and without the
    # ratios after the second.
    whole = invoke("nsbi", "train", config, "--out", out)
    assert whole.exit_code == 0, whole.output
    for name in ("finished.json", "likelihood.json", "ratios/NI.shift.up.eqx"):
        (out / name).unlink()
    (out / "ratios" / "NI.shift.down.eqx").unlink()
    again = invoke("nsbi", "train", config, "--out", out, "--resume")
    assert again.exit_code == 0, again.output
    for name in (
        "likelihood.json",
        "rows/plane/log_ratio.npy",
        "rows/plane/weight.npy",
    ):
        assert (out / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.slow
def test_diagnosis_of_a_training_that_is_too_short(run):
    done = invoke("nsbi", "diagnose", run)
    # Two networks of 8 units and 2000 events are no good estimate: a gate says so.
    assert done.exit_code == 1, done.output
    found = json.loads((run / "diagnostics.json").read_text())
    verdicts = {gate["verdict"] for gate in found["gates"]}
    assert "fail" in verdicts
    assert any((run / "figures").glob("*.png"))


def test_only_runs_of_ratios_are_diagnosed(tmp_path):
    done = invoke("nsbi", "diagnose", tmp_path)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
