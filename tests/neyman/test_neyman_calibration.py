"""Belts from toys against exact ones of a Gaussian measurement."""

from typing import final

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffana.errors import FitError, ToyError
from diffana.likelihood import AbstractLikelihood, Parameters
from diffana.neyman.calibration import (
    COVERAGE,
    Settings,
    bounded_by_ville,
    calibrate,
    planned,
)
from diffana.neyman.construction import Construction
from diffana.neyman.coverage import binomial_coverage
from diffana.neyman.focus import Normal
from diffana.neyman.gaussian import acceptance, bounded_lrs, truncated_fts
from diffana.neyman.grid import Grid
from diffana.neyman.nuisance import Known, Profile
from diffana.neyman.schemes import Plugin
from diffana.neyman.statistics import FTS, LRS
from diffana.neyman.toys import batches, here, own_statistics


LEVELS = (0.6827, 0.9545)
GRID = Grid.between(0.0, 12.0, 241)
MU = np.asarray(GRID.points)
TESTED = (0, 80)  # up to 4
SEED = 17


@final
class Measurement(AbstractLikelihood):
    """x ~ N(mu, 1)."""

    @property
    def parameters(self):
        return Parameters(
            inits=jnp.zeros(1),
            lower=jnp.zeros(1),
            upper=jnp.full(1, 100.0),
            fixed=jnp.zeros(1, bool),
            names=("mu",),
            poi="mu",
        )

    def twice_nll(self, params, data):
        return ((data - params) ** 2).sum()

    def expected_data(self, params):
        return params

    def sample(self, params, key):
        return params + jax.random.normal(key, (1,))

    def curvature(self, params, data):
        return jnp.full((1, 1), 2.0)


MODEL = Measurement()
SCHEME = Plugin(MU[:, None])
FOCUS = FTS(Normal(0.0, 1.0, lower=0.0))


def construction(statistic):
    return Construction(MODEL, statistic, Known(jnp.zeros(1)), GRID)


def exact(statistic, level):
    """Critical values and accepted measurements at every tested value."""
    tested = MU[TESTED[0] : TESTED[1] + 1]
    if isinstance(statistic, LRS):
        return acceptance(bounded_lrs, tested, level)
    return acceptance(lambda x, mu: truncated_fts(x, mu, 0.0, 1.0), tested, level)


def coverage_of(critical, truth):
    """Probability to accept with some critical values, from the exact distribution.

    The acceptance region is where a convex function of x is below a number: its edges
    follow from bisection on either side of the minimum.
    """
    x = np.linspace(-12.0, 20.0, 32_001)
    probability = []
    for mu, c in zip(MU[TESTED[0] : TESTED[1] + 1], critical, strict=True):
        inside = x[truth(x, mu) <= c]
        if inside.size == 0:
            probability.append(0.0)
            continue
        # Open towards smaller x where the statistic stays low.
        low = -np.inf if inside[0] == x[0] else inside[0] - 5e-4
        probability.append(
            np.diff(stats.norm.cdf([low - mu, inside[-1] + 5e-4 - mu]))[0]
        )
    return np.array(probability)


def truth_of(statistic):
    if isinstance(statistic, LRS):
        return bounded_lrs
    return lambda x, mu: truncated_fts(x, mu, 0.0, 1.0)


@pytest.mark.parametrize("statistic", [LRS(), FOCUS])
def test_critical_values_from_toys_cover_as_they_should(statistic):
    settings = Settings(LEVELS, "empirical", n_toys=40_000, n_points=5, seed=SEED)
    found = calibrate(construction(statistic), SCHEME, TESTED, settings)
    assert found.n_failed == 0
    critical = found.belt.critical_values
    points = np.linspace(0, 80, 5).round().astype(int)
    for level, row in zip(LEVELS, critical, strict=True):
        covered = coverage_of(row, truth_of(statistic))[points]
        # An order statistic of n toys covers with a Beta distribution of standard
        # deviation sqrt(CL (1 - CL) / n); five of them, and the steps of x.
        sd = np.sqrt(level * (1 - level) / 8000)
        assert np.abs(covered - level).max() < 5 * sd + 5e-4
        want = exact(statistic, level).critical
        np.testing.assert_allclose(row[points], want[points], atol=0.25)


@pytest.mark.parametrize(
    ("method", "tolerance"), [("quantile", 0.03), ("p-value", 0.04)]
)
@pytest.mark.parametrize("statistic", [LRS(), FOCUS])
def test_regressed_critical_values_cover_nearly(statistic, method, tolerance):
    settings = Settings(LEVELS, method, n_toys=40_000, seed=SEED, guard=False)
    found = calibrate(construction(statistic), SCHEME, TESTED, settings)
    for level, row in zip(LEVELS, found.belt.critical_values, strict=True):
        error = np.abs(coverage_of(row, truth_of(statistic)) - level)
        # A spline is as uncertain as an order statistic of the toys within its range
        # of about 0.4: 0.007 at the lower level, four of which may occur somewhere. The
        # network is less stiff.
        assert error[1:].max() < tolerance
        # The value at the boundary is that of its own 494 toys.
        assert error[0] < 4 * np.sqrt(level * (1 - level) / 494)
        # On average over the range they know better.
        assert error.mean() < 0.5 * tolerance


def test_the_universal_belt_needs_no_toys_and_covers():
    settings = Settings(LEVELS, "universal")
    found = calibrate(construction(FOCUS), SCHEME, TESTED, settings)
    assert found.statistic.size == 0
    critical = found.belt.critical_values
    # Enlarged a little, for the rounding of the statistic.
    bound = -2 * np.log(1 - np.array(LEVELS))
    np.testing.assert_allclose(critical[:, 0], bound, atol=1e-5)
    for level, row in zip(LEVELS, critical, strict=True):
        assert coverage_of(row, truth_of(FOCUS)).min() >= level
    with pytest.raises(ValueError, match="without toys need the focused statistic"):
        calibrate(construction(LRS()), SCHEME, TESTED, settings)


def test_the_bound_of_ville_is_known_where_it_holds():
    assert bounded_by_ville(construction(FOCUS))
    assert not bounded_by_ville(construction(LRS()))
    profiled = Construction(MODEL, FOCUS, Profile(), GRID)
    assert not bounded_by_ville(profiled)


@pytest.mark.parametrize("method", ["empirical", "quantile"])
def test_fresh_toys_are_covered(method):
    """Exact binomial errors of the coverage, at all points together."""
    settings = Settings(LEVELS, method, n_toys=40_000, n_points=9, seed=SEED)
    belt = calibrate(construction(FOCUS), SCHEME, TESTED, settings).belt
    points, n_toys = np.array([0, 20, 40, 60, 80]), 2000
    fresh = batches(SCHEME, points, n_toys, SEED, stream=COVERAGE)
    statistic = np.concatenate(list(here(construction(FOCUS), fresh)))
    covered = statistic.reshape(5, -1)[None] <= belt.critical_values[:, points, None]
    for level, counts in zip(LEVELS, covered.sum(2), strict=True):
        found = binomial_coverage(counts, n_toys, level, confidence=0.999)
        # Toys of the belt have errors, too: they widen the band by half.
        margin = 3 * np.sqrt(level * (1 - level) / 4000)
        assert (found.simultaneous.lower <= level + margin).all()
        assert (found.simultaneous.upper >= level - margin).all()


def test_toys_do_not_depend_on_who_makes_them_or_in_which_order():
    settings = Settings(LEVELS, "empirical", n_toys=10_000, n_points=3, seed=SEED)
    test = construction(FOCUS)
    plan = planned(test, SCHEME, TESTED, settings)
    assert len(plan) > 1
    forward = [own_statistics(test, batch) for batch in plan]
    backward = [own_statistics(test, batch) for batch in plan[::-1]][::-1]
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one, other)

    def elsewhere(test, several):
        return iter([own_statistics(test, batch) for batch in several[::-1]][::-1])

    done = []
    first = calibrate(test, SCHEME, TESTED, settings, on_toys=done.append)
    second = calibrate(test, SCHEME, TESTED, settings, evaluate=elsewhere)
    np.testing.assert_array_equal(first.statistic, second.statistic)
    np.testing.assert_array_equal(first.statistic, np.concatenate(forward))
    assert done[-1] == first.statistic.size
    other = calibrate(test, SCHEME, TESTED, settings._replace(seed=SEED + 1))
    assert (other.statistic != first.statistic).all()
    # Toys of another purpose, and those of other values, are independent.
    fresh = own_statistics(
        test, batches(SCHEME, np.array([0]), 100, SEED, stream=COVERAGE)[0]
    )
    assert not np.isin(fresh, first.statistic).any()


def _spoiled(n_failed):
    """Toys, some of which have no certified fit."""

    def evaluate(test, several):
        for batch in several:
            found = own_statistics(test, batch)
            found[:n_failed] = np.nan
            yield found

    return evaluate


def test_failures_are_counted_and_make_sets_larger():
    settings = Settings(LEVELS, "empirical", n_toys=6000, n_points=3, seed=SEED)
    test = construction(LRS())
    sound = calibrate(test, SCHEME, TESTED, settings)
    found = calibrate(test, SCHEME, TESTED, settings, evaluate=_spoiled(15))
    n_batches = len(planned(test, SCHEME, TESTED, settings))
    assert found.n_failed == 15 * n_batches
    assert (found.belt.critical_values >= sound.belt.critical_values).all()
    with pytest.raises(ToyError, match="no certified fit"):
        calibrate(test, SCHEME, TESTED, settings, evaluate=_spoiled(40))


def test_intervals_of_one_measurement():
    """Against the exact acceptance regions."""
    settings = Settings(LEVELS, "quantile", n_toys=40_000, seed=SEED)
    belt = calibrate(construction(FOCUS), SCHEME, TESTED, settings).belt
    for x in (0.3, 1.7):
        for level, region in zip(LEVELS, belt.invert(jnp.array([x])), strict=True):
            truth = exact(FOCUS, level)
            accepted = belt.tested[(truth.lower <= x) & (x <= truth.upper)]
            assert len(region.segments) == 1
            # Regressed critical values are good for 0.1, times a slope of about 1, and
            # a step of the grid is 0.05.
            want = accepted[0], accepted[-1]
            np.testing.assert_allclose(region.hull, want, atol=0.15)
    with pytest.raises(FitError, match="not certified"):
        belt.invert(jnp.array([np.nan]))


@pytest.mark.slow
@pytest.mark.parametrize("statistic", [LRS(), FOCUS])
def test_a_million_toys_give_the_table(statistic):
    settings = Settings(LEVELS, "empirical", n_toys=3_000_000, n_points=3, seed=SEED)
    found = calibrate(construction(statistic), SCHEME, TESTED, settings)
    at = [0, 40, 80]
    for level, row in zip(LEVELS, found.belt.critical_values, strict=True):
        want = exact(statistic, level).critical
        step = 0.05
        truth = truth_of(statistic)
        density = coverage_of(want + step, truth) - coverage_of(want - step, truth)
        density = density[at] / (2 * step)
        # Four standard errors of a quantile of a million toys: up to 0.012 each.
        error = 4 * np.sqrt(level * (1 - level) / 1e6) / density
        assert (np.abs(row[at] - want[at]) < error).all()
        assert error.max() < 0.05
