"""Toys with other nuisance parameters than those fitted; the truth is a chi-square.

For a normal measurement with a shift the likelihood ratio is distributed as a
chi-square whatever the shift, so that all schemes must find the same critical values.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffana.neyman import (
    LRS,
    Average,
    Conditional,
    Construction,
    Grid,
    Plugin,
    Profile,
    Settings,
    calibrate,
    conditional_params,
)
from diffana.neyman.toys import batches, own_statistics
from neyman.normal_models import Shifted


TAU = 0.7
MODEL = Shifted(jnp.asarray(TAU))
GRID = Grid.between(-4.0, 4.0, 81)
TEST = Construction(MODEL, LRS(), Profile(5), GRID)
TESTED = 20, 60
LEVELS = (0.6827, 0.9)
BETA = 0.02
DATA = jnp.array([1.3, 0.4])
THETA, MU = 0, 1


@pytest.fixture(scope="module")
def fitted():
    return conditional_params(MODEL, DATA, GRID.points)


def conditional(fitted):
    # With mu held the shift is measured by both numbers.
    width = (1 + 1 / TAU**2) ** -0.5
    root = np.array([[width * np.sqrt(stats.chi2.isf(BETA, 1))], [0.0]])
    bounds = np.full(2, -100.0), np.full(2, 100.0)
    return Conditional(fitted, root, *bounds, BETA)


def test_conditional_fits_are_weighted_means(fitted):
    x, y = DATA
    weight = 1 / TAU**2
    expected = (x - GRID.points + weight * y) / (1 + weight)
    np.testing.assert_allclose(fitted[:, THETA], expected, atol=1e-6)
    np.testing.assert_allclose(fitted[:, MU], GRID.points)


def test_the_region_contains_the_shift_as_often_as_it_says(fitted):
    scheme = conditional(fitted)
    rng = np.random.default_rng(0)
    at = np.full(4000, 40)
    drawn = scheme.params(at, rng)
    distance = np.abs(drawn[:, THETA] - fitted[40, THETA])
    largest = np.sqrt(stats.chi2.isf(BETA, 1)) * (1 + 1 / TAU**2) ** -0.5
    # Uniform in the region: the largest of 4000 is at its end to 1/1000.
    np.testing.assert_allclose(distance.max(), largest, rtol=2e-3)
    np.testing.assert_allclose(distance.mean(), largest / 2, rtol=0.05)
    np.testing.assert_array_equal(drawn[:, MU], np.asarray(GRID.points)[40])


def test_the_worst_case_is_that_of_the_raised_level(fitted):
    settings = Settings(LEVELS, "quantile", n_toys=41_000, seed=2)
    found = calibrate(TEST, conditional(fitted), TESTED, settings)
    assert "region" in found.belt.guarantee
    exact = stats.chi2.ppf(np.array(LEVELS) + BETA, 1)
    critical = found.belt.critical_values
    # The largest of a regression with errors: never much below, and above by a few
    # errors. At 92 % the density of the chi-square is 0.05, so that 1000 toys around
    # a value give an error of 0.17; at 70 % it is 0.23 and the error 0.06.
    error = np.array([0.06, 0.17])[:, None]
    assert np.all(critical > exact[:, None] - 3 * error)
    assert np.all(critical < exact[:, None] + 6 * error)


def test_a_worst_case_needs_regression_and_levels_below_one(fitted):
    with pytest.raises(ValueError, match="needs the method `quantile`"):
        calibrate(TEST, conditional(fitted), TESTED, Settings(LEVELS, n_toys=1000))
    settings = Settings((0.99,), "quantile", n_toys=1000)
    with pytest.raises(ValueError, match=r"beta = 0\.02 is too large"):
        calibrate(TEST, conditional(fitted), TESTED, settings)


@pytest.mark.parametrize("kind", ["plugin", "average"])
def test_critical_values_are_those_of_a_chi_square(fitted, kind):
    rng = np.random.default_rng(1)
    prior = np.zeros((500, 2))
    prior[:, THETA] = rng.normal(0.0, 2.0, 500)
    schemes = {
        "plugin": Plugin(fitted),
        "average": Average(prior, np.asarray(GRID.points), MU),
    }
    scheme = schemes[kind]
    settings = Settings(LEVELS, n_toys=20_000, n_points=5, seed=3)
    found = calibrate(TEST, scheme, TESTED, settings)
    critical = found.belt.critical(np.asarray(GRID.points)[[20, 30, 40, 50, 60]])
    exact = stats.chi2.ppf(LEVELS, 1)
    density = stats.chi2.pdf(exact, 1)
    error = np.sqrt(np.array(LEVELS) * (1 - np.array(LEVELS)) / 4000) / density
    # Ten numbers within four standard deviations.
    assert np.all(np.abs(critical - exact[:, None]) < 4 * error[:, None])
    assert kind == "plugin" or "average" in found.belt.guarantee


def test_toys_of_a_prior_have_its_spread(fitted):
    prior = np.zeros((2000, 2))
    prior[:, THETA] = np.random.default_rng(4).normal(1.0, 2.0, 2000)
    scheme = Average(prior, np.asarray(GRID.points), MU)
    (batch,) = batches(scheme, np.array([30]), 2000, seed=5)
    assert np.all(batch.params[:, MU] == np.asarray(GRID.points)[30])
    # Standard errors of a mean and of a standard deviation, drawn twice.
    np.testing.assert_allclose(batch.params[:, THETA].mean(), 1.0, atol=5 * 2 / 31)
    np.testing.assert_allclose(batch.params[:, THETA].std(), 2.0, rtol=0.15)
    assert own_statistics(TEST, batch).shape == (2000,)
