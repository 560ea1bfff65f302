import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from pyhf import interpolators

from diffana.histfactory import code0, code1, code2, code4, code4p


ADDITIVE = (code0, code2, code4p)
FACTOR = (code1, code4)
LO, NOMINAL, HI = map(jnp.asarray, ([8.0, 12.0, 0.0], [10.0, 10.0, 3.0], [13.0, 9, 1]))
ALPHA = np.array([-3.2, -1.0, -1 + 1e-9, -0.7, -1e-9, 0.0, 1e-9, 0.4, 1.0, 1.5, 5.0])


def oracle(code, lo, nominal, hi):
    """pyhf's interpolation at ALPHA, for each entry."""
    histograms = [[[np.asarray(lo), np.asarray(nominal), np.asarray(hi)]]]
    interpolator = getattr(interpolators, code.__name__)(histograms, subscribe=False)
    return np.asarray(interpolator(ALPHA[None, :]))[0, 0]


INSIDE_AND_OUTSIDE = jnp.array([-1.6, -0.3, 0.6, 1.7])


@pytest.mark.parametrize("code", ADDITIVE)
def test_difference_matches_pyhf(code):
    got = jax.jit(jax.vmap(lambda alpha: code(alpha, LO, NOMINAL, HI)))(ALPHA)
    np.testing.assert_allclose(got, oracle(code, LO, NOMINAL, HI), rtol=1e-14)


@pytest.mark.parametrize("code", FACTOR)
def test_factor_matches_pyhf(code):
    lo, hi = jnp.array([0.9, 1.2, 0.01]), jnp.array([1.1, 0.7, 3.0])
    got = jax.jit(jax.vmap(lambda alpha: code(alpha, lo, hi)))(ALPHA)
    # The polynomial of code4 is a sum of terms up to 100 times its value.
    np.testing.assert_allclose(got, oracle(code, lo, jnp.ones(3), hi), rtol=1e-12)


def test_difference_derivatives():
    templates = (jnp.full(4, value) for value in (8.0, 10.0, 13.0))
    together = jax.jit(lambda *args: [code(*args) for code in ADDITIVE])
    args = (INSIDE_AND_OUTSIDE, *templates)
    check_grads(together, args, order=2, modes=("fwd", "rev"), rtol=1e-5)


def test_factor_derivatives():
    together = jax.jit(lambda *args: [code(*args) for code in FACTOR])
    args = (INSIDE_AND_OUTSIDE, jnp.full(4, 0.9), jnp.full(4, 1.2))
    check_grads(together, args, order=2, modes=("fwd", "rev"), rtol=1e-5)


def derivatives(function, alpha):
    """Value, first and second derivative at each α, forward and reverse."""
    for derivative in (jax.jacfwd, jax.jacrev):
        first = derivative(function)
        second = derivative(first)
        yield jax.jit(jax.vmap(lambda a: (function(a), first(a), second(a))))(alpha)  # noqa: B023


def test_code4p_is_smooth_where_pieces_meet():
    up, down = 3.0, 2.0
    mean, bend = 0.5 * (up + down), 30 * 0.0625 * (up - down)
    alpha = jnp.array([-1.0, 0.0, 1.0])
    for value, first, second in derivatives(
        lambda alpha: code4p(alpha, 10.0 - down, 10.0, 10.0 + up), alpha
    ):
        np.testing.assert_allclose(value, [-down, 0.0, up], rtol=1e-14)
        np.testing.assert_allclose(first, [down, mean, up], rtol=1e-14)
        np.testing.assert_allclose(second, [0.0, bend, 0.0], atol=1e-14)


def test_code4_joins_the_exponentials():
    ulp = 2.0**-53
    alpha = jnp.array([-1.0, ulp - 1.0, 1.0 - ulp, 1.0])
    side = np.array([0.9, 0.9, 1.1, 1.1])
    log = np.log(side)
    for value, first, second in derivatives(
        lambda alpha: code4(alpha, 0.9, 1.1), alpha
    ):
        # The pieces agree to second order, and rounding of the polynomial grows with
        # each derivative.
        np.testing.assert_allclose(value, side, rtol=1e-14)
        np.testing.assert_allclose(first, np.sign(alpha) * side * log, rtol=1e-13)
        np.testing.assert_allclose(second, side * log**2, rtol=1e-11)


def test_kinks_have_the_slope_of_the_down_side():
    zero = jnp.zeros(1)
    for _, first, _ in derivatives(lambda a: code0(a, 8.0, 10.0, 13.0), zero):
        assert first == 2.0
    for _, first, _ in derivatives(lambda a: code1(a, 0.8, 1.3), zero):
        assert first == pytest.approx(-np.log(0.8), rel=1e-15)


def test_code2_jumps_as_in_pyhf():
    value = code2(jnp.array([1.0, 1.5, -2.0]), 8.0, 10.0, 13.0)
    np.testing.assert_array_equal(value, [3.0, 0.5 * (2.5 + 1.0), -2.0 * (2.5 - 1.0)])


@pytest.mark.parametrize("code", FACTOR)
def test_a_factor_of_zero_has_finite_derivatives(code):
    alpha = jnp.array([-2.0, -1.0, -0.5, 0.0, 0.5])
    # The limit is approached like x ln² x.
    limit = code(alpha, jnp.full(5, 1e-300), jnp.full(5, 2.0))
    args = (alpha, jnp.zeros(5), jnp.full(5, 2.0))
    np.testing.assert_allclose(code(*args), limit, atol=1e-140)
    for derivative in (jax.jacfwd, jax.jacrev):
        jacobians = jax.jit(derivative(code, argnums=(0, 1, 2)))(*args)
        assert np.isfinite(jacobians).all()


@pytest.mark.parametrize("code", FACTOR)
def test_a_negative_factor_is_nan(code):
    assert np.isnan(code(jnp.asarray(-0.5), jnp.asarray(-0.1), jnp.asarray(1.1)))


@pytest.mark.parametrize("code", FACTOR)
def test_unused_branches_do_not_spoil_the_derivative(code):
    gradient = jax.jit(jax.grad(code, argnums=(0, 1, 2)))(1e4, 1e-3, 0.9)
    assert np.isfinite(gradient).all()
