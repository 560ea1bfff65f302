"""Run folders with one file damaged, missing, or in the way of another."""

import shutil

import pytest
from click.testing import CliRunner

from diffana import workflow
from diffana.cli import main
from diffana.workflow import evaluation, safety, training


class Accepted(BaseException):
    """The files were read and the work would begin."""


@pytest.fixture(autouse=True)
def _stop_before_the_work(monkeypatch):
    def stop(*arguments, **settings):
        raise Accepted

    monkeypatch.setattr(evaluation, "evaluate_run", stop)
    monkeypatch.setattr(training, "epochs", stop)
    monkeypatch.setattr(safety, "safety_checks", stop)
    assert workflow.train is training.train


def folder_instead(path):
    path.unlink()
    path.mkdir()


def loop(path):
    path.unlink()
    path.symlink_to(path)


def content(value):
    return lambda path: path.write_bytes(value)


DAMAGE = {
    "empty": content(b""),
    "null": content(b"null"),
    "list": content(b"[]\n"),
    "number": content(b"3"),
    "object": content(b"{}\n"),
    "text": content(b"step\n"),
    "binary": content(bytes(range(256))),
    "deep": content(b"[" * 100_000 + b"\n"),
    "inputs": content(b'{"inputs": [1]}\n'),
    "half": lambda path: path.write_bytes(
        path.read_bytes()[: path.stat().st_size // 2]
    ),
    "missing": lambda path: path.unlink(),
    "folder": folder_instead,
    "loop": loop,
}
FILES = (
    "config.yaml",
    "provenance.json",
    "results.json",
    "metrics.jsonl",
    "timings.jsonl",
    "best.eqx",
    "last.eqx",
    "finished.json",
)


def snapshot(folder):
    return {
        path.name: path.read_bytes() if path.is_file() else None
        for path in folder.iterdir()
    }


def refused_or_accepted(argv, folder):
    """Exit code 2 with one line that names the folder, and nothing changed."""
    before = snapshot(folder) if folder.is_dir() else None
    try:
        result = CliRunner().invoke(main, list(map(str, argv)))
    except Accepted:
        return "accepted"
    if result.exit_code == 0:
        return "accepted"
    assert result.exit_code == 2, result.exception
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert str(folder) in result.stderr
    assert before == (snapshot(folder) if folder.is_dir() else None)
    return "refused"


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_in_one_line(damage, finished, settings, tmp_path):
    found = {}
    for name in FILES:
        folder = shutil.copytree(finished, tmp_path / name / "run")
        DAMAGE[damage](folder / name)
        commands = [["compare", folder]]
        if name in ("config.yaml", "provenance.json", "best.eqx", "finished.json"):
            commands += [["evaluate", folder], ["check", folder]]
        for argv in commands:
            found[name, argv[0]] = refused_or_accepted(argv, folder)
        if name in ("provenance.json", "last.eqx", "metrics.jsonl"):
            (folder / "finished.json").unlink()
            argv = ["train", settings, "--out", folder, "--resume"]
            found[name, "train"] = refused_or_accepted(argv, folder)
    assert found["config.yaml", "evaluate"] == "refused"
    assert found["config.yaml", "check"] == "refused"
    assert found["provenance.json", "check"] == "refused"
    assert found["best.eqx", "check"] == "refused"
    assert found["results.json", "compare"] == "refused"
    # A training that has no checkpoint yet begins at its beginning.
    expected = "accepted" if damage in ("missing", "loop") else "refused"
    assert found["last.eqx", "train"] == expected


PLACES = {
    "a file": lambda folder: folder.write_text("x"),
    "an empty folder": lambda folder: folder.mkdir(),
    "nothing": lambda folder: None,
    "a link to itself": lambda folder: folder.symlink_to(folder),
    "a link to nothing": lambda folder: folder.symlink_to("nowhere"),
}


@pytest.mark.parametrize("command", ["evaluate", "check", "compare"])
@pytest.mark.parametrize("what", PLACES)
def test_what_is_no_run_folder_is_refused(what, command, tmp_path):
    folder = tmp_path / "run"
    PLACES[what](folder)
    assert refused_or_accepted([command, folder], folder) == "refused"


def test_a_link_to_a_run_folder_is_one(finished, tmp_path):
    folder = tmp_path / "run"
    folder.symlink_to(finished)
    assert refused_or_accepted(["compare", folder], folder) == "accepted"
