"""Coverage at a grid and as a curve, against SciPy and known probabilities."""

import numpy as np
import pytest
from scipy import stats

from diffana.errors import DataError
from diffana.neyman.coverage import (
    Band,
    binomial_coverage,
    clopper_pearson,
    largest_deviation,
)
from diffana.neyman.coverage_curve import logistic_coverage


LEVEL = 0.6827
COUNTS = np.array([0, 1, 55, 68, 99, 100])
POINTS = np.linspace(0.0, 10.0, 101)


@pytest.mark.parametrize("confidence", [0.6827, 0.95])
def test_intervals_are_those_of_scipy(confidence):
    band = clopper_pearson(COUNTS, np.full(6, 100), confidence)
    for i, count in enumerate(COUNTS):
        exact = stats.binomtest(int(count), 100).proportion_ci(confidence, "exact")
        # SciPy inverts the tail by Brent's method with an absolute error of 2e-12.
        np.testing.assert_allclose((band.lower[i], band.upper[i]), exact, atol=1e-10)


def test_p_values_are_those_of_scipy():
    found = binomial_coverage(COUNTS, 100, LEVEL)
    for i, count in enumerate(COUNTS):
        test = stats.binomtest(int(count), 100, LEVEL, "less")
        assert found.p_below[i] == pytest.approx(test.pvalue, rel=1e-10)
    # Twice the upper tail: 0.6827^100 for all covered.
    assert found.p_equal[-1] == pytest.approx(2 * LEVEL**100, rel=1e-10)


@pytest.mark.parametrize("independent", [True, False])
def test_exact_is_where_the_band_contains_the_level(independent):
    rng = np.random.default_rng(1)
    answers = set()
    for counts in rng.binomial(400, LEVEL, (200, 21)):
        found = binomial_coverage(counts, 400, LEVEL, independent=independent)
        band = found.simultaneous
        inside = ((band.lower < LEVEL) & (band.upper > LEVEL)).all()
        assert found.exact == inside
        assert (found.largest.lower == 0) == inside
        answers.add(found.exact)
    assert answers == {True, False}


def test_simultaneous_band_contains_the_truth_with_its_confidence():
    rng = np.random.default_rng(2)
    truth = np.linspace(0.6, 0.75, 15)
    n_trials = 2000
    contained, claimed, covers = 0, 0, 0
    for counts in rng.binomial(500, truth, (n_trials, 15)):
        found = binomial_coverage(counts, 500, LEVEL, confidence=0.9)
        band, largest = found.simultaneous, found.largest
        contained += ((band.lower <= truth) & (truth <= band.upper)).all()
        deviation = np.abs(truth - LEVEL).max()
        claimed += largest.lower <= deviation <= largest.upper
        over = binomial_coverage(counts[-3:], 500, truth[-3])
        covers += over.covers
    # Clopper-Pearson overcovers, by at most the probability of one count: 3.5 % of 10 %
    # for 500 toys; three standard deviations of 2000 trials are 2 %.
    assert 0.88 < contained / n_trials < 0.96
    assert claimed >= contained
    # One-sided at 95 % where one of three points is at the level, two above it.
    assert covers / n_trials > 0.95


def test_undercoverage_at_one_point_is_found():
    counts = np.full(21, 683)
    assert binomial_coverage(counts, 1000, LEVEL).exact
    # Six standard deviations of sqrt(0.68 * 0.32 * 1000) = 14.7 toys.
    counts[4] = 595
    found = binomial_coverage(counts, 1000, LEVEL)
    assert not found.covers
    assert not found.exact
    assert found.largest.point == 4
    assert found.largest.value == pytest.approx(0.0877, abs=1e-12)
    assert 0.03 < found.largest.lower < 0.0877 < found.largest.upper
    counts[4] = 771
    found = binomial_coverage(counts, 1000, LEVEL)
    assert found.covers
    assert not found.exact


def test_bonferroni_is_hardly_wider_than_sidak():
    counts = np.full(51, 683)
    sidak = binomial_coverage(counts, 1000, LEVEL).simultaneous
    bonferroni = binomial_coverage(counts, 1000, LEVEL, independent=False).simultaneous
    widths = [(band.upper - band.lower)[0] for band in (sidak, bonferroni)]
    # The rules differ by 0.95^(1/51) = 1 - 0.001005 against 1 - 0.000980.
    assert widths[0] < widths[1] < 1.005 * widths[0]


def test_largest_deviation_of_a_band_around_the_level_is_from_zero():
    band = Band(np.array([0.6, 0.65]), np.array([0.7, 0.8]))
    found = largest_deviation(np.array([0.66, 0.72]), band, 0.68)
    assert (found.point, found.lower) == (1, 0.0)
    np.testing.assert_allclose((found.value, found.upper), (0.04, 0.12), atol=1e-15)


@pytest.mark.parametrize(
    ("counts", "n_toys", "error"),
    [([5], 4, DataError), ([-1], 4, DataError), ([0], 0, DataError)],
)
def test_impossible_counts_are_refused(counts, n_toys, error):
    with pytest.raises(error, match="covered toys"):
        binomial_coverage(np.array(counts), n_toys, LEVEL)


def test_impossible_levels_are_refused():
    with pytest.raises(ValueError, match=r"level 68\.27 is not between"):
        binomial_coverage(COUNTS, 100, 68.27)


def wave(mu):
    return 0.68 + 0.05 * np.sin(mu) * np.exp(-mu / 4)


def boundary(mu):
    return LEVEL + 0.1 * np.exp(-mu / 0.7)


def drawn(truth, n_toys, seed):
    rng = np.random.default_rng(seed)
    mu = rng.uniform(0.0, 10.0, n_toys)
    return mu, rng.uniform(size=n_toys) < truth(mu)


def test_a_constant_logit_is_the_binomial_fraction():
    mu, covered = drawn(lambda mu: np.full_like(mu, LEVEL), 20_000, 0)
    curve = logistic_coverage(mu, covered)
    # A standard deviation of all toys is 0.0033; a flat curve needs little more.
    np.testing.assert_allclose(curve(POINTS), covered.mean(), atol=0.015)
    assert curve.degrees < 5
    # Score equations of a spline that contains constants: fitted toys = covered toys.
    # Means over penalties and merged true values change them by far less than a toy in
    # ten thousand.
    assert curve(mu).mean() == pytest.approx(covered.mean(), abs=1e-4)


def test_many_toys_give_the_curve_within_the_errors_of_bins():
    mu, covered = drawn(wave, 400_000, 3)
    curve = logistic_coverage(mu, covered)
    band = curve.band(POINTS)
    # 100 bins of 4000 toys have errors of 0.0074 each, twice as wide as the band.
    half = 0.5 * (band.upper - band.lower)
    assert np.median(half) / 1.96 < 0.5 * 0.0074
    assert np.abs(curve(POINTS) - wave(POINTS)).max() < 5 * np.median(half) / 1.96
    found = largest_deviation(curve(POINTS), curve.simultaneous(POINTS), 0.68)
    assert found.lower < np.abs(wave(POINTS) - 0.68).max() < found.upper


def test_the_simultaneous_band_is_wider_and_reproducible():
    curve = logistic_coverage(*drawn(wave, 5000, 4))
    first, again = (curve.simultaneous(POINTS, seed=1) for _ in range(2))
    other, pointwise = curve.simultaneous(POINTS, seed=2), curve.band(POINTS)
    np.testing.assert_array_equal(first, again)
    # 10 000 draws give the width to 0.5 % of half a band of about 0.04.
    np.testing.assert_allclose(other, first, atol=1e-3)
    assert (first.lower < pointwise.lower).all()
    assert (first.upper > pointwise.upper).all()


def test_one_point_has_the_same_band_alone_and_together():
    curve = logistic_coverage(*drawn(wave, 5000, 4))
    alone = curve.simultaneous(POINTS[:1], n_draws=100_000)
    # Quantiles of |z| from 100 000 draws: 1.96 to 0.7 %.
    np.testing.assert_allclose(alone, curve.band(POINTS[:1]), atol=2e-3)


def test_the_scale_of_mu_does_not_matter():
    mu, covered = drawn(wave, 5000, 5)
    curve, scaled = (
        logistic_coverage(factor * mu, covered) for factor in (1.0, 1000.0)
    )
    # Only rounding of the merged values differs.
    np.testing.assert_allclose(scaled(1000 * POINTS), curve(POINTS), rtol=1e-6)


def test_a_curve_needs_toys_of_both_kinds():
    mu = np.linspace(0, 1, 50)
    with pytest.raises(DataError, match="all toys are covered or none"):
        logistic_coverage(mu, np.ones(50, bool))
    with pytest.raises(DataError, match="not finite"):
        logistic_coverage(np.where(mu == 1, np.nan, mu), mu > 0.5)
    with pytest.raises(ValueError, match="at least 5"):
        logistic_coverage(mu, mu > 0.5, n_splines=4)


@pytest.mark.slow
@pytest.mark.parametrize("truth", [wave, boundary])
@pytest.mark.parametrize("n_toys", [3000, 30_000])
def test_bands_contain_the_truth_with_their_confidence(truth, n_toys):
    n_trials = 60
    pointwise, together = [], []
    for seed in range(n_trials):
        curve = logistic_coverage(*drawn(truth, n_toys, seed))
        for record, band in (
            (pointwise, curve.band(POINTS)),
            (together, curve.simultaneous(POINTS, n_draws=2000)),
        ):
            inside = (band.lower < truth(POINTS)) & (truth(POINTS) < band.upper)
            record.append(inside.mean() if record is pointwise else inside.all())
    # Three standard deviations of 60 trials at 95 % are 0.085; the points of a curve
    # are strongly correlated, so that their mean fluctuates nearly as much.
    assert np.mean(pointwise) > 0.95 - 0.085
    # The bias at a bend of the curve is not in the band of all points together.
    if truth is wave:
        assert np.mean(together) > 0.95 - 0.085
