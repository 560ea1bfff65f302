"""Calibration of log ratios: the spline, the straight line, and the fit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

from diffana.errors import RESULTS, DataError, TrainingError
from diffana.nsbi.calibration import (
    Calibrated,
    Calibration,
    fit_calibration,
    fit_line,
)
from diffana.nsbi.ratios import Exact, log_ratios
from diffana.trainable import trainable


KNOTS = np.array([-4.0, -1.5, -0.2, 0.4, 3.0])
GRID = np.linspace(-9.0, 9.0, 2001)


@jax.jit
def curve(calibration, values):
    return jax.vmap(calibration)(values)


@jax.jit
def slope(calibration, values):
    return jax.vmap(jax.grad(calibration))(values)


def random_calibration(seed):
    rng = np.random.default_rng(seed)
    return Calibration(
        KNOTS, rng.normal(), rng.normal(size=4) * 0.7, rng.normal(size=5) * 0.7
    )


def softplus(x):
    return np.logaddexp(0.0, x)


# The map.


def test_the_identity_is_exact():
    # Rounding of a sum of five terms of order ten.
    found = curve(Calibration.identity(KNOTS), GRID)
    np.testing.assert_allclose(found, GRID, rtol=0, atol=1e-12)
    slopes = slope(Calibration.identity(KNOTS), GRID)
    np.testing.assert_allclose(slopes, 1.0, rtol=0, atol=1e-12)


def test_a_line_is_exact():
    found = curve(Calibration.line(KNOTS, -0.7, 2.5), GRID)
    np.testing.assert_allclose(found, -0.7 + 2.5 * GRID, rtol=0, atol=1e-12)


def test_it_is_a_hyperbola_where_its_slopes_are_those_of_one():
    # With the slopes of -1/t its mean slope is their geometric mean, and the quotient
    # of quadratic polynomials reduces to -1/t itself.
    knots = np.array([1.0, 3.0, 4.0])
    middle = -1 / knots[1] - knots[1]
    stretches = np.diff(-1 / knots) / np.diff(knots)
    hyperbola = Calibration(knots, middle, np.log(stretches), -2 * np.log(knots))
    at = np.linspace(1.0, 4.0, 101)
    np.testing.assert_allclose(curve(hyperbola, at), -1 / at, rtol=1e-13, atol=0)
    tails = [-1 - (1 - 0.5), -1 / 4 + (6 - 4) / 16]
    np.testing.assert_allclose(curve(hyperbola, np.array([0.5, 6.0])), tails)


@given(
    parameters=arrays(float, 10, elements=st.floats(-4, 4)),
    gaps=arrays(float, 4, elements=st.floats(1e-3, 5)),
)
def test_it_is_strictly_increasing(parameters, gaps):
    knots = -2 + np.concatenate([[0.0], np.cumsum(gaps)])
    found = Calibration(knots, parameters[0], parameters[1:5], parameters[5:])
    parts = np.linspace(0, 1, 50, endpoint=False)
    inner = (knots[:-1, None] + parts * gaps[:, None]).ravel()
    at = np.concatenate([[-8.0, -5.0], inner, knots[-1] + [0.0, 1.0, 7.0]])
    assert np.all(np.diff(curve(found, at)) > 0)
    assert np.all(slope(found, at) > 0)


@pytest.mark.parametrize("seed", range(3))
def test_derivative_is_the_finite_difference(seed):
    calibration = random_calibration(seed)
    at = np.linspace(-7.03, 6.01, 301)
    step = 1e-6
    # Differences of numbers of order ten lose 1e-15/1e-6; across a knot, where the
    # second derivative jumps, a central difference is wrong by step times the jump.
    differences = (curve(calibration, at + step) - curve(calibration, at - step)) / (
        2 * step
    )
    np.testing.assert_allclose(slope(calibration, at), differences, atol=2e-5)


def test_value_and_slope_are_continuous_and_the_second_derivative_jumps():
    calibration = random_calibration(5)
    near = 1e-9
    left, right = KNOTS - near, KNOTS + near
    second = jax.jit(jax.vmap(jax.grad(jax.grad(calibration))))
    for function in (curve, slope):
        np.testing.assert_allclose(
            function(calibration, left), function(calibration, right), atol=1e-6
        )
    np.testing.assert_allclose(
        slope(calibration, KNOTS), np.exp(calibration.log_slopes), rtol=1e-12
    )
    assert np.all(np.abs(second(left) - second(right)) > 0.01)


def test_derivatives_to_second_order_in_both_modes():
    calibration = random_calibration(2)
    dynamic, static = eqx.partition(calibration, trainable(calibration))
    flat, unravel = ravel_pytree((dynamic, 0.0))

    def value(point):
        parameters, log_ratio = unravel(point)
        return eqx.combine(parameters, static)(log_ratio)

    def central(function, point, step=1e-5):
        shifts = step * np.eye(len(point))
        return np.array(
            [(function(point + d) - function(point - d)) / (2 * step) for d in shifts]
        )

    gradient = jax.jit(jax.grad(value))
    second = [jax.jit(mode(jax.grad(value))) for mode in (jax.jacfwd, jax.jacrev)]
    # In a tail, in two of the bins, and in the other tail.
    for at in (-6.0, -0.7, 0.1, 5.0):
        point = flat.at[-1].set(at)
        # Differences of numbers of order ten lose 1e-15/1e-5, and have a truncation
        # error of order (1e-5)².
        expected = central(jax.jit(value), point)
        np.testing.assert_allclose(gradient(point), expected, atol=1e-8)
        np.testing.assert_allclose(jax.jit(jax.jacfwd(value))(point), gradient(point))
        expected = central(gradient, point)
        for derivative in second:
            np.testing.assert_allclose(derivative(point), expected, atol=1e-8)


def test_nan_stays_visible():
    assert np.isnan(Calibration.identity(KNOTS)(np.nan))


def test_knots_are_not_trained():
    mask = trainable(Calibration.identity(KNOTS))
    assert not mask.knots
    assert mask.offset
    assert mask.log_stretches
    assert mask.log_slopes


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((np.zeros(1), 0.0, np.zeros(0), np.zeros(1)), "at least 2"),
        (([0.0, 0.0], 0.0, np.zeros(1), np.zeros(2)), "increase strictly"),
        (([0.0, 1.0], 0.0, np.zeros(2), np.zeros(2)), "need 1 stretches"),
    ],
)
def test_bad_calibrations_are_refused(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        Calibration(*arguments)


def test_a_calibrated_ratio_is_the_map_of_the_ratio():
    ratio = Exact(lambda x: 2.0 * x[0], lambda x: -(x[1] ** 2))
    calibration = random_calibration(1)
    calibrated = Calibrated(ratio, calibration)
    features = np.random.default_rng(0).normal(size=(50, 2))
    exact = 2.0 * features[:, 0] + features[:, 1] ** 2
    np.testing.assert_allclose(
        log_ratios(calibrated, features), curve(calibration, exact), rtol=1e-13
    )
    gradient = jax.grad(calibrated.log_ratio)(jnp.asarray(features[0]))
    chain = jax.grad(calibration)(exact[0]) * np.array([2.0, 2 * features[0, 1]])
    np.testing.assert_allclose(gradient, chain, rtol=1e-12)


# The straight line.


def classes(n_events, seed, shift=1.0):
    """Exact log ratios of events of unit Gaussians around ±shift."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, n_events)) + np.array([[shift], [-shift]])
    return 2 * shift * x


def unit(log_ratio):
    return np.full(len(log_ratio), 1 / len(log_ratio))


def test_line_is_at_the_minimum_of_the_cross_entropy():
    rng = np.random.default_rng(3)
    numerator, denominator = classes(500, 3)
    shares = rng.exponential(size=(2, 500))
    shares /= shares.sum(axis=1, keepdims=True)

    def loss(point):
        up, down = point[0] + point[1] * numerator, point[0] + point[1] * denominator
        return shares[0] @ softplus(-up) + shares[1] @ softplus(down)

    line = fit_line(numerator, shares[0], denominator, shares[1])
    outside = minimize(loss, [0.0, 1.0], tol=1e-12, method="Nelder-Mead")
    # A simplex finds a quadratic minimum to the square root of its tolerance.
    np.testing.assert_allclose([line.intercept, line.slope], outside.x, atol=1e-5)


def test_uncertainties_of_the_line_are_the_spread_of_many_samples():
    rng = np.random.default_rng(11)
    found, covariances = [], []
    for seed in range(400):
        numerator, denominator = classes(500, seed)
        weight = rng.choice([0.5, 3.0], size=(2, 500))
        weight /= weight.sum(axis=1, keepdims=True)
        line = fit_line(1.5 * numerator + 1, weight[0], 1.5 * denominator, weight[1])
        found.append([line.intercept, line.slope])
        covariances.append(line.covariance)
    expected, spread = np.mean(covariances, axis=0), np.cov(np.transpose(found))
    sigma = np.sqrt(np.diag(expected))
    # Entries of a sample covariance of 400 have a relative error of 7 % on the
    # diagonal; three of them, plus a few per cent of nonlinearity.
    np.testing.assert_allclose(
        spread / np.outer(sigma, sigma), expected / np.outer(sigma, sigma), atol=0.25
    )


def test_the_line_of_separated_classes_is_not_found():
    line = fit_line(np.array([1.0, 2.0]), unit([0, 0]), -np.ones(3), unit([0, 0, 0]))
    assert not line.found
    assert np.isnan(line.slope)


# The fit.


def cross_entropy(numerator, denominator):
    return 0.5 * (np.mean(softplus(-numerator)) + np.mean(softplus(denominator)))


def distorted(log_ratio):
    return 1.3 * log_ratio + 0.2 * np.tanh(log_ratio)


def test_a_known_distortion_is_undone():
    exact = classes(20_000, seed=1)
    ones = np.ones(20_000)
    found = fit_calibration(distorted(exact[0]), ones, distorted(exact[1]), ones)
    assert found.result == RESULTS.successful
    # Twice the log likelihood that is gained beyond the exact log ratios by fitting 16
    # parameters: at most the χ² of 16 degrees of freedom (39.3 at 0.1 %), and not
    # negative but for what a spline of 8 knots cannot follow.
    n_events = exact.size
    gained = 2 * n_events * (cross_entropy(*exact) - found.cross_entropy)
    assert -3 < gained < 39.3
    lost = 2 * n_events * (found.identity_cross_entropy - cross_entropy(*exact))
    assert lost > 1000
    # Of 40 000 events about a fifth lie around each knot, whose mean information per
    # event is below 1/4: errors from 0.025 in the middle to 0.1 at |t| = 3; three each.
    at = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
    undone = curve(found.calibration, distorted(at))
    tolerance = 3 * np.array([0.1, 0.06, 0.04, 0.025, 0.04, 0.06, 0.1])
    assert np.all(np.abs(undone - at) < tolerance)


def test_events_that_the_fit_has_not_seen_are_calibrated():
    exact, fresh = classes(20_000, seed=1), classes(100_000, seed=2)
    ones = np.ones(20_000)
    found = fit_calibration(distorted(exact[0]), ones, distorted(exact[1]), ones)
    values = [curve(found.calibration, distorted(one)) for one in fresh]
    # Fitting 16 parameters costs on average χ²/2 per event of the fit: 16/(2 · 40 000).
    excess = cross_entropy(*values) - cross_entropy(*fresh)
    assert -1e-4 < excess < 3 * 16 / 80_000
    line = fit_line(values[0], unit(values[0]), values[1], unit(values[1]))
    # Slope 1 within the errors of both samples: that of the fit is √5 times larger.
    error = np.hypot(1.0, np.sqrt(5)) * line.uncertainty[1]
    assert abs(line.slope - 1) < 3 * error


def test_weights_count_as_events():
    numerator, denominator = classes(3800, seed=4)
    rng = np.random.default_rng(0)
    copies = rng.integers(0, 3, size=(2, 3800))
    repeated = [
        np.repeat(2 * one, count)
        for one, count in zip((numerator, denominator), copies, strict=True)
    ]
    ones = [np.ones(len(one)) for one in repeated]
    unweighted = fit_calibration(repeated[0], ones[0], repeated[1], ones[1])
    # Fewer effective events, beside which the same prior is a narrower one.
    effective = 2 / np.sum((copies / copies.sum(axis=1, keepdims=True)) ** 2)
    events = 2 / sum(1 / len(one) for one in repeated)
    weighted = fit_calibration(
        2 * numerator,
        7.0 * copies[0],
        2 * denominator,
        0.1 * copies[1],
        prior_width=np.sqrt(events / effective),
    )
    # The knots differ by the distance of neighbouring events, some 1/1000.
    at = np.linspace(-6, 6, 13)
    np.testing.assert_allclose(
        curve(weighted.calibration, at), curve(unweighted.calibration, at), atol=5e-3
    )
    assert weighted.cross_entropy == pytest.approx(unweighted.cross_entropy, rel=1e-5)


@pytest.mark.parametrize(
    "distortion",
    [
        lambda t: t,
        lambda t: 5 * t,
        lambda t: 0.1 * t - 4,
        lambda t: np.sinh(t / 2),
        lambda t: np.round(t),
        lambda t: t + np.random.default_rng(3).normal(size=t.shape) * 3,
    ],
)
def test_it_is_never_worse_than_the_identity(distortion):
    numerator, denominator = classes(1000, seed=8)
    ones = np.ones(1000)
    found = fit_calibration(distortion(numerator), ones, distortion(denominator), ones)
    assert found.result == RESULTS.successful
    # But for rounding of sums of order one.
    assert found.cross_entropy <= found.identity_cross_entropy + 1e-12
    outside = cross_entropy(distortion(numerator), distortion(denominator))
    assert found.identity_cross_entropy == pytest.approx(outside, rel=1e-12)
    fitted = [curve(found.calibration, distortion(t)) for t in (numerator, denominator)]
    assert found.cross_entropy == pytest.approx(cross_entropy(*fitted), rel=1e-12)


def test_the_fit_is_at_a_minimum():
    numerator, denominator = classes(1000, seed=8)
    ones = np.ones(1000)
    found = fit_calibration(1.5 * numerator, ones, 1.5 * denominator, ones)
    line = fit_line(1.5 * numerator, ones / 1000, 1.5 * denominator, ones / 1000)
    start = Calibration.line(found.calibration.knots, line.intercept, line.slope)

    def objective(calibration):
        up = jax.vmap(calibration)(1.5 * numerator)
        down = jax.vmap(calibration)(1.5 * denominator)
        events = jnp.sum(jax.nn.softplus(-up)) + jnp.sum(jax.nn.softplus(down))
        distance = [
            calibration.log_stretches - start.log_stretches,
            calibration.log_slopes - start.log_slopes,
        ]
        return events + 0.5 * sum(jnp.sum(part**2) for part in distance)

    gradient = eqx.filter_jit(eqx.filter_grad(objective))
    at, before = gradient(found.calibration), gradient(start)
    for name in ("offset", "log_stretches", "log_slopes"):
        assert np.max(np.abs(getattr(at, name))) < 0.05
    # Without the fit it is not small.
    assert np.max(np.abs(before.log_stretches)) > 0.5


def test_tails_of_a_single_class_stay_finite():
    # Above 2 there are only events of the numerator.
    rng = np.random.default_rng(1)
    numerator = np.concatenate([rng.normal(size=300), rng.uniform(2.0, 3.0, 300)])
    denominator = np.clip(rng.normal(size=600), -5, 1.9)
    found = fit_calibration(numerator, np.ones(600), denominator, np.ones(600))
    assert found.result == RESULTS.successful
    assert np.max(np.abs(found.calibration.log_slopes)) < 4


def test_equal_input_gives_equal_results_whatever_the_batch():
    numerator, denominator = classes(1000, seed=8)
    ones = np.ones(1000)
    arguments = (2 * numerator, ones, 2 * denominator, ones)
    first, again = fit_calibration(*arguments), fit_calibration(*arguments)
    assert eqx.tree_equal(first.calibration, again.calibration)
    other = fit_calibration(*arguments, batch=300)
    # Only the order of summation differs.
    at = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(
        curve(first.calibration, at), curve(other.calibration, at), rtol=1e-6
    )


def test_events_without_weight_are_not_looked_at():
    numerator, denominator = classes(1000, seed=8)
    ones = np.ones(1000)
    first = fit_calibration(2 * numerator, ones, 2 * denominator, ones)
    second = fit_calibration(
        np.append(2 * numerator, np.nan), np.append(ones, 0.0), 2 * denominator, ones
    )
    assert eqx.tree_equal(first.calibration, second.calibration)


def test_a_fit_that_does_not_converge_says_so():
    numerator, denominator = classes(1000, seed=8)
    ones = np.ones(1000)
    arguments = (np.sinh(numerator), ones, np.sinh(denominator), ones)
    found = fit_calibration(*arguments, max_steps=1, throw=False)
    assert found.result == RESULTS.iteration_limit
    assert found.n_steps == 1
    with pytest.raises(TrainingError, match="not converged after 1 steps"):
        fit_calibration(*arguments, max_steps=1)


ONES = np.ones(4)
RISING = np.array([-1.0, 0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((RISING, ONES[:3], RISING, ONES), "numerator: log ratios have shape"),
        ((RISING, ONES, RISING, -ONES), "denominator: event 0 has weight -1"),
        ((RISING, 0 * ONES, RISING, ONES), "numerator: none of 4 events has weight"),
        (([], [], RISING, ONES), "numerator: none of 0 events has weight"),
        ((RISING, ONES, RISING + np.inf, ONES), "denominator: event 0 has log ratio"),
        ((ONES, ONES, ONES, ONES), "is 1 in almost all events"),
        ((RISING + 9, ONES, RISING, ONES), "separates the classes"),
        ((RISING - 1, ONES, RISING, ONES), "not larger in the numerator"),
    ],
)
def test_unusable_events_are_refused(arguments, reason):
    with pytest.raises(DataError, match=reason):
        fit_calibration(*arguments)


@pytest.mark.parametrize(
    "option", [{"n_knots": 1}, {"prior_width": 0.0}, {"max_steps": 0}, {"batch": 0}]
)
def test_options_out_of_range_are_refused(option):
    with pytest.raises(ValueError, match="has to be"):
        fit_calibration(RISING + 1, ONES, RISING, ONES, **option)


def test_single_precision_is_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match="double precision"):
        fit_calibration(RISING + 1, ONES, RISING, ONES)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(0.2, 2.0))
def test_exact_log_ratios_stay_right(seed, shift):
    exact = classes(4000, seed, shift)
    ones = np.ones(4000)
    found = fit_calibration(exact[0], ones, exact[1], ones)
    gained = 2 * exact.size * (cross_entropy(*exact) - found.cross_entropy)
    # Never negative; above 45.9 with a probability of 10⁻⁴ (χ², 16 degrees of freedom).
    assert -1e-6 < gained < 45.9
