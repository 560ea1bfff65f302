"""`diffana nsbi train`: what a run leaves behind, and how it fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from diffana import fit, runs, stored
from diffana.assemble import nsbi as assembly
from diffana.cli import main
from diffana.workflow.nsbi.reporting import Reporter
from nsbi import small_config as small


def invoke(*argv):
    return CliRunner().invoke(main, [str(word) for word in argv])


def train(config, out, *flags):
    path = small.written(config, out.with_name(f"{out.name}.yaml"))
    return invoke("nsbi", "train", path, "--out", out, *flags)


def content(folder):
    """What has to be the same bit for bit, whatever interrupted the run."""
    paths = [folder / "likelihood.json", folder / "metrics.jsonl"]
    paths += sorted((folder / "rows").rglob("*.npy"))
    paths += sorted((folder / "ratios").iterdir())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Signal, and a background with one uncertain shape: three ratios."""
    files = small.Files(tmp_path_factory.mktemp("files"))
    files.shape()
    return files


@pytest.fixture(scope="module")
def finished(files):
    """A run that was never interrupted, and what was printed."""
    folder = files.folder / "whole"
    result = train(files.config, folder)
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def test_a_run_folder_is_complete(finished):
    folder, _ = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "finished.json",
        "likelihood.json",
        "metrics.jsonl",
        "provenance.json",
        "ratios",
        "rows",
        "timings.jsonl",
    ]
    assert sorted(path.name for path in (folder / "ratios").iterdir()) == [
        "background.scale.down.eqx",
        "background.scale.up.eqx",
        "signal.eqx",
    ]
    provenance = json.loads((folder / "provenance.json").read_text())
    assert len(provenance["inputs"]) == 4


def test_records_tell_the_training(finished):
    folder, _ = finished
    records = runs.Run(folder).read_metrics()
    assert [record["step"] for record in records] == list(range(1, 10))
    names = ["signal", "background.scale.up", "background.scale.down"]
    assert [record["job"] for record in records] == [x for x in names for _ in range(3)]
    assert [record.get("epoch") for record in records] == 3 * [1, 2, None]
    summary = json.loads((folder / "finished.json").read_text())
    assert list(summary["ratios"]) == names
    assert summary["yields"] == pytest.approx({"signal": 30, "background": 200})
    # The mean of a ratio over independent events; a hundred of them.
    assert all(abs(one["mean"] - 1) < 0.5 for one in summary["ratios"].values())


def test_what_is_printed(finished):
    folder, text = finished
    assert text.startswith(f"Training files into {folder}")
    assert "3 density ratios: signal, background.scale.up" in text.replace("\n", " ")
    assert text.count("  epoch 2/2  loss") == 3
    assert "no observed events: commands take the expected ones" in text.replace(
        "\n", " "
    )


@pytest.mark.slow
def test_the_likelihood_is_ready_for_a_fit(finished):
    folder, _ = finished
    measurement = stored.read(folder)
    assert not measurement.observed
    found = fit.fit(measurement.model, measurement.data)
    # The expected events: exact to rounding, whatever was learned.
    np.testing.assert_allclose(found.bestfit, [1.0, 0.0], atol=1e-8)


class Interrupted(BaseException):
    """As a signal, nobody catches it."""


@pytest.mark.parametrize("n_epochs", [1, 2, 4])
def test_an_interrupted_training_is_resumed_bit_for_bit(
    files, finished, tmp_path, monkeypatch, n_epochs
):
    """In the first ratio; after its last epoch; and with one more ratio finished."""
    out = tmp_path / "run"
    seen = []
    report = Reporter.epoch

    def stop(self, epoch):
        report(self, epoch)
        seen.append(epoch)
        if len(seen) == n_epochs:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "epoch", stop)
        with pytest.raises(Interrupted):
            CliRunner().invoke(
                main,
                [
                    "nsbi",
                    "train",
                    str(small.written(files.config, tmp_path / "run.yaml")),
                    "--out",
                    str(out),
                ],
            )
    assert not (out / "likelihood.json").exists()
    # A torn line, as a full disk leaves it.
    with (out / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 99')
    result = train(files.config, out, "--resume")
    assert result.exit_code == 0, result.output
    resumed = "finished before" if n_epochs == 4 else "signal: resumed after epoch"
    assert resumed in result.stdout
    assert content(out) == content(finished[0])


@pytest.mark.slow
def test_a_killed_training_is_resumed_bit_for_bit(files, finished, tmp_path):
    out = tmp_path / "run"
    path = small.written(files.config, tmp_path / "run.yaml")
    code = "from diffana.cli import main; main()"
    settings = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "nsbi", "train", str(path), "--out", str(out)],
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (out / "ratios" / "background.scale.up.part").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "finished.json").exists()
    result = train(files.config, out, "--resume")
    assert result.exit_code == 0, result.output
    assert content(out) == content(finished[0])


# What cannot be resumed


def without_its_end(finished, out):
    """A copy of a finished run that looks interrupted."""
    shutil.copytree(finished[0], out)
    (out / "finished.json").unlink()
    return out


def test_a_finished_run_is_not_resumed(files, finished):
    result = train(files.config, finished[0], "--resume")
    assert result.exit_code == 2
    assert "has finished; there is nothing to resume" in result.stderr


def test_another_configuration_is_not_resumed(files, finished, tmp_path):
    out = without_its_end(finished, tmp_path / "run")
    other = files.config | {"Ratios": files.config["Ratios"] | {"Epochs": 3}}
    result = train(other, out, "--resume")
    assert result.exit_code == 2
    assert "has another configuration" in result.stderr


@pytest.mark.parametrize("where", ["header", "leaves"])
def test_a_damaged_checkpoint_is_named(files, finished, tmp_path, where):
    out = without_its_end(finished, tmp_path / "run")
    path = out / "ratios" / "signal.eqx"
    damaged = bytearray(path.read_bytes())
    damaged[30 if where == "header" else -1] ^= 1
    path.write_bytes(damaged)
    result = train(files.config, out, "--resume")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"Error: {path} is ")
    # Without the file, this ratio and those after it are learned again.
    path.unlink()
    result = train(files.config, out, "--resume")
    assert result.exit_code == 0, result.output
    assert content(out) == content(finished[0])


# Failures


FAILURES = {}


def failure(message):
    """Register what spoils a measurement of files, with the message it leads to."""

    def register(spoil):
        FAILURES[spoil.__name__.strip("_").replace("_", " ")] = (spoil, message)
        return spoil

    return register


@failure("no event passes the selection of any region")
def _empty_reference_region(files):
    files.config["Region"]["Filter"] = "x > 1000"


@failure("none of 400 events passes the Preselection 'x > 1000'")
def _sample_without_events(files):
    files.config["Samples"][0]["Preselection"] = "x > 1000"


@failure("column 'x' is not finite for 1 of 400 events")
def _infinite_feature(files):
    x = files.columns(0)["x"]
    x[7] = np.inf
    files.write("signal", files.columns(0, x=x))


@failure("no column 'q'")
def _unknown_column(files):
    files.config["Features"] = ["x", "q"]


@failure("ratio 'signal': standardisation: feature 'y' is 1.0 in every event")
def _constant_feature(files):
    for seed, name in ((0, "signal"), (1, "background")):
        files.write(name, files.columns(seed, y=np.ones(files.n_events)))


@failure("ratio 'signal': event")
def _ratio_that_is_not_finite(files):
    """An event of the test part that no network of single precision can take."""
    simulated = assembly.simulation(files.parsed())
    (events,) = (e for e in simulated.parts["test"] if e.sample == "background")
    columns = files.columns(1)
    row = np.flatnonzero(np.isclose(columns["x"], events.features[0, 0], rtol=1e-12))
    columns["x"][row] = 1e300
    files.write("background", columns)


@failure("ratio 'signal': member 0: the training loss is nan in epoch 1")
def _diverging_training(files):
    files.config["Ratios"]["Optimizer"] = {"Type": "sgd", "LearningRate": 1e30}


@failure(
    "the reference events: region 'SR', event 0: the total intensity is not positive "
    "at the nominal parameters"
)
def _negative_intensity(files):
    files.config["NormFactors"].append(
        {"Name": "k", "Samples": "background", "Nominal": -1, "Bounds": [-2, 2]}
    )


@failure("no such file")
def _missing_file(files):
    (files.folder / "signal.csv").unlink()


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_line_that_names_the_place(tmp_path, name):
    spoil, message = FAILURES[name]
    files = small.Files(tmp_path)
    spoil(files)
    out = tmp_path / "run"
    result = train(files.config, out)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not (out / "likelihood.json").exists()


# Other ways to learn


def test_observed_events_are_the_data(tmp_path):
    files = small.Files(tmp_path)
    files.write("data", files.columns(9))
    files.config["Samples"].append({"Name": "data", "SamplePath": "data", "Data": True})
    result = train(files.config, tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "400 observed events" in result.stdout.replace("\n", " ")
    measurement = stored.read(tmp_path / "run")
    assert measurement.observed
    assert float(measurement.data.rows[0].total()) == 400


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["carl", "mlc", "multiclass"])
def test_losses(tmp_path, loss):
    document = small.document()
    document["Generator"]["EventsPerSample"] = 2000
    document["Ratios"]["Loss"] = loss
    # All but the variations are then compared with the same sample.
    for sample in document["Samples"]:
        sample.pop("Through", None)
    result = train(document, tmp_path / "run")
    assert result.exit_code == 0, result.output
    saved = sorted(path.stem for path in (tmp_path / "run" / "ratios").iterdir())
    assert saved == ["B", "NI.shift.down", "NI.shift.up", "S", "SBI"]


@pytest.mark.slow
@pytest.mark.parametrize("morph", ["logquadratic", "parametric"])
def test_morphs(tmp_path, morph):
    files = small.Files(tmp_path)
    files.shape(Morph=morph)
    optimizer = {"Type": "adamw", "LearningRate": 0.03}
    files.config["Ratios"] |= {"Epochs": 1, "Optimizer": optimizer}
    out = tmp_path / "run"
    result = train(files.config, out)
    assert result.exit_code == 0, result.output
    (channel,) = stored.read(out).model.channels
    (shape,) = channel.components[1].shape_morphs
    assert shape.powers == ((1,), (2,))


@pytest.mark.slow
@pytest.mark.parametrize("resampling", ["bootstrap", "partition"])
def test_fresh_and_resampled_events(tmp_path, resampling):
    ratios = small.document()["Ratios"] | {
        "FreshEvents": True,
        "Resampling": resampling,
        "Patience": 1,
    }
    region = {"Name": "right", "Filter": "x > -1"}
    document = small.document(Ratios=ratios, Region=region)
    result = train(document, tmp_path / "run")
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_negative_weights(tmp_path):
    files = small.Files(tmp_path, n_events=4000)
    columns = files.columns(1)
    columns["w"] = np.where(np.arange(files.n_events) % 4 == 0, -0.5, 0.5)
    files.write("background", columns)
    files.config["Ratios"]["BatchSize"] = 50
    result = train(files.config, tmp_path / "run")
    assert result.exit_code == 0, result.output
    model = stored.read(tmp_path / "run").model
    total = float(model.expected_yield(model.parameters.inits))
    np.testing.assert_allclose(total, 30 + 1000, rtol=1e-12)


@pytest.mark.slow
def test_a_ratio_with_nothing_to_learn_is_left_as_it_is(tmp_path):
    files = small.Files(tmp_path, n_events=4000)
    # Both samples are drawn from one distribution. What is learned is noise, and with
    # this seed not larger in the numerator of independent events.
    files.write("signal", files.columns(6))
    files.config["Ratios"] |= {"Calibration": {"Knots": 4}, "BatchSize": 50}
    result = train(files.config, tmp_path / "run")
    assert result.exit_code == 0, result.output
    record = runs.Run(tmp_path / "run").read_metrics()[-1]["finished"]["signal"]
    assert record["remark"].startswith("not calibrated: ")
    assert record["remark"] in " ".join(result.stdout.split())
