import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax.test_util import check_grads
from scipy import stats

from diffana.histfactory import poisson


def test_whole_counts_match_scipy():
    counts, rate = np.arange(40.0), np.linspace(0.1, 50, 40)
    want = -2 * stats.poisson.logpmf(counts, rate)
    # Cancellation between terms of the order of the count times its logarithm.
    np.testing.assert_allclose(poisson.twice_nll(counts, rate), want, rtol=1e-13)


@pytest.mark.parametrize(
    ("count", "rate"),
    [(0.0, 0.0), (0.0, -2.0), (0.0, 3.0), (2.0, 0.0), (2.0, -1.0), (2.5, 1.3)],
)
def test_edges_match_pyhf(count, rate):
    with np.errstate(all="ignore"):
        want = -2 * pyhf.tensorlib.poisson_logpdf(count, rate)
    got = poisson.twice_nll(jnp.asarray(count), jnp.asarray(rate))
    np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-15)


def test_derivatives():
    args = (jnp.array([0.0, 2.5]), jnp.array([1.7, 1.7]))
    check_grads(jax.jit(poisson.twice_nll), args, 2, ("fwd", "rev"), rtol=1e-5)
    slope = jax.grad(lambda rate: poisson.twice_nll(args[0], rate).sum())
    np.testing.assert_allclose(poisson.slope(*args), slope(args[1]), rtol=1e-14)
    bend = jnp.diagonal(jax.jit(jax.jacfwd(slope))(args[1]))
    np.testing.assert_allclose(poisson.bend(*args), bend, rtol=1e-14)


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.jacrev])
def test_an_empty_bin_without_rate_has_finite_derivatives(derivative):
    zero = jnp.zeros(1)
    for argument in (0, 1):
        first = derivative(poisson.twice_nll, argnums=argument)
        second = derivative(first, argnums=argument)
        assert np.isfinite(first(zero, zero)).all()
        assert np.isfinite(jax.jit(second)(zero, zero)).all()
    assert poisson.slope(zero, zero) == 2.0
    assert poisson.bend(zero, zero) == 0.0


def test_samples_have_poisson_moments():
    rate = jnp.full(20_000, 3.4)
    counts = poisson.sample(rate, jax.random.key(1))
    # Five standard deviations of the mean: one false alarm in two million keys.
    assert abs(counts.mean() - 3.4) < 5 * np.sqrt(3.4 / rate.size)
    assert np.all(counts == np.round(counts))


def test_a_negative_rate_has_no_samples():
    counts = poisson.sample(jnp.array([-1.0, jnp.nan, 0.0]), jax.random.key(1))
    np.testing.assert_array_equal(counts, [np.nan, np.nan, 0.0])
