"""`diffana train`: the loop with its run folder and its progress bar."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from diffana import assemble, config as configuration, runs
from diffana.errors import RunError, TrainingError
from diffana.train import Epoch, StepReport, train as epochs
from diffana.trainable import trainable
from diffana.workflow import streaming
from diffana.workflow.evaluation import evaluate_run
from diffana.workflow.prepared import Prepared, prepare
from diffana.workflow.tables import plan


def train(
    config: configuration.Config,
    folder: Path,
    *,
    resume: bool,
    console: Console,
) -> None:
    """Train what `config` describes, and compute the final results.

    Args:
        config: the configuration.
        folder: run folder; must not exist, or hold an interrupted run to resume.
        resume: whether to go on with the run in `folder`.
        console: where to report.

    Raises:
        DiffanaError: if the input cannot be used, the run folder is in the way, or too
            many updates in a row were refused.
    """
    with contextlib.ExitStack() as held:
        _train(config, folder, resume=resume, console=console, held=held)


def _train(
    config: configuration.Config,
    folder: Path,
    *,
    resume: bool,
    console: Console,
    held: contextlib.ExitStack,
) -> None:
    """`train`; what it keeps other processes out of is left to `held`."""
    text = configuration.dump(config)
    inputs = assemble.input_files(config)
    kept = interrupted = None
    if resume:
        interrupted = runs.open_interrupted(folder, config=text)
        held.enter_context(runs.exclusive(folder, warn=console.print))
        interrupted.check_inputs(inputs)
        kept = streaming.left_behind(interrupted)
    elif folder.exists():
        raise RunError(f"{folder} exists; a run never overwrites anything")
    elif config.input.chunk_size is not None:
        kept = held.enter_context(streaming.beside(folder, warn=console.print))
    prepared = prepare(config, kept)
    provenance = runs.describe(seed=config.general.seed, inputs=inputs)
    if interrupted is not None:
        begin = _continue(interrupted, prepared)
        run = runs.reopen(folder, config=text, provenance=provenance)
    else:
        run = runs.create(folder, config=text, provenance=provenance)
        held.enter_context(runs.exclusive(folder, warn=console.print))
        # Another process may have resumed the run before it was locked.
        begin = _continue(run, prepared)
        if prepared.store is not None:
            prepared.store.move(streaming.inside(run))
    weights = jax.tree.leaves(
        jax.tree.map(
            lambda leaf, moves: leaf.size if moves else 0,
            prepared.analysis,
            trainable(prepared.analysis),
        )
    )
    console.print(plan(config, prepared, n_weights=sum(weights), folder=folder))
    if begin.epoch:
        console.print(f"Resumed after epoch {begin.epoch}.")
    with _progress(console, config, prepared, begin) as (on_step, on_epoch):
        started = time.perf_counter()
        for epoch in epochs(
            prepared.trainer,
            begin,
            prepared.parts["train"],
            prepared.parts["validation"],
            n_epochs=config.train.epochs,
            n_batches=prepared.n_batches,
            seed=config.general.seed,
            metrics=assemble.hard_metrics(config),
            selection=config.train.selection,
            max_failed_steps=config.train.max_failed_steps,
            on_step=on_step,
        ):
            _save(run, epoch, seconds=time.perf_counter() - started)
            on_epoch(epoch)
            started = time.perf_counter()
    if not run.best.exists():
        raise TrainingError(
            f"{folder}: no epoch had a defined {config.train.selection!r} on the "
            "validation events with sharp cuts and bins; take fewer bins, more events "
            "or another Selection"
        )
    summary = evaluate_run(run, config, prepared, console)
    run.finish(summary)
    streaming.discard(run)


def _save(run: runs.Run, epoch: Epoch, *, seconds: float) -> None:
    """Best model, records, then the checkpoint that a resumed training begins with.

    In this order a kill at any moment loses nothing but the epoch that is made again.
    """
    if epoch.improved:
        runs.save_checkpoint(run.best, epoch.best, {"epoch": epoch.epoch})
    step = int(epoch.state.step)
    run.record(
        step,
        {
            "epoch": epoch.epoch,
            "loss": list(epoch.losses),
            "refused": dict(epoch.refused),
            "validation": dict(epoch.metrics),
            "best": epoch.improved,
        },
    )
    run.record_time(step, seconds)
    runs.save_checkpoint(
        run.last,
        {"state": epoch.state, "best": epoch.best},
        {"epoch": epoch.epoch, "step": step, "best_metric": epoch.best_metric},
    )


def _continue(run: runs.Run, prepared: Prepared) -> Epoch:
    """The epoch after which an interrupted run goes on."""
    first = prepared.first
    if not run.last.exists():
        run.rewind(-1)
        return first
    like = {"state": first.state, "best": first.best}
    saved, meta = runs.load_checkpoint(run.last, like)
    run.rewind(meta["step"])
    return Epoch(
        epoch=meta["epoch"],
        state=jax.tree.map(jnp.asarray, saved["state"]),
        best=jax.tree.map(jnp.asarray, saved["best"]),
        best_metric=float(meta["best_metric"]),
        improved=False,
        metrics={},
        losses=np.zeros(0),
        refused={},
    )


@contextlib.contextmanager
def _progress(
    console: Console, config: configuration.Config, prepared: Prepared, begin: Epoch
) -> Iterator[tuple[Callable[[StepReport], None], Callable[[Epoch], None]]]:
    """A bar on a terminal, a line per epoch elsewhere."""
    n_epochs = config.train.epochs
    bar = Progress(
        TextColumn("epoch {task.fields[epoch]}/" + str(n_epochs)),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}  {task.fields[metrics]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(
            "train",
            total=n_epochs * prepared.n_batches,
            completed=begin.epoch * prepared.n_batches,
            epoch=begin.epoch,
            loss="compiling",
            metrics="",
        )

        def on_step(report: StepReport) -> None:
            bar.update(task, advance=1, loss=f"{float(report.loss):.4g}")

        def on_epoch(epoch: Epoch) -> None:
            metrics = _brief(epoch)
            bar.update(task, epoch=epoch.epoch, metrics=metrics)
            if not console.is_terminal:
                finite = epoch.losses[np.isfinite(epoch.losses)]
                loss = float(np.mean(finite)) if finite.size else math.nan
                console.print(
                    f"epoch {epoch.epoch:>{len(str(n_epochs))}}/{n_epochs}  "
                    f"loss {loss:10.4g}  {metrics}"
                )
            for reason, number in epoch.refused.items():
                console.print(
                    f"epoch {epoch.epoch}: {number} of {prepared.n_batches} updates "
                    f"refused: {reason}"
                )

        yield on_step, on_epoch


def _brief(epoch: Epoch) -> str:
    shown = (("cls", "CLs"), ("p0", "p0"), ("sigma_mu", "σ_μ"))
    values = "  ".join(f"{label} {epoch.metrics[name]:8.3g}" for name, label in shown)
    return f"{values}{'  best' if epoch.improved else '      '}"
