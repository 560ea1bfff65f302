"""Tests of agreement against Pearson's test, matrices and toys."""

import numpy as np
import pytest
from scipy import stats

from diffana.histogram import Histogram, shape_agreement, yield_agreement


EDGES = np.linspace(0.0, 1.0, 7)


def histogram(x, weight, edges=EDGES):
    sums = (np.histogram(x, edges, weights=weight**power)[0] for power in (1, 2))
    return Histogram(edges, *sums)


def unit(random, x):
    return np.ones(len(x))


def skewed(random, x):
    """Weights over an order of magnitude, larger on one side of the observable."""
    return np.exp(0.8 * random.normal(size=len(x))) * (0.2 + x)


def negative(random, x):
    return np.where(random.random(len(x)) < 0.2, -1.0, 1.0) * (0.5 + x)


WEIGHTS = (unit, skewed, negative)


def samples(random, weights, n_events, ratio=2):
    """Two independent samples of one distribution, scaled to the same yield."""
    found = []
    for number in (ratio * n_events, n_events):
        x = random.beta(2, 3, size=number)
        found.append(histogram(x, weights(random, x) * 1000 / number))
    return found


def p_values(test, weights, n_events, n_toys, seed=5):
    random = np.random.default_rng(seed)
    found = [test(*samples(random, weights, n_events)) for _ in range(n_toys)]
    return np.array([one.p_value for one in found])


def test_shapes_of_unweighted_events_are_compared_as_by_pearson():
    random = np.random.default_rng(1)
    counts = random.poisson(np.array([[30, 50, 80, 20], [60, 110, 150, 55]]))
    edges = np.arange(5.0)
    found = shape_agreement(*(Histogram(edges, one, one) for one in counts * 1.0))
    wanted = stats.chi2_contingency(counts, correction=False)
    assert found.ndf == wanted.dof
    # Rounding only: both evaluate the same closed form.
    assert found.chi2 == pytest.approx(wanted.statistic, rel=1e-12)
    assert found.p_value == pytest.approx(wanted.pvalue, rel=1e-10)


def test_shapes_of_weighted_events_are_compared_with_their_whole_covariance():
    """The closed form without a matrix, and the pseudo-inverse of the covariance."""
    random = np.random.default_rng(2)
    first, second = samples(random, skewed, 3000)
    share, relative, precision = [], [], []
    for one in (first, second):
        total = one.values().sum()
        share.append(one.values() / total)
        relative.append(one.variances() / one.variances().sum())
        precision.append(total**2 / one.variances().sum())
    pooled = np.average(share, axis=0, weights=precision)
    diagonal = np.average(relative, axis=0, weights=precision)
    diagonal = np.diag(diagonal * sum(1 / one for one in precision))
    project = np.eye(len(pooled)) - np.outer(pooled, np.ones(len(pooled)))
    inverse = np.linalg.pinv(project @ diagonal @ project.T)
    difference = share[0] - share[1]
    found = shape_agreement(first, second)
    # The pseudo-inverse squares the condition of the matrix.
    assert found.chi2 == pytest.approx(difference @ inverse @ difference, rel=1e-9)
    assert found.ndf == len(pooled) - 1


def test_shapes_do_not_depend_on_the_scale():
    first, second = samples(np.random.default_rng(3), negative, 500)
    larger = Histogram(second.edges, 7 * second.sumw, 49 * second.sumw2)
    found, other = shape_agreement(first, second), shape_agreement(first, larger)
    assert found.chi2 == pytest.approx(other.chi2, rel=1e-12)


def test_yields_are_compared_bin_by_bin():
    first = Histogram([0, 1, 2], [30.0, 70.0], [30.0, 70.0])
    second = Histogram([0, 1, 2], [40.0, 80.0], [20.0, 30.0])
    found = yield_agreement(first, second)
    # 10²/50 + 10²/100
    assert (found.chi2, found.ndf) == (3.0, 2)
    assert found.p_value == pytest.approx(stats.chi2.sf(3.0, 2), rel=1e-12)


def test_bins_of_few_events_are_merged_with_their_neighbours():
    edges = np.arange(7.0)
    first = np.array([4.0, 6.0, 20.0, 30.0, 2.0, 1.0])
    second = np.array([7.0, 5.0, 25.0, 20.0, 4.0, 2.0])
    found = yield_agreement(*(Histogram(edges, one, one) for one in (first, second)))
    groups = ([0, 1], [2], [3, 4, 5])
    chi2 = sum(
        (first[g].sum() - second[g].sum()) ** 2 / (first[g].sum() + second[g].sum())
        for g in groups
    )
    assert found.ndf == 3
    assert found.chi2 == pytest.approx(chi2, rel=1e-12)


@pytest.mark.parametrize("second", [[3.0, 4.0], [-5.0, 30.0], [0.0, 0.0]])
def test_too_few_events_have_no_shape_to_compare(second):
    first = Histogram([0, 1, 2], [50.0, 50.0], [50.0, 50.0])
    other = Histogram([0, 1, 2], second, np.abs(second))
    found = shape_agreement(first, other)
    assert found.ndf == 0
    assert np.isnan([found.chi2, found.p_value]).all()


def test_independent_comparisons_add():
    first = yield_agreement(*samples(np.random.default_rng(6), unit, 500))
    second = yield_agreement(*samples(np.random.default_rng(7), unit, 500))
    both = first + second
    assert both.ndf == first.ndf + second.ndf
    assert both.p_value == pytest.approx(
        stats.chi2.sf(first.chi2 + second.chi2, both.ndf), rel=1e-12
    )


@pytest.mark.parametrize("weights", WEIGHTS)
def test_p_values_of_one_distribution_are_uniform(weights):
    found = p_values(shape_agreement, weights, n_events=2000, n_toys=400)
    # One time in a thousand this would fail for a right test and another seed.
    assert stats.kstest(found, "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("n_events", [100, 1000])
def test_false_alarms_are_as_rare_as_their_p_values(weights, n_events):
    """Also in the tail, and with so few events that bins are merged."""
    n_toys = 6000
    found = p_values(shape_agreement, weights, n_events=n_events, n_toys=n_toys)
    found = found[~np.isnan(found)]
    for level in (0.05, 0.01, 0.001):
        expected = level * len(found)
        # Four standard deviations, and 20 % because counts are not Gaussian.
        allowed = 1.2 * expected + 4 * np.sqrt(expected)
        assert np.count_nonzero(found < level) <= allowed


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_shifted_sample_is_found(weights):
    random = np.random.default_rng(8)
    first, _ = samples(random, weights, 2000)
    x = np.clip(random.beta(2, 3, size=2000) + 0.06, 0, 0.999)
    shifted = histogram(x, weights(random, x))
    assert shape_agreement(first, shifted).p_value < 1e-4
