"""The table of -2 ln L against single values; toys with their own parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffana.histfactory import from_workspace
from thirty_bins import thirty_bins


def _modifier(kind, name, data=None):
    return {"type": kind, "name": name, "data": data}


def _constrained():
    """Gaussian and Poisson constraints, and rates that reach zero and below."""
    return from_workspace(
        {
            "version": "1.0.0",
            "channels": [
                {
                    "name": "SR",
                    "samples": [
                        {
                            "name": "signal",
                            "data": [2.0, 1.0, 0.0],
                            "modifiers": [_modifier("normfactor", "mu")],
                        },
                        {
                            "name": "background",
                            "data": [0.0, 3.0, 1e6],
                            "modifiers": [
                                _modifier("normsys", "rate", {"hi": 1.2, "lo": 0.9}),
                                # An auxiliary count of 1e8.
                                _modifier("shapesys", "shape", [0.0, 1.0, 100.0]),
                                _modifier("staterror", "size", [0.0, 0.3, 10.0]),
                            ],
                        },
                    ],
                }
            ],
            "observations": [{"name": "SR", "data": [0.0, 4.0, 1e6]}],
            "measurements": [
                {
                    "name": "m",
                    "config": {
                        "poi": "mu",
                        "parameters": [{"name": "mu", "bounds": [[-10.0, 10.0]]}],
                    },
                }
            ],
        }
    )[0]


@pytest.fixture(scope="module")
def model():
    return _constrained()


@pytest.fixture(scope="module")
def ordinary():
    return thirty_bins()[0]


def _points(model, mu, rng):
    points = np.tile(np.asarray(model.parameters.inits), (len(mu), 1))
    points += rng.normal(0, 0.01, points.shape) * ~np.asarray(model.parameters.fixed)
    points[:, model.parameters.poi_index] = mu
    return jnp.asarray(points)


@eqx.filter_jit
def _both(model, points, data):
    one_by_one = jax.vmap(
        jax.vmap(model.twice_nll, in_axes=(0, None)), in_axes=(None, 0)
    )
    return model.twice_nll_table(points, data), one_by_one(points, data)


def test_the_table_is_twice_nll_of_every_pair(model):
    rng = np.random.default_rng(2)
    points = _points(model, np.linspace(0.1, 4.0, 5), rng)
    data = model.samples(model.parameters.inits, 6, 7)
    table, want = _both(model, points, data)
    assert np.isfinite(want).all()
    # Terms are of order 1e9 (an auxiliary count of 1e8 times its logarithm), with 16
    # digits: what cancels in them leaves 1e-7 per term.
    np.testing.assert_allclose(table, want, rtol=0, atol=2e-6)


def test_the_table_of_an_ordinary_workspace(ordinary):
    model, rng = ordinary, np.random.default_rng(4)
    points = _points(model, np.linspace(-0.2, 4.0, 5), rng)
    data = model.samples(model.parameters.inits, 6, 7)
    table, want = _both(model, points, data)
    # Sixteen digits of sums of order 1e4.
    np.testing.assert_allclose(table, want, rtol=0, atol=1e-9)


def test_rates_of_zero_and_below_in_the_table(model):
    mu = np.array([1.0, 0.0, -1.0, 2.0, 3.0])
    points = _points(model, mu, np.random.default_rng(1))
    data = model.expected_data(model.parameters.inits)
    data = jnp.stack([data.at[0].set(count) for count in 3 * (0.0, 2.0)])
    table, want = _both(model, points, data)
    # Without a count the sign of the rate is of no consequence, as in pyhf.
    assert np.isfinite(table[0]).all()
    np.testing.assert_allclose(table[0], want[0], rtol=0, atol=2e-6)
    assert np.isfinite(table[1, 0])
    assert table[1, 1] == want[1, 1] == np.inf
    assert np.isnan(table[1, 2])
    assert np.isnan(want[1, 2])


def test_large_values_of_constraints_keep_their_digits(ordinary):
    """The differences along the table, with pulls of a thousand standard deviations."""
    model, rng = ordinary, np.random.default_rng(3)
    points = _points(model, np.linspace(0.0, 2.0, 5), rng)
    data = model.samples(model.parameters.inits, 6, 7)
    aux = model.layout.n_bins
    data = data.at[:, aux:].add(1000.0)
    table, want = _both(model, points, data)
    # Sixteen digits of squares of order 1e9.
    np.testing.assert_allclose(table, want, rtol=0, atol=1e-5)


def test_equal_rows_of_parameters_draw_what_one_row_draws(model):
    params = model.parameters.inits
    one = model.samples(params, 5, 11)
    rows = model.samples(jnp.tile(params, (5, 1)), 5, 11)
    np.testing.assert_array_equal(one, rows)
    again = model.samples(params, 5, 11)
    np.testing.assert_array_equal(one, again)
    other = model.samples(params, 5, 12)
    assert (np.asarray(one) != np.asarray(other)).any()


def test_every_toy_is_drawn_at_its_own_parameters(model):
    n_toys = 40_000
    mu = np.repeat([0.5, 4.0], n_toys // 2)
    params = np.tile(np.asarray(model.parameters.inits), (n_toys, 1))
    rate, poi = model.parameters.index("rate"), model.parameters.poi_index
    params[:, poi], params[:, rate] = mu, mu / 4
    toys = np.asarray(model.samples(jnp.asarray(params), n_toys, 5))
    for value in (0.5, 4.0):
        mine = toys[mu == value]
        expected = np.asarray(model.expected_data(jnp.asarray(params[mu == value][0])))
        # Five standard errors of a mean; each count is as wide as its root, the
        # Gaussian ones at most as wide as 1.
        width = np.sqrt(np.maximum(expected, 1.0))
        error = np.abs(mine.mean(0) - expected) / (width / np.sqrt(n_toys // 2))
        assert error.max() < 5
        # The first bin is a Poisson count of mean 2 mu: its distribution, too.
        counts = np.bincount(mine[:, 0].astype(int), minlength=25)[:25]
        want = stats.poisson.pmf(np.arange(25), 2 * value) * len(mine)
        pull = (counts - want) / np.sqrt(np.maximum(want, 1.0))
        assert np.abs(pull).max() < 5


def test_a_negative_rate_of_one_toy_is_nan_in_that_toy_only(model):
    params = jnp.tile(model.parameters.inits, (3, 1))
    params = params.at[1, model.parameters.poi_index].set(-1.0)
    toys = np.asarray(model.samples(params, 3, 1))
    assert np.isnan(toys).nonzero()[0].tolist() == [1]
    assert np.isnan(toys).nonzero()[1].tolist() == [0]
