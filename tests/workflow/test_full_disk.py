"""A disk without room: one error that names the file, and nothing half written."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from diffana import runs
from diffana.cli import main
from diffana.errors import RunError
from diffana.files import put_file


class Disk:
    """Counts what is put on the disk, and has room for so many files or records."""

    def __init__(self):
        self.room = None
        self.calls = 0

    def fsync(self, descriptor):
        self.calls += 1
        if self.room is not None and self.calls > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    # Called after every file, record and rename, and nowhere else.
    monkeypatch.setattr(os, "fsync", disk.fsync)
    return disk


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_file_is_replaced_or_as_it_was(tmp_path, disk):
    path = tmp_path / "results.json"
    put_file(path, b"first")
    disk.room = disk.calls
    with pytest.raises(OSError, match="No space left"):
        put_file(path, b"second")
    assert contents(tmp_path) == {"results.json": b"first"}


def test_what_cannot_be_replaced_is_written_where_it_is(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    put_file(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    put_file(Path(os.devnull), b"nothing")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("room", range(5))
def test_a_run_folder_appears_complete_or_not_at_all(room, tmp_path, disk):
    disk.room = room
    folder = tmp_path / "run"
    # Two files, each with its rename, and the rename of the folder.
    with pytest.raises(RunError, match="run cannot be created: No space left"):
        runs.create(folder, config="a: 1\n", provenance={"inputs": []})
    found = set(contents(tmp_path))
    # The folder is there, and is told not to be, if its very last step failed.
    complete = {"run/config.yaml", "run/provenance.json"}
    assert found == (complete if room == 4 else set())


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("metrics.jsonl", lambda run: run.record(2, {"loss": 1.0})),
        ("timings.jsonl", lambda run: run.record_time(2, 1.0)),
        ("results.json", lambda run: run.write_json("results.json", {"a": 1})),
        ("finished.json", lambda run: run.finish({})),
        ("metrics.jsonl", lambda run: run.rewind(0)),
        ("last.eqx", lambda run: runs.save_checkpoint(run.last, {"a": 1.0})),
        ("provenance.json", lambda run: resumed(run)),
    ],
)
def test_what_cannot_be_written_is_named(name, write, tmp_path, disk):
    run = runs.create(
        tmp_path / "run", config="a: 1\n", provenance={"inputs": [], "seed": 1}
    )
    run.record(1, {"loss": 2.0})
    run.write_json("results.json", {"a": 0})
    before = contents(tmp_path)
    disk.room = disk.calls
    with pytest.raises(RunError, match=f"{name} cannot be written: No space left"):
        write(run)
    disk.room = None
    after = contents(tmp_path)
    # A line at the end of a file of records may be there: `rewind` removes it.
    assert set(after) - set(before) <= {"run/timings.jsonl"}
    for path, content in before.items():
        assert after[path].startswith(content)
        assert path == "run/metrics.jsonl" or after[path] == content


def resumed(run):
    runs.reopen(run.folder, config="a: 1\n", provenance={"seed": 1})


@pytest.mark.parametrize("room", [1, 8, 12])
def test_a_training_that_ran_out_of_room_goes_on(
    room, finished, settings, tmp_path, disk
):
    """While the folder appears, among the records, and among the checkpoints."""
    folder = tmp_path / "run"
    disk.room = room
    argv = ["train", str(settings), "--out", str(folder)]
    result = CliRunner().invoke(main, argv)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "No space left on device" in result.stderr
    assert not list(tmp_path.rglob("*.draft"))
    disk.room = None
    again = CliRunner().invoke(main, [*argv, "--resume"] if folder.exists() else argv)
    assert again.exit_code == 0
    for name in ("metrics.jsonl", "results.json", "best.eqx", "last.eqx"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_an_evaluation_without_room_leaves_the_results(run, tmp_path, disk):
    before = contents(tmp_path)
    disk.room = 1
    result = CliRunner().invoke(main, ["evaluate", str(run)])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    after = contents(tmp_path)
    assert set(after) == set(before)
    for path in ("run/results.json", "run/finished.json", "run/best.eqx"):
        assert after[path] == before[path]


def test_a_comparison_without_room_leaves_no_folder(run, tmp_path, disk):
    disk.room = 1
    result = CliRunner().invoke(
        main, ["compare", str(run), "--out", str(tmp_path / "compared")]
    )
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_output_without_room_is_one_error(run, tmp_path, disk):
    file = tmp_path / "comparison.json"
    file.write_text("before")
    disk.room = 0
    result = CliRunner().invoke(main, ["compare", str(run), "--output-file", str(file)])
    assert result.exit_code == 2
    assert f"{file}: cannot be written: No space left on device" in result.stderr
    assert file.read_text() == "before"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_standard_output_without_room_is_one_error(settings):
    command = [sys.executable, "-m", "diffana", "validate", str(settings)]
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 2
    assert result.stderr == "Error: No space left on device\n"
