"""`diffana sweep`: seeds x settings on many processes, and what they have in common.

The folder of a sweep holds

- `sweep.yaml` and `base.yaml`: the sweep and the configuration that it changes, with
  every default spelled out,
- `runs/`: a run folder for each setting and seed,
- `logs/`: what each training printed, and where it failed,
- `failures.json`: run -> its failed attempts in all calls,
- `comparison.json`, `comparison.txt`, `comparison.pdf`, `comparison.png`: the finished
  runs side by side,
- `compiled/`: compiled programs that the processes of this machine share; it may be
  deleted.
"""

import contextlib
import datetime
import functools
import io
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from diffana import config as configuration, runs
from diffana.config import PlannedRun, Sweep
from diffana.errors import InUseError, RunError
from diffana.workflow import comparison_report, farm, training
from diffana.workflow.comparison import Comparison, compare


_SWEEP, _BASE = "sweep.yaml", "base.yaml"
_FAILURES = "failures.json"


class SweepSummary(NamedTuple):
    """What a call of `sweep` leaves behind.

    Attributes:
        finished: names of the runs with results.
        failed: name of each run without a result -> why.
        comparison: the finished runs side by side; None if they cannot be compared.
    """

    finished: tuple[str, ...]
    failed: Mapping[str, str]
    comparison: Comparison | None


def sweep(
    plan: Sweep,
    folder: Path,
    *,
    scheduler: str | None = None,
    n_workers: int | None = None,
    console: Console,
    dumps: Callable[[Any], str] = json.dumps,
) -> SweepSummary:
    """Train all runs of a sweep that have not finished, and compare all that have.

    Interrupted runs are resumed. A run that fails is tried once more in the same call.
    The sweep of a folder may grow or shrink from call to call, but neither its base nor
    a setting may change.

    Args:
        plan: the sweep.
        folder: where; must not exist, or hold the sweep.
        scheduler: address of a Dask scheduler; processes on this machine without it.
        n_workers: processes on this machine; one per core without it.
        console: where to report.
        dumps: writes the document of the comparison as JSON.

    Raises:
        RunError: if the folder is in the way, or was made with another base or setting.
        InUseError: if another process works in it.
        FarmError: if the processes cannot be had.
    """
    say = functools.partial(console.print, markup=False, soft_wrap=True)
    with contextlib.ExitStack() as held:
        if folder.exists():
            _check(plan, folder)
            held.enter_context(runs.exclusive(folder, warn=say))
        todo = [one for one in plan.runs if not _run(folder, one).finished.exists()]
        with contextlib.ExitStack() as processes:
            crew = None
            if todo:
                crew = processes.enter_context(
                    farm.opened(
                        scheduler=scheduler,
                        n_workers=min(n_workers or farm.n_cores(), len(todo)),
                        environment=_shared_programs(folder.resolve()),
                    )
                )
            if not folder.exists():
                runs.create_folder(folder, _files(plan))
                held.enter_context(runs.exclusive(folder, warn=say))
            # What an earlier call wrote holds the settings of fewer or more runs.
            runs.Run(folder).write(_SWEEP, _files(plan)[_SWEEP])
            _announce(plan, folder, todo, crew, say)
            failed = {} if crew is None else _train_all(crew, todo, folder, console)
        finished = [one for one in plan.runs if _run(folder, one).finished.exists()]
        comparison = _compared(finished, folder, console, dumps)
    return SweepSummary(tuple(one.name for one in finished), failed, comparison)


def n_finished(plan: Sweep, folder: Path) -> int:
    """How many runs of a sweep have results."""
    return sum(_run(folder, one).finished.exists() for one in plan.runs)


def _run(folder: Path, one: PlannedRun) -> runs.Run:
    return runs.Run(folder / "runs" / one.name)


def _files(plan: Sweep) -> dict[str, bytes]:
    document = plan.config.model_copy(update={"base": _BASE})
    return {
        _BASE: configuration.dump(plan.base).encode(),
        _SWEEP: configuration.dump(document).encode(),
    }


def _check(plan: Sweep, folder: Path) -> None:
    """Refuse a folder whose runs are not those of the plan."""
    if not ((folder / _SWEEP).is_file() and (folder / _BASE).is_file()):
        raise RunError(f"{folder} exists and holds no sweep")
    runs.check_unchanged(folder / _BASE, configuration.dump(plan.base))
    for one in plan.runs:
        run = _run(folder, one)
        if run.folder.exists():
            if not run.config.is_file():
                raise RunError(f"{run.folder} is not a run folder")
            runs.check_unchanged(run.config, configuration.dump(one.config))


def _shared_programs(folder: Path) -> dict[str, str]:
    """Variables that let processes share compiled programs, unless they do already.

    JAX tells programs apart by what they compute, its version, its options and the
    processor, so that what is found is what would have been compiled.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return {}
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def _announce(
    plan: Sweep,
    folder: Path,
    todo: list[PlannedRun],
    crew: farm.Farm | None,
    say: Callable[[str], None],
) -> None:
    settings = {one.setting for one in plan.runs}
    begun = sum(_run(folder, one).folder.exists() for one in todo)
    say(
        f"Sweep of {len(plan.runs)} runs in {folder}, {_counted(settings, 'setting')} "
        f"x {_counted(plan.config.seed_values, 'seed')}: "
        f"{len(plan.runs) - len(todo)} finished before, {begun} begun"
        + (f"; {crew.description}" if crew else "")
    )
    planned = {one.name for one in plan.runs}
    others = sorted(
        path.name
        for path in (folder / "runs").glob("[!.]*")
        if path.name not in planned
    )
    if others:
        say(f"Left alone, as they are not in the sweep: {', '.join(others)}")


def _counted(items: Collection[Any], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _train_all(
    crew: farm.Farm, todo: list[PlannedRun], folder: Path, console: Console
) -> dict[str, str]:
    """Train runs; why those failed that did."""
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "runs").mkdir(exist_ok=True)
    where, failed = folder.resolve(), {}
    tasks = [
        farm.Task(
            one.name,
            (str(where), one.name, configuration.dump(one.config), str(Path.cwd())),
            one.setting,
        )
        for one in todo
    ]
    with _progress(console, len(tasks), local=crew.at_once is not None) as report:
        report(0, 0, min(len(tasks), crew.at_once or len(tasks)))
        n_done = 0
        for attempt in farm.attempts(crew, train_one, tasks):
            name = attempt.task.name
            if attempt.failure is None:
                outcome = f"{name} has finished: {_results(where / 'runs' / name)}"
            else:
                _record(folder, name, attempt.failure)
                again = "is tried again" if not attempt.is_last else "has no result"
                outcome = (
                    f"{name} failed and {again}: {attempt.failure.reason}; see "
                    f"{_log(folder, name)}"
                )
                if attempt.is_last:
                    failed[name] = attempt.failure.reason
            n_done += attempt.is_last
            console.print(
                f"[{n_done}/{len(tasks)}] {outcome}", markup=False, soft_wrap=True
            )
            report(n_done, len(failed), attempt.running)
    return failed


def train_one(folder: str, name: str, config: str, directory: str) -> None:
    """Train one run of a sweep, whatever of it there is already.

    This is what each process does. A run that another process works in is waited for.

    Args:
        folder: the folder of the sweep, absolute.
        name: of the run.
        config: its configuration, YAML.
        directory: paths in the configuration are relative to this folder.

    Raises:
        DiffanaError: as `workflow.train`.
    """
    run = runs.Run(Path(folder) / "runs" / name)
    settings = configuration.parse(config)
    with (
        _log(Path(folder), name).open("a", encoding="utf-8", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
        contextlib.chdir(directory),
    ):
        console = Console(file=log, width=120, highlight=False)
        while not run.finished.exists():
            try:
                training.train(
                    settings, run.folder, resume=run.folder.exists(), console=console
                )
            except InUseError as error:
                console.print(f"{error}; waiting", markup=False, soft_wrap=True)
                time.sleep(1.0)
            except RunError:
                # Another process may have finished it meanwhile.
                if not run.finished.exists():
                    raise


def _log(folder: Path, name: str) -> Path:
    return folder / "logs" / f"{name}.log"


def _record(folder: Path, name: str, failure: farm.Failure) -> None:
    """Add a failed attempt to the failures, and where it failed to the log."""
    with _log(folder, name).open("a", encoding="utf-8") as log:
        log.write(failure.traceback or f"{failure.reason}\n")
    path = folder / _FAILURES
    try:
        failures = json.loads(path.read_bytes()) if path.exists() else {}
        before = failures.setdefault(name, [])
        before.append(
            {
                "attempt": len(before) + 1,
                "time": datetime.datetime.now(datetime.UTC).isoformat(
                    timespec="seconds"
                ),
                "reason": failure.reason,
                "log": f"logs/{name}.log",
            }
        )
    except (ValueError, AttributeError) as error:
        raise RunError(f"{path} is damaged") from error
    runs.Run(folder).write_json(_FAILURES, failures)


def _results(folder: Path) -> str:
    found = json.loads((folder / "results.json").read_bytes())["diffana"]
    values = {
        "CLs": found["CLs_exp"][2],
        "p0": found["p0"],
        "σ_μ": found["sigma_mu"],
    }
    return "  ".join(f"{name} {float(value):.3g}" for name, value in values.items())


@contextlib.contextmanager
def _progress(
    console: Console, n_runs: int, *, local: bool
) -> Iterator[Callable[[int, int, int], None]]:
    """A bar on a terminal, below the lines about each run.

    Yields:
        What is called with the numbers of runs that ended, failed and run.
    """
    bar = Progress(
        BarColumn(),
        TextColumn("{task.completed} of {task.total} done, {task.fields[state]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        # Runs take long, and each tells how long the others will.
        speed_estimate_period=1e9,
    )
    with bar:
        task = bar.add_task("sweep", total=n_runs, state="")

        def report(n_done: int, n_failed: int, n_running: int) -> None:
            active = "running" if local else "with the scheduler"
            state = f"{n_running} {active}, {n_failed} failed"
            bar.update(task, completed=n_done, state=state)

        yield report


def _compared(
    finished: list[PlannedRun],
    folder: Path,
    console: Console,
    dumps: Callable[[Any], str],
) -> Comparison | None:
    """The comparison of finished runs, written into the folder and shown."""
    if not finished:
        return None
    try:
        comparison = compare(_run(folder, one).folder for one in finished)
    except RunError as error:
        console.print(f"No comparison: {error}", markup=False, soft_wrap=True)
        return None
    table = comparison_report.tables(comparison)
    text = io.StringIO()
    Console(file=text, width=120, highlight=False).print(table)
    files = {
        "comparison.json": (dumps(comparison.document()) + "\n").encode(),
        "comparison.txt": text.getvalue().encode(),
    }
    try:
        files |= comparison_report.figure_files(comparison)
    except RunError as error:
        console.print(f"No figure: {error}", markup=False, soft_wrap=True)
    for name, content in files.items():
        runs.Run(folder).write(name, content)
    console.print(table)
    return comparison
