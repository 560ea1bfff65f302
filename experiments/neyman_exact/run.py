"""Four measurements with exact belts: what a focus gains, and what it costs.

python -m experiments.neyman_exact.run --out runs/neyman_exact
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffana.neyman import FTS, LRS, Construction, Grid, Profile
from diffana.neyman.gaussian import acceptance, bounded_lrs, truncated_fts
from diffana.neyman.regions import invert
from experiments.claims import Study
from experiments.neyman_exact import figures
from experiments.neyman_exact.belts import LEVELS, all_belts, critical_values
from experiments.neyman_exact.findings import claims
from experiments.neyman_exact.model import on_off_model
from experiments.neyman_exact.problems import (
    N_ON,
    RATE,
    TAU,
    bounded,
    gaussian,
    on_off,
    poisson,
)
from experiments.neyman_exact.toys import gaussian_toys


COUNTS = range(1, 11)
FINE = Profile(n_nodes=25, reach=9.0)


def feldman_cousins(problem):
    """Intervals of 90 % for some counts, by the likelihood ratio."""
    values = problem.statistic(LRS())
    critical = critical_values(values, problem.probability, 0.90)
    return [invert(problem.mu, values[n], critical).hull for n in COUNTS]


def bounded_critical(problem):
    """Largest error of critical values due to cells, against closed forms."""
    worst = 0.0
    for level in LEVELS:
        for statistic, formula in (
            (LRS(), bounded_lrs),
            (FTS(problem.focus), lambda x, mu: truncated_fts(x, mu, 0.0, 1.0)),
        ):
            # Away from the upper end of mu, which the formulas do not have.
            at = problem.mu <= 5
            values = problem.statistic(statistic)
            found = critical_values(values, problem.probability, level)[at]
            known = acceptance(formula, problem.mu[at], level).critical
            worst = max(worst, float(np.max(np.abs(found - known))))
    return worst


def profiled(problem, n_data, critical, nuisance, seed=0):
    """Fitted statistics against closed ones, for data of the true values.

    Returns:
        Largest difference of the statistic where it is below 15, and where it is at
        most 1 from a critical value; the number of data sets without certified fits.
    """
    lower, upper, n_grid = problem.mu[0], problem.mu[-1], problem.mu.size
    grid = Grid.between(float(lower), float(upper), n_grid)
    test = Construction(on_off_model(), FTS(problem.focus), nuisance, grid)
    rng = np.random.default_rng(seed)
    mu = rng.choice(problem.mu[problem.true], n_data)
    n, m = rng.poisson(mu + RATE), rng.poisson(TAU * RATE, n_data)
    n, m = (one[(n > 0) & (m > 0)] for one in (n, m))
    # Counts in the order of the model's channels: off, then on.
    fitted = test.of(jnp.asarray(np.stack([m, n], axis=1), float))
    place = m * N_ON + n
    closed = problem.statistic(FTS(problem.focus))[place]
    certified = ~np.isnan(fitted).any(axis=1)
    fitted, closed = fitted[certified], closed[certified]
    difference = np.abs(fitted - closed)
    near = np.any([np.abs(closed - row) < 1 for row in critical], axis=0)
    worst = difference[closed < 15].max()
    return float(worst), float(difference[near].max()), int((~certified).sum())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer steps and toys")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("neyman_exact", options.out, quick=options.quick)
    cell, n_steps = (0.02, 10) if options.quick else (0.002, 500)
    wide_cells = round((0.1 if options.quick else 0.06) / cell)
    problems = {
        "gaussian": (gaussian(cell), (4, wide_cells)),
        "bounded": (bounded(cell), (1 if not options.quick else 2, wide_cells)),
        "poisson": (poisson(), (25 if not options.quick else 50, 1)),
        "on_off": (on_off(), (10 if not options.quick else 20, 1)),
    }
    found = {}
    for name, (problem, steps) in problems.items():
        belts, focus = all_belts(problem, problem.coarser(*steps), n_steps)
        found[name] = {
            "title": problem.title,
            "mu": problem.mu[problem.true],
            "tested": problem.mu,
            "belts": {
                level: {key: belt._asdict() for key, belt in row.items()}
                for level, row in belts.items()
            },
            "learned": {
                level: {"mu": one.mu, "log_weight": one.log_weight}
                for level, one in focus.items()
            },
        }
    checks = {
        "toys": gaussian_toys(*((500, 500) if options.quick else (5000, 20_000))),
        "cell": cell,
        "n toys": 500 if options.quick else 5000,
        "bounded": bounded_critical(problems["bounded"][0]),
        "feldman cousins": feldman_cousins(problems["poisson"][0]),
        "profile": {
            name: profiled(
                problems["on_off"][0],
                60 if options.quick else 400,
                [found["on_off"]["belts"][one]["focus"]["critical"] for one in LEVELS],
                nuisance,
            )
            for name, nuisance in (("usual", Profile()), ("fine", FINE))
        },
    }
    plain = jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), (found, checks))
    (options.out / "numbers.json").write_text(json.dumps(plain) + "\n")
    figures.draw(options.out, found, checks)
    settings = {"cell": cell, "steps": n_steps, "toys per value": checks["n toys"]}
    study.record(claims(found, checks), **settings)


if __name__ == "__main__":
    main()
