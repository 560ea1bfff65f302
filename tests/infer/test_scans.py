"""Scans against closed forms, brute force and finite differences."""

from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffana.errors import RESULTS
from diffana.fit import fit
from diffana.infer import profile_interval, scan
from diffana.likelihood import AbstractLikelihood
from gaussian import Gaussian
from reference import Morphed


COVARIANCE = np.array([[4.0, 1.2, -0.3], [1.2, 0.9, 0.1], [-0.3, 0.1, 0.25]])
MEASURED = np.array([0.3, -1.0, 2.0])


def test_profiles_of_a_gaussian_are_parabolas():
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    values = np.linspace(-4, 4, 9)
    found = scan(model, jnp.asarray(MEASURED), {"theta1": values})
    want = (values - MEASURED[1]) ** 2 / COVARIANCE[1, 1]
    np.testing.assert_allclose(found.delta_twice_nll, want, rtol=1e-9, atol=1e-9)
    # Conditional means of a Gaussian.
    slope = COVARIANCE[:, 1] / COVARIANCE[1, 1]
    means = MEASURED + (values - MEASURED[1])[:, None] * slope
    np.testing.assert_allclose(found.bestfit, means, atol=1e-7)
    assert found.names == ("theta1",)


def test_profiles_over_a_plane_are_paraboloids():
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    mu, theta = np.linspace(-4, 4, 5), np.linspace(0, 3, 4)
    found = scan(model, jnp.asarray(MEASURED), {"mu": mu, "theta2": theta})
    shift = np.stack(np.meshgrid(mu, theta, indexing="ij"), -1) - MEASURED[[0, 2]]
    precision = np.linalg.inv(COVARIANCE[np.ix_([0, 2], [0, 2])])
    want = np.einsum("...i,ij,...j->...", shift, precision, shift)
    np.testing.assert_allclose(found.delta_twice_nll, want, rtol=1e-9, atol=1e-9)
    assert found.bestfit.shape == (5, 4, 3)
    np.testing.assert_allclose(found.bestfit[..., 0], mu[:, None] + 0 * theta)
    assert np.all(found.result == RESULTS.successful)


BIMODAL = Morphed(
    *map(
        jnp.array,
        ([3.0, 9.0, 2.0], [40.0, 30.0, 25.0], [62.0, 18.0, 31.0], [55.0, 44.0, 17.0]),
    ),
    mu_lower=-5.0,
)


def test_every_point_is_the_lowest_of_several_minima():
    data = jnp.array([52.0, 31.0, 26.0, 0.0])
    mu = np.linspace(-4, 6, 21)
    found = scan(BIMODAL, data, {"mu": mu})
    alpha = np.linspace(-5, 5, 20_001)
    grid = jnp.stack(jnp.meshgrid(jnp.asarray(mu), alpha, indexing="ij"), -1)
    values = jax.vmap(jax.vmap(lambda params: BIMODAL.twice_nll(params, data)))(grid)
    lowest = np.nanmin(values, axis=1)
    # A grid 5e-4 apart misses a minimum by at most its curvature, some 100, times the
    # square of half of that.
    profile = found.delta_twice_nll + found.free.best_twice_nll
    np.testing.assert_allclose(profile, lowest, atol=1e-5)
    # The branch changes within the scan: one start would follow the wrong one.
    at = found.bestfit[:, 1]
    assert np.max(np.abs(np.diff(at))) > 0.5


def test_the_profile_passes_the_level_at_the_edges_of_the_interval():
    data = jnp.array([52.0, 31.0, 26.0, 0.0])
    interval = profile_interval(BIMODAL, data, "mu")
    edges = jnp.stack([interval.lower, interval.upper])
    found = scan(BIMODAL, data, {"mu": edges})
    np.testing.assert_allclose(found.delta_twice_nll, 1.0, rtol=1e-8)


def test_fixed_parameters_are_held_in_the_free_fit_too():
    data = jnp.array([52.0, 31.0, 26.0, 0.0])
    found = scan(BIMODAL, data, {"mu": [0.0, 1.0]}, fixed={"alpha": 0.4})
    assert found.free.bestfit[1] == 0.4
    np.testing.assert_array_equal(found.bestfit[:, 1], 0.4)
    want = BIMODAL.twice_nll(jnp.array([1.0, 0.4]), data)
    got = found.delta_twice_nll[1] + found.free.best_twice_nll
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_derivatives_are_those_of_the_single_fits():
    data = jnp.array([52.0, 31.0, 26.0, 0.0])

    def profile(data, mu):
        return scan(BIMODAL, data, {"mu": mu}).delta_twice_nll

    def single(data, mu):
        held = fit(BIMODAL, data, fixed={"mu": mu}).best_twice_nll
        return held - fit(BIMODAL, data).best_twice_nll

    mu = jnp.array([0.5, 2.0])
    got = jax.jit(jax.jacrev(profile, argnums=(0, 1)))(data, mu)
    slope = jax.jit(jax.grad(single, argnums=(0, 1)))
    for i in range(2):
        by_data, by_mu = slope(data, mu[i])
        np.testing.assert_allclose(got[0][i], by_data, atol=1e-8)
        np.testing.assert_allclose(got[1][i, i], by_mu, atol=1e-8)


@final
class Traced(AbstractLikelihood):
    """A Gaussian that counts how often its likelihood is traced."""

    inner: Gaussian
    count: ClassVar[list[int]] = [0]

    @property
    def parameters(self):
        return self.inner.parameters

    def twice_nll(self, params, data):
        self.count[0] += 1
        return self.inner.twice_nll(params, data)

    def expected_data(self, params):
        return params

    def sample(self, params, key):
        return self.inner.sample(params, key)

    def curvature(self, params, data):
        return self.inner.curvature(params, data)


def test_other_points_and_other_data_compile_nothing():
    model = Traced(Gaussian(jnp.linalg.inv(COVARIANCE)))
    scan(model, jnp.asarray(MEASURED), {"mu": np.linspace(0, 1, 7)})
    traced = Traced.count[0]
    assert 0 < traced < 40
    scan(model, jnp.asarray(MEASURED) + 1, {"mu": np.linspace(-3, 5, 7)})
    profile_interval(model, jnp.asarray(MEASURED), "mu")
    again = Traced.count[0]
    assert again > traced
    profile_interval(model, jnp.asarray(MEASURED) + 1, "mu", level=4.0)
    assert Traced.count[0] == again


def test_a_failing_point_is_told_and_leaves_the_others():
    # No signal strength below -100/3 leaves the first bin a positive expectation.
    model = Morphed(BIMODAL.signal, BIMODAL.nominal, BIMODAL.up, BIMODAL.down, -60.0)
    data = jnp.array([52.0, 31.0, 26.0, 0.0])
    found = scan(model, data, {"mu": [0.0, -55.0, 1.0]}, throw=False)
    assert (found.result == RESULTS.successful).tolist() == [True, False, True]
    assert np.isfinite(found.delta_twice_nll).tolist() == [True, False, True]
    with pytest.raises(RuntimeError, match="not finite"):
        scan(model, data, {"mu": [0.0, -55.0, 1.0]})


def test_misuse_is_refused():
    data = jnp.array([52.0, 31.0, 26.0, 0.0])
    with pytest.raises(ValueError, match="one or two parameters"):
        scan(BIMODAL, data, {})
    with pytest.raises(ValueError, match="no parameter 'nu'"):
        scan(BIMODAL, data, {"nu": [1.0]})
    with pytest.raises(ValueError, match="shape"):
        scan(BIMODAL, data, {"mu": 1.0})
    with pytest.raises(ValueError, match="'mu' is held"):
        scan(BIMODAL, data, {"mu": [1.0]}, fixed={"mu": 0.0})
