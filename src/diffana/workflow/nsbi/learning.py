"""The density ratios of a run, learned one after the other."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from diffana import runs
from diffana.assemble import nsbi as assembly
from diffana.errors import DataError
from diffana.nsbi.calibration import Calibration, fit_calibration
from diffana.nsbi.diagnostics import normalisation
from diffana.nsbi.pool import Pool
from diffana.nsbi.ratio_training import RatioEpoch, train_ratio
from diffana.nsbi.ratios import AbstractRatio, log_ratios
from diffana.workflow.nsbi import checkpoints
from diffana.workflow.nsbi.checkpoints import Saved
from diffana.workflow.nsbi.prepared import Prepared
from diffana.workflow.nsbi.reporting import Reporter


def learn(run: runs.Run, prepared: Prepared, reporter: Reporter) -> dict[str, Saved]:
    """All ratios by name; those that were finished before are read.

    Args:
        run: the run, at whatever point.
        prepared: events, and what is learned from them.
        reporter: told about every epoch.

    Raises:
        DataError: naming the ratio for which events do not suffice.
        TrainingError: naming the ratio whose training failed, the member and the epoch.
        CheckpointError: if a file of the run is damaged.
    """
    found = _read(run, prepared)
    step = max((one.step for one in found.values()), default=0)
    is_interrupted = True
    for job in prepared.plan.jobs:
        if job.ratios[0] in found:
            reporter.known(job)
            continue
        task = _Task(run, prepared, job, reporter)
        found |= _learned(task, step, is_interrupted=is_interrupted)
        step, is_interrupted = found[job.ratios[0]].step, False
    return found


def _read(run: runs.Run, prepared: Prepared) -> dict[str, Saved]:
    """Ratios of the jobs that have finished, up to the first that has not."""
    found: dict[str, Saved] = {}
    for job in prepared.plan.jobs:
        if not all(checkpoints.path(run, name).exists() for name in job.ratios):
            break
        for name in job.ratios:
            found[name] = checkpoints.load(run, prepared.config, job, name)
    return found


class _Task(NamedTuple):
    """A job with everything that it needs."""

    run: runs.Run
    prepared: Prepared
    job: assembly.Job
    reporter: Reporter

    def pool(self, part: str) -> Pool:
        """Events of a part."""
        events = self.prepared.simulated.parts[part]
        return assembly.pool(events, self.job.classes)

    def fresh(self, purpose: str | int) -> Pool:
        """New events, other ones for each purpose."""
        config, simulated, _ = self.prepared
        return assembly.fresh_pool(config, simulated, self.job.classes, purpose)


def _learned(task: _Task, step: int, *, is_interrupted: bool) -> dict[str, Saved]:
    """The ratios of a job.

    Args:
        task: the job.
        step: records of the jobs before.
        is_interrupted: whether an interruption may have left records of it.
    """
    run, job, config = task.run, task.job, task.prepared.config
    with assembly.naming(job.name):
        pool = task.pool("train")
        trainer = assembly.trainer(config)
        scale = assembly.standardisation(config, pool)
        events: Pool | Callable[[int], Pool] = pool
        if config.ratios.fresh_events:
            events, validation = task.fresh, task.fresh("validation")
        else:
            validation = task.pool("validation")
        begin = epoch = trainer.start(assembly.untrained(config, job, scale))
        if (before := checkpoints.progress(run, job, begin)) is not None:
            (begin, step), epoch = before, before.epoch
        if is_interrupted:
            run.rewind(step or -1)
        task.reporter.begin(job, begin.epoch)
        started = time.perf_counter()
        for epoch in train_ratio(
            trainer,
            begin,
            events,
            validation,
            key=assembly.keys(config, job).train,
        ):
            step += 1
            seconds = time.perf_counter() - started
            _record(task, epoch, step=step, seconds=seconds)
            task.reporter.epoch(epoch)
            started = time.perf_counter()
        return _finished(task, epoch, validation, step + 1)


def _record(task: _Task, epoch: RatioEpoch, *, step: int, seconds: float) -> None:
    """Records, then the checkpoint that a resumed training begins with.

    In this order a kill at any moment loses nothing but the epoch that is made again.
    """
    task.run.record(
        step,
        {
            "job": task.job.name,
            "epoch": epoch.epoch,
            "loss": epoch.train_loss,
            "validation": epoch.validation_loss,
            "best_epoch": epoch.state.best_epoch,
        },
    )
    task.run.record_time(step, seconds)
    checkpoints.save_progress(task.run, task.job, epoch, step=step)


def _finished(
    task: _Task, epoch: RatioEpoch, validation: Pool, step: int
) -> dict[str, Saved]:
    """Calibrate the ratios of a job that is trained, and write them."""
    test = task.pool("test")
    calibrations: dict[str, Calibration | None] = {}
    found: dict[str, Saved] = {}
    for number, name in enumerate(task.job.ratios, start=1):
        facts: dict[str, Any] = {
            "step": step,
            "job": task.job.name,
            "best_epoch": epoch.state.best_epoch,
            "best_loss": epoch.state.best_loss,
        }
        calibrations[name] = None
        if task.job.points is None:
            calibrations[name], facts["remark"] = _calibration(
                task, epoch, validation, number
            )
        ratio = assembly.ratio_of(epoch.state.best, number, calibrations[name])
        found[name] = Saved(ratio, {**facts, **_norm(ratio, test)})
    run = task.run
    facts = {name: one.facts for name, one in found.items()}
    run.record(step, {"job": task.job.name, "finished": facts})
    for name, one in found.items():
        checkpoints.save(run, name, epoch.state.best, calibrations[name], one.facts)
    checkpoints.discard_progress(run, task.job)
    task.reporter.end(facts)
    return found


def _calibration(
    task: _Task, epoch: RatioEpoch, validation: Pool, number: int
) -> tuple[Calibration | None, str | None]:
    """The calibration of a ratio, or why there is none although one is wanted."""
    section = task.prepared.config.ratios.calibration
    if section is None:
        return None, None
    ratio = assembly.ratio_of(epoch.state.best, number, None)
    assert isinstance(ratio, AbstractRatio)
    logs = log_ratios(ratio, validation.features)
    try:
        found = fit_calibration(
            logs,
            validation.weight[:, number],
            logs,
            validation.weight[:, 0],
            n_knots=section.knots,
        )
    except DataError as error:
        # So it is where there is nothing to tell apart, and the ratio is 1.
        return None, f"not calibrated: {str(error).removeprefix('calibration: ')}"
    return found.calibration, None


def _norm(ratio: assembly.Learned, test: Pool) -> Mapping[str, Any]:
    """Mean of a ratio over independent events of its denominator; 1 if it is right."""
    if not isinstance(ratio, AbstractRatio):
        return {}
    found = normalisation(log_ratios(ratio, test.features), test.weight[:, 0])
    return {"mean": found.mean, "mean_error": found.standard_error}
