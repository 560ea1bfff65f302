import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffana.errors import DataError
from diffana.nsbi.pool import Pool
from diffana.nsbi.resampling import AllEvents, Bootstrap, Partition


FEATURES = np.random.default_rng(0).normal(size=(6, 2))
ONES = np.ones((6, 2))


def changed(values, row, column, value):
    values = values.copy()
    values[row, column] = value
    return values


@pytest.mark.parametrize(
    ("features", "weight", "message"),
    [
        (FEATURES[:, 0], ONES, r"features have shape \(6,\)"),
        (FEATURES, ONES[:5], r"6 rows of features, but weights of shape \(5, 2\)"),
        (FEATURES, ONES[:, 0], r"weights of shape \(6,\)"),
        (FEATURES, ONES[:, :1], "there is 1 class"),
        (changed(FEATURES, 4, 1, np.nan), ONES, "feature 1 of event 4 is nan"),
        (FEATURES, changed(ONES, 3, 1, -0.5), "event 3 has weight -0.5 in class 1"),
        (FEATURES, changed(ONES, 2, 0, np.inf), "event 2 has weight inf in class 0"),
        (FEATURES, ONES * [1.0, 0.0], "class 1 is empty: none of the 6"),
        (FEATURES[:0], ONES[:0], "class 0 is empty: none of the 0"),
    ],
)
def test_unusable_events_are_refused(features, weight, message):
    with pytest.raises(DataError, match=message):
        Pool(features, weight)


def test_samples_have_no_weight_in_other_classes():
    pool = Pool.of_samples(
        (FEATURES[:2], None), (FEATURES[2:3], [0.5]), (FEATURES[3:], [1.0, 2.0, 0.0])
    )
    want = [[1, 0, 0], [1, 0, 0], [0, 0.5, 0], [0, 0, 1], [0, 0, 2], [0, 0, 0]]
    np.testing.assert_array_equal(pool.weight, want)
    np.testing.assert_array_equal(pool.features, FEATURES)
    assert (pool.n_events, pool.n_features, pool.n_classes) == (6, 2, 3)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (((FEATURES, None), (FEATURES[:, :1], None)), "same columns"),
        (((FEATURES, None), (FEATURES, np.ones(5))), "class 1 has 6 events"),
        (((FEATURES, None),), "there is 1 class"),
    ],
)
def test_samples_that_do_not_fit_are_refused(samples, message):
    with pytest.raises(DataError, match=message):
        Pool.of_samples(*samples)


def test_pools_are_made_under_jit_by_a_simulator():
    @eqx.filter_jit
    def simulate(key):
        x = jax.random.normal(key, (5, 1))
        return Pool(x, jnp.concatenate([jnp.ones((5, 1)), jnp.exp(x)], axis=1))

    assert simulate(jax.random.key(0)).n_events == 5


def test_parts_of_a_split_are_disjoint_and_reproducible():
    pool = Pool(np.arange(100.0)[:, None], np.ones((100, 2)))
    first, second = pool.split(0.7, seed=3)
    assert (first.n_events, second.n_events) == (70, 30)
    together = np.concatenate([first.features, second.features])[:, 0]
    assert sorted(together) == list(range(100))
    np.testing.assert_array_equal(pool.split(0.7, seed=3)[0].features, first.features)
    assert not np.array_equal(pool.split(0.7, seed=4)[0].features, first.features)
    with pytest.raises(ValueError, match="not between 0 and 1"):
        pool.split(1.0, seed=3)
    with pytest.raises(DataError, match="class 1 is empty"):
        Pool(FEATURES, changed(ONES * [1, 0], 5, 1, 1.0)).split(0.5, seed=0)


def test_standardisation_gives_each_class_the_same_weight():
    # A thousand times as many events in one class, and 10 in the other.
    pool = Pool.of_samples(
        (np.tile([[0.0], [2.0]], (5, 1)), None), (np.full((10_000, 1), 5.0), None)
    )
    found = pool.standardisation()
    np.testing.assert_allclose(found.mean, [3.0])
    np.testing.assert_allclose(found.scale, [np.sqrt(0.5 * (9 + 1) / 2 + 0.5 * 4)])


def test_bootstraps_are_poisson_numbers_that_differ():
    shares = Bootstrap().deal(jax.random.key(0), 3, 20_000)
    factor = np.asarray(shares.factor)
    # Mean and variance of 20 000 Poisson numbers of mean 1; four standard deviations.
    np.testing.assert_allclose(factor.mean(axis=1), 1.0, atol=4 / np.sqrt(20_000))
    # The fourth central moment is 4: the variance of the variance is (4 - 1)/n.
    np.testing.assert_allclose(factor.var(axis=1), 1.0, atol=4 * np.sqrt(3.0 / 20_000))
    correlation = np.corrcoef(factor) - np.eye(3)
    assert np.abs(correlation).max() < 4 / np.sqrt(20_000)
    assert (np.asarray(shares.rows) == np.arange(20_000)).all()
    again = Bootstrap().deal(jax.random.key(0), 3, 20_000)
    assert eqx.tree_equal(again, shares)
    other = Bootstrap().deal(jax.random.key(1), 3, 20_000)
    assert not np.array_equal(other.factor, factor)


@pytest.mark.parametrize("n_events", [3, 9, 10, 11])
def test_parts_of_a_partition_are_disjoint_and_complete(n_events):
    shares = Partition().deal(jax.random.key(0), 3, n_events)
    rows, factor = np.asarray(shares.rows), np.asarray(shares.factor)
    used = [rows[member][factor[member] > 0] for member in range(3)]
    assert sorted(np.concatenate(used)) == list(range(n_events))
    assert {len(part) for part in used} <= {n_events // 3, n_events // 3 + 1}
    assert set(np.unique(shares.factor)) <= {0.0, 1.0}
    with pytest.raises(ValueError, match="2 events do not give 3 parts"):
        Partition().deal(jax.random.key(0), 3, 2)


def test_all_events_are_those_of_every_member():
    shares = AllEvents().deal(jax.random.key(0), 2, 4)
    assert shares.rows.tolist() == [[0, 1, 2, 3]] * 2
    assert (np.asarray(shares.factor) == 1).all()
