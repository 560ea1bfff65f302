"""The latent Gaussian against closed forms, automatic derivatives and its events."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from diffana.data.toys import LatentGaussian


PROBLEM = LatentGaussian()
N_EVENTS = 200_000


def events(theta):
    return PROBLEM.sample(theta, N_EVENTS, seed=3, theta_0=1.0, theta_1=0.0)


def test_density_is_normal_and_integrates_to_one():
    x = np.linspace(-6.0, 8.0, 20)
    found = jax.vmap(PROBLEM.log_density, (0, None))(jnp.asarray(x), 0.7)
    wanted = scipy.stats.norm(0.7, np.sqrt(5)).logpdf(x)
    np.testing.assert_allclose(found, wanted, atol=1e-13)
    at = np.linspace(-25.0, 25.0, 501)
    density = np.exp(jax.vmap(PROBLEM.log_density, (0, None))(jnp.asarray(at), 0.7))
    # The trapezoidal rule, ten standard deviations wide.
    assert scipy.integrate.trapezoid(density, at) == pytest.approx(1.0, abs=1e-13)


def test_marginal_density_is_the_integral_over_the_latent_variable():
    x, theta = 1.7, 0.4
    z = np.linspace(-20.0, 20.0, 801)
    joint = scipy.stats.norm(theta, 2.0).pdf(z) * scipy.stats.norm(z, 1.0).pdf(x)
    found = float(jnp.exp(PROBLEM.log_density(x, theta)))
    assert found == pytest.approx(scipy.integrate.trapezoid(joint, z), rel=1e-12)


def test_ratios_and_scores_have_the_published_closed_forms():
    x, theta_0, theta_1 = 1.7, 0.6, -0.8
    wanted = (theta_0 - theta_1) * (2 * x - theta_0 - theta_1) / 10
    assert float(PROBLEM.log_ratio(x, theta_0, theta_1)) == pytest.approx(wanted, 1e-13)
    densities = [float(PROBLEM.log_density(x, at)) for at in (theta_0, theta_1)]
    assert densities[0] - densities[1] == pytest.approx(wanted, 1e-13)
    assert float(PROBLEM.score(x, theta_0)) == pytest.approx((x - theta_0) / 5, 1e-13)
    slope = jax.grad(PROBLEM.log_density, 1)(x, theta_0)
    assert float(slope) == pytest.approx((x - theta_0) / 5, 1e-13)


def test_joint_ratio_and_score_are_those_of_the_joint_density():
    z, theta_0, theta_1 = -0.3, 0.6, -0.8
    latent = lambda theta: scipy.stats.norm(theta, 2.0).logpdf(z)
    found = float(PROBLEM.joint_log_ratio(z, theta_0, theta_1))
    assert found == pytest.approx(latent(theta_0) - latent(theta_1), rel=1e-12)
    score = float(PROBLEM.joint_score(z, theta_0))
    # The variance is that of z alone, whichever features are seen.
    assert score == pytest.approx((z - theta_0) / 4, rel=1e-13)
    slope = jax.grad(PROBLEM.joint_log_ratio, 1)(z, theta_0, theta_1)
    assert float(slope) == pytest.approx(score, rel=1e-13)


def test_events_have_the_stated_distributions():
    table = events(1.0)
    assert table.names == ("x", "z", "joint_log_ratio", "joint_score")
    x, z = table["x"], table["z"]
    # One in 10⁴ seeds would fail; this one does not.
    for values, scale in ((x - 1, np.sqrt(5)), (z - 1, 2.0), (x - z, 1.0)):
        pvalue = scipy.stats.kstest(values, scipy.stats.norm(0, scale).cdf).pvalue
        assert pvalue > 1e-4
    assert abs(np.corrcoef(z, x - z)[0, 1]) < 5 / np.sqrt(N_EVENTS)
    np.testing.assert_allclose(table["joint_log_ratio"], (2 * z - 1) / 8, atol=1e-14)
    np.testing.assert_allclose(table["joint_score"], (z - 1) / 4, atol=1e-14)
    other = events(0.0)
    assert abs(np.corrcoef(x, other["x"])[0, 1]) < 5 / np.sqrt(N_EVENTS)


def test_joint_score_has_the_score_as_its_mean_at_each_event():
    table = events(1.0)
    x, score = table["x"], table["joint_score"]
    slope, offset = np.polyfit(x - 1, score, 1)
    # z has variance 4/5 at given x, its score 1/20: errors √(1/20 / (5 n)) and
    # √(1/20 / n), five sigma. The score of a latent variable that x were is 0.25.
    assert abs(slope - 0.2) < 5 * 0.1 / np.sqrt(N_EVENTS)
    assert abs(offset) < 5 * 0.224 / np.sqrt(N_EVENTS)
    residual = score - np.asarray(PROBLEM.score(jnp.asarray(x), 1.0))
    assert residual.var() == pytest.approx(1 / 20, rel=5 * np.sqrt(2 / N_EVENTS))


def test_joint_ratio_has_the_ratio_as_its_mean_at_each_event():
    """At the denominator, weighted with any function of x."""
    table = events(0.0)
    x, joint = table["x"], np.exp(table["joint_log_ratio"])
    ratio = np.exp(PROBLEM.log_ratio(jnp.asarray(x), 1.0, 0.0))
    for function in (np.ones_like(x), x, np.tanh(x - 1)):
        difference = (joint - ratio) * function
        error = difference.std() / np.sqrt(N_EVENTS)
        assert abs(difference.mean()) < 5 * error


def test_divergence_is_the_mean_logarithm_of_the_ratio():
    assert float(PROBLEM.divergence(1.0, 0.0)) == pytest.approx(0.1, rel=1e-14)
    log_ratio = np.asarray(PROBLEM.log_ratio(jnp.asarray(events(1.0)["x"]), 1.0, 0.0))
    error = log_ratio.std() / np.sqrt(N_EVENTS)
    assert abs(log_ratio.mean() - 0.1) < 5 * error


def test_no_events_are_refused():
    with pytest.raises(ValueError, match="n_events has to be at least 1"):
        PROBLEM.sample(0.0, 0, seed=1, theta_0=1.0, theta_1=0.0)
