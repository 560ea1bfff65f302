"""Closed forms of a Gaussian measurement against tables and independent algebra."""

import numpy as np
import pytest
from scipy import integrate, stats

from diffana.neyman import regions
from diffana.neyman.gaussian import (
    Pratt,
    acceptance,
    baseline,
    bounded_lrs,
    reach,
    truncated_fts,
)


# Of one and of two standard deviations.
LEVELS = 0.6826894921370859, 0.9544997361036416

# Source of all tables: Pratt (1961), J. Am. Stat. Assoc. 56, 549; tables computed
# independently. The focus has mean 0, the measurement standard deviation 1. Columns: sd
# of the focus; tested value; lower and upper end, critical value at either level.
ACCEPTANCE = [
    (1, 0, -1.00000, 1.00000, -0.19315, -2.00000, 2.00000, 1.30685),
    (1, 1, 0.50692, 3.49308, -0.57851, -0.69131, 4.69131, 1.92843),
    (1, 2, 1.52476, 6.47524, -1.62973, 0.30986, 7.69014, 2.11543),
    (1, 3, 2.52477, 9.47523, -3.65453, 1.30986, 10.69014, 1.30558),
    (2, 0, -1.00000, 1.00000, -0.80944, -2.00000, 2.00000, 1.59056),
    (2, 1, 0.21860, 2.28140, -1.00841, -0.81087, 3.31087, 1.53832),
    (2, 3, 2.46515, 5.03485, -2.53877, 1.30256, 6.19744, 0.93252),
    (5, 0, -1.00000, 1.00000, -2.29656, -2.00000, 2.00000, 0.58806),
    (5, 5, 4.17994, 6.22006, -3.25759, 3.16067, 7.23933, -0.25918),
]

# sd of the focus, measurement, interval at either level.
INTERVALS = [
    (1, 0, -0.58770, 0.58770, -1.69015, 1.69015),
    (1, 1, 0.00000, 1.47609, -0.70032, 2.69014),
    (1, 2, 0.44898, 2.47523, 0.00000, 3.69014),
    (1, 3, 0.82750, 3.47523, 0.41867, 4.69014),
    (1, 5, 1.50803, 5.47523, 1.10312, 6.69014),
    (2, 0, -0.81673, 0.81673, -1.73959, 1.73959),
    (2, 1, 0.00000, 1.67055, -0.83416, 2.70210),
    (2, 3, 1.54011, 3.50867, 0.77076, 4.69043),
    (5, 0, -0.96225, 0.96225, -1.92879, 1.92879),
    (5, 5, 3.83482, 5.79517, 2.87200, 6.79971),
]

# sd of the focus, true value, median and mean length at either level.
LENGTHS = [
    (0.5, 0, 1.22362, 1.36733, 3.38029, 3.41847),
    (1, 0, 1.32698, 1.42620, 3.38131, 3.42810),
    (1, 1, 1.50125, 1.61025, 3.39407, 3.51670),
    (1, 2, 2.02630, 2.07277, 3.69018, 3.81472),
    (1, 3, 2.64773, 2.66624, 4.27148, 4.31659),
    (1, 5, 3.96720, 3.96865, 5.58703, 5.58894),
    (2, 0, 1.65030, 1.67066, 3.50555, 3.53392),
    (2, 1, 1.67441, 1.70789, 3.54200, 3.58469),
    (2, 2, 1.78282, 1.81869, 3.69227, 3.72825),
    (2, 3, 1.96856, 1.99827, 3.91967, 3.94423),
    (2, 5, 2.50133, 2.51337, 4.50118, 4.50963),
    (5, 0, 1.92515, 1.92593, 3.85887, 3.86042),
    (5, 1, 1.92608, 1.92736, 3.86072, 3.86326),
    (5, 2, 1.93022, 1.93166, 3.86895, 3.87175),
    (5, 3, 1.93738, 1.93882, 3.88309, 3.88584),
    (5, 5, 1.96035, 1.96181, 3.92772, 3.93028),
]

# The tables have five decimals; one more unit in the last is for the rounding of the
# levels that they were computed for.
PRINTED = 2e-5


@pytest.mark.parametrize("row", ACCEPTANCE)
def test_acceptance_regions(row):
    sd, mu, *rest = row
    for level, (lower, upper, critical) in zip(
        LEVELS, (rest[:3], rest[3:]), strict=True
    ):
        found = Pratt(0.0, sd).acceptance(mu, level)
        np.testing.assert_allclose(found, (critical, lower, upper), atol=PRINTED)


@pytest.mark.parametrize("row", INTERVALS)
def test_intervals(row):
    sd, x, *rest = row
    found = Pratt(0.0, sd).interval(x, LEVELS)
    np.testing.assert_allclose(found, (rest[::2], rest[1::2]), atol=PRINTED)


@pytest.mark.parametrize("row", LENGTHS)
def test_lengths(row):
    sd, mu_true, *rest = row
    focused = Pratt(0.0, sd)
    median = focused.median_length(mu_true, LEVELS)
    np.testing.assert_allclose(median, rest[::2], atol=PRINTED)
    mean = focused.mean_length(mu_true, LEVELS)
    np.testing.assert_allclose(mean, rest[1::2], atol=PRINTED)


def test_units():
    """Scaling everything scales ends and lengths, and leaves the statistic alone."""
    small, large = Pratt(1.0, 2.0), Pratt(2.0 * 7, 4.0 * 7, 2.0 * 7)
    shifted = Pratt(0.5, 1.0, 0.5)
    for focused, unit in ((large, 14.0), (shifted, 0.5)):
        np.testing.assert_allclose(
            focused.interval(3 * unit, LEVELS),
            unit * np.array(small.interval(3.0, LEVELS)),
            rtol=1e-12,  # arithmetic
        )
        assert focused.mean_length(unit, 0.9) == pytest.approx(
            unit * small.mean_length(1.0, 0.9), rel=1e-12
        )
        for found, want in zip(
            focused.acceptance(2 * unit, 0.9),
            np.array(small.acceptance(2.0, 0.9)) * [1, unit, unit],
            strict=True,
        ):
            assert found == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("level", [0.5, *LEVELS, 1 - 5.7e-7])
def test_reach_is_the_root(level):
    """Also far away, where the noncentral chi-squared quantile of SciPy gives up."""
    d = np.array([0.0, 1e-6, 0.3, 1.0, 4.0, 20.0, 1e3, 1e7])
    r = reach(d, level)
    found = stats.norm.cdf(r - d) - stats.norm.cdf(-d - r)
    # The difference of r and d loses the digits of 10⁷.
    np.testing.assert_allclose(found, level, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found[:-2], level, rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        r[:5] ** 2, stats.ncx2.ppf(level, 1, d[:5] ** 2), rtol=1e-8
    )
    np.testing.assert_array_equal(reach(-d, level), r)


def test_differential_equation_of_reach():
    """r' = tanh(d r), by central differences; their error is of order 1e-8."""
    d = np.linspace(-5, 5, 21)
    step = 1e-4
    slope = (reach(d + step, 0.9) - reach(d - step, 0.9)) / (2 * step)
    np.testing.assert_allclose(slope, np.tanh(d * reach(d, 0.9)), atol=1e-7)


def test_slopes_of_acceptance():
    """Both ends grow at least as fast as the tested value: intervals are connected."""
    mu = np.linspace(-8, 8, 401)
    for level in LEVELS:
        found = Pratt(0.0, 1.0).acceptance(mu, level)
        # The difference of numbers of order 10 over a step of 0.04.
        assert (np.diff(found.lower) / np.diff(mu) >= 1 - 1e-12).all()
        assert (np.diff(found.upper) / np.diff(mu) >= 1 - 1e-12).all()


def test_length_far_from_the_focus():
    """It grows by 2/(s² + 2) per unit of the measurement."""
    for sd in (0.5, 1.0, 3.0):
        x = np.array([200.0, 300.0])
        lower, upper = Pratt(0.0, sd).interval(x, 0.9)
        slope = np.diff(upper - lower)[0] / 100
        assert slope == pytest.approx(2 / (sd**2 + 2), rel=1e-10)


@pytest.mark.parametrize(
    ("level", "one_sided"), [(LEVELS[0], 0.47523), (LEVELS[1], 1.69014)]
)
def test_narrow_focus(level, one_sided):
    """At the focus, half the length is the one-sided normal quantile."""
    lower, upper = Pratt(2.0, 1e-3).interval(2.0, level)
    assert (upper - lower) / 2 == pytest.approx(one_sided, abs=1e-5)


def test_wide_focus():
    """A flat focus gives the interval of the likelihood ratio, to order s⁻²."""
    lower, upper = Pratt(1.0, 1e5).interval(3.0, LEVELS)
    np.testing.assert_allclose(lower, [2, 1], atol=1e-8)
    np.testing.assert_allclose(upper, [4, 5], atol=1e-8)


def test_lengths_by_simulation():
    """Mean and median over quantiles of the measurement, interval by interval."""
    focused, mu_true = Pratt(0.0, 0.7), 1.3
    x = mu_true + stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    lower, upper = focused.interval(x, 0.9)
    # The tails beyond the outermost of the quantiles are missing.
    mean = focused.mean_length(mu_true, 0.9)
    assert np.mean(upper - lower) == pytest.approx(mean, abs=2e-4)
    median = focused.median_length(mu_true, 0.9)
    assert np.median(upper - lower) == pytest.approx(median, abs=2e-4)


# Feldman and Cousins (1998), Phys. Rev. D 57, 3873: the Gaussian of which the mean
# cannot be negative. Critical values at tested values 0, 0.5, 1, 2; four decimals.
BOUNDED_LRS = [
    (LEVELS[0], [0.22585, 0.8407, 1.0, 1.0]),
    (0.9, [1.64237, 1.8981, 2.4625, 2.7055]),
    (LEVELS[1], [2.85658, 2.8871, 3.4270, 4.0]),
]


@pytest.mark.parametrize(("level", "critical"), BOUNDED_LRS)
def test_bounded_likelihood_ratio(level, critical):
    mu = np.array([0.0, 0.5, 1.0, 2.0])
    found = acceptance(bounded_lrs, mu, level)
    np.testing.assert_allclose(found.critical, critical, atol=6e-5)
    assert found.lower[0] == -np.inf
    assert found.upper[0] == pytest.approx(stats.norm.ppf(level), abs=1e-12)
    coverage = stats.norm.cdf(found.upper - mu) - stats.norm.cdf(found.lower - mu)
    np.testing.assert_allclose(coverage, level, atol=1e-12)


# mean and sd of the focus before truncation at 0, level, tested value; critical value,
# lower and upper end, four decimals.
TRUNCATED = [
    (0, 1, LEVELS[0], 0, -0.1130, -np.inf, 0.4752),
    (0, 1, LEVELS[0], 1, -0.0275, 0.4233, 2.8086),
    (0, 1, LEVELS[0], 3, -2.3439, 2.5248, 9.4534),
    (0, 1, LEVELS[1], 0, 1.8748, -np.inf, 1.6901),
    (0, 1, LEVELS[1], 1, 1.0356, -0.7345, 3.6447),
    (1, 1, LEVELS[0], 0, -0.5809, -np.inf, 0.4752),
    (1, 1, LEVELS[0], 1, -0.1606, -0.4396, 1.6989),
    (1, 1, LEVELS[1], 1, 1.1129, -1.8405, 2.7142),
]


@pytest.mark.parametrize(
    ("mean", "sd", "level", "mu", "critical", "lower", "upper"), TRUNCATED
)
def test_truncated_focus(mean, sd, level, mu, critical, lower, upper):
    found = acceptance(lambda x, mu: truncated_fts(x, mu, mean, sd), mu, level)
    np.testing.assert_allclose(found, (critical, lower, upper), atol=6e-5)


@pytest.mark.parametrize(("x", "mu", "mean", "sd"), [(-3, 1, 0, 1), (2, 0.5, -1, 3)])
def test_truncated_statistic_is_the_integral(x, mu, mean, sd):
    sigma = 0.8
    normalisation = stats.norm.sf(0, mean, sd)

    def integrand(at):
        return stats.norm.pdf(x, at, sigma) * stats.norm.pdf(at, mean, sd)

    # The integral is good to 1e-8 by default.
    denominator = integrate.quad(integrand, 0, 30)[0] / normalisation
    want = -2 * np.log(stats.norm.pdf(x, mu, sigma) / denominator)
    assert truncated_fts(x, mu, mean, sd, sigma) == pytest.approx(want, rel=1e-7)


@pytest.mark.parametrize("level", [*LEVELS, 0.99])
def test_convex_solver_finds_the_closed_form(level):
    """Two ways that share nothing: halving in the tail, and the reach."""
    focused = Pratt(0.5, 0.8, 1.7)
    mu = np.linspace(-3, 4, 15)
    found = acceptance(focused.statistic, mu, level, sigma=1.7)
    # An end far in a tail is flat in the probability, but not in the solver.
    np.testing.assert_allclose(found, focused.acceptance(mu, level), atol=1e-9)


def test_ends_far_in_a_tail():
    """Next to the bound the lower end is where hardly any probability is left."""
    found = acceptance(bounded_lrs, np.array([0.05, 0.03]), 0.9)
    # The likelihood ratio of a negative measurement is μ² - 2 x μ.
    mu = np.array([0.05, 0.03])
    np.testing.assert_allclose(
        found.lower, (mu**2 - found.critical) / (2 * mu), rtol=1e-10
    )
    assert (found.lower < -15).all()


def test_level_without_meaning():
    with pytest.raises(ValueError, match="is not between"):
        acceptance(bounded_lrs, 0.0, 0.3)


def test_median_length_with_a_bound():
    """Bounded likelihood ratio, σ = 0.54, true value 1; computed independently."""
    mu = np.linspace(0, 6, 1201)
    x = 1 + 0.54 * stats.norm.ppf((np.arange(1001) + 0.5) / 1001)
    statistic = bounded_lrs(x[:, None], mu, 0.54)
    for level, want in zip(LEVELS, (1.08, 1.99), strict=True):
        critical = acceptance(
            lambda x, mu: bounded_lrs(x, mu, 0.54), mu, level, sigma=0.54
        ).critical
        found = np.median(regions.lengths(mu, statistic, critical))
        assert found == pytest.approx(want, abs=6e-3)  # printed with two decimals


@pytest.mark.parametrize("level", [*LEVELS, 0.9])
def test_baseline_covers(level):
    """Its critical values cover to 1e-4, in closed form."""
    mu = np.linspace(0, 3, 7)
    for statistic in (
        bounded_lrs,
        lambda x, mu: truncated_fts(x, mu, 0.0, 1.0),
    ):
        critical = baseline(statistic, mu, 1.0, [level])[0]
        exact = acceptance(statistic, mu, level).critical
        # 1e-4 in coverage where the density of the statistic is 0.027, at χ² = 4.
        np.testing.assert_allclose(critical, exact, atol=4e-3)
    for focused in (Pratt(0.0, 1.0), Pratt(2.0, 3.0)):
        critical = baseline(focused.statistic, mu, 1.0, [level])[0]
        kappa = focused.sd**2 / (1 + focused.sd**2)
        shift = (mu - focused.mean) / focused.sd**2
        constant = (mu - focused.mean) ** 2 / focused.sd**2 + np.log(1 + focused.sd**2)
        radius = np.sqrt((critical + constant) / kappa)
        covered = stats.norm.cdf(shift + radius) - stats.norm.cdf(shift - radius)
        np.testing.assert_allclose(covered, level, atol=1e-4)


def test_baseline_of_several_levels_and_widths():
    found = baseline(lambda x, mu: (x - mu) ** 2, [0.0, 5.0], [1.0, 3.0], LEVELS)
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found, [[1, 9], [4, 36]], rtol=1e-3)
    assert (np.diff(found, axis=0) > 0).all()


def test_baseline_in_the_tail():
    """At five standard deviations, one per cent of the probability outside."""
    level = 1 - 2 * stats.norm.sf(5)
    found = baseline(lambda x, mu: (x - mu) ** 2, [0.0], 1.0, [level])[0, 0]
    outside = stats.chi2.sf(found, 1)
    assert outside == pytest.approx(1 - level, rel=1e-2)


def test_baseline_with_infinities_and_ties():
    """A point mass, and measurements that exclude the tested value."""
    found = baseline(lambda x, mu: np.where(x < 0, 0.0, np.inf), [0.0], 1.0, [0.4, 0.6])
    assert found.tolist() == [[0.0], [np.inf]]


def test_baseline_refuses_nan():
    with pytest.raises(ValueError, match="statistic is nan"):
        baseline(lambda x, mu: x * np.nan, [2.0], 1.0, [0.9])


# Share of a uniform density in a half-normal focus of sd 1; level; ratio of its mean
# length to that of the likelihood ratio at true value 0, and the largest ratio up to 8,
# for a parameter between 0 and 10. Computed independently on another grid, to half a
# per cent.
INSURED = [
    (0.02, LEVELS[0], 0.843, 1.73),
    (0.1, LEVELS[0], 0.855, 1.49),
    (0.3, LEVELS[0], 0.890, 1.29),
    (0.1, LEVELS[1], 0.872, 1.22),
    (0.3, LEVELS[1], 0.894, 1.12),
]


@pytest.mark.parametrize(("share", "level", "at_zero", "worst"), INSURED)
def test_insured_focus(share, level, at_zero, worst):
    """Any focus on a grid, and the loss that an insurance limits."""
    grid, step = np.linspace(0, 10, 201, retstep=True)
    weight = np.full(201, step)
    weight[[0, -1]] /= 2
    density = (1 - share) * stats.halfnorm.pdf(grid) + share / 10

    def fts(x, mu):
        joint = density * weight * np.exp(-0.5 * (x[..., None] - grid) ** 2)
        # Nothing is left of it, and nothing accepted, more than 37 away.
        with np.errstate(divide="ignore"):
            return (x - mu) ** 2 + 2 * np.log(joint.sum(-1))

    def lrs(x, mu):
        return (x - mu) ** 2 - (x - np.clip(x, 0, 10)) ** 2

    def mean_length(statistic):
        found = acceptance(statistic, grid, level)
        # The identity of Ghosh and Pratt.
        return weight @ (
            stats.norm.cdf(found.upper[:, None] - mu_true)
            - stats.norm.cdf(found.lower[:, None] - mu_true)
        )

    mu_true = np.linspace(0, 8, 33)
    ratio = mean_length(fts) / mean_length(lrs)
    assert ratio[0] == pytest.approx(at_zero, rel=1e-2)
    assert ratio.max() == pytest.approx(worst, rel=1e-2)


@pytest.mark.parametrize("level", [0.6827, 0.9, 0.9545])
def test_critical_values_are_below_the_markov_bound(level):
    """E exp(T/2) = 1 under the tested value, so c is at most -2 ln(1 - CL)."""
    mu = np.linspace(0, 12, 49)
    found = [
        Pratt(m, s).acceptance(mu, level).critical for m in (0, 3) for s in (0.3, 1, 4)
    ]
    found.append(acceptance(lambda x, mu: truncated_fts(x, mu, 0, 1), mu, level)[0])
    assert np.max(found) <= -2 * np.log(1 - level)


def test_focused_statistic_is_below_the_likelihood_ratio():
    """The denominator is an average of what the other one is the largest of."""
    x, mu = np.linspace(-6, 9, 61)[:, None], np.linspace(0, 5, 11)
    assert (Pratt(1.0, 0.7).statistic(x, mu) <= (x - mu) ** 2).all()
    assert (truncated_fts(x, mu, 1.0, 0.7) <= bounded_lrs(x, mu)).all()
