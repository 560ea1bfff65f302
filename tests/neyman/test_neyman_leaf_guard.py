import numpy as np
import pytest
from scipy import stats

from diffana.neyman.leaf_guard import guarded
from diffana.neyman.order_statistic import Empirical, Universal


LEVELS = np.array([0.6826894921, 0.9544997361])


def coverage(critical, mu):
    """Of a statistic that is chi-square distributed times 1 + mu²."""
    return stats.chi2.cdf(critical(mu) / (1 + mu**2), 1)


def toys(rng, n_toys):
    mu = rng.uniform(-2.0, 2.0, n_toys)
    return mu, rng.chisquare(1, n_toys) * (1 + mu**2)


def wrong():
    """Critical values that cover far too little on one side, too much on the other."""
    return Empirical([-2.0, 2.0], [[0.1, 6.0], [0.2, 30.0]], LEVELS)


def test_leaves_are_covered_on_average_at_finite_number_of_toys():
    # 16 toys per leaf only: most values between two toys would not cover.
    rng, n_repeated, n_leaves = np.random.default_rng(0), 1000, 4
    n_toys = 16 * n_leaves
    grid = np.linspace(-2.0, 2.0, 401)
    found = np.zeros((n_repeated, 2, n_leaves))
    for i in range(n_repeated):
        safe = guarded(wrong(), *toys(rng, n_toys), n_leaves)
        leaf = np.searchsorted(safe.edges, grid, side="right")
        each = coverage(safe, grid)
        found[i] = [
            [each[level, leaf == k].mean() for k in range(n_leaves)] for level in (0, 1)
        ]
    mean, error = found.mean(axis=0), found.std(axis=0) / np.sqrt(n_repeated)
    # ⌈17 CL⌉ = 12 and 17 > 16: +inf, which covers always.
    np.testing.assert_array_equal(mean[1], 1.0)
    # Five standard errors. Edges between toys favour neither side at this precision.
    assert (mean[0] > LEVELS[0] - 5 * error[0]).all()
    assert (mean[0] < 12 / 17 + 5 * error[0] + 0.01).all()


def test_many_toys_correct_the_worst_critical_values():
    rng = np.random.default_rng(1)
    safe = guarded(wrong(), *toys(rng, 200_000), 20)
    each = coverage(safe, np.linspace(-2.0, 2.0, 4001))
    # Five standard deviations of the coverage of 1e4 toys per leaf.
    error = np.sqrt(LEVELS * (1 - LEVELS) / 10_000)
    by_leaf = each.reshape(2, -1)[:, :4000].reshape(2, 20, 200).mean(axis=2)
    assert (abs(by_leaf - LEVELS[:, None]) < 5 * error[:, None] + 0.002).all()


def test_levels_stay_ordered():
    # The lower level is far too low, the higher one far too high, and toys are few.
    critical = Empirical([0.0, 1.0], [[0.0, 0.0], [9.0, 0.0]], [0.5, 0.51])
    rng = np.random.default_rng(2)
    mu = rng.uniform(0.0, 1.0, 60)
    safe = guarded(critical, mu, rng.normal(size=60) + 5 * mu, 3)
    found = safe(np.linspace(0.0, 1.0, 101))
    assert (np.diff(found, axis=0) >= 0).all()


def test_shift_is_the_order_statistic_of_the_residual():
    mu = np.array([0.1, 0.2, 0.3, 0.8, 0.9, 1.0])
    statistic = np.array([1.0, 5.0, 3.0, 2.0, 2.0, 7.0])
    safe = guarded(Universal([0.5]), mu, statistic, 2)
    # ⌈4 × 0.5⌉ = 2nd smallest, whatever the constant that is shifted.
    np.testing.assert_allclose(safe([0.0, 0.3, 0.7, 5.0])[0], [3.0, 3.0, 2.0, 2.0])


def test_too_few_toys_accept_everything():
    safe = guarded(Universal([0.9]), np.arange(4.0), np.zeros(4), 1)
    assert safe([0.0])[0, 0] == np.inf


def test_equal_parameters_share_leaves():
    mu = np.zeros(50)
    safe = guarded(Universal([0.5]), mu, np.arange(50.0), 5)
    assert safe([0.0])[0, 0] == pytest.approx(25.0)  # ⌈51 / 2⌉ = 26th


def test_wrong_arguments_are_refused():
    critical = Universal([0.5])
    with pytest.raises(ValueError, match="leaves need"):
        guarded(critical, np.zeros(3), np.zeros(3), 4)
    with pytest.raises(ValueError, match="leaves need"):
        guarded(critical, np.zeros(3), np.zeros(2), 1)
    with pytest.raises(ValueError, match="nan"):
        guarded(critical, np.zeros(3), np.array([0.0, np.nan, 1.0]), 1)
