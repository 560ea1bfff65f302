"""The smeared mixture against events that are simulated and smeared one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from diffana.data.toys import (
    NUISANCES,
    SMEARED_POPULATIONS,
    SmearedMixture,
    smeared_tables,
)


PROBLEM = SmearedMixture()
N_EVENTS = 100_000
ALPHAS = ([0.0, 0.0, 0.0], [1.0, -1.0, 2.0], [-1.0, 1.0, -0.5])
TRUE = {"S": (PROBLEM.signal, 0.64, 0.3), "B": (PROBLEM.background, 1.0, 0.5)}
# The choices of the docstring, typed again.
MEANS = {"S": (3.1, 2.3, 1.6, 1.0, -0.5), "B": (2.0, 1.5, 1.0, 0.5, 0.0)}
SHIFTS = {"S": (0.1, 0.05, 0.0, 0.0, 0.0), "B": (0.05, 0.05, 0.05, 0.0, 0.0)}


def covariance(component):
    _, variance, correlation = TRUE[component]
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    return variance * correlation**distance


def smeared(component, alpha, n_events=N_EVENTS, seed=1):
    """Events as a detector makes them: true values, response, noise."""
    random = np.random.default_rng(seed)
    mean = np.array(MEANS[component]) + alpha[2] * np.array(SHIFTS[component])
    true = random.multivariate_normal(mean, covariance(component), n_events)
    noise = random.normal(size=true.shape)
    return (1 + 0.1 * alpha[0]) * true + 0.3 * (1 + 0.25 * alpha[1]) * noise


def observed(component, alpha):
    return PROBLEM.components(alpha)["SB".index(component)]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("component", ["S", "B"])
def test_densities_are_those_of_smeared_events(component, alpha):
    x = smeared(component, alpha)
    normal = observed(component, alpha)
    # In coordinates in which the observed density is a standard normal one.
    root = np.linalg.cholesky(normal.covariance)
    noise = np.linalg.solve(root, (x - np.asarray(normal.mean)).T)
    for feature in noise:
        # One in 10⁴ seeds would fail; this one does not.
        assert scipy.stats.kstest(feature, "norm").pvalue > 1e-4
    # Errors of correlations, five sigma.
    found = np.corrcoef(noise) - np.eye(5)
    assert np.abs(found).max() < 5 / np.sqrt(N_EVENTS)


def test_log_densities_are_those_of_scipy():
    x = np.random.default_rng(4).normal(1.0, 1.5, size=(20, 5))
    alpha = np.array([0.5, -0.7, 1.3])
    found = jax.vmap(PROBLEM.log_densities, (0, None))(jnp.asarray(x), alpha)
    factor = 1.05
    noise = (0.3 * (1 - 0.25 * 0.7)) ** 2 * np.eye(5)
    for i, one in enumerate("SB"):
        mean = factor * (np.array(MEANS[one]) + 1.3 * np.array(SHIFTS[one]))
        total = factor**2 * covariance(one) + noise
        wanted = scipy.stats.multivariate_normal(mean, total).logpdf(x)
        # Logarithms of order 10 to 100.
        np.testing.assert_allclose(found[:, i], wanted, rtol=1e-12)
    assert PROBLEM.yields().tolist() == [1_100.0, 1e6]


def test_density_integrates_to_one():
    """Along the axes of the covariance, in which the density is a product."""
    normal = observed("S", ALPHAS[1])
    variance, axes = np.linalg.eigh(normal.covariance)
    at = np.linspace(-8.0, 8.0, 161)
    log_density = jax.jit(jax.vmap(normal.log_density))
    peak = float(normal.log_density(normal.mean))
    total = np.exp(peak)
    for axis, width in zip(axes.T, np.sqrt(variance), strict=True):
        x = np.asarray(normal.mean) + width * at[:, None] * axis
        values = np.exp(np.asarray(log_density(jnp.asarray(x))) - peak)
        total *= 0.1 * width * values.sum()
    # The tails beyond eight standard deviations are 10⁻¹⁵.
    assert total == pytest.approx(1.0, abs=1e-12)


def test_nominal_ratio_selects_events():
    x = jnp.asarray(smeared("B", ALPHAS[0], 2_000))
    ratio = np.asarray(jax.vmap(PROBLEM.background_to_signal)(x))
    densities = np.exp(jax.vmap(PROBLEM.log_densities, (0, None))(x, np.zeros(3)))
    np.testing.assert_allclose(
        ratio, 1e6 * densities[:, 1] / (1_100 * densities[:, 0]), rtol=1e-11
    )
    for limit in (250.0, 100.0):
        selected = jax.vmap(PROBLEM.selected, (0, None))(x, limit)
        np.testing.assert_array_equal(selected, ratio <= limit)
        assert 0 < selected.sum() < len(x)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("limit", [250.0, 50.0])
def test_selected_yields_are_those_of_smeared_events(alpha, limit):
    """Within the error of 4·10⁵ events, below one per cent."""
    select = jax.jit(jax.vmap(PROBLEM.selected, (0, None)))
    found = PROBLEM.selected_yields(alpha, limit)
    for i, one in enumerate("SB"):
        total = float(PROBLEM.yields()[i])
        n_events = 400_000
        n_selected = int(select(smeared(one, alpha, n_events, seed=7), limit).sum())
        fraction = n_selected / n_events
        error = np.sqrt(fraction * (1 - fraction) / n_events)
        assert abs(found[i] / total - fraction) < 5 * error


def test_selected_yields_are_integrals_over_the_ratio():
    """∫ p_S e^q over a slice of q = ln(p_B / p_S) is the slice of the background."""
    limits = np.exp(np.linspace(np.log(20.0), np.log(250.0), 201))
    yields = jax.jit(jax.vmap(PROBLEM.selected_yields, (None, 0)))
    signal, background = np.asarray(yields(jnp.zeros(3), jnp.asarray(limits))).T
    # The ratio of the intensities is the limit itself: midpoints of narrow slices.
    slices = np.sqrt(limits[1:] * limits[:-1]) * np.diff(signal)
    # Slices of 1.3 %: its square, and the curvature of the density over it.
    np.testing.assert_allclose(np.diff(background), slices, rtol=1e-4)
    np.testing.assert_allclose(background[-1] - background[0], slices.sum(), rtol=2e-5)


def test_derivatives_of_selected_yields_are_those_of_differences():
    yields = jax.jit(lambda alpha: PROBLEM.selected_yields(alpha))
    slopes = jax.jit(jax.jacfwd(yields))(jnp.zeros(3))
    for i, step in enumerate(1e-4 * np.eye(3)):
        up, down = (np.asarray(yields(sign * step)) for sign in (1, -1))
        # Square of the step, and rounding of 10⁻¹² of the yields.
        difference = (up - down) / 2e-4
        np.testing.assert_allclose(slopes[:, i], difference, rtol=1e-5, atol=1e-3)


def test_tables_follow_from_seed_and_name():
    tables = smeared_tables(n_events=500, seed=3)
    assert tuple(tables) == SMEARED_POPULATIONS
    assert len(tables) == 2 * (1 + 2 * len(NUISANCES))
    for name, table in tables.items():
        assert table.names == ("x0", "x1", "x2", "x3", "x4", "b_over_s")
        alone = smeared_tables(500, 3, [name])[name]
        np.testing.assert_array_equal(alone["x0"], table["x0"])
    assert len({table["x0"][0] for table in tables.values()}) == len(tables)
    x = tables["S"].matrix(["x0", "x1", "x2", "x3", "x4"])
    ratio = jax.vmap(PROBLEM.background_to_signal)(jnp.asarray(x))
    np.testing.assert_allclose(tables["S"]["b_over_s"], ratio, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "alpha"),
    [
        ("S", (0, 0, 0)),
        ("B", (0, 0, 0)),
        ("S_response_up", (1, 0, 0)),
        ("B_response_down", (-1, 0, 0)),
        ("B_resolution_up", (0, 1, 0)),
        ("S_resolution_down", (0, -1, 0)),
        ("S_theory_up", (0, 0, 1)),
        ("B_theory_down", (0, 0, -1)),
    ],
)
def test_tables_are_samples_at_one_standard_deviation(name, alpha):
    table = smeared_tables(20_000, 3, [name])[name]
    wanted = observed(name[0], alpha)
    for i in range(5):
        scale = np.sqrt(wanted.covariance[i, i])
        cdf = scipy.stats.norm(wanted.mean[i], scale).cdf
        # One in 10⁴ seeds would fail; this one does not.
        assert scipy.stats.kstest(table[f"x{i}"], cdf).pvalue > 1e-4


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no population 'S_respons_up'; close: S_resp"):
        smeared_tables(10, populations=["S_respons_up"])
    with pytest.raises(ValueError, match="n_events has to be at least 1"):
        smeared_tables(n_events=0)
    with pytest.raises(ValueError, match=r"features differ: .*'resolution': \(4,\)"):
        SmearedMixture(resolution=[0.3] * 4)
