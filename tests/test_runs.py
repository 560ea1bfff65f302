import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffana import runs
from diffana.errors import CheckpointError, RunError


class State(eqx.Module):
    first: jax.Array
    second: jax.Array
    count: int = 0
    name: str = eqx.field(static=True, default="state")


def state(scale=1.0, size=3):
    return State(scale * jnp.arange(1.0, size + 1), -scale * jnp.ones(size), 7)


@pytest.fixture
def run(tmp_path):
    provenance = runs.describe(seed=3, argv=["diffana", "train"])
    return runs.create(tmp_path / "run", config="A: 1\nB: 2\n", provenance=provenance)


def test_a_run_folder_holds_configuration_and_provenance(run):
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "config.yaml",
        "provenance.json",
    ]
    assert run.config.read_text() == "A: 1\nB: 2\n"
    provenance = json.loads(run.provenance.read_text())
    assert provenance["seed"] == 3
    assert provenance["x64"] is True
    assert provenance["argv"] == ["diffana", "train"]
    assert provenance["versions"]["jax"] == jax.__version__
    assert provenance["device"]["platform"] == jax.default_backend()
    assert provenance["started"].endswith("+00:00")


@pytest.mark.parametrize("existing", ["empty", "run", "file", "dangling link"])
def test_nothing_is_ever_overwritten(tmp_path, existing):
    folder = tmp_path / "run"
    match existing:
        case "empty":
            folder.mkdir()
        case "run":
            runs.create(folder, config="", provenance={})
        case "file":
            folder.write_text("")
        case "dangling link":
            folder.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError, match="exists"):
        runs.create(folder, config="A: 2\n", provenance={})
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_cannot_be_made_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be created"):
        runs.create(tmp_path / "file" / "run", config="", provenance={})
    with pytest.raises(TypeError):
        runs.create(tmp_path / "run", config="", provenance={"seed": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_inputs_are_fingerprinted(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes(b"x,y\n1,2\n")
    (entry,) = runs.describe(seed=0, inputs=[path])["inputs"]
    assert entry == {
        "path": str(path),
        "bytes": 8,
        "sha256": hashlib.sha256(b"x,y\n1,2\n").hexdigest(),
    }
    with pytest.raises(RunError, match="No such file"):
        runs.describe(seed=0, inputs=[tmp_path / "missing.csv"])


def test_the_commit_is_that_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert runs.describe(seed=0)["git"] is None

    def git(*command):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *command], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "Add a file")
    found = runs.describe(seed=0)["git"]
    assert len(found["commit"]) == 40
    assert found["dirty"] is False
    (tmp_path / "file").write_text("2")
    assert runs.describe(seed=0)["git"]["dirty"] is True


def test_metrics_are_json_lines(run):
    run.record(1, {"loss": jnp.float32(0.5), "fit": {"failed": 0}, "edges": np.ones(2)})
    run.record(2, {"loss": float("nan"), "bound": -jnp.inf})
    first, second = run.metrics.read_text().splitlines()
    assert json.loads(first) == {
        "step": 1,
        "loss": 0.5,
        "fit": {"failed": 0},
        "edges": [1.0, 1.0],
    }
    assert json.loads(second) == {"step": 2, "loss": "nan", "bound": "-inf"}


def test_rewinding_removes_later_steps_and_a_torn_line(run):
    for step in (1, 2, 2, 3):
        run.record(step, {"loss": 1 / step})
    with run.metrics.open("ab") as file:
        file.write(b'{"step": 4, "lo')
    run.rewind(2)
    assert [record["step"] for record in run.read_metrics()] == [1, 2, 2]
    run.record(3, {"loss": 0.1})
    assert [record["step"] for record in run.read_metrics()] == [1, 2, 2, 3]
    run.rewind(-1)
    assert run.metrics.read_bytes() == b""


@pytest.mark.parametrize("line", [b"{\n", b"3\n", b'{"loss": 1}\n', b'{"step": "1"}\n'])
def test_damaged_metrics_are_named(run, line):
    run.metrics.write_bytes(b'{"step": 1}\n' + line)
    with pytest.raises(RunError, match="line 2"):
        run.rewind(5)


def test_an_interrupted_run_is_reopened(run):
    again = runs.reopen(run.folder, config="A: 1\nB: 2\n", provenance={"seed": 4})
    assert again == run
    provenance = json.loads(run.provenance.read_text())
    assert provenance["seed"] == 3
    assert provenance["resumed"] == [{"seed": 4}]


def test_only_the_same_unfinished_run_is_reopened(run, tmp_path):
    def reopen(folder=run.folder, config="A: 1\nB: 2\n"):
        return runs.reopen(folder, config=config, provenance={})

    with pytest.raises(RunError, match="not a run folder"):
        reopen(tmp_path)
    with pytest.raises(RunError, match="line 2: 'B: 2' was run, 'B: 3' is given"):
        reopen(config="A: 1\nB: 3\n")
    with pytest.raises(RunError, match="line 3: '' was run, 'C: 1' is given"):
        reopen(config="A: 1\nB: 2\nC: 1\n")
    with pytest.raises(RunError, match="not finished"):
        runs.open_finished(run.folder)
    run.finish({"CLs": jnp.asarray(0.05)})
    assert runs.open_finished(run.folder) == run
    assert json.loads(run.finished.read_text())["CLs"] == 0.05
    with pytest.raises(RunError, match="has finished"):
        reopen()


def test_a_checkpoint_returns_what_was_saved(run):
    saved = (state(), jnp.arange(3), np.ones(2, np.float32), True)
    runs.save_checkpoint(run.last, saved, {"step": 12, "loss": jnp.inf})
    like = (state(0.0), jnp.zeros(3, int), np.zeros(2, np.float32), False)
    loaded, meta = runs.load_checkpoint(run.last, like)
    assert eqx.tree_equal(loaded, saved)
    assert meta == {"step": 12, "loss": "inf"}
    header = json.loads(run.last.read_bytes().split(b"\n")[0])
    assert header["leaves"][0] == "[0].first float64[3]"


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"b": jnp.ones(3), "c": jnp.ones(3)}, r"\['a'\].*where \['b'\]"),
        ({"a": jnp.ones(3), "b": jnp.ones(4)}, r"\[3\] where .*\[4\]"),
        ({"a": jnp.ones(3), "b": jnp.ones(3, "float32")}, "float64.*float32"),
        ({"a": jnp.ones(3)}, "no leaf is expected"),
        ({"a": jnp.ones(3), "b": jnp.ones(3), "c": 1}, "no leaf where"),
        ((jnp.ones(3), jnp.ones(3)), r"\[0\]"),
    ],
)
def test_a_checkpoint_refuses_another_structure(run, like, message):
    runs.save_checkpoint(run.best, {"a": jnp.ones(3), "b": jnp.zeros(3)})
    with pytest.raises(CheckpointError, match=message):
        runs.load_checkpoint(run.best, like)


def test_a_damaged_checkpoint_is_refused(run):
    with pytest.raises(CheckpointError, match="No such file"):
        runs.load_checkpoint(run.last, state())
    runs.save_checkpoint(run.last, state())
    content = run.last.read_bytes()
    for damaged in (content[:-1], content + b"0", content[:-1] + b"\xaa"):
        run.last.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            runs.load_checkpoint(run.last, state())
    for damaged in (b"", b"{}\n", b"3\n", b"\xff\n", content[:10]):
        run.last.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="not a checkpoint"):
            runs.load_checkpoint(run.last, state())


WRITER = """
import sys, pathlib, numpy as np
from diffana import runs
run = runs.Run(pathlib.Path(sys.argv[1]))
start = 0
if run.last.exists():
    start = runs.load_checkpoint(run.last, {"a": np.zeros(200_000)})[1]["step"]
run.rewind(start)
for step in range(start + 1, 1_000_000):
    run.record(step, {"loss": 1 / step})
    runs.save_checkpoint(run.last, {"a": np.full(200_000, float(step))}, {"step": step})
"""


def test_a_killed_writer_always_leaves_a_loadable_checkpoint(run):
    reached = 0
    for pause in (0.0, 0.013, 0.029):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(run.folder)])
        deadline = time.monotonic() + 60
        while run.read_metrics()[-1:] in (
            [],
            [{"step": reached, "loss": 1 / (reached or 1)}],
        ):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while not run.last.exists():
            time.sleep(0.01)
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        loaded, meta = runs.load_checkpoint(run.last, {"a": np.zeros(200_000)})
        assert meta["step"] >= reached
        np.testing.assert_array_equal(loaded["a"], meta["step"])
        run.rewind(meta["step"])
        reached = meta["step"]
        steps = [record["step"] for record in run.read_metrics()]
        assert steps == list(range(1, reached + 1))
    assert reached > 0
