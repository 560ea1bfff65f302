import json
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import tiny
from diffana import runs
from diffana.cli import main


def invoke(*argv):
    return CliRunner().invoke(main, [str(word) for word in argv])


def content(folder):
    """What has to be the same bit for bit, whatever interrupted the run."""
    return {
        name: (folder / name).read_bytes()
        for name in ("last.eqx", "best.eqx", "metrics.jsonl", "config.yaml")
    } | {"results.json": (folder / "results.json").read_bytes()}


def wait_for(condition, process):
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def epochs(folder):
    """Complete lines of the metrics; a process may be writing one."""
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_run_folder_is_complete(finished):
    assert sorted(path.name for path in finished.iterdir()) == [
        "best.eqx",
        "config.yaml",
        "figures",
        "finished.json",
        "last.eqx",
        "metrics.jsonl",
        "provenance.json",
        "results.json",
        "timings.jsonl",
        "workspace.json",
    ]
    assert {path.name for path in (finished / "figures").iterdir()} == {
        f"{stem}.{suffix}"
        for stem in ("training", "histogram_SR", "observable_SR")
        for suffix in ("pdf", "png")
    }


def test_metrics_tell_the_training(finished):
    records = runs.Run(finished).read_metrics()
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert [record["step"] for record in records] == [2, 4, 6, 8]
    values = [record["validation"]["loss"] for record in records]
    lowest = [value < min(values[:i], default=np.inf) for i, value in enumerate(values)]
    assert [record["best"] for record in records] == lowest
    assert all(record["refused"] == {} for record in records)
    assert np.all(np.isfinite([record["loss"] for record in records]))


def test_training_on_soft_templates_improves_hard_metrics(finished):
    records = runs.Run(finished).read_metrics()
    losses = [np.mean(record["loss"]) for record in records]
    assert losses[-1] < losses[0]
    (before, after) = (records[i]["validation"] for i in (0, -1))
    assert after["sigma_mu"] < before["sigma_mu"]
    assert after["cls"] < before["cls"]


def test_what_is_printed(finished):
    text = (finished.parent / "output").read_text()
    assert text.startswith(f"Training tiny into {finished}")
    assert "4 parameters: mean, mu, staterror_SR[0], staterror_SR[1]" in text
    # 8 · 2 + 8 + 8 + 1 weights, 2 logits of the bin widths, 1 threshold.
    assert (
        "loss sigma_mu; 36 trainable numbers; 4 epochs of 2 updates, 8 in all; seed 3"
        in text
    )
    assert text.count("\nepoch ") == 4
    assert "CLs at mu = 1, median" in text


def test_a_killed_training_is_resumed_bit_for_bit(launch, settings, finished, tmp_path):
    folder = tmp_path / "run"
    process = launch("train", settings, "--out", folder)
    # Between the first record and the checkpoint that belongs to it, or after both.
    wait_for(lambda: epochs(folder) >= 1, process)
    killed(process)
    assert not (folder / "finished.json").exists()
    result = invoke("train", settings, "--out", folder, "--resume")
    assert result.exit_code == 0, result.output
    assert content(folder) == content(finished)
    provenance = runs.Run(folder).read_provenance()
    assert len(provenance["resumed"]) == 1
    # Times differ, of course, but each epoch that counts has one.
    timings = runs.Run(folder).read_timings()
    assert [timing["step"] for timing in timings] == [2, 4, 6, 8]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_kills(launch, settings, finished, tmp_path, seed):
    """Kills at random moments, the first one in the first epoch."""
    draw, folder = random.Random(seed), tmp_path / "run"
    process = launch("train", settings, "--out", folder)
    wait_for(folder.exists, process)
    time.sleep(draw.uniform(0.0, 5.0))
    killed(process)
    for n_epochs in (1, 2, 3, 4):
        process = launch("train", settings, "--out", folder, "--resume")
        wait_for(lambda n=n_epochs: epochs(folder) >= n, process)
        time.sleep(draw.choice([0.0, draw.uniform(0.0, 0.1)]))
        killed(process)
    result = invoke("train", settings, "--out", folder, "--resume")
    if (folder / "finished.json").exists() and result.exit_code == 2:
        assert "has finished" in result.stderr
    else:
        assert result.exit_code == 0, result.output
    assert content(folder) == content(finished)


def interrupted(finished, folder):
    """A copy of the run as if it had been killed right before its end."""
    shutil.copytree(finished, folder)
    (folder / "finished.json").unlink()
    return folder


def test_a_run_killed_before_its_end_only_evaluates(settings, finished, tmp_path):
    folder = interrupted(finished, tmp_path / "run")
    shutil.rmtree(folder / "figures")
    (folder / "results.json").unlink()
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 9, "ep')
    result = invoke("train", settings, "--out", folder, "--resume")
    assert result.exit_code == 0, result.output
    assert "Resumed after epoch 4." in result.stdout
    assert content(folder) == content(finished)
    assert (folder / "figures" / "training.pdf").exists()


def test_what_cannot_be_resumed(settings, finished, tmp_path):
    folder = interrupted(finished, tmp_path / "run")
    document = yaml.safe_load(settings.read_text())
    document["General"]["Seed"] = 4
    other = tiny.written(document, tmp_path / "other.yaml")
    lines = (folder / "config.yaml").read_text().splitlines()
    number, line = next(one for one in enumerate(lines, 1) if "Seed: 3" in one[1])
    was, given = line.strip(), line.strip().replace("Seed: 3", "Seed: 4")
    for config, out, message in (
        (settings, finished, f"{finished} has finished; there is nothing to resume"),
        (settings, tmp_path, f"{tmp_path} is not a run folder"),
        (settings, tmp_path / "no", f"{tmp_path / 'no'} is not a run folder"),
        (
            other,
            folder,
            f"{folder} has another configuration; {folder}/config.yaml, line {number}: "
            f"{was!r} was run, {given!r} is given",
        ),
    ):
        result = invoke("train", config, "--out", out, "--resume")
        assert result.exit_code == 2
        assert result.stderr == f"Error: {message}\n"
        assert result.stdout == ""


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"garbage"])
def test_a_damaged_checkpoint_is_not_resumed(settings, finished, tmp_path, damage):
    folder = interrupted(finished, tmp_path / "run")
    (folder / "last.eqx").write_bytes(damage)
    result = invoke("train", settings, "--out", folder, "--resume")
    assert result.exit_code == 2
    assert result.stderr == f"Error: {folder}/last.eqx is not a checkpoint\n"


def test_a_run_that_another_process_works_in_is_left_alone(
    settings, finished, tmp_path
):
    folder = interrupted(finished, tmp_path / "run")
    message = f"Error: {folder} is in use by process {os.getpid()} on "
    with runs.exclusive(folder, warn=print):
        result = invoke("train", settings, "--out", folder, "--resume")
        assert result.exit_code == 2
        assert result.stderr.startswith(message)
        shutil.copy(finished / "finished.json", folder)
        result = invoke("evaluate", folder)
        assert result.exit_code == 2
        assert result.stderr.startswith(message)
    assert content(folder) == content(finished)


def test_a_run_folder_is_never_reused(settings, finished):
    before = content(finished)
    result = invoke("train", settings, "--out", finished)
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {finished} exists; a run never overwrites anything\n"
    )
    assert content(finished) == before


def test_resuming_on_other_events_is_refused(tmp_path, finished):
    """Input files are part of what a run depends on."""
    for name in ("signal", "background"):
        (tmp_path / f"{name}.csv").write_text("x\n1\n2\n")
    document = tiny.document()
    del document["Generator"]
    document["General"]["InputPath"] = f"{tmp_path}/{{SamplePath}}.csv"
    document["Systematics"] = None
    config = tiny.written(document, tmp_path / "c.yaml")
    from diffana import config as configuration

    text = configuration.dump(configuration.load(config))
    inputs = [tmp_path / "signal.csv", tmp_path / "background.csv"]
    run = runs.create(
        tmp_path / "run",
        config=text,
        provenance=runs.describe(seed=3, inputs=inputs),
    )
    inputs[1].write_text("x\n1\n3\n")
    result = invoke("train", config, "--out", run.folder, "--resume")
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {inputs[1]} is not the file that {run.folder} was trained on\n"
    )
    assert "resumed" not in json.loads(run.provenance.read_text())
