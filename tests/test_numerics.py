import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import special, stats

from diffana.numerics import (
    as_float,
    log_normal_sf,
    normal_sf,
    safe_divide,
    safe_sqrt,
)


def derivatives(function, x):
    """First derivative in both modes, second in forward-over-reverse and reversed."""
    return [
        float(d(function)(x))
        for d in (
            jax.grad,
            jax.jacfwd,
            lambda f: jax.jacfwd(jax.grad(f)),
            lambda f: jax.grad(jax.jacfwd(f)),
        )
    ]


def test_safe_sqrt_is_the_square_root():
    x = np.array([1e-300, 1e-8, 0.3, 4.0, 1e300])
    np.testing.assert_array_equal(safe_sqrt(x), np.sqrt(x))
    check_grads(jax.jit(safe_sqrt), (0.3,), order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("x", [0.0, -0.0, -1e-12, -3.0, -jnp.inf])
def test_safe_sqrt_is_flat_where_there_is_no_root(x):
    assert safe_sqrt(x) == 0.0
    assert derivatives(safe_sqrt, x) == [0.0] * 4


def test_safe_sqrt_keeps_nan():
    assert jnp.isnan(safe_sqrt(jnp.nan))


def test_safe_divide_is_the_quotient():
    assert safe_divide(1.0, 3.0) == 1.0 / 3.0
    check_grads(jax.jit(safe_divide), (1.3, -0.7), order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("numerator", [0.0, 2.0, jnp.inf])
def test_safe_divide_is_flat_at_the_pole(numerator):
    assert safe_divide(numerator, 0.0) == 0.0
    assert derivatives(lambda x: safe_divide(numerator, x), 0.0) == [0.0] * 4
    assert derivatives(lambda x: safe_divide(x, 0.0), numerator) == [0.0] * 4


def test_safe_divide_keeps_nan():
    assert jnp.isnan(safe_divide(jnp.nan, 1.0))
    assert jnp.isnan(safe_divide(1.0, jnp.nan))


# scipy's and XLA's error functions are good to a few units in the last place; z² in the
# exponent turns one ulp of z into z² of them, 1400 ulp = 3e-13 at z = 37.5.
def test_normal_sf_in_the_far_tail():
    z = np.array([-40.0, -5.0, -1e-3, 0.0, 1.0, 5.0, 8.3, 20.0, 37.5])
    np.testing.assert_allclose(normal_sf(z), stats.norm.sf(z), rtol=1e-12)
    np.testing.assert_allclose(
        jax.vmap(jax.grad(normal_sf))(z), -stats.norm.pdf(z), rtol=1e-12
    )


def test_log_normal_sf_where_the_survival_function_underflows():
    z = np.array([-40.0, -5.0, 0.0, 1.0, 5.0, 20.0, 24.9, 25.1, 300.0, 1e8])
    np.testing.assert_allclose(log_normal_sf(z), stats.norm.logsf(z), rtol=1e-12)


def test_log_normal_sf_in_float32():
    z = jnp.array([-5.0, 0.0, 5.0, 7.9, 8.1, 30.0], jnp.float32)
    value = log_normal_sf(z)
    assert value.dtype == jnp.float32
    # A few ulp of the logarithm.
    np.testing.assert_allclose(value, stats.norm.logsf(np.float64(z)), rtol=1e-6)


def test_derivatives_of_log_normal_sf_in_the_far_tail():
    z = np.array([-5.0, 0.0, 5.0, 10.0, 20.0, 24.9, 25.1, 300.0])
    hazard = np.sqrt(2 / np.pi) / special.erfcx(z / np.sqrt(2))
    slope = jax.vmap(jax.grad(log_normal_sf))(z)
    np.testing.assert_allclose(slope, -hazard, rtol=1e-12)

    curvature = jax.vmap(jax.jacfwd(jax.grad(log_normal_sf)))(z)
    # hazard − z ~ 1/z is itself a difference, which costs a factor z².
    np.testing.assert_allclose(curvature, -hazard * (hazard - z), rtol=1e-9)


@pytest.mark.parametrize("function", [normal_sf, log_normal_sf])
@pytest.mark.parametrize("z", [-3.0, 0.0, 2.0])
def test_tail_functions_agree_with_finite_differences(function, z):
    check_grads(jax.jit(function), (z,), order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("x", [1, True, np.float32(1), jnp.ones((), jnp.float32)])
def test_as_float_is_float64(x):
    assert as_float(x).dtype == jnp.float64
