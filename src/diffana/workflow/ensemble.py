"""The networks of one setting of a sweep, which differ in their seeds."""

from pathlib import Path

import jax
import jax.numpy as jnp

from diffana import config as configuration, runs
from diffana.analysis import Analysis
from diffana.config import ConfigError
from diffana.errors import RunError
from diffana.workflow.prepared import prepare


def ensemble(folder: Path, setting: str) -> dict[int, Analysis]:
    """The selected analyses of one setting of a sweep, with sharp cuts and bins.

    Args:
        folder: the folder of the sweep.
        setting: name of the setting, for example `cls,LearningRate=0.001`.

    Returns:
        Seed -> analysis, for all seeds of the sweep.

    Raises:
        RunError: if there is no such sweep or setting, or a run has not finished.
        CheckpointError: if a checkpoint is damaged.

    Example:
        >>> members = ensemble(Path("runs/blobs_sweep"), "cls,LearningRate=0.001")
        >>> [one(events).expected_data(params) for one in members.values()]
    """
    try:
        plan = configuration.load_sweep(folder / "sweep.yaml")
    except ConfigError as error:
        raise RunError(f"{folder} holds no sweep: {error.mistakes[0]}") from error
    members = [one for one in plan.runs if one.setting == setting]
    if not members:
        known = ", ".join(dict.fromkeys(one.setting for one in plan.runs))
        raise RunError(f"{folder} has no setting {setting!r}; known are {known}")
    finished = [runs.open_finished(folder / "runs" / one.name) for one in members]
    # The seed decides the numbers in an analysis, not what it is made of.
    like = prepare(members[0].config).analysis
    found = (runs.load_checkpoint(run.best, like)[0] for run in finished)
    return {
        one.config.general.seed: jax.tree.map(jnp.asarray, analysis).hard
        for one, analysis in zip(members, found, strict=True)
    }
