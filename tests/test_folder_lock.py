"""Two processes and one folder; the outside truth is the kernel's lock."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from diffana import runs
from diffana.errors import InUseError, RunError


HOLD = """
import sys, time
from pathlib import Path
from diffana import runs
with runs.exclusive(Path(sys.argv[1]), warn=print):
    print("held", flush=True)
    time.sleep(600)
"""


def refuse(line):
    raise AssertionError(line)


def held(folder):
    return runs.exclusive(folder, warn=refuse)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_process_that_holds_a_folder_is_named(holder, tmp_path):
    with pytest.raises(InUseError) as caught, held(tmp_path):
        pass
    node = os.uname().nodename
    assert str(caught.value) == (
        f"{tmp_path} is in use by process {holder.pid} on {node}"
    )


def test_a_killed_process_holds_nothing(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock").exists()
    with held(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_one_process_holds_a_folder_once(tmp_path):
    with held(tmp_path), pytest.raises(InUseError, match=f"process {os.getpid()} on "):
        held(tmp_path).__enter__()
    with held(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_an_error_inside_frees_the_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), held(tmp_path):
        raise ZeroDivisionError
    with held(tmp_path):
        pass


def test_a_file_that_the_holder_before_removed_is_no_lock(tmp_path, monkeypatch):
    """It was opened by one process just before another one removed it."""
    flock, opened = runs.fcntl.flock, []

    def late(descriptor, operation):
        flock(descriptor, operation)
        if not opened:
            (tmp_path / ".lock").unlink()
        opened.append(descriptor)

    monkeypatch.setattr(runs.fcntl, "flock", late)
    with held(tmp_path):
        assert (tmp_path / ".lock").exists()
        monkeypatch.undo()
        with pytest.raises(InUseError):
            held(tmp_path).__enter__()
    assert len(opened) == 2


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, reason):
    def flock(descriptor, operation):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(runs.fcntl, "flock", flock)
    told = []
    with runs.exclusive(tmp_path, warn=told.append):
        pass
    assert told == [
        f"{tmp_path}: no lock is to be had ({os.strerror(reason)}); make sure that no "
        "other process writes into it"
    ]


def test_without_the_module_for_locks_the_same_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "fcntl", None)
    told = []
    with runs.exclusive(tmp_path, warn=told.append):
        pass
    assert len(told) == 1


def test_a_folder_that_is_not_there_cannot_be_held(tmp_path):
    with pytest.raises(RunError, match="none cannot be written: No such file"):
        held(tmp_path / "none").__enter__()
