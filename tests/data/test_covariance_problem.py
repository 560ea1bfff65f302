"""The covariance problem against its published numbers, scipy and its own events."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from diffana.data.toys import GaussianCovariance


PROBLEM = GaussianCovariance()


def covariance(theta):
    matrix = np.eye(5)
    matrix[0, 1] = matrix[1, 0] = 0.8 * theta
    matrix[2, 3] = matrix[3, 2] = 0.4 * theta
    return matrix


@pytest.mark.parametrize(
    ("theta", "wanted"), [(0.1, 0.403286), (0.5, 12.455517), (1.0, 137.025165)]
)
def test_asimov_statistic_is_the_published_one(theta, wanted):
    # All printed digits, and even in θ.
    for sign in (1, -1):
        assert float(PROBLEM.asimov(sign * theta)) == pytest.approx(wanted, abs=5e-7)


def test_sigma_of_theta_is_the_published_one():
    curvature = jax.grad(jax.grad(PROBLEM.asimov))(0.0)
    assert float(jnp.sqrt(2 / curvature)) == pytest.approx(0.158114, abs=5e-7)


@pytest.mark.parametrize(("theta", "truth"), [(0.9, -0.3), (-0.2, 0.7), (0.4, 0.4)])
def test_asimov_statistic_is_a_divergence_of_normals(theta, truth):
    """In terms of matrices, at any truth."""
    quotient = np.linalg.solve(covariance(theta), covariance(truth))
    wanted = 50 * (np.trace(quotient) - 5 - np.linalg.slogdet(quotient)[1])
    found = float(PROBLEM.asimov(theta, truth))
    assert found == pytest.approx(wanted, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("theta", [-0.9, 0.0, 0.6])
def test_density_is_that_of_scipy(theta):
    x = np.random.default_rng(1).normal(size=(20, 5))
    found = jax.vmap(PROBLEM.log_density, (0, None))(jnp.asarray(x), theta)
    wanted = scipy.stats.multivariate_normal(np.zeros(5), covariance(theta)).logpdf(x)
    np.testing.assert_allclose(found, wanted, atol=1e-11)


def test_density_integrates_to_one():
    """Three independent parts: two planes, and the line of the last feature."""
    at = np.linspace(-8.0, 8.0, 161)
    plane = np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1).reshape(-1, 2)
    zero = np.zeros((len(plane), 5))
    density = jax.jit(
        jax.vmap(lambda x: jnp.exp(PROBLEM.log_density(x, 0.5) - at_zero))
    )
    at_zero = PROBLEM.log_density(jnp.zeros(5), 0.5)
    total = float(jnp.exp(at_zero)) * 0.1**5
    for columns, points in (([0, 1], plane), ([2, 3], plane), ([4], at[:, None])):
        x = zero[: len(points)].copy()
        x[:, columns] = points
        total *= float(density(jnp.asarray(x)).sum())
    # The tails beyond eight standard deviations are 10⁻¹⁵.
    assert total == pytest.approx(1.0, abs=1e-12)


def test_densities_outside_the_range_of_theta_are_not_numbers():
    assert jnp.isnan(PROBLEM.log_density(jnp.zeros(5), 1.3))
    with pytest.raises(ValueError, match="not positive definite"):
        PROBLEM.toy(1.3, seed=1)


def test_events_have_the_covariance_and_normal_features():
    n_events, theta = 100_000, 0.9
    x = PROBLEM.sample(theta, n_events, seed=3)
    found, wanted = np.cov(x.T), covariance(theta)
    # Variance of a covariance of normals, (σᵢⱼ² + σᵢᵢ σⱼⱼ) / n: five sigma.
    error = np.sqrt((wanted**2 + 1) / n_events)
    assert np.all(np.abs(found - wanted) < 5 * error)
    for feature in x.T:
        # One in 10⁴ seeds would fail; this one does not.
        assert scipy.stats.kstest(feature, "norm").pvalue > 1e-4
    # The mean of the likelihood ratio is the divergence.
    log_ratio = jax.vmap(
        lambda x: PROBLEM.log_density(x, theta) - PROBLEM.log_density(x, 0.0)
    )(jnp.asarray(x))
    values = 2 * 50 * np.asarray(log_ratio)
    error = values.std() / np.sqrt(n_events)
    assert abs(values.mean() - float(PROBLEM.asimov(0.0, theta))) < 5 * error


def test_toys_have_poisson_numbers_of_events():
    toys = [PROBLEM.toy(0.5, seed) for seed in range(400)]
    numbers = np.array([len(toy) for toy in toys])
    # Relative errors 1 / √(50 · 400) and √(2 / 400): five sigma.
    assert abs(numbers.mean() / 50 - 1) < 0.036
    assert abs(numbers.var() / 50 - 1) < 0.36
    x = np.concatenate(toys)
    error = np.sqrt((covariance(0.5) ** 2 + 1) / len(x))
    assert np.all(np.abs(np.cov(x.T) - covariance(0.5)) < 5 * error)
    np.testing.assert_array_equal(toys[3], PROBLEM.toy(0.5, 3))


def test_two_slopes_are_needed():
    with pytest.raises(ValueError, match=r"two slopes are needed, not \(3,\)"):
        GaussianCovariance(slopes=(0.1, 0.2, 0.3))
