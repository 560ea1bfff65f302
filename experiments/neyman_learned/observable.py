"""Confidence sets on a trained observable: what training and focus give together."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from diffana.assemble.neyman import Description, construct
from diffana.cli import main
from diffana.histfactory import from_workspace
from diffana.neyman import Settings, calibrate
from diffana.neyman.coverage import binomial_coverage
from diffana.neyman.regions import lengths
from diffana.neyman.toys import batches, statistics


CONFIG = Path(__file__).parents[2] / "configs" / "blobs.yaml"
LOSSES = ("bce", "sigma_mu")
FOCUS = "insured(normal(1,0.3),0.1)"
TRUE = (0.5, 1.0, 2.0)
LEVELS = (0.6827, 0.9545)


class Row(NamedTuple):
    """Sets of one observable with one statistic.

    Attributes:
        loss: what the observable is trained on.
        statistic: `lrs` or `fts`.
        mu: true signal strength.
        level: confidence level.
        median: median length.
        coverage: fraction of sets that contain the true value.
        covers: whether that is compatible with at least the level.
    """

    loss: str
    statistic: str
    mu: float
    level: float
    median: float
    coverage: float
    covers: bool


def trained(loss, folder, epochs, seed):
    """Workspace of a run, trained if there is none."""
    run = folder / f"{loss}_{seed}"
    if not (run / "workspace.json").exists():
        config = yaml.safe_load(CONFIG.read_text())
        config["General"]["Seed"] = seed
        config["Loss"] = {"Type": loss}
        config["Train"]["Epochs"] = epochs
        path = folder / f"{loss}_{seed}.yaml"
        path.write_text(yaml.safe_dump(config))
        main(["train", str(path), "--out", str(run)], standalone_mode=False)
    return json.loads((run / "workspace.json").read_text())


def rows(folder, epochs, n_toys, seed):
    """All observables with both statistics at all true values."""
    found = []
    for loss in LOSSES:
        model, data = from_workspace(trained(loss, folder, epochs, seed))
        for statistic, focus in (("lrs", None), ("fts", FOCUS)):
            made = construct(
                model,
                data,
                Description(
                    statistic=statistic, focus=focus, lower=0.0, upper=3.0, n_grid=151
                ),
            )
            settings = Settings(LEVELS, n_toys=n_toys, n_points=31, seed=seed)
            belt = calibrate(made.construction, made.scheme, made.tested, settings).belt
            found += _measured(loss, statistic, made, belt, n_toys // 31, seed)
    return found


def _measured(loss, statistic, made, belt, n_toys, seed):
    mu = belt.tested
    points = belt.first + np.array([np.argmin(np.abs(mu - one)) for one in TRUE])
    plan = batches(made.scheme, points, n_toys, seed, stream=9)
    every = np.concatenate([statistics(belt.construction, one) for one in plan])
    every = every[:, belt.first : belt.last + 1].reshape(len(TRUE), n_toys, -1)
    found = []
    for level, critical in zip(LEVELS, belt.critical_values, strict=True):
        for i, true in enumerate(TRUE):
            place = points[i] - belt.first
            covered = every[i, :, place] <= critical[place]
            # The critical values come from as many toys.
            half = binomial_coverage(
                np.array([covered.sum() // 2]), n_toys // 2, level, confidence=0.99
            )
            length = np.median(lengths(mu, every[i], critical))
            found.append(
                Row(
                    loss, statistic, true, level, float(length),
                    float(covered.mean()), half.covers,
                )
            )  # fmt: skip
    return found
