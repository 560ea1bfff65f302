"""Learned ratios in a run folder: one file for each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffana import runs
from diffana.assemble import nsbi as assembly
from diffana.config import NsbiConfig
from diffana.errors import CheckpointError, RunError
from diffana.nsbi.calibration import Calibration
from diffana.nsbi.classifier import AbstractClassifier
from diffana.nsbi.ratio_training import RatioEpoch


class Saved(NamedTuple):
    """A ratio as it is in its file.

    Attributes:
        ratio: the ratio.
        facts: how it was learned.
    """

    ratio: assembly.Learned
    facts: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Records of the training up to this ratio."""
        return int(self.facts["step"])


def path(run: runs.Run, name: str) -> Path:
    """File of a ratio."""
    return run.folder / "ratios" / f"{name}.eqx"


def save(
    run: runs.Run,
    name: str,
    classifiers: AbstractClassifier,
    calibration: Calibration | None,
    facts: Mapping[str, Any],
) -> None:
    """Write a ratio.

    Args:
        run: the run.
        name: of the ratio.
        classifiers: as they were trained.
        calibration: of the ratio.
        facts: anything that JSON can express, with the step.
    """
    file = path(run, name)
    _make_folder(file)
    # JSON keeps every digit, and the number of knots need not be known to read it.
    spline = None if calibration is None else _written(calibration)
    runs.save_checkpoint(file, classifiers, {**facts, "calibration": spline})


def load(run: runs.Run, config: NsbiConfig, job: assembly.Job, name: str) -> Saved:
    """Read a ratio.

    Raises:
        CheckpointError: if there is no such file, it is damaged, or it belongs to
            another configuration.
    """
    file = path(run, name)
    classifiers, facts = runs.load_checkpoint(file, assembly.like(config, job))
    try:
        written = facts["calibration"]
        calibration = None if written is None else Calibration(**written)
        int(facts["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} is not a density ratio") from error
    classifiers = jax.tree.map(jnp.asarray, classifiers)
    ratio = assembly.ratio_of(classifiers, job.ratios.index(name) + 1, calibration)
    return Saved(ratio, facts)


def load_all(
    run: runs.Run, config: NsbiConfig, plan: assembly.Plan
) -> dict[str, Saved]:
    """All ratios of a finished run by name.

    Raises:
        CheckpointError: as `load`.
    """
    return {
        name: load(run, config, job, name) for job in plan.jobs for name in job.ratios
    }


def save_progress(
    run: runs.Run, job: assembly.Job, epoch: RatioEpoch, *, step: int
) -> None:
    """Write what a training that is interrupted goes on from."""
    file = _progress_file(run, job)
    _make_folder(file)
    runs.save_checkpoint(file, epoch.state, {"epoch": epoch.epoch, "step": step})


class Progress(NamedTuple):
    """Where a training goes on.

    Attributes:
        epoch: the epoch it goes on from.
        step: records made so far.
    """

    epoch: RatioEpoch
    step: int


def progress(run: runs.Run, job: assembly.Job, first: RatioEpoch) -> Progress | None:
    """Where the training of a job goes on; None if it has not begun.

    Args:
        run: the run.
        job: the job.
        first: the epoch that it begins with.

    Raises:
        CheckpointError: if the file is damaged.
    """
    file = _progress_file(run, job)
    if not file.exists():
        return None
    state, meta = runs.load_checkpoint(file, first.state)
    state = jax.tree.map(jnp.asarray, state)
    nothing = np.full(len(first.train_loss), np.nan)
    return Progress(
        RatioEpoch(int(meta["epoch"]), state, nothing, nothing), int(meta["step"])
    )


def discard_progress(run: runs.Run, job: assembly.Job) -> None:
    """Remove what only an interrupted training needs."""
    _progress_file(run, job).unlink(missing_ok=True)


def _progress_file(run: runs.Run, job: assembly.Job) -> Path:
    return run.folder / "ratios" / f"{job.ratios[0]}.part"


def _make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"{file.parent} cannot be made: {error.strerror}") from error


def _written(calibration: Calibration) -> dict[str, Any]:
    names = ("knots", "offset", "log_stretches", "log_slopes")
    return {name: np.asarray(getattr(calibration, name)).tolist() for name in names}
