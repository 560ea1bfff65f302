"""Confidence sets of an unbinned likelihood with interference, exact and learned.

Two values of the parameter often describe the data nearly equally well, where
asymptotic intervals do not cover.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.stats import chi2

from diffana.neyman import FTS, LRS, Construction, Grid, Known, Normal
from diffana.neyman.order_statistic import empirical
from diffana.neyman.regions import lengths
from experiments.nsbi_vs_binned import methods
from experiments.nsbi_vs_binned.ratios import Settings


LEVELS = (0.6827, 0.9545)
# True values of the signal strength; the parameter is its square root.
TRUE = (0.5, 1.0, 2.0)
# The focus, on the square root.
MEAN, SD = 1.0, 0.3


class Size(NamedTuple):
    """How much is computed.

    Attributes:
        n_points: reference events.
        n_train: simulated events of each population, for the ratios.
        n_epochs: of their training.
        n_grid: tested values.
        n_calibrated: those that have toys.
        n_toys: toys at each of them, and at each true value.
    """

    n_points: int
    n_train: int
    n_epochs: int
    n_grid: int
    n_calibrated: int
    n_toys: int


class Row(NamedTuple):
    """One kind of sets at one true value.

    Attributes:
        ratios: `exact` or `learned`.
        sets: how they are made.
        mu: true signal strength.
        level: confidence level.
        coverage: fraction of the sets that contain the true value.
        error: its binomial standard deviation, with that of the critical values.
        median: median length on the square root.
    """

    ratios: str
    sets: str
    mu: float
    level: float
    coverage: float
    error: float
    median: float


def problem_and_models(size, seed):
    """The problem with known nuisance parameter, exact and learned likelihoods."""
    setting = methods.Setting(
        size.n_points,
        size.n_train,
        size.n_train // 2,
        Settings(size.n_epochs, 1),
        1,
        (True,),
        17,
    )
    kind = methods.KINDS["interference"]
    problem = methods.made("interference", setting)
    train = kind.simulate(setting.n_train, 2 * seed)
    valid = kind.simulate(setting.n_valid, 2 * seed + 1)
    learned, _ = kind.learn(problem, train, valid, setting.ratios, seed)
    known = [
        eqx.tree_at(lambda m: m.parameters.fixed, model, jnp.array([False, True]))
        for model in (problem.exact, learned)
    ]
    return problem, *known


def rows(size, seed):
    """All kinds of sets at all true values.

    All toys come from the exact densities, as they would from a simulation, also those
    that calibrate the learned likelihood.
    """
    problem, exact, learned = problem_and_models(size, seed)
    grid = Grid.between(0.0, 2.5, size.n_grid)
    at = np.asarray(grid.points)
    calibrated = np.linspace(0, size.n_grid - 1, size.n_calibrated).round().astype(int)
    true = np.array([np.argmin(np.abs(at - np.sqrt(mu))) for mu in TRUE])
    calibrated = np.union1d(calibrated, true)
    statistics = {"likelihood ratio": LRS(), "focused": FTS(Normal(MEAN, SD, lower=0))}
    tests = {
        (name, ratios): Construction(
            model, statistic, Known(model.parameters.inits), grid
        )
        for ratios, model in (("exact", exact), ("learned", learned))
        for name, statistic in statistics.items()
    }

    def toys(position, stream):
        params = problem.truth(float(at[position]) ** 2)
        return exact.samples(params, size.n_toys, 100_000 * stream + position)

    own = {key: [] for key in tests}
    for position in calibrated:
        made = toys(position, 1 + 2 * seed)
        for key, test in tests.items():
            own[key].append(test.of(made)[:, position])
    critical = {
        key: empirical(at[calibrated], np.stack(values), LEVELS)(at)
        for key, values in own.items()
    }
    found = []
    for mu, position in zip(TRUE, true, strict=True):
        made = toys(position, 2 + 2 * seed)
        for (name, ratios), test in tests.items():
            statistic = test.of(made)
            for i, level in enumerate(LEVELS):
                kinds = {f"{name}, calibrated": critical[name, ratios][i]}
                if name == "likelihood ratio":
                    kinds[f"{name}, asymptotic"] = np.full(at.size, chi2.ppf(level, 1))
                for kind, limit in kinds.items():
                    covered = statistic[:, position] <= limit[position] + 1e-6
                    n_eff = size.n_toys / (2 if "calibrated" in kind else 1)
                    found.append(
                        Row(
                            ratios,
                            kind,
                            mu,
                            level,
                            float(covered.mean()),
                            float(np.sqrt(level * (1 - level) / n_eff)),
                            float(np.median(lengths(at, statistic, limit))),
                        )
                    )
    return found
