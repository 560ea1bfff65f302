"""Work spread over processes by Dask: named tasks that may be done again.

A task is a function of the package and arguments of plain Python types. It may be
killed at any moment and done again, elsewhere too, with the same result. The processes
are started on this machine, or are those of a scheduler that runs already.
"""

import contextlib
import os
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from diffana.errors import DiffanaError, FarmError, PackageError


if TYPE_CHECKING:
    from distributed import Client


ATTEMPTS = 2
"""How often a task is tried: a failure is tried again once."""

# How XLA divides work among threads changes the last bits of its results. One core for
# each process makes them the same for any number of processes.
_ONE_CORE = {
    "PJRT_NPROC": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Several processes share a GPU, and each would take three quarters of its memory.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}

_CONFIGURATION = {
    # A process that died is a failed attempt, which is counted here.
    "distributed.scheduler.allowed-failures": 0,
    # Compiling and fitting do not let a process answer for minutes.
    "distributed.scheduler.worker-ttl": None,
    # Ctrl-C reaches all processes of a terminal; this one ends the others. The value is
    # the text of a module.
    "distributed.worker.preload": [
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    ],
}

_LOOPBACK = "127.0.0.1"
_MOST_MAPS = 30_000
_PATIENCE = 2.0
_RESTART = 120.0

# Global settings, such as those of figures, belong to one task at a time.
_alone = threading.Lock()


class Task(NamedTuple):
    """Something to be done by some process.

    Attributes:
        name: tells it apart from the others.
        arguments: of the function; plain Python types.
        group: tasks that share compiled programs; one process does them in a row where
            that keeps no other one waiting.
    """

    name: str
    arguments: tuple[Any, ...]
    group: str = ""


class Failure(NamedTuple):
    """Why an attempt has no result.

    Attributes:
        reason: one line.
        traceback: of the process that tried; empty if it died.
    """

    reason: str
    traceback: str


_DEATH = Failure("its process died: killed, or out of memory", "")


class Attempt(NamedTuple):
    """One attempt at a task that has come to its end.

    Attributes:
        task: the task.
        number: 1, or 2 after a failure.
        result: what the function returned; None after a failure.
        failure: why there is no result; None if there is one.
        running: tasks that are with the processes now.
    """

    task: Task
    number: int
    result: Any
    failure: Failure | None
    running: int

    @property
    def is_last(self) -> bool:
        """Whether the task will not be tried again."""
        return self.failure is None or self.number == ATTEMPTS


class Farm(NamedTuple):
    """Processes that do tasks.

    Attributes:
        client: the connection to them.
        at_once: how many tasks they are given at a time; all if None.
        description: of the processes, for people.
    """

    client: "Client"
    at_once: int | None
    description: str


@contextlib.contextmanager
def local(
    n_workers: int, *, environment: Mapping[str, str] | None = None
) -> Iterator[Farm]:
    """Processes on this machine, which end with the context or with this process.

    Each computes with one core, so that results do not depend on their number, and has
    no limit on its memory.

    Args:
        n_workers: how many, > 0.
        environment: environment variables of the processes, besides those that limit
            them to one core.

    Raises:
        PackageError: if Dask is not installed.
        FarmError: if the processes cannot be started.
    """
    dask, distributed = _dask()
    # Dask leaves variables that it gives its processes in this one, too.
    before = dict(os.environ)
    try:
        with (
            dask.config.set(_CONFIGURATION),
            _started(
                distributed, n_workers, {**_ONE_CORE, **(environment or {})}
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            processes = "process" if n_workers == 1 else "processes"
            yield Farm(client, n_workers, f"{n_workers} {processes} of one core")
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def _started(
    distributed: Any, n_workers: int, environment: Mapping[str, str]
) -> Iterator[Any]:
    try:
        cluster = distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            host=_LOOPBACK,
            worker_dashboard_address=None,
            # The scheduler has a web server even without its pages.
            scheduler_kwargs={
                "dashboard": False,
                "dashboard_address": f"{_LOOPBACK}:0",
            },
            memory_limit=None,
            silence_logs="CRITICAL",
            env=dict(environment),
        )
    except (OSError, RuntimeError, TimeoutError) as error:
        raise FarmError(f"no processes can be started: {_line(error)}") from error
    try:
        yield cluster
    finally:
        # What runs still may be killed at any moment.
        with contextlib.suppress(TimeoutError):
            cluster.close(timeout=_PATIENCE)


@contextlib.contextmanager
def connected(scheduler: str) -> Iterator[Farm]:
    """Processes of a Dask scheduler that runs already.

    They need this package in the same version and see the same files under the same
    paths. Each does one task at a time, whatever number of threads it has.

    Args:
        scheduler: its address, such as `tcp://node7:8786`.

    Raises:
        PackageError: if Dask is not installed.
        FarmError: if nothing answers at the address.
    """
    _, distributed = _dask()
    try:
        client = distributed.Client(scheduler, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise FarmError(f"no scheduler at {scheduler}: {_line(error)}") from error
    with client:
        yield Farm(client, None, f"the processes of {scheduler}")


@contextlib.contextmanager
def opened(
    *,
    scheduler: str | None,
    n_workers: int | None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Farm]:
    """`connected` to a scheduler if there is one, else `local`.

    Args:
        scheduler: its address.
        n_workers: processes on this machine; as many as it has cores without it.
        environment: as in `local`.
    """
    if scheduler is not None:
        with connected(scheduler) as farm:
            yield farm
    else:
        number = n_cores() if n_workers is None else n_workers
        with local(number, environment=environment) as farm:
            yield farm


def n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def attempts(
    farm: Farm, function: Callable[..., Any], tasks: Sequence[Task]
) -> Iterator[Attempt]:
    """Do tasks; each attempt is given out when it ends.

    Args:
        farm: the processes.
        function: called with the arguments of each task; importable by its name.
        tasks: what to do, with different names.

    Raises:
        FarmError: if the connection to the processes is lost.

    Example:
        >>> with local(2) as farm:
        ...     for attempt in attempts(farm, math.sqrt, [Task("root", (2.0,))]):
        ...         print(attempt.task.name, attempt.result)
    """
    _, distributed = _dask()
    waiting = deque((task, 1) for task in tasks)
    running: dict[Any, tuple[Task, int]] = {}
    ended = distributed.as_completed(loop=farm.client.loop)

    def submit(group: str | None) -> None:
        while waiting and (farm.at_once is None or len(running) < farm.at_once):
            task, number = _next(waiting, running, group)
            future = farm.client.submit(
                _attempt,
                function,
                task.arguments,
                key=f"{task.name}, attempt {number}, {time.time_ns()}",
                pure=False,
            )
            running[future] = task, number
            ended.add(future)

    submit(None)
    while running:
        future = next(ended)
        task, number = running.pop(future)
        result, failure = _ending(future)
        if failure == _DEATH:
            _wait_for_processes(farm)
        if failure is not None and number < ATTEMPTS:
            waiting.append((task, number + 1))
        submit(task.group)
        yield Attempt(task, number, result, failure, len(running))


def _next(
    waiting: deque[tuple[Task, int]],
    running: Mapping[Any, tuple[Task, int]],
    group: str | None,
) -> tuple[Task, int]:
    """A task of the group that a process has just done, else of one that few do."""
    with_processes = Counter(task.group for task, _ in running.values())

    def unsuitable(position: int) -> tuple[bool, int, int]:
        task, _ = waiting[position]
        return task.group != group, with_processes[task.group], position

    position = min(range(len(waiting)), key=unsuitable)
    chosen = waiting[position]
    del waiting[position]
    return chosen


def _ending(future: Any) -> tuple[Any, Failure | None]:
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return None, _DEATH
    except FutureCancelledError as error:
        raise FarmError("the connection to the processes is lost") from error
    except Exception as error:
        # Whatever kept a process from trying, such as a package that it lacks.
        return None, Failure(_line(error), "")


def _wait_for_processes(farm: Farm) -> None:
    """Wait until Dask has started processes on this machine again.

    A task that is given to a process which does another one would die with that.
    """
    if farm.at_once is not None:
        try:
            farm.client.wait_for_workers(farm.at_once, timeout=_RESTART)
        except TimeoutError as error:
            raise FarmError(
                "processes died and cannot be started again; is there enough memory?"
            ) from error


def _attempt(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[Any, Failure | None]:
    """What a process does with a task; a failure is a result, too."""
    import jax

    with _alone:
        _make_room()
        jax.config.update("jax_enable_x64", True)  # noqa: FBT003
        try:
            return function(*arguments), None
        except DiffanaError as error:
            return None, Failure(_line(error), traceback.format_exc())
        except Exception as error:
            reason = f"{type(error).__name__}: {_line(error)}"
            return None, Failure(reason, traceback.format_exc())


def _make_room() -> None:
    """Forget compiled programs before they fill the process's table of memory maps.

    Each holds several maps, and Linux aborts a process that asks for more than 65 530
    of them (vm.max_map_count).
    """
    import jax

    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _dask() -> tuple[Any, Any]:
    try:
        import dask
        import distributed
    except ImportError as error:
        raise PackageError(
            "work on several processes needs Dask: pip install 'diffana[sweep]'"
        ) from error
    return dask, distributed
