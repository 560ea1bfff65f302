"""Four measurements with exact belts: what a focus gains, and what it costs.

python -m experiments.neyman_exact.run --out runs/neyman_exact
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from diffana.neyman import FTS, LRS, Construction, Grid, Profile
from diffana.neyman.gaussian import acceptance, bounded_lrs, truncated_fts
from diffana.neyman.regions import invert
from experiments.claims import Study
from experiments.neyman_exact import figures
from experiments.neyman_exact.belts import LEVELS, all_belts, critical_values
from experiments.neyman_exact.findings import claims
from experiments.neyman_exact.model import on_off_model
from experiments.neyman_exact.problems import bounded, gaussian, on_off, poisson
from experiments.neyman_exact.toys import gaussian_toys


COUNTS = range(1, 11)


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


def profiled(problem, n_data, seed=0):
    """Largest difference of fitted and closed statistics for data of the true values."""
    grid = Grid.between(0.0, 40.0, 401)
    test = Construction(on_off_model(), FTS(problem.focus), Profile(), grid)
    rng = np.random.default_rng(seed)
    mu = rng.choice(problem.mu[problem.true], n_data)
    # Counts in the order of the model's channels: off, then on.
    data = np.stack([rng.poisson(3.0, n_data), rng.poisson(mu + 3.0)], axis=1)
    data = data[(data > 0).all(axis=1)]
    fitted = test.of(jax.numpy.asarray(data, float))
    order = {}
    width = len(problem.highest)
    off, on = (one.ravel() for one in np.meshgrid(range(19), range(90), indexing="ij"))
    for place in range(width):
        order[int(off[place]), int(on[place])] = place
    rows = [order[tuple(one)] for one in data.tolist()]
    closed = problem.statistic(FTS(problem.focus))[rows, ::2]
    # Where the statistic is large, the value is rejected however large it is.
    near = closed < 15
    difference = np.abs(fitted - closed)[near]
    return float(np.nanmax(difference)), int(np.isnan(fitted).any(axis=1).sum())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer steps and toys")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("neyman_exact", options.out, quick=options.quick)
    cell, n_steps = (0.02, 60) if options.quick else (0.002, 300)
    wide_cells = round(0.1 / cell)
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
        "n toys": 500 if options.quick else 5000,
        "bounded": bounded_critical(problems["bounded"][0]),
        "feldman cousins": feldman_cousins(problems["poisson"][0]),
        "profile": profiled(problems["on_off"][0], 60 if options.quick else 400),
    }
    plain = jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), (found, checks))
    (options.out / "numbers.json").write_text(json.dumps(plain) + "\n")
    figures.draw(options.out, found, checks)
    settings = {"cell": cell, "steps": n_steps, "toys per value": checks["n toys"]}
    study.record(claims(found, checks), **settings)


if __name__ == "__main__":
    main()
