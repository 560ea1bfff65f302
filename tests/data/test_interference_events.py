"""Events of the interference problem against its densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.interpolate import CubicSpline

from diffana.data.toys import (
    COMPONENTS,
    INTERFERENCE_POPULATIONS,
    Interference,
    interference_tables,
    pooled_events,
    sample_component,
    sample_total,
)


N_EVENTS = 100_000
PROBLEM = Interference()
N_NODES = 61
# One in 10^4 seeds would fail; those chosen do not.
P_VALUE = 1e-4
WEIGHTS = ("weight_S", "weight_SBI", "weight_B")


def evaluated(function, x):
    return np.asarray(jax.jit(jax.vmap(function))(jnp.asarray(x)))


@pytest.fixture(scope="module")
def nodes():
    return PROBLEM.grid(N_NODES)


@pytest.fixture(scope="module")
def at_nodes(nodes):
    """Share of each node in the events of each component, at α = 0."""
    return nodes[1][:, None] * np.exp(evaluated(PROBLEM.log_densities, nodes[0]))


def marginal_cdfs(nodes, share):
    """Distribution function of each feature, from sums over the other two."""
    cube = share.reshape(3 * (N_NODES,))
    for axis in range(3):
        at = np.unique(nodes[:, axis])
        others = tuple(i for i in range(3) if i != axis)
        density = cube.sum(axis=others) / (at[1] - at[0])
        yield CubicSpline(at, density).antiderivative()


def test_marginals_of_the_nodes_are_normal(nodes, at_nodes):
    """The spline through nodes is good to a tenth of what 10⁵ events resolve."""
    mean, spread = PROBLEM.signal.mean, np.sqrt(np.diag(PROBLEM.signal.covariance))
    at = np.linspace(-2.0, 4.0, 50)
    for i, cdf in enumerate(marginal_cdfs(nodes[0], at_nodes[:, 0])):
        wanted = scipy.stats.norm(mean[i], spread[i]).cdf(at)
        np.testing.assert_allclose(cdf(at), wanted, atol=3e-4)


@pytest.mark.parametrize("component", COMPONENTS)
def test_components_follow_their_densities(nodes, at_nodes, component):
    x = sample_component(PROBLEM, component, N_EVENTS, seed=3)
    assert x.shape == (N_EVENTS, 3)
    share = at_nodes[:, COMPONENTS.index(component)]
    for feature, cdf in zip(x.T, marginal_cdfs(nodes[0], share), strict=True):
        assert scipy.stats.kstest(feature, cdf).pvalue > P_VALUE
    # First and second moments, and what distinguishes the components: five sigma.
    for values in (
        lambda x: x,
        lambda x: x[:, [0, 0, 1]] * x[:, [1, 2, 2]],
        lambda x: evaluated(PROBLEM.share, x)[:, None],
    ):
        found, wanted = values(x), share @ values(nodes[0])
        error = found.std(axis=0) / np.sqrt(N_EVENTS)
        assert np.all(np.abs(found.mean(axis=0) - wanted) < 5 * error)


def test_interference_shows_in_the_events(nodes, at_nodes):
    """The test above, within five sigma, fails if SBI is the incoherent sum."""
    incoherent = at_nodes[:, [0, 2]] @ np.array([100.0, 1_000.0]) / 1_100.0
    share = evaluated(PROBLEM.share, nodes[0])
    x = sample_component(PROBLEM, "SBI", N_EVENTS, seed=3)
    found = evaluated(PROBLEM.share, x)
    error = found.std() / np.sqrt(N_EVENTS)
    assert abs(found.mean() - incoherent @ share) > 7 * error


def test_alpha_moves_equal_events_of_one_component():
    sample = lambda component, alpha: sample_component(
        PROBLEM, component, 1_000, 3, alpha
    )
    shift = 0.3 * np.sqrt(0.53) * np.array([0.792593924, 0.566138517, 0.226455407])
    moved = sample("NI", 0.5) - sample("NI", 0.0)
    np.testing.assert_allclose(moved, np.tile(0.5 * shift, (1_000, 1)), atol=1e-14)
    np.testing.assert_array_equal(sample("SBI", 0.5), sample("SBI", 0.0))


@pytest.mark.parametrize(
    ("mu", "cos_phase"), [(0.0, -0.24), (0.3, -0.24), (2.5, -0.24), (0.3, 0.6)]
)
def test_toys_follow_the_total_intensity(nodes, mu, cos_phase):
    """A coefficient of a component is negative at 0.3 and 2.5."""
    # Little besides what interferes, so that interference shows.
    problem = Interference(noninterfering_rate=200.0, cos_phase=cos_phase)
    alpha = 1.5
    x = sample_total(problem, mu, alpha, seed=5)
    log_intensity = lambda x: problem.log_intensity(x, mu, alpha)
    expected = nodes[1] * np.exp(evaluated(log_intensity, nodes[0]))
    total = expected.sum()
    np.testing.assert_allclose(total, problem.total(mu), rtol=1e-12)
    # Poisson distributed sums over events, five sigma.
    for values in (
        lambda x: np.ones((len(x), 1)),
        lambda x: x,
        lambda x: evaluated(lambda one: problem.share(one, 1.0), x)[:, None],
    ):
        found, wanted = values(x).sum(axis=0), expected @ values(nodes[0])
        error = np.sqrt(expected @ values(nodes[0]) ** 2)
        assert np.all(np.abs(found - wanted) < 5 * error)
    for feature, cdf in zip(
        x.T, marginal_cdfs(nodes[0], expected / total), strict=True
    ):
        assert scipy.stats.kstest(feature, cdf).pvalue > P_VALUE


def test_toys_of_the_benchmark_have_the_right_number_and_mean(nodes):
    mu = 0.3
    toys = [sample_total(PROBLEM, mu, seed=seed) for seed in range(5)]
    expected = nodes[1] * np.exp(
        evaluated(lambda x: PROBLEM.log_intensity(x, mu), nodes[0])
    )
    n_found, total = sum(map(len, toys)), len(toys) * float(PROBLEM.total(mu))
    assert abs(n_found - total) < 5 * np.sqrt(total)
    # Without interference there would be 4 156 more in each toy, thirteen sigma.
    interference = 50 * 2 * 0.24 * np.sqrt(mu * 1e5)
    assert len(toys) * interference > 10 * np.sqrt(total)
    x = np.concatenate(toys)
    mean = expected @ nodes[0] / expected.sum()
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * x.std(axis=0) / np.sqrt(n_found))


def test_numbers_of_events_are_poisson_distributed():
    problem = Interference(exposure=0.01)
    numbers = np.array([len(sample_total(problem, 0.3, seed=i)) for i in range(200)])
    mean = float(problem.total(0.3))
    assert abs(numbers.mean() - mean) < 5 * np.sqrt(mean / len(numbers))
    # Relative error of a variance: √(2 / 200) = 0.1, five sigma.
    assert abs(numbers.var() / mean - 1) < 0.5


def test_toys_are_mixed_and_follow_from_their_seed():
    toy, same, other = (sample_total(PROBLEM, 1.0, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(toy, same)
    assert not np.array_equal(toy[:100], other[:100])
    # Both halves have the same mixture: the means differ by their errors only.
    one, two = np.array_split(toy, 2)
    error = toy.std(axis=0) * 2 / np.sqrt(len(toy))
    assert np.all(np.abs(one.mean(axis=0) - two.mean(axis=0)) < 5 * error)


def test_weights_of_the_pool_are_ratios_of_intensities():
    pool = pooled_events(PROBLEM, N_EVENTS, seed=2)
    x = pool.matrix(["x", "y", "z"])
    weights = pool.matrix(WEIGHTS)
    assert np.all(weights > 0)
    densities = np.exp(evaluated(PROBLEM.log_densities, x))[:, :3]
    wanted = densities * np.asarray(PROBLEM.yields())[:3]
    incoherent = wanted[:, 0] + wanted[:, 2]
    wanted *= 55_000.0 / N_EVENTS / incoherent[:, None]
    np.testing.assert_allclose(weights, wanted, rtol=1e-11)


def test_weighted_pool_is_a_sample_of_each_component(nodes, at_nodes):
    pool = pooled_events(PROBLEM, N_EVENTS, seed=2)
    x = pool.matrix(["x", "y", "z"])
    for i, name in enumerate(WEIGHTS):
        weight, total = pool[name][:, None], float(PROBLEM.yields()[i])
        for values in (lambda x: np.ones((len(x), 1)), lambda x: x, lambda x: x**2):
            wanted = total * (at_nodes[:, i] @ values(nodes[0]))
            summed = weight * values(x)
            error = summed.std(axis=0) * np.sqrt(N_EVENTS)
            assert np.all(np.abs(summed.sum(axis=0) - wanted) < 5 * error)


def test_tables_follow_from_seed_and_name():
    tables = interference_tables(n_events=1_000, seed=3)
    assert tuple(tables) == INTERFERENCE_POPULATIONS
    for name, table in tables.items():
        extra = WEIGHTS if name == "pool" else ()
        assert table.names == ("x", "y", "z", *extra)
        assert len(table) == 1_000
        alone = interference_tables(1_000, 3, [name])[name]
        np.testing.assert_array_equal(alone["x"], table["x"])
        other = interference_tables(1_000, 4, [name])[name]
        assert not np.array_equal(other["x"], table["x"])
    first = {table["x"][0] for table in tables.values()}
    assert len(first) == len(tables)


def test_varied_tables_are_moved_by_one_standard_deviation():
    tables = interference_tables(20_000, 3, ["NI", "NI_up", "NI_down"])
    # The shift at α = 1 is 0.173, the error of a mean 0.008.
    for name, alpha in (("NI", 0), ("NI_up", 1), ("NI_down", -1)):
        wanted = scipy.stats.norm(-0.6 + 0.17311 * alpha, np.sqrt(1.35)).cdf
        assert scipy.stats.kstest(tables[name]["x"], wanted).pvalue > P_VALUE


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no component 'BSI'; close: SBI"):
        sample_component(PROBLEM, "BSI", 10, seed=1)
    with pytest.raises(ValueError, match="no population 'NI_upp'; close: NI_up"):
        interference_tables(10, populations=["NI_upp"])
    with pytest.raises(ValueError, match=r"strength has to be at least 0, not -0\.1"):
        sample_total(PROBLEM, -0.1)
    with pytest.raises(ValueError, match="strength has to be at least 0, not nan"):
        sample_total(PROBLEM, np.nan)
    with pytest.raises(ValueError, match=r"cos_phase -1\.5 is no cosine"):
        sample_total(Interference(cos_phase=-1.5), 1.0)
    for sample in (
        lambda: sample_component(PROBLEM, "S", 0, seed=1),
        lambda: pooled_events(PROBLEM, 0, seed=1),
        lambda: interference_tables(n_events=0),
    ):
        with pytest.raises(ValueError, match="n_events has to be at least 1"):
            sample()
