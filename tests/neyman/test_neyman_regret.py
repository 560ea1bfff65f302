"""Lengths over true values and their ratios, against closed forms and the bootstrap."""

import numpy as np
import pytest
from scipy import stats

from diffana.errors import DataError
from diffana.neyman.regret import regret, set_lengths
from neyman import exact_gaussian as exact


TRUE = np.linspace(0.0, 8.0, 81)


def focused_lengths(x, width, level):
    """Lengths of the intervals of Pratt around 0 for x ~ N(mu, 1), in closed form."""
    mu = np.linspace(-40.0, 40.0, 8_001)
    shift = mu / width**2
    radius = np.sqrt(stats.ncx2.ppf(level, 1, np.maximum(shift**2, 1e-12)))
    lower, upper = mu + shift - radius, mu + shift + radius
    return np.interp(x, lower, mu) - np.interp(x, upper, mu)


# Median and expected length of a Gaussian focus of width s around 0 for x ~ N(mu, 1):
# the fixed-width belt inverted in closed form, the median by the folded normal.
@pytest.mark.parametrize(
    ("width", "true", "level", "median", "mean"),
    [
        (0.5, 0.0, 0.6827, 1.22362, 1.36733),
        (1.0, 0.0, 0.6827, 1.32698, 1.42620),
        (1.0, 0.0, 0.9545, 3.38131, 3.42810),
        (1.0, 2.0, 0.6827, 2.02630, 2.07277),
        (1.0, 5.0, 0.9545, 5.58703, 5.58894),
        (2.0, 3.0, 0.6827, 1.96856, 1.99827),
        (5.0, 1.0, 0.9545, 3.86072, 3.86326),
    ],
)
def test_lengths_are_those_of_the_closed_form(width, true, level, median, mean):
    x = true + np.random.default_rng(1).standard_normal((1, 20_000))
    lengths = focused_lengths(x, width, exact.LEVELS[level])
    found = set_lengths(np.array([true]), lengths)
    # Four standard deviations, and half a unit of the last digit of the numbers.
    assert abs(found.mean[0] - mean) < 4 * found.mean_error[0] + 5e-6
    assert abs(found.median[0] - median) < 4 * found.median_error[0] + 5e-6
    assert found.mean_error[0] < 0.02


# Ratios at mu = 0 and the largest on [0, 8], from an independent calculation on a
# coarser grid of mu.
@pytest.mark.parametrize(
    ("level", "share", "at_zero", "largest"),
    [
        (0.6827, 0.0, 0.840, 3.15),
        (0.6827, 0.02, 0.843, 1.73),
        (0.6827, 0.1, 0.855, 1.49),
        (0.9545, 0.0, 0.863, 2.07),
        (0.9545, 0.1, 0.872, 1.22),
    ],
)
def test_insurance_removes_most_of_the_regret(level, share, at_zero, largest):
    focus = exact.insured(exact.half_normal(1.0), share)
    weight = exact.cell_probability(TRUE)
    lengths = [
        np.broadcast_to(
            exact.cell_lengths(statistic, exact.LEVELS[level]), weight.shape
        )
        for statistic in (
            exact.focused(focus, exact.MU),
            exact.likelihood_ratio(exact.MU),
        )
    ]
    found = regret(TRUE, *lengths, weight=weight).mean
    # The reference numbers change by up to 0.5 % with the grid at the bound mu = 0,
    # where sets are cut; steps of 0.1 and 0.025 agree to 0.03 % here.
    assert found.value[0] == pytest.approx(at_zero, rel=0.006)
    # 1.22 is 1.2139 in steps of 0.1 and of 0.025: the grid again.
    assert found.largest.value == pytest.approx(largest, abs=0.007)
    if share == 0:
        assert found.largest.mu == 8.0


def test_quantile_errors_are_those_of_the_bootstrap():
    rng = np.random.default_rng(2)
    length = rng.gamma(2.0, size=(2, 400))
    found = set_lengths(np.arange(2.0), length, probabilities=(0.16, 0.84))
    resampled = length[:, rng.integers(400, size=(2000, 400))]
    for probability, errors in (
        (0.5, found.median_error),
        (0.16, found.quantile_errors[0]),
        (0.84, found.quantile_errors[1]),
    ):
        quantiles = np.quantile(resampled, probability, axis=2, method="inverted_cdf")
        # 2000 samples give a standard deviation to 1.6 %; 1 / 400 for the half-integer
        # places of the order statistic.
        np.testing.assert_allclose(errors, quantiles.std(axis=1), rtol=0.06)


def test_errors_are_the_spread_of_repetitions():
    rng = np.random.default_rng(3)
    n_trials = 400
    # One point of `mu` is one repetition: 500 toys whose lengths in two belts fluctuate
    # nearly together.
    common = rng.gamma(3.0, size=(n_trials, 500))
    first = common * rng.uniform(0.8, 1.0, common.shape)
    second = common + 0.5
    mu = np.arange(float(n_trials))
    found, lengths = regret(mu, first, second), set_lengths(mu, first)
    # The spread of 400 repetitions is known to 3.5 %; medians have errors to 10 % each.
    for value, error in (
        (lengths.mean, lengths.mean_error),
        (lengths.median, lengths.median_error),
        (found.mean.value, found.mean.error),
        (found.median.value, found.median.error),
    ):
        assert np.mean(error) == pytest.approx(value.std(), rel=0.12)
    # Errors of unpaired lengths would be several times larger.
    unpaired = lengths.mean_error / second.mean(1)
    assert np.mean(found.mean.error) < 0.4 * np.mean(unpaired)
    assert np.mean(found.mean.value) == pytest.approx(0.9 * 3.0 / 3.5, rel=2e-3)


def test_the_same_belt_has_no_regret_and_no_error():
    length = np.random.default_rng(4).gamma(2.0, size=(5, 100))
    found = regret(np.arange(5.0), length, length)
    for ratio in found:
        np.testing.assert_array_equal(ratio.value, 1.0)
        # The root of rounding errors of the variance.
        np.testing.assert_allclose(ratio.error, 0.0, atol=1e-8)


def test_scaled_lengths_have_an_exact_ratio():
    length = np.random.default_rng(4).gamma(2.0, size=(3, 101))
    found = regret(np.arange(3.0), np.diag([0.5, 2.0, 1.0]) @ length, length)
    for ratio in found:
        assert ratio.largest == pytest.approx((1.0, 2.0, 0.0), abs=1e-7)
        assert ratio.smallest == pytest.approx((0.0, 0.5, 0.0), abs=1e-7)


def test_weights_are_repetitions():
    rng = np.random.default_rng(5)
    length = rng.gamma(2.0, size=(2, 40))
    times = rng.integers(1, 4, 40)
    weight = np.broadcast_to(times.astype(float), length.shape)
    weighted = set_lengths(np.arange(2.0), length, weight=weight)
    repeated = set_lengths(np.arange(2.0), length.repeat(times, axis=1))
    # Sums in another order.
    for name in ("mean", "median", "quantiles"):
        np.testing.assert_allclose(
            getattr(weighted, name), getattr(repeated, name), rtol=1e-13
        )
    for row, sample in enumerate(length.repeat(times, axis=1)):
        below = np.quantile(sample, 0.5, method="inverted_cdf")
        assert repeated.median[row] == below


def test_empty_sets_have_length_zero_and_no_ratio_of_medians():
    length = np.array([[0.0, 0.0, 1.0], [1.0, 2.0, 3.0]])
    found = regret(np.arange(2.0), length[::-1], length)
    np.testing.assert_array_equal(found.median.value, [np.nan, 0.0])
    np.testing.assert_allclose(found.mean.value, [6.0, 1 / 6], rtol=1e-15)
    assert found.median.largest.mu == 1.0


@pytest.mark.parametrize(
    ("length", "weight", "match"),
    [
        (np.ones((3, 4)), None, r"not \(point, toy\) for 2"),
        (np.ones((2, 4)), np.ones((2, 3)), r"not \(point, toy\) for 2"),
        (np.array([[1.0], [-1.0]]), None, "length is negative"),
        (np.array([[1.0], [np.inf]]), None, "not finite"),
        (np.ones((2, 1)), np.array([[1.0], [0.0]]), "weight"),
    ],
)
def test_impossible_lengths_are_refused(length, weight, match):
    with pytest.raises(DataError, match=match):
        set_lengths(np.arange(2.0), length, weight=weight)
