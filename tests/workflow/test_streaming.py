import contextlib
import json
import math
import random
import shutil
import signal
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import streamed
import tiny
from diffana import assemble, runs
from diffana.cli import main
from diffana.errors import DataError, SpecificationError
from diffana.train import sums
from diffana.workflow import streaming
from diffana.workflow.evaluation import outputs_of
from diffana.workflow.history import follow
from diffana.workflow.prepared import prepare


CHUNK = 700


def invoke(*argv):
    return CliRunner().invoke(main, [str(word) for word in argv])


@pytest.fixture(scope="module", params=["parquet", "root"])
def each_format(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    streamed.write(folder, request.param)
    return lambda *chunk: tiny.parsed(streamed.document(folder, request.param, *chunk))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    streamed.write(folder, "parquet")
    return folder


@pytest.fixture(scope="module")
def config(files):
    path = files / "config.yaml"
    return tiny.written(streamed.document(files, "parquet", CHUNK), path)


@pytest.fixture(scope="module")
def finished(compiled, config, tmp_path_factory):
    """A run on streaming events that was never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = invoke("train", config, "--out", folder)
    assert result.exit_code == 0, result.output
    return folder


def content(folder):
    """What has to be the same bit for bit, whatever interrupted the run."""
    names = ("last.eqx", "best.eqx", "metrics.jsonl", "results.json", "workspace.json")
    return {name: (folder / name).read_bytes() for name in names}


def listed(folder):
    return sorted(path.name for path in folder.parent.iterdir())


def test_the_parts_are_those_of_events_in_memory(each_format):
    in_chunks, in_memory = prepare(each_format(CHUNK)), prepare(each_format())
    assert {part: len(events) for part, events in in_chunks.parts.items()} == {
        "train": 4,
        "validation": 2,
        "test": 2,
        "observed": 1,
    }
    for part, portions in in_chunks.parts.items():
        for portion in portions:
            # Rounded up for each of three sources with up to four populations.
            assert sum(len(one) for one in portion) <= CHUNK + 8
        whole = in_memory.parts[part].populations
        for found, want in zip(portions.populations, whole, strict=True):
            assert found.name == want.name
            assert found.source == want.source
            assert found.n_selected == want.n_selected
            # 1e-12: sums in another order.
            np.testing.assert_allclose(found.sumw, want.sumw, rtol=1e-12)
        analysis = in_memory.analysis.hard
        found = sums(analysis, portions).histograms
        events = in_memory.parts[part].whole()
        for one, want in zip(events, analysis.histograms(events), strict=True):
            np.testing.assert_allclose(found[one.name].sumw, want.sumw, rtol=1e-12)
            np.testing.assert_allclose(found[one.name].sumw2, want.sumw2, rtol=1e-12)
    scales = [
        prepared.analysis.summaries["summary"].observable.standardisation
        for prepared in (in_chunks, in_memory)
    ]
    np.testing.assert_allclose(scales[0].mean, scales[1].mean, rtol=1e-12)
    np.testing.assert_allclose(scales[0].scale, scales[1].scale, rtol=1e-12)
    assert in_chunks.n_batches == 4 * math.ceil(CHUNK / 500)


def test_results_are_those_of_the_same_weights_on_events_in_memory(finished, files):
    """Templates by NumPy's rounding, fitted results by that of the fits."""
    in_memory = prepare(tiny.parsed(streamed.document(files, "parquet")))
    best, _ = runs.load_checkpoint(finished / "best.eqx", in_memory.analysis)
    hard = jax.tree.map(jnp.asarray, best).hard
    likelihood = hard(in_memory.test)
    exported = json.loads((finished / "workspace.json").read_text())
    for channel in exported["channels"]:
        for sample in channel["samples"]:
            cells = likelihood.layout.cells(channel["name"], sample["name"])
            want = likelihood.templates.nominal[cells]
            np.testing.assert_allclose(sample["data"], want, rtol=1e-12)
    metrics = assemble.hard_metrics(tiny.parsed(streamed.document(files, "parquet")))
    found = in_memory.trainer.hard_metrics(metrics, best, in_memory.test)
    results = json.loads((finished / "results.json").read_text())["diffana"]
    assert results["fits"] == {"CLs": "certified", "p0": "certified"}
    for name, value in (
        ("cls", results["CLs_exp"][2]),
        ("p0", results["p0"]),
        ("sigma_mu", results["sigma_mu"]),
    ):
        # 1e-8: two fits of the same likelihood, compiled apart.
        np.testing.assert_allclose(found[name].value, value, rtol=1e-8)
    counts = {one["name"]: one["data"] for one in exported["observations"]}
    for one, histogram in zip(
        in_memory.observed, hard.histograms(in_memory.observed), strict=True
    ):
        np.testing.assert_array_equal(counts[one.region], histogram.sumw)
        assert sum(counts[one.region]) > 0


def test_a_finished_run_keeps_no_events(finished):
    assert listed(finished) == ["whole"]
    assert not (finished / "events").exists()
    assert len(runs.Run(finished).read_metrics()) == 3


def test_evaluating_again_reads_them_anew(finished):
    before = content(finished)
    (finished / "results.json").unlink()
    result = invoke("evaluate", finished)
    assert result.exit_code == 0, result.output
    assert content(finished) == before
    assert not (finished / "events").exists()


def test_another_chunk_size_is_another_training_of_the_same_parts(files):
    other = prepare(tiny.parsed(streamed.document(files, "parquet", 5000)))
    assert {len(portions) for portions in other.parts.values()} == {1}
    assert len(other.test) == len(
        prepare(tiny.parsed(streamed.document(files, "parquet"))).test
    )


def killed(finished, folder, *, keep_epochs):
    """A copy of the run as if it had been killed after some epochs."""
    shutil.copytree(finished, folder)
    for name in ("finished.json", "results.json", "workspace.json"):
        (folder / name).unlink()
    if not keep_epochs:
        (folder / "last.eqx").unlink()
    return folder


def test_a_run_that_lost_its_events_reads_them_anew(config, finished, tmp_path):
    folder = killed(finished, tmp_path / "run", keep_epochs=False)
    result = invoke("train", config, "--out", folder, "--resume")
    assert result.exit_code == 0, result.output
    assert content(folder) == content(finished)
    assert listed(folder) == ["run"]


def test_what_a_killed_process_left_beside_the_run_is_used(
    config, files, finished, tmp_path, monkeypatch
):
    folder = killed(finished, tmp_path / "run", keep_epochs=True)
    kept = tmp_path / ".run.events"
    prepare(tiny.parsed(streamed.document(files, "parquet", CHUNK)), kept)

    def ingested(*args, **options):
        raise AssertionError("the events were read again")

    monkeypatch.setattr("diffana.assemble.ingest", ingested)
    result = invoke("train", config, "--out", folder, "--resume")
    assert result.exit_code == 0, result.output
    assert content(folder) == content(finished)
    assert listed(folder) == ["run"]


def wait_for(condition, process):
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def n_epochs(folder):
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_killed_training_is_resumed_bit_for_bit(launch, config, finished, tmp_path):
    """Killed while events are written, then in training."""
    folder = tmp_path / "run"
    process = launch("train", config, "--out", folder)
    wait_for(lambda: list(tmp_path.glob(".run.events/*.events")), process)
    kill(process)
    assert not folder.exists()
    process = launch("train", config, "--out", folder)
    wait_for(lambda: n_epochs(folder) >= 1, process)
    kill(process)
    assert (folder / "events" / "manifest.json").exists()
    result = invoke("train", config, "--out", folder, "--resume")
    assert result.exit_code == 0, result.output
    assert content(folder) == content(finished)
    assert listed(folder) == ["run"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_kills(launch, config, finished, tmp_path, seed):
    """Kills at random moments; whatever was on the disk, the end is the same."""
    draw, folder = random.Random(seed), tmp_path / "run"
    for _ in range(8):
        resume = ["--resume"] if (folder / "config.yaml").exists() else []
        process = launch("train", config, "--out", folder, *resume)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=draw.uniform(1.0, 12.0))
        kill(process)
    if not (folder / "finished.json").exists():
        resume = ["--resume"] if (folder / "config.yaml").exists() else []
        result = invoke("train", config, "--out", folder, *resume)
        assert result.exit_code == 0, result.output
    assert content(folder) == content(finished)


def test_half_written_and_foreign_stores_are_not_used(files, tmp_path):
    def settings(**general):
        document = streamed.document(files, "parquet", CHUNK)
        document["General"] |= general
        return tiny.parsed(document)

    folder = tmp_path / "events"
    first = prepare(settings(), folder)
    before = first.parts["test"].populations
    (folder / "manifest.json").unlink()
    (folder / "test-00099.events").touch()
    again = prepare(settings(), folder)
    assert not (folder / "test-00099.events").exists()
    assert again.parts["test"].populations == before
    other = prepare(settings(Seed=4), folder)
    assert other.parts["test"].populations != before


def test_a_changed_file_is_read_again(files, tmp_path):
    for path in files.glob("*.parquet"):
        shutil.copy(path, tmp_path / path.name)
    document = streamed.document(tmp_path, "parquet", CHUNK)
    folder = tmp_path / "events"
    before = prepare(tiny.parsed(document), folder).parts["observed"].populations
    table = streamed.columns("background", 140, seed=1)
    streamed.write_parquet(tmp_path / "data_1.parquet", table)
    after = prepare(tiny.parsed(document), folder).parts["observed"].populations
    assert after != before


@pytest.mark.parametrize("damage", ["test-00000.events", "manifest.json"])
def test_damaged_events_are_refused(config, files, finished, tmp_path, damage):
    folder = killed(finished, tmp_path / "run", keep_epochs=True)
    prepare(tiny.parsed(streamed.document(files, "parquet", CHUNK)), folder / "events")
    path = folder / "events" / damage
    path.write_bytes(path.read_bytes()[:-1])
    before = sorted(one.name for one in folder.iterdir())
    result = invoke("train", config, "--out", folder, "--resume")
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {path} is damaged; remove the folder {folder}/events, and the events "
        "are read again\n"
    )
    assert sorted(one.name for one in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"Input": {"ChunkSize": 499}},
            "Input.ChunkSize 499 is smaller than Train.BatchSize 500: a batch cannot "
            "be taken from a chunk",
        ),
        (
            {"Regions": [{"Name": "SR", "Observable": "summary", "Binning": [0, 0.5, 1],
                          "Filter": "x > 99"}]},
            "sample 'signal': no event passes the selection of any region",
        ),
    ],
)  # fmt: skip
def test_unusable_settings_leave_nothing(files, tmp_path, change, message):
    document = streamed.document(files, "parquet", CHUNK, **change)
    config = tiny.written(document, tmp_path / "config.yaml")
    result = invoke("train", config, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_batches_that_cannot_be_dealt_are_found_first(files, tmp_path):
    document = streamed.document(files, "parquet", 10)
    document["Train"]["BatchSize"] = 10
    config = tiny.written(document, tmp_path / "config.yaml")
    result = invoke("train", config, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "add up to" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_what_needs_all_events_says_so(files):
    prepared = prepare(tiny.parsed(streamed.document(files, "parquet", CHUNK)))
    with pytest.raises(DataError, match=r"4 portions .* leave out Input.ChunkSize"):
        _ = prepared.train
    assert [one.sample for one in prepared.observed] == ["data", "data"]


def test_temporary_events_go_with_their_store(files, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming.tempfile, "tempdir", str(tmp_path))
    prepared = prepare(tiny.parsed(streamed.document(files, "parquet", CHUNK)))
    assert len(list(tmp_path.iterdir())) == 1
    del prepared
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SpecificationError):
        prepare(tiny.parsed(streamed.document(files, "parquet", 1)))
    document = streamed.document(files, "parquet", CHUNK)
    document["Samples"][0]["Weight"] = "absent"
    with pytest.raises(DataError):
        prepare(tiny.parsed(document))
    assert list(tmp_path.iterdir()) == []


def test_a_history_of_streaming_events_is_that_of_the_run(compiled, files, finished):
    history = follow(tiny.parsed(streamed.document(files, "parquet", CHUNK)))
    records = runs.Run(finished).read_metrics()
    recorded = [record["validation"]["sigma_mu"] for record in records]
    np.testing.assert_array_equal(history.validation["sigma_mu"], recorded)


def test_a_training_of_the_same_run_elsewhere_is_refused(config, tmp_path):
    folder = tmp_path / "run"
    with streaming.beside(folder, warn=print):
        result = invoke("train", config, "--out", folder)
    assert result.exit_code == 2
    assert "process" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_generated_events_stream_too():
    document = tiny.document(Input={"ChunkSize": 500})
    in_chunks, in_memory = (
        prepare(tiny.parsed(one)) for one in (document, tiny.document())
    )
    assert len(in_chunks.parts["train"]) == 2
    hard = in_memory.analysis.hard
    found = outputs_of(hard, in_chunks.parts["test"]).histograms
    want = hard.histograms(in_memory.test)
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one.sumw, other.sumw, rtol=1e-12)
