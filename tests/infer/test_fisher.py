"""Fisher information, covariance and correlation against closed forms and pyhf."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffana.histfactory import from_model, from_workspace
from diffana.infer import (
    correlation,
    covariance,
    fisher_information,
    sigma_mu,
    uncertainty,
)
from gaussian import Gaussian
from pyhf_minima import information as pyhf_information
from regions import EVERYTHING, workspace


COVARIANCE = np.array([[4.0, 1.2, -0.3], [1.2, 0.9, 0.1], [-0.3, 0.1, 0.25]])
EVERY = jnp.ones(3, bool)

# The programs run a few times only.
FAST = {"xla_backend_optimization_level": 0}

information = eqx.filter_jit(fisher_information, compiler_options=FAST)
strength_uncertainty = eqx.filter_jit(sigma_mu, compiler_options=FAST)


def counting(signal, background, uncertainty):
    return from_model(
        pyhf.simplemodels.uncorrelated_background(
            signal=signal, bkg=background, bkg_uncertainty=uncertainty
        )
    )


def test_three_matrices_of_a_gaussian_are_told_apart():
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    fisher = information(model, jnp.array([1.0, -2.0, 3.0]))
    variance = covariance(fisher, EVERY)
    sigma = np.sqrt(np.diag(COVARIANCE))
    # Inversions of a 3 x 3 matrix of condition 30.
    np.testing.assert_allclose(fisher, np.linalg.inv(COVARIANCE), rtol=1e-12)
    np.testing.assert_allclose(variance, COVARIANCE, rtol=1e-12)
    np.testing.assert_allclose(uncertainty(variance), sigma, rtol=1e-12)
    np.testing.assert_allclose(
        correlation(variance), COVARIANCE / np.outer(sigma, sigma), rtol=1e-12
    )
    np.testing.assert_allclose(strength_uncertainty(model), 2.0, rtol=1e-12)


def test_information_is_half_the_second_derivative_of_twice_nll():
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    params = jnp.array([0.3, 0.1, -0.2])
    hessian = jax.hessian(model.twice_nll)(params, params)
    np.testing.assert_allclose(information(model, params), hessian / 2, rtol=1e-12)


def test_held_parameters_leave_the_inverse_of_the_rest():
    fisher = jnp.linalg.inv(COVARIANCE)
    free = jnp.array([True, False, True])
    inside = np.ix_([0, 2], [0, 2])
    variance = covariance(fisher, free)
    np.testing.assert_allclose(
        variance[inside], np.linalg.inv(np.asarray(fisher)[inside]), rtol=1e-12
    )
    # Knowing a parameter takes away what its correlation costs.
    assert variance[0, 0] < COVARIANCE[0, 0]
    np.testing.assert_array_equal(variance[1], 0.0)
    np.testing.assert_array_equal(correlation(variance)[:, 1], 0.0)
    np.testing.assert_allclose(correlation(variance)[0, 0], 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1.0, 1.0], [1.0, 1.0]],
        [[1.0, 2.0], [2.0, 1.0]],
        [[-1.0, 0.0], [0.0, 1.0]],
        [[0.0, 0.0], [0.0, 1.0]],
    ],
    ids=["singular", "indefinite", "negative", "no information"],
)
def test_information_without_an_inverse_gives_nan(matrix):
    assert np.all(np.isnan(covariance(jnp.array(matrix), EVERY[:2])))


def test_strength_of_a_counting_model():
    """sigma_mu = sqrt(n) / s, and sqrt(n + delta^2) / s with a background delta."""
    s, b, delta = 7.0, 40.0, 6.0
    model = counting([s], [b], [delta])
    for mu in (0.5, 1.0):
        n = mu * s + b
        params = jnp.array([mu, 1.0])
        fisher = information(model, params)
        constraint = (b / delta) ** 2
        want = [[s**2 / n, s * b / n], [s * b / n, b**2 / n + constraint]]
        np.testing.assert_allclose(fisher, want, rtol=1e-12)
        exact = np.sqrt(n + delta**2) / s
        np.testing.assert_allclose(strength_uncertainty(model, mu), exact, rtol=1e-12)
    without = eqx.tree_at(lambda m: m.templates.shapesys, model, jnp.zeros(1))
    np.testing.assert_allclose(
        strength_uncertainty(without, 1.0), np.sqrt(s + b) / s, rtol=1e-12
    )


def test_information_grows_with_events_and_uncertainty_falls():
    (one, four) = (
        counting([7.0 * scale], [40.0 * scale], [0.0]) for scale in (1.0, 4.0)
    )
    params = jnp.ones(2)
    np.testing.assert_allclose(
        information(four, params)[0, 0],
        4 * information(one, params)[0, 0],
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        strength_uncertainty(four), strength_uncertainty(one) / 2, rtol=1e-12
    )


def test_information_of_independent_bins_adds():
    first, second, both = (
        information(counting(s, b, [0.0] * len(s)), jnp.ones(1 + len(s)))[0, 0]
        for s, b in (([7.0], [40.0]), ([2.0], [9.0]), ([7.0, 2.0], [40.0, 9.0]))
    )
    np.testing.assert_allclose(both, first + second, rtol=1e-12)


def test_observed_information_takes_the_data():
    s, b, n = 7.0, 40.0, 60.0
    model = counting([s], [b], [0.0])
    data = jnp.array([n, 1.0])
    fisher = information(model, jnp.ones(2), data)
    np.testing.assert_allclose(fisher[0, 0], n * s**2 / (s + b) ** 2, rtol=1e-12)


def test_sigma_mu_equals_second_differences_of_pyhf():
    spec = workspace([63.0, 54.0, 121.0], **EVERYTHING)
    model, _ = from_workspace(spec)
    theirs = pyhf.Workspace(spec).model()
    params = np.array(theirs.config.suggested_init())
    data = np.array(theirs.expected_data(params))
    free = ~np.array(theirs.config.suggested_fixed())
    want = pyhf_information(theirs, params, data, free)
    fisher = information(model, jnp.asarray(params))
    # Rounding of 1e-14 over the step squared leaves 1e-9 of entries of order 1 to 1e3;
    # the fourth order leaves the same.
    np.testing.assert_allclose(fisher, want, rtol=1e-6, atol=1e-6)
    poi = int(np.flatnonzero(np.flatnonzero(free) == theirs.config.poi_index)[0])
    sigma = np.sqrt(np.linalg.inv(want)[poi, poi])
    np.testing.assert_allclose(strength_uncertainty(model), sigma, rtol=1e-6)


def test_derivative_of_sigma_mu():
    """Of sigma_mu = sqrt(s + b + delta^2) / s."""
    s, b, delta = 7.0, 40.0, 6.0
    model = counting([s], [b], [delta])
    slope = eqx.filter_jit(eqx.filter_grad(sigma_mu), compiler_options=FAST)(model)
    sigma = np.sqrt(s + b + delta**2) / s
    shared = 1 / (2 * sigma * s**2)
    cell = {
        sample: model.layout.cells("singlechannel", sample).start
        for sample in ("signal", "background")
    }
    nominal = slope.templates.nominal
    np.testing.assert_allclose(nominal[cell["background"]], shared, rtol=1e-11)
    np.testing.assert_allclose(nominal[cell["signal"]], shared - sigma / s, rtol=1e-11)
    np.testing.assert_allclose(
        slope.templates.shapesys[0], 2 * delta * shared, rtol=1e-11
    )
