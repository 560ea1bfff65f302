"""How far a training of density ratios is: a bar on a terminal, lines elsewhere."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from diffana.assemble import nsbi as assembly
from diffana.nsbi.ratio_training import RatioEpoch
from diffana.workflow.nsbi.prepared import Prepared


class Reporter:
    """Says what a training of several ratios is doing.

    Attributes:
        console: where.
        bar: drawn if the console is a terminal.
        task: what the bar is of.
        n_epochs: largest number of epochs of each job.
    """

    def __init__(self, console: Console, bar: Progress, task: TaskID, n_epochs: int):
        self.console = console
        self.bar = bar
        self.task = task
        self.n_epochs = n_epochs
        self._name = ""
        self._done = 0

    def known(self, job: assembly.Job) -> None:
        """A job was finished before."""
        self._done += 1
        self.bar.update(self.task, completed=self._done * self.n_epochs)
        self.console.print(f"{job.name}: finished before")

    def begin(self, job: assembly.Job, epoch: int) -> None:
        """A job begins, or goes on after an epoch."""
        self._name = job.name
        self.bar.update(self.task, name=job.name, loss="compiling")
        if epoch:
            self.console.print(f"{job.name}: resumed after epoch {epoch}")

    def epoch(self, epoch: RatioEpoch) -> None:
        """An epoch of the job was made."""
        train, validation = (
            f"{losses.mean():.5f}"
            for losses in (epoch.train_loss, epoch.validation_loss)
        )
        is_best = (epoch.state.best_epoch == epoch.epoch).any()
        self.bar.update(
            self.task,
            completed=self._done * self.n_epochs + epoch.epoch,
            loss=f"loss {train}  validation {validation}",
        )
        if not self.console.is_terminal:
            width = len(str(self.n_epochs))
            self.console.print(
                f"{self._name}  epoch {epoch.epoch:>{width}}/{self.n_epochs}  "
                f"loss {train}  validation {validation}{'  best' if is_best else ''}"
            )

    def end(self, facts: Mapping[str, Mapping[str, Any]]) -> None:
        """The job has finished."""
        self._done += 1
        self.bar.update(self.task, completed=self._done * self.n_epochs)
        for name, one in facts.items():
            if one.get("remark"):
                self.console.print(f"{name}: {one['remark']}")


@contextlib.contextmanager
def reporting(console: Console, prepared: Prepared) -> Iterator[Reporter]:
    """What tells the user about the training inside a `with` block."""
    n_epochs = prepared.config.ratios.epochs
    n_jobs = len(prepared.plan.jobs)
    bar = Progress(
        TextColumn("{task.fields[name]}"),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("train", total=n_jobs * n_epochs, name="", loss="")
        yield Reporter(console, bar, task, n_epochs)
