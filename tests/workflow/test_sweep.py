import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import tiny
from diffana import config, runs
from diffana.cli import main
from diffana.errors import RunError
from diffana.workflow.ensemble import ensemble
from diffana.workflow.prepared import prepare
from diffana.workflow.sweep import train_one


SEEDS = [3, 4]
SETTINGS = [
    {"Name": "plain"},
    {"Name": "wide", "Change": {"Histogram.Bandwidth.End": 0.2}},
]
# There is not a single event for some bins.
HOPELESS = {
    "Name": "hopeless",
    "Change": {"Split": {"Train": 0.002, "Validation": 0.2, "Test": 0.2}},
}
NAMES = [f"{one['Name']}_seed{seed}" for one in SETTINGS for seed in SEEDS]

SCHEDULER = """
import os, sys
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, host="127.0.0.1",
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}, memory_limit=None,
    )
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
    cluster.close()
"""


def described(base, path, settings=SETTINGS, **changes):
    document = {"Base": str(base), "Seeds": SEEDS, "Settings": settings, **changes}
    return tiny.written(document, path)


def content(folder):
    """What has to be the same bit for bit, whatever became of the processes."""
    names = ("metrics.jsonl", "best.eqx", "last.eqx", "results.json", "config.yaml")
    return {name: (folder / name).read_bytes() for name in names}


def contents(folder):
    return {name: content(folder / "runs" / name) for name in NAMES}


def failures(folder):
    return json.loads((folder / "failures.json").read_bytes())


def invoke(*argv):
    return CliRunner().invoke(main, ["sweep", *map(str, argv)])


@pytest.fixture(scope="module")
def alone(launch, settings, tmp_path_factory):
    """One run of the sweep as `diffana train` makes it on one core."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    launch.environment["PJRT_NPROC"] = "1"
    process = launch("train", settings, "--out", folder)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return folder


@pytest.fixture(scope="module")
def swept(alone, launch, settings, tmp_path_factory):
    """The folder of a sweep with one hopeless setting, its output and exit code."""
    parent = tmp_path_factory.mktemp("swept")
    path = described(settings, parent / "sweep.yaml", [*SETTINGS, HOPELESS])
    process = launch("sweep", path, "--out", parent / "sweep", "--workers", 2)
    output, _ = process.communicate()
    return parent / "sweep", output, process.returncode


@pytest.fixture
def copied(swept, tmp_path):
    """The sweep without the hopeless setting, to be spoiled."""
    return shutil.copytree(swept[0], tmp_path / "sweep")


@pytest.fixture
def hopeful(settings, tmp_path):
    return described(settings, tmp_path / "sweep.yaml")


def test_a_sweep_folder_is_complete(swept):
    folder, _, _ = swept
    assert sorted(path.name for path in folder.iterdir()) == [
        "base.yaml",
        "comparison.json",
        "comparison.pdf",
        "comparison.png",
        "comparison.txt",
        "failures.json",
        "logs",
        "runs",
        "sweep.yaml",
    ]
    assert sorted(path.name for path in (folder / "runs").iterdir()) == NAMES
    hopeless = [f"hopeless_seed{seed}" for seed in SEEDS]
    assert sorted(path.stem for path in (folder / "logs").iterdir()) == sorted(
        [*NAMES, *hopeless]
    )


def test_a_run_is_the_one_that_train_makes(swept, alone):
    assert content(swept[0] / "runs" / "plain_seed3") == content(alone)
    log = (swept[0] / "logs" / "plain_seed3.log").read_text()
    assert "epoch 4/4" in log
    assert "CLs at mu = 1, median" in log


def test_a_failure_is_recorded_and_tried_once_more(swept):
    folder, output, code = swept
    assert code == 1
    found = failures(folder)
    assert sorted(found) == ["hopeless_seed3", "hopeless_seed4"]
    for name, attempts in found.items():
        assert [one["attempt"] for one in attempts] == [1, 2]
        for one in attempts:
            assert one["reason"].startswith("region 'SR', sample 'signal'")
            assert one["log"] == f"logs/{name}.log"
        log = (folder / "logs" / f"{name}.log").read_text()
        assert log.count("diffana.errors.DataError: region 'SR'") == 2
        assert output.count(f"{name} failed and is tried again: region 'SR'") == 1
        assert output.count(f"{name} failed and has no result: region 'SR'") == 1
    assert output.endswith(
        "Error: 2 of 6 runs have no result: "
        f"{', '.join(one for one in ordered(output))}; see {folder}/failures.json\n"
    )


def ordered(output):
    """Names of the runs without a result, in the order of the lines about them."""
    lines = [line for line in output.splitlines() if " has no result: " in line]
    return [line.split()[1] for line in lines]


def test_progress_is_told_line_by_line(swept):
    folder, output, _ = swept
    lines = output.splitlines()
    assert lines[0] == (
        f"Sweep of 6 runs in {folder}, 3 settings x 2 seeds: 0 finished before, 0 "
        "begun; 2 processes of one core"
    )
    told = [line for line in lines if " has finished: CLs " in line]
    assert sorted(line.split()[1] for line in told) == NAMES
    ended = [line.split("/")[0] for line in lines if line.startswith("[")]
    assert sorted({int(one[1:]) for one in ended} - {0}) == [1, 2, 3, 4, 5, 6]


def test_the_comparison_is_that_of_the_finished_runs(swept):
    folder, output, _ = swept
    result = CliRunner().invoke(
        main, ["compare", *(str(folder / "runs" / name) for name in NAMES)]
    )
    assert (folder / "comparison.json").read_text() == result.stdout
    document = json.loads(result.stdout)
    assert [(group["name"], group["seeds"]) for group in document["groups"]] == [
        ("Histogram.Bandwidth.End=0.1", SEEDS),
        ("Histogram.Bandwidth.End=0.2", SEEDS),
    ]
    assert "Histogram.Bandwidth.End=0.2" in output
    assert "Histogram.Bandwidth.End=0.2" in (folder / "comparison.txt").read_text()


def test_what_has_finished_is_not_done_again(copied, hopeful, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (copied / "runs").rglob("*.*")}
    result = invoke(hopeful, "--out", copied)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == (
        f"Sweep of 4 runs in {copied}, 2 settings x 2 seeds: 4 finished before, 0 begun"
    )
    after = {path: path.stat().st_mtime_ns for path in (copied / "runs").rglob("*.*")}
    assert after == before
    # The folder tells of the sweep that it holds now, in a form that goes on with it.
    written = yaml.safe_load((copied / "sweep.yaml").read_text())
    assert [one["Name"] for one in written["Settings"]] == ["plain", "wide"]
    again = invoke(copied / "sweep.yaml", "--out", copied)
    assert again.exit_code == 0, again.output


def test_a_second_call_goes_on_with_the_scheduler_of_the_site(
    launch, copied, swept, settings, tmp_path
):
    """An interrupted run is resumed, a failed one is tried again."""
    whole = contents(swept[0])
    (copied / "runs" / "wide_seed4" / "finished.json").unlink()
    (copied / "runs" / "wide_seed4" / "results.json").unlink()
    path = described(
        settings, tmp_path / "sweep.yaml", [*SETTINGS, HOPELESS], Seeds=[4]
    )
    # The environment is the site's: one core and the programs of these tests.
    site = subprocess.Popen(
        [sys.executable, "-c", SCHEDULER],
        env=launch.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = site.stdout.readline().strip()
        result = invoke(path, "--out", copied, "--scheduler", address)
    finally:
        site.communicate()
    assert result.exit_code == 1, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == (
        f"Sweep of 3 runs in {copied}, 3 settings x 1 seed: 1 finished before, 1 "
        f"begun; the processes of {address}"
    )
    assert lines[1] == (
        "Left alone, as they are not in the sweep: plain_seed3, wide_seed3"
    )
    assert contents(copied) == whole
    resumed = runs.Run(copied / "runs" / "wide_seed4").read_provenance()["resumed"]
    assert len(resumed) == 1
    attempts = failures(copied)["hopeless_seed4"]
    assert [one["attempt"] for one in attempts] == [1, 2, 3, 4]


def test_what_cannot_go_on_is_refused_before_anything_runs(copied, settings, tmp_path):
    document = yaml.safe_load(settings.read_text())
    document["Train"]["Epochs"] = 5
    other = tiny.written(document, tmp_path / "other.yaml")
    changed = [SETTINGS[0], {"Name": "wide", "Change": {"Train.BatchSize": 200}}]
    number, line = next(
        (i, line.strip())
        for i, line in enumerate((copied / "base.yaml").read_text().splitlines(), 1)
        if "Epochs" in line
    )
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    for path, out, message in (
        (
            described(other, tmp_path / "a.yaml"),
            copied,
            f"{copied} has another configuration; {copied}/base.yaml, line {number}: "
            f"{line!r} was run, {line.replace('4', '5')!r} is given",
        ),
        (
            described(settings, tmp_path / "b.yaml", changed),
            copied,
            f"{copied}/runs/wide_seed3 has another configuration; "
            f"{copied}/runs/wide_seed3/config.yaml, line ",
        ),
        (
            described(settings, tmp_path / "c.yaml"),
            copied / "runs" / "plain_seed3",
            f"{copied}/runs/plain_seed3 exists and holds no sweep",
        ),
    ):
        result = invoke(path, "--out", out)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"Error: {message}")
        assert result.stdout == ""
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before


def test_a_folder_in_use_is_left_alone(copied, hopeful):
    with runs.exclusive(copied, warn=print):
        result = invoke(hopeful, "--out", copied)
    assert result.exit_code == 2
    assert result.stderr.startswith(
        f"Error: {copied} is in use by process {os.getpid()} on "
    )


def test_a_run_in_use_is_waited_for(copied, settings):
    """Until the process that has it has finished it, or is gone."""
    run = runs.Run(copied / "runs" / "plain_seed3")
    done = run.folder / "done"
    run.finished.rename(done)
    log = copied / "logs" / "plain_seed3.log"
    arguments = (str(copied), "plain_seed3", run.config.read_text(), str(copied))
    with runs.exclusive(run.folder, warn=print):
        waiting = threading.Thread(target=train_one, args=arguments)
        waiting.start()
        deadline = time.monotonic() + 60
        while f"is in use by process {os.getpid()}" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert waiting.is_alive()
        done.rename(run.finished)
    waiting.join(60)
    assert not waiting.is_alive()
    assert "Traceback" not in log.read_text()


def test_nothing_is_made_without_a_scheduler(hopeful, tmp_path):
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}):
        out = tmp_path / "out"
        result = invoke(hopeful, "--out", out, "--scheduler", "tcp://127.0.0.1:9")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: no scheduler at tcp://127.0.0.1:9: ")
    assert not out.exists()


def test_the_networks_of_a_setting_are_an_ensemble(swept):
    folder, _, _ = swept
    members = ensemble(folder, "wide")
    assert list(members) == SEEDS
    x = np.random.default_rng(0).normal(size=(5, 2))
    outputs = []
    for seed, analysis in members.items():
        run = runs.Run(folder / "runs" / f"wide_seed{seed}")
        own = prepare(config.load(run.config)).analysis
        alone, _ = runs.load_checkpoint(run.best, own)
        outputs.append(np.asarray(analysis.summaries["summary"](x)))
        np.testing.assert_array_equal(alone.summaries["summary"](x), outputs[-1])
        assert all(region.is_hard for region in analysis.regions)
    assert np.all(outputs[0] != outputs[1])


def test_an_ensemble_that_is_not_there(swept):
    folder, _, _ = swept
    with pytest.raises(RunError, match="no setting 'wider'; known are plain, wide, ho"):
        ensemble(folder, "wider")
    with pytest.raises(RunError, match="hopeless_seed3 is not a run folder"):
        ensemble(folder, "hopeless")
    with pytest.raises(RunError, match="holds no sweep: cannot be read"):
        ensemble(folder / "runs", "wide")


def test_workers_and_scheduler_exclude_one_another(hopeful, tmp_path):
    out = tmp_path / "out"
    result = invoke(hopeful, "--out", out, "--workers", 2, "--scheduler", "tcp://x:1")
    assert result.exit_code == 2
    assert result.stderr == "Error: --workers and --scheduler exclude one another\n"


# Whoever runs the tests in the background may have switched interrupts off.
INTERRUPTIBLE = """
import signal
from diffana.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


class Session:
    """A sweep in a process group of its own, as a terminal starts it."""

    def __init__(self, launch, *argv):
        self.process = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, *map(str, argv)],
            env=launch.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, condition):
        deadline = time.monotonic() + 300
        while not condition():
            assert self.process.poll() is None, self.process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.002)

    @property
    def members(self):
        """Processes of the group that have not ended."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, group, *_ = path.read_text().rpartition(")")[2].split()
                if int(group) == self.process.pid and state != "Z":
                    found.append(int(path.parent.name))
        return found

    def kill_parent(self):
        """Kill the sweep alone; its processes have to end by themselves."""
        self.process.kill()
        self.process.wait()
        self.wait_for_end()

    def wait_for_end(self):
        deadline = time.monotonic() + 30
        while self.members:
            assert time.monotonic() < deadline, self.members
            time.sleep(0.05)

    def kill_group(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
@pytest.mark.slow
def test_an_interrupt_ends_everything_and_says_how_to_go_on(
    launch, swept, hopeful, tmp_path
):
    out = tmp_path / "out"
    session = Session(launch, "sweep", hopeful, "--out", out, "--workers", "2")
    session.wait_for(lambda: (out / "runs" / "plain_seed3" / "metrics.jsonl").exists())
    os.killpg(session.process.pid, signal.SIGINT)
    output, _ = session.process.communicate(timeout=60)
    assert session.process.returncode == 130
    *_, last = output.splitlines()
    assert last == (
        "Error: interrupted: 0 of 4 runs have finished; the same command goes on"
    )
    assert "Traceback" not in output
    session.wait_for_end()
    result = Session(launch, "sweep", hopeful, "--out", out, "--workers", "2")
    output, _ = result.process.communicate()
    assert result.process.returncode == 0, output
    assert contents(out) == contents(swept[0])


@linux
@pytest.mark.slow
def test_many_kills(launch, swept, hopeful, tmp_path):
    """Kills at random moments, of all processes or of the first one only.

    DIFFANA_KILLS says how many; each sweep that ends in between is followed by another.
    """
    n_kills = int(os.environ.get("DIFFANA_KILLS", "6"))
    draw, whole = random.Random(n_kills), contents(swept[0])
    killed = n_sweeps = 0
    while killed < n_kills or n_sweeps == 0:
        out = tmp_path / f"sweep_{n_sweeps}"
        session = Session(launch, "sweep", hopeful, "--out", out, "--workers", "2")
        # Starting takes some seconds, everything about a minute.
        wait = draw.uniform(0.0, 40.0) if killed < n_kills else None
        try:
            output, _ = session.process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            draw.choice([session.kill_parent, session.kill_group])()
            session.process.stdout.close()
            killed += 1
            continue
        assert session.process.returncode == 0, output
        assert contents(out) == whole
        n_sweeps += 1
