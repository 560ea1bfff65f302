import time

import numpy as np
import pytest
from scipy import stats

from diffana.neyman.leaf_guard import guarded
from diffana.neyman.p_value_regression import fit_p_values


LEVELS = np.array([0.6826894921, 0.9, 0.9544997361])
BOUNDS = (-5.0, 5.0)
GRID = np.linspace(*BOUNDS, 201)


def focused(x, mu, spread):
    """FTS of X ~ N(mu, 1) with the focus N(0, spread²)."""
    return (x - mu) ** 2 - x**2 / (1 + spread**2) - np.log(1 + spread**2)


def survival(c, mu, spread):
    """Exact p-value: FTS is a non-central chi-square, scaled and shifted."""
    shift = mu**2 / spread**2 + np.log(1 + spread**2)
    unit = (c + shift) * (1 + spread**2) / spread**2
    return stats.ncx2.sf(unit, 1, (mu / spread**2) ** 2)


def toys(n_toys, spread, seed):
    rng = np.random.default_rng(seed)
    mu = rng.uniform(*BOUNDS, n_toys)
    return mu, focused(mu + rng.normal(size=n_toys), mu, spread)


def coverage_error(critical, spread):
    return 1 - survival(critical(GRID), GRID, spread) - LEVELS[:, None]


@pytest.fixture(scope="module")
def fit():
    return fit_p_values(*toys(30_000, 2.0, 0), bounds=BOUNDS)


def test_p_values_are_those_of_the_non_central_chi_square(fit):
    mu, statistic = toys(5000, 2.0, 1)
    error = fit.p_value(mu, statistic) - survival(statistic, mu, 2.0)
    # Twice the binomial error of 12 free coefficients at p = 1/2.
    assert np.sqrt((error**2).mean()) < 2 * np.sqrt(12 * 0.25 / 30_000)


def test_critical_values_of_any_level_cover(fit):
    error = coverage_error(fit.critical_values(LEVELS), 2.0)
    rms = np.sqrt((error**2).mean(axis=1))
    # Twice the binomial error of 12 free coefficients.
    assert (rms < 2 * np.sqrt(12 * LEVELS * (1 - LEVELS) / 30_000)).all()


def test_p_values_decrease_with_the_statistic_at_every_parameter(fit):
    cutoffs = np.linspace(-60.0, 60.0, 2001)
    for mu in (-5.0, -0.3, 4.9):
        found = fit.p_value(np.full(cutoffs.size, mu), cutoffs)
        assert (np.diff(found) <= 0).all()
        inside = found[:-1][(found[:-1] > 1e-12) & (found[:-1] < 1 - 1e-12)]
        assert (np.diff(inside) < 0).all()


def test_p_value_at_the_critical_value_is_one_minus_the_level(fit):
    # Far levels too, which lie beyond all toys.
    levels = np.array([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
    critical = fit.critical_values(levels)(GRID)
    assert (np.diff(critical, axis=0) > 0).all()
    for level, values in zip(levels, critical, strict=True):
        # A root in closed form leaves rounding.
        np.testing.assert_allclose(fit.p_value(GRID, values), 1 - level, rtol=1e-8)


def test_a_baseline_takes_part_and_is_added_again():
    mu, statistic = toys(10_000, 2.0, 2)

    def parabola(at):
        return (7.0 - at**2)[None]

    plain = fit_p_values(mu, statistic, bounds=BOUNDS, n_cutoffs=24)
    moved = fit_p_values(mu, statistic, bounds=BOUNDS, n_cutoffs=24, baseline=parabola)
    difference = moved.p_value(mu, statistic) - plain.p_value(mu, statistic)
    # Both estimate the same, from the same toys: less than the binomial error.
    assert np.sqrt((difference**2).mean()) < np.sqrt(12 * 0.25 / 10_000)


def test_same_seed_same_result():
    data = toys(2000, 2.0, 3)
    first, second = (
        fit_p_values(*data, bounds=BOUNDS, n_cutoffs=8, seed=7) for _ in range(2)
    )
    np.testing.assert_array_equal(first.coefficients, second.coefficients)


def test_steps_of_a_discrete_statistic_are_smoothed():
    rng = np.random.default_rng(4)
    mu = rng.uniform(0.0, 1.0, 10_000)
    fit = fit_p_values(mu, rng.poisson(20.0, mu.size).astype(float))
    for count in (17, 20, 24):
        found = fit.p_value([0.2, 0.8], [count, count])
        low, high = stats.poisson.sf([count, count - 1], 20.0)
        # Between P(T > C) and P(T >= C), but for twice the error of 12 coefficients.
        error = 2 * np.sqrt(12 * 0.25 / mu.size)
        assert ((found > low - error) & (found < high + error)).all()


def test_guard_corrects_critical_values_of_p_values(fit):
    mu, statistic = toys(40_000, 2.0, 5)
    safe = guarded(fit.critical_values(LEVELS), mu, statistic, 8)
    error = coverage_error(safe, 2.0).mean(axis=1)
    # Five standard deviations of the coverage of all toys.
    assert (error > -5 * np.sqrt(LEVELS * (1 - LEVELS) / 40_000)).all()
    assert (error < 5 * np.sqrt(LEVELS * (1 - LEVELS) / 40_000) + 1 / 5000).all()


def test_parameters_outside_the_toys_are_refused(fit):
    with pytest.raises(ValueError, match="outside the range"):
        fit.p_value([5.5], [0.0])
    with pytest.raises(ValueError, match="outside the range"):
        fit.critical_values([0.5])([-6.0])
    with pytest.raises(ValueError, match="confidence levels"):
        fit.critical_values([1.0])


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1.0, 5.0])
def test_many_toys(spread):
    start = time.process_time()
    fit = fit_p_values(*toys(100_000, spread, 6), bounds=BOUNDS)
    # Three times what one core takes, for slow machines.
    assert time.process_time() - start < 30
    error = coverage_error(fit.critical_values(LEVELS), spread)
    rms = np.sqrt((error**2).mean(axis=1))
    # Twice the binomial error of 12 free coefficients.
    assert (rms < 2 * np.sqrt(12 * LEVELS * (1 - LEVELS) / 100_000)).all()
