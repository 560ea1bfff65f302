import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from scipy import stats

from diffana.neyman.order_statistic import (
    Capped,
    Empirical,
    Universal,
    empirical,
    excess,
    order_statistic,
    ville_bound,
)


LEVELS = [0.6826894921, 0.9, 0.9544997361]


@pytest.mark.parametrize("n_toys", [1, 9, 10, 19, 20, 99, 1000])
def test_coverage_at_finite_number_of_toys_is_at_least_the_level(n_toys):
    # The k-th smallest of n uniform numbers is Beta(k, n + 1 - k), and covers another
    # one with a probability that is its own value.
    toys = np.arange(1, n_toys + 1) / (n_toys + 1)
    for level, critical in zip(LEVELS, order_statistic(toys, LEVELS), strict=True):
        if np.isinf(critical):
            assert n_toys / (n_toys + 1) < level
            continue
        rank = np.rint(critical * (n_toys + 1))
        coverage = stats.beta.mean(rank, n_toys + 1 - rank)
        # Rounding of a quotient of integers.
        assert level - 1e-12 <= coverage < level + 1 / (n_toys + 1) + 1e-12


@pytest.mark.parametrize(("n_toys", "mean"), [(30, 3.0), (30, 0.3), (100, 1.0)])
def test_coverage_of_a_discrete_statistic_by_exact_summation(n_toys, mean):
    # c <= t where at least `rank` of the toys are <= t, a binomial probability, so that
    # the distribution of c, and with it the coverage, is known without toys.
    t = np.arange(60)
    below = stats.poisson.cdf(t, mean)
    for level in LEVELS:
        rank = int(np.searchsorted(np.arange(1, n_toys + 1) / (n_toys + 1), level)) + 1
        c_below = stats.binom.sf(rank - 1, n_toys, below)
        coverage = (np.diff(c_below, prepend=0.0) * below).sum()
        # The sum ends 20 standard deviations above the mean.
        assert coverage >= level - 1e-12

        rng = np.random.default_rng(1)
        toys = rng.poisson(mean, (n_toys, 20_000)).astype(float)
        found = order_statistic(toys, [level])[0]
        frequency = stats.poisson.cdf(found, mean).mean()
        # Five standard errors: a coverage per column has a spread below 0.5.
        assert abs(frequency - coverage) < 5 * 0.5 / np.sqrt(20_000)


@hypothesis.given(
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=40),
    st.fractions(min_value="1/100", max_value="99/100", max_denominator=100),
)
def test_it_is_the_smallest_value_with_enough_toys_below(values, level):
    critical = order_statistic(values, [float(level)])[0]
    wanted = level * (len(values) + 1)
    candidates = [v for v in values if sum(w <= v for w in values) >= wanted]
    assert critical == min(candidates, default=np.inf)


def test_points_are_treated_separately():
    toys = np.random.default_rng(0).normal(size=(50, 3))
    together = order_statistic(toys, LEVELS)
    assert together.shape == (3, 3)
    for point in range(3):
        np.testing.assert_array_equal(
            together[:, point], order_statistic(toys[:, point], LEVELS)
        )


def test_infinite_statistics_keep_their_place():
    toys = [-np.inf, 0.0, np.inf, np.inf]
    assert order_statistic(toys, [0.1, 0.4, 0.5]).tolist() == [-np.inf, 0.0, np.inf]


def test_nan_and_wrong_levels_are_refused():
    with pytest.raises(ValueError, match="1 statistics of toys are nan"):
        order_statistic([0.0, np.nan], [0.5])
    for levels in ([], [0.0], [1.0], [0.9, 0.5], [0.5, 0.5], [np.nan]):
        with pytest.raises(ValueError, match="confidence levels"):
            order_statistic([0.0, 1.0], levels)


def test_empirical_values_are_straight_lines_between_parameters():
    critical = Empirical(
        [0.0, 1.0, 3.0], [[0.0, 2.0, 4.0], [1.0, 3.0, np.inf]], [0.5, 0.9]
    )
    found = critical([0.0, 0.25, 1.0, 2.0, 3.0, 3.0 + 1e-12])
    inf = np.inf
    np.testing.assert_array_equal(
        found, [[0.0, 0.5, 2.0, 3.0, 4.0, 4.0], [1.0, 1.5, 3.0, inf, inf, inf]]
    )
    for mu in (-0.1, 3.1, np.nan):
        with pytest.raises(ValueError, match="outside the range"):
            critical([mu])


def test_empirical_values_of_a_chi_square():
    rng = np.random.default_rng(3)
    toys = rng.chisquare(1, (4, 100_000))
    found = empirical([0.0, 1.0, 2.0, 3.0], toys, LEVELS)([0.0, 1.0, 2.0, 3.0])
    coverage = stats.chi2.cdf(found, 1)
    # Five standard deviations of the coverage of 1e5 toys.
    error = np.sqrt(np.array(LEVELS) * (1 - np.array(LEVELS)) / 100_000)
    assert (abs(coverage - np.array(LEVELS)[:, None]) < 5 * error[:, None]).all()


def test_empirical_values_must_fit():
    with pytest.raises(ValueError, match="must increase"):
        Empirical([0.0, 0.0], [[0.0, 0.0]], [0.5])
    with pytest.raises(ValueError, match="shape"):
        Empirical([0.0, 1.0], [[0.0]], [0.5])
    with pytest.raises(ValueError, match="must not decrease"):
        Empirical([0.0], [[1.0], [0.0]], [0.5, 0.9])


def test_bound_is_that_of_markov():
    np.testing.assert_allclose(
        ville_bound(LEVELS), [2.29575, 4.60517, 6.18007], atol=5e-6
    )  # printed with five digits


@pytest.mark.parametrize("spread", [0.3, 1.0, 5.0])
def test_no_critical_value_of_a_focused_gaussian_test_exceeds_the_bound(spread):
    # X ~ N(mu, 1), focus N(0, spread²): FTS is a shifted non-central chi-square.
    mu = np.linspace(-6 * spread, 6 * spread, 201)
    share = spread**2 / (1 + spread**2)
    exact = [
        share * stats.ncx2.ppf(level, 1, (mu / spread**2) ** 2)
        - mu**2 / spread**2
        - np.log(1 + spread**2)
        for level in LEVELS
    ]
    assert excess(exact, ville_bound(LEVELS)) < 0
    np.testing.assert_array_equal(Universal(LEVELS)(mu).max(1), ville_bound(LEVELS))


def test_capped_values_are_never_above_the_bound():
    critical = Empirical([0.0, 1.0], [[0.0, 4.0], [1.0, np.inf]], [0.5, 0.9])
    capped = Capped(critical, [3.0, 5.0])
    found = capped([0.0, 0.5, 1.0])
    assert found.tolist() == [[0.0, 2.0, 3.0], [1.0, 5.0, 5.0]]
    assert excess(found, [3.0, 5.0]) == 0
    assert capped.levels.tolist() == [0.5, 0.9]
    with pytest.raises(ValueError, match="needs a bound"):
        Capped(critical, [3.0])
    with pytest.raises(ValueError, match="must not decrease"):
        Capped(critical, [3.0, 2.0])
