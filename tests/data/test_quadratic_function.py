"""Probabilities of quadratic functions against non-central chi-squared ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from diffana.data.toys import Normal, Quadratic


@pytest.mark.parametrize("limit", [0.5, 3.0, 10.0])
@pytest.mark.parametrize(
    ("n_features", "noncentrality", "accuracy"),
    # The terms left out fall with the number of curvatures and with their slopes.
    [(2, 0.0, 1e-5), (3, 4.0, 1e-6), (5, 0.0, 1e-8), (5, 16.0, 1e-10), (8, 4.0, 1e-12)],
)
def test_squared_distances_are_chi_squared(limit, n_features, noncentrality, accuracy):
    mean = np.zeros(n_features)
    mean[0] = np.sqrt(noncentrality)
    # The same in other coordinates, with correlations.
    root = np.tril(np.random.default_rng(1).normal(size=2 * (n_features,)))
    root += 3 * np.eye(n_features)
    inverse = np.linalg.inv(root)
    squared = Quadratic(inverse.T @ inverse, np.zeros(n_features), 0.0)
    normal = Normal(root @ mean, root @ root.T)
    found = squared.probability_below(normal, limit)
    wanted = scipy.stats.ncx2.cdf(limit, n_features, noncentrality)
    assert found == pytest.approx(wanted, abs=accuracy)


def test_linear_functions_are_normal():
    linear = Quadratic(np.zeros((2, 2)), [1.0, 2.0], 0.3)
    normal = Normal([0.5, -1.0], [[1.0, 0.4], [0.4, 2.0]])
    at = np.array([-8.0, -1.2, 0.0, 4.0])
    found = [float(linear.probability_below(normal, limit)) for limit in at]
    wanted = scipy.stats.norm(0.5 - 2.0 + 0.3, np.sqrt(1.0 + 8.0 + 1.6)).cdf(at)
    # Sums of thousands of terms below one.
    np.testing.assert_allclose(found, wanted, atol=1e-13)


def test_differences_of_either_sign_are_followed():
    """z₁² / 2 - z₂² / 2 is symmetric about zero, with F(q) from the law of Laplace."""
    difference = Quadratic(np.diag([0.5, 0.5, -0.5, -0.5]), np.zeros(4), 0.0)
    normal = Normal(np.zeros(4), np.eye(4))
    for limit in (-2.0, 0.0, 1.0):
        found = float(difference.probability_below(normal, limit))
        # Exponential minus exponential; four curvatures, no slope.
        assert found == pytest.approx(scipy.stats.laplace.cdf(limit), abs=1e-7)


def test_logarithm_of_the_ratio_of_two_densities_is_quadratic():
    random = np.random.default_rng(2)
    normals = []
    for _ in range(2):
        root = random.normal(size=(3, 3)) + 2 * np.eye(3)
        normals.append(Normal(random.normal(size=3), root @ root.T))
    ratio = Quadratic.log_ratio(*normals)
    for x in random.normal(scale=2.0, size=(5, 3)):
        one, other = (
            scipy.stats.multivariate_normal(normal.mean, normal.covariance).logpdf(x)
            for normal in normals
        )
        assert float(ratio(jnp.asarray(x))) == pytest.approx(one - other, abs=1e-12)


def test_probability_has_derivatives():
    """By the limit that is the density of the function."""
    mean = np.array([1.0, 2.0, 0.5])
    squared = Quadratic(np.diag([1.0, 1.1, 0.9]), np.zeros(3), 0.0)
    probability = lambda limit, shift: squared.probability_below(
        Normal(mean + shift, jnp.eye(3)), limit
    )
    at = (4.0, 0.2)
    for i, step in enumerate(np.eye(2) * 1e-4):
        up, down = (
            probability(*(a + s * h for a, h in zip(at, step, strict=True)))
            for s in (1, -1)
        )
        found = jax.grad(probability, i)(*at)
        # Square of the step, and what the sum leaves out.
        assert float(found) == pytest.approx(float(up - down) / 2e-4, abs=1e-6)
