import os
import pathlib
import sys
from collections import deque

import pytest

import chores
from diffana.errors import FarmError, PackageError
from diffana.workflow import farm


@pytest.fixture(scope="module")
def crew():
    with farm.local(2, environment={"DIFFANA_TOLD": "yes"}) as crew:
        yield crew


def ended(crew, function, *tasks):
    return list(farm.attempts(crew, function, tasks))


def test_every_task_has_one_result(crew):
    tasks = [farm.Task(f"{i}", (i, 2)) for i in range(7)]
    found = ended(crew, pow, *tasks)
    assert {one.task.name: one.result for one in found} == {
        f"{i}": i**2 for i in range(7)
    }
    assert all(one.number == 1 and one.is_last for one in found)
    # Two processes have two tasks until no more wait.
    assert sorted(one.running for one in found) == [0, 1, 2, 2, 2, 2, 2]


def test_processes_have_one_core_and_double_precision(crew):
    found = ended(crew, chores.surroundings, *(farm.Task(f"{i}", ()) for i in range(4)))
    results = [one.result for one in found]
    assert len({one.pop("process") for one in results} - {os.getpid()}) == 2
    told = {"cores": "1", "threads": "1", "told": "yes", "x64": True}
    assert results == 4 * [told]


def test_a_failure_is_tried_once_more(crew, tmp_path):
    once = farm.Task("once", (str(tmp_path), "once", 1))
    always = farm.Task("always", (str(tmp_path), "always", 9))
    found = ended(crew, chores.fail, once, always)
    by_task = {
        name: [
            (one.number, one.result, one.is_last)
            for one in found
            if one.task.name == name
        ]
        for name in ("once", "always")
    }
    assert by_task["once"] == [(1, None, False), (2, 2, True)]
    assert by_task["always"] == [(1, None, False), (2, None, True)]
    assert len((tmp_path / "always").read_text().splitlines()) == 2
    failures = [one.failure for one in found if one.task.name == "always"]
    assert [one.reason for one in failures] == [
        "ArithmeticError: call 1 of always",
        "ArithmeticError: call 2 of always",
    ]
    assert all("chores.py" in one.traceback for one in failures)


def test_a_process_that_dies_is_a_failure(crew, tmp_path):
    tasks = [
        farm.Task("once", (str(tmp_path), "once", 1)),
        farm.Task("always", (str(tmp_path), "always", 9)),
        farm.Task("never", (str(tmp_path), "never", 0)),
    ]
    found = ended(crew, chores.die, *tasks)
    last = {one.task.name: one for one in found if one.is_last}
    assert last["never"].result == 1
    assert last["once"].result == 2
    assert last["always"].failure == farm.Failure(
        "its process died: killed, or out of memory", ""
    )
    assert len((tmp_path / "always").read_text().splitlines()) == 2


def test_a_task_is_chosen_for_the_programs_that_a_process_has():
    waiting = deque(
        (farm.Task(name, (), name[0]), 1) for name in ("a1", "a2", "b1", "b2", "c1")
    )
    running = {}

    def chosen(group):
        task, _ = farm._next(waiting, running, group)
        running[task.name] = task, 1
        return task.name

    # Free processes spread over the groups; one that is done stays with its own.
    assert [chosen(None), chosen(None)] == ["a1", "b1"]
    del running["b1"]
    assert chosen("b") == "b2"
    del running["b2"]
    assert chosen("b") == "c1"
    del running["c1"]
    assert chosen("c") == "a2"


def test_the_environment_is_left_as_it_was():
    before = dict(os.environ)
    with farm.local(1) as crew:
        assert crew.description == "1 process of one core"
    assert dict(os.environ) == before


def test_nothing_is_left_in_the_working_directory(crew):
    assert not [path for path in pathlib.Path().iterdir() if "dask" in path.name]


def test_nothing_at_an_address():
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(FarmError, match=r"no scheduler at tcp://127\.0\.0\.1:9: "),
        farm.connected("tcp://127.0.0.1:9"),
    ):
        pass
    with (
        pytest.raises(FarmError, match="no scheduler at nonsense://x: "),
        farm.connected("nonsense://x"),
    ):
        pass


def test_without_dask_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    message = r"pip install 'diffana\[sweep\]'"
    with pytest.raises(PackageError, match=message), farm.local(1):
        pass
