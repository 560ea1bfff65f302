"""What a method measures: its test of μ on expected data, and the ranges it leaves.

For data expected at μ = 1, the 68 % interval are all μ with t(μ) < 1, which may be
several segments. For data expected at μ = 0, the median limit at 95 % is the largest μ
whose median CLs, 2 Φ̄(√t), is above 0.05: above it everything is excluded, below it
there may be excluded values, too.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from diffana import nsbi
from diffana.fit import fit
from diffana.infer import scan
from diffana.nsbi.binned_mixture import BinnedMixture
from diffana.nsbi.bins import HardBins
from diffana.nsbi.parametrised import Choice, parametrised_scan
from experiments.nsbi_vs_binned.problems import Problem


INTERVAL = 1.0
# Where 2 Φ̄(√t) = 0.05.
EXCLUDED = 3.841458820694124

Test = Callable[[np.ndarray], np.ndarray]


class Measured(NamedTuple):
    """One method on one problem.

    Attributes:
        segments: ends of the parts of the expected 68 % interval of μ.
        segments_95: the same at 95 %, t(μ) < 3.84.
        best: best-fit μ of the data expected at μ = 1; 1 for a right model.
        limit: expected upper limit on μ.
        mu: tested values.
        t: t(μ) of the data expected at μ = 1.
        t_background: t(μ) of those expected at μ = 0.
        seconds: processor time of the evaluation.
    """

    segments: list[tuple[float, float]]
    segments_95: list[tuple[float, float]]
    best: float
    limit: float
    mu: list[float]
    t: list[float]
    t_background: list[float]
    seconds: float


def expected(problem: Problem, mu: float) -> nsbi.UnbinnedData:
    """The data on which everything is judged: expected ones of the exact densities."""
    return eqx.filter_jit(nsbi.Unbinned.expected_data)(problem.exact, problem.truth(mu))


def unbinned(problem: Problem, model: nsbi.Unbinned, *, fixed: bool) -> Measured:
    """The unbinned likelihood of exact or learned ratios."""
    tests = [
        _ordinary(problem, model, expected(problem, mu), fixed=fixed)
        for mu in (1.0, 0.0)
    ]
    return _measured(problem, *tests)


def in_bins(
    problem: Problem, value: np.ndarray, edges: np.ndarray, *, fixed: bool
) -> Measured:
    """Counts in bins of an observable, one value for each of the points."""
    (channel,) = problem.exact.channels
    weight = channel.bank.weight
    filled = np.zeros(weight.size)
    filled[: len(value)] = value
    bins = HardBins.between(filled.reshape(weight.shape), edges)
    model = BinnedMixture.of(problem.exact, [bins])
    tests = [
        _ordinary(problem, model, model.binned(expected(problem, mu)), fixed=fixed)
        for mu in (1.0, 0.0)
    ]
    return _measured(problem, *tests)


def parametrised(
    problem: Problem,
    model: nsbi.Unbinned,
    choices: tuple[Choice, Choice],
    n_bins: int,
    *,
    fixed: bool,
) -> Measured:
    """Observables of `model`, made for each tested value; the bins filled exactly.

    Args:
        problem: the problem.
        model: exact or learned ratios.
        choices: of the observable for both data sets.
        n_bins: number of bins.
        fixed: whether the nuisance parameters are known.
    """
    held = dict.fromkeys(problem.nuisances, 0.0) if fixed else {}
    tests = []
    for mu, choice in zip((1.0, 0.0), choices, strict=True):
        data = expected(problem, mu)

        def test(values, data=data, choice=choice):
            at = jnp.asarray(values) ** (1 / problem.power)
            found = parametrised_scan(
                model, data, at, choice, n_bins, filling=problem.exact, fixed=held
            )
            return np.asarray(found.delta_twice_nll)

        tests.append((test, mu))
    return _measured(problem, *tests)


def _ordinary(problem: Problem, model, data, *, fixed: bool) -> tuple[Test, float]:
    """The profile of one likelihood, and its best fit."""
    held = dict.fromkeys(problem.nuisances, 0.0) if fixed else {}
    poi = problem.exact.parameters.poi
    index = problem.exact.parameters.poi_index
    free = fit(model, data, fixed=held)

    def test(values):
        at = jnp.asarray(values) ** (1 / problem.power)
        if len(at) > 1:
            return np.asarray(scan(model, data, {poi: at}, fixed=held).delta_twice_nll)
        found = fit(
            model, data, fixed={**held, poi: at[0]}, partners=free.bestfit[None]
        )
        return np.asarray(found.best_twice_nll - free.best_twice_nll)[None]

    return test, float(free.bestfit[index]) ** problem.power


def _measured(
    problem: Problem, signal: tuple[Test, float], background: tuple[Test, float]
) -> Measured:
    start = time.process_time()
    mu = _tested(problem)
    (test, best), (test_background, _) = signal, background
    t, t_background = test(mu), test_background(mu)
    # The best fit is one of the points, so that a narrow minimum is seen.
    grid, height = _with(mu, t, best)
    allowed = np.flatnonzero(t_background < EXCLUDED)
    last = int(allowed[-1])
    limit = (
        _crossing(test_background, *mu[last : last + 2], EXCLUDED)
        if last + 1 < len(mu)
        else np.inf
    )
    return Measured(
        segments=_below(test, grid, height, INTERVAL),
        segments_95=_below(test, grid, height, EXCLUDED),
        best=best,
        limit=limit,
        mu=mu.tolist(),
        t=t.tolist(),
        t_background=t_background.tolist(),
        seconds=time.process_time() - start,
    )


def _tested(problem: Problem) -> np.ndarray:
    """Values of μ, equally spaced in the parameter of interest."""
    last = problem.largest ** (1 / problem.power)
    return np.linspace(0.0, last, problem.n_tested) ** problem.power


def _below(test: Test, grid, height, level: float) -> list[tuple[float, float]]:
    """Ends of the parts where t is below the level; inf beyond the tested values."""
    inside = height < level
    ends = [
        _crossing(test, *grid[i : i + 2], level)
        for i in np.flatnonzero(np.diff(inside.astype(int)))
    ]
    ends = [0.0, *ends] if inside[0] else ends
    ends = [*ends, np.inf] if inside[-1] else ends
    return list(zip(ends[::2], ends[1::2], strict=True))


def _with(mu, t, best):
    grid = np.append(mu, best)
    order = np.argsort(grid)
    return grid[order], np.append(t, 0.0)[order]


def _crossing(test: Test, low: float, high: float, level: float) -> float:
    """Where t crosses the level between two values of μ, to 0.01 %."""

    def above(mu):
        return float(np.sqrt(max(test(np.array([mu]))[0], 0.0)) - np.sqrt(level))

    return float(brentq(above, low, high, xtol=1e-6, rtol=1e-4))
