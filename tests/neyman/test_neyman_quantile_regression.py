import time

import numpy as np
import pytest
from scipy import integrate, optimize, stats
from scipy.interpolate import BSpline

from diffana.neyman.order_statistic import order_statistic
from diffana.neyman.quantile_regression import fit_quantiles
from diffana.neyman.splines import CubicSplines, quantile_knots


LEVELS = np.array([0.6826894921, 0.9544997361])
BOUNDS = (-5.0, 5.0)
GRID = np.linspace(*BOUNDS, 401)


def focused(x, mu, spread):
    """FTS of X ~ N(mu, 1) with the focus N(0, spread²)."""
    return (x - mu) ** 2 - x**2 / (1 + spread**2) - np.log(1 + spread**2)


def unit_chi_square(c, mu, spread):
    """The non-central chi-square variable, where FTS is c."""
    shift = mu**2 / spread**2 + np.log(1 + spread**2)
    return (c + shift) * (1 + spread**2) / spread**2


def exact(mu, spread, levels=LEVELS):
    """Critical values: FTS is a non-central chi-square, scaled and shifted."""
    share, shift = spread**2 / (1 + spread**2), unit_chi_square(0.0, mu, spread)
    quantile = stats.ncx2.ppf(np.reshape(levels, (-1, 1)), 1, (mu / spread**2) ** 2)
    return share * (quantile - shift)


def coverage_error(critical, spread):
    """Exact, from the acceptance region that critical values imply."""
    radius = np.sqrt(np.maximum(unit_chi_square(critical(GRID), GRID, spread), 0.0))
    distance = GRID / spread**2
    inside = stats.norm.cdf(distance + radius) - stats.norm.cdf(distance - radius)
    return inside - LEVELS[:, None]


def toys(n_toys, spread, seed):
    rng = np.random.default_rng(seed)
    mu = rng.uniform(*BOUNDS, n_toys)
    return mu, focused(mu + rng.normal(size=n_toys), mu, spread)


def approximate(mu):
    """Critical values of a resolution that is wrong by 10 %."""
    return exact(mu, 1.1)


def test_oracle_has_the_tabulated_critical_values():
    # Five printed digits; Pratt's intervals computed elsewhere.
    np.testing.assert_allclose(
        exact(np.array([0.0, 1.0, 3.0]), 1.0),
        [[-0.19315, -0.57851, -3.65453], [1.30685, 1.92843, 1.30558]],
        atol=5.1e-6,
    )


def accuracy(n_toys, spread, n_repeated, **options):
    """Root mean square and mean of the largest error over repetitions, and seconds."""
    squares, largest, seconds = [], [], []
    for seed in range(n_repeated):
        data = toys(n_toys, spread, seed)
        start = time.process_time()
        critical = fit_quantiles(*data, LEVELS, bounds=BOUNDS, **options)
        seconds.append(time.process_time() - start)
        error = coverage_error(critical, spread)
        squares.append((error**2).mean(axis=1))
        largest.append(abs(error).max(axis=1))
    return np.sqrt(np.mean(squares, axis=0)), np.mean(largest, axis=0), max(seconds)


@pytest.mark.parametrize(
    ("n_toys", "n_repeated", "rms", "largest"),
    [
        (10_000, 8, (0.018, 0.009), (0.054, 0.029)),
        (30_000, 3, (0.010, 0.005), (0.029, 0.020)),
    ],
)
def test_coverage_is_as_accurate_as_published_for_unsmoothed_splines(
    n_toys, n_repeated, rms, largest
):
    found = accuracy(n_toys, 1.0, n_repeated, baseline=approximate)
    assert (found[0] < rms).all()
    assert (found[1] < largest).all()


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1.0, 5.0])
def test_coverage_with_many_toys(spread):
    # The bounds are those measured with unsmoothed splines.
    rms, largest, seconds = accuracy(
        100_000, spread, 6, baseline=lambda mu: exact(mu, 1.1 * spread)
    )
    assert (rms < [0.006, 0.0024]).all()
    assert (largest < [0.017, 0.006]).all()
    # Ten times what one core takes, for slow machines.
    assert seconds < 30


def test_a_baseline_that_is_exact_stays():
    data = toys(20_000, 1.0, 0)
    critical = fit_quantiles(
        *data, LEVELS, bounds=BOUNDS, baseline=lambda mu: exact(mu, 1.0)
    )
    error = np.sqrt((coverage_error(critical, 1.0) ** 2).mean(axis=1))
    # A smooth correction has six degrees of freedom at most; twice their error.
    assert (error < 2 * np.sqrt(6 * LEVELS * (1 - LEVELS) / 20_000)).all()


def test_without_smoothing_the_minimum_is_that_of_linear_programming():
    # One level, no baseline: linear in the coefficients, so that the pinball loss has
    # an exact minimum by another method.
    mu, statistic = toys(400, 5.0, 1)
    knots, level = quantile_knots(mu, 4, BOUNDS), 0.8
    design = BSpline.design_matrix(mu, np.r_[[-5.0] * 3, knots, [5.0] * 3], 3).toarray()
    n_toys, n_columns = design.shape
    best = optimize.linprog(
        np.r_[np.zeros(n_columns), np.full(n_toys, level), np.full(n_toys, 1 - level)],
        A_eq=np.hstack([design, np.eye(n_toys), -np.eye(n_toys)]),
        b_eq=statistic,
        bounds=[(None, None)] * n_columns + [(0, None)] * (2 * n_toys),
    )
    critical = fit_quantiles(
        mu, statistic, [level], bounds=BOUNDS, n_knots=4, penalised=False
    )
    residual = statistic - critical(mu)[0]
    loss = np.maximum(level * residual, (level - 1) * residual).sum()
    # The last bandwidth is 0.01 spreads: each toy near the curve adds up to 0.004.
    assert best.fun <= loss + 1e-9
    assert loss < best.fun * 1.001


def test_levels_never_cross():
    # Few toys, close levels: separate fits would cross.
    mu, statistic = toys(60, 1.0, 3)
    critical = fit_quantiles(
        mu, statistic, [0.5, 0.51, 0.52, 0.9], bounds=BOUNDS, n_knots=6
    )
    assert (np.diff(critical(GRID), axis=0) >= 0).all()


def test_discrete_statistics_are_covered_within_a_step():
    # Poisson counts: almost all toys are equal to a few values.
    rng = np.random.default_rng(0)
    mu = rng.uniform(2.0, 4.0, 50_000)
    critical = fit_quantiles(
        mu, rng.poisson(mu).astype(float), [0.9], bounds=(2.0, 4.0)
    )
    grid = np.linspace(2.0, 4.0, 50)
    true = stats.poisson.ppf(0.9, grid)
    # Quantiles jump by one; splines follow within that.
    assert abs(critical(grid)[0] - true).max() < 1.0


def bounded_coverage(c, mu):
    """Of T = (x - mu)² - min(x, 0)², the ratio with mu >= 0."""
    above = mu + np.sqrt(c)
    below = np.where(
        c < mu**2, mu - np.sqrt(c), (mu**2 - c) / np.maximum(2 * mu, 1e-300)
    )
    return stats.norm.cdf(above - mu) - stats.norm.cdf(below - mu)


def test_point_mass_of_a_bounded_parameter():
    rng = np.random.default_rng(4)
    edge_toys = np.maximum(rng.normal(size=200_000), 0.0) ** 2
    edge = order_statistic(edge_toys, LEVELS)
    mu = rng.uniform(0.0, 5.0, 40_000)
    x = mu + rng.normal(size=mu.size)
    statistic = (x - mu) ** 2 - np.minimum(x, 0.0) ** 2
    critical = fit_quantiles(mu, statistic, LEVELS, bounds=(0.0, 5.0), edge_values=edge)
    np.testing.assert_array_equal(critical([0.0])[:, 0], edge)
    # Critical values at the edge: z² at Φ(z) = CL. Five standard errors of toys.
    z = np.sqrt([0.22585, 2.85658])
    error = np.sqrt(LEVELS * (1 - LEVELS) / edge_toys.size) / stats.norm.pdf(z)
    assert (abs(np.sqrt(edge) - z) < 5 * error).all()
    # From the table of Feldman and Cousins' construction at mu = 0.5, 1, 2.
    np.testing.assert_allclose(
        bounded_coverage(np.array([0.8407, 1.0, 1.0]), np.array([0.5, 1.0, 2.0])),
        LEVELS[0],
        atol=2e-4,
    )
    grid = np.linspace(0.05, 5.0, 100)
    wrong = bounded_coverage(critical(grid), grid) - LEVELS[:, None]
    rms = np.sqrt((wrong**2).mean(axis=1))
    # Twice the error of 14 free coefficients.
    assert (rms < 2 * np.sqrt(14 * LEVELS * (1 - LEVELS) / mu.size)).all()


def test_nuisance_parameters_shift_critical_values():
    # T = exp(0.3 nu) times a chi-square, whose quantile is known at every nu.
    rng = np.random.default_rng(5)
    n_toys = 40_000
    mu, nu = rng.uniform(-1.0, 1.0, n_toys), rng.normal(0.5, 1.0, n_toys)
    statistic = np.exp(0.3 * nu) * rng.chisquare(1, n_toys)
    critical = fit_quantiles(
        mu, statistic, LEVELS, bounds=(-1.0, 1.0), n_knots=4, features=nu[:, None]
    )
    at = np.array([-0.5, 0.0, 0.7])
    for value in (-0.5, 0.5, 1.5):
        found = critical(at, np.full((3, 1), value))
        coverage = stats.chi2.cdf(found / np.exp(0.3 * value), 1)
        # Errors of 9 coefficients, and of exp, which is not a polynomial.
        np.testing.assert_allclose(
            coverage, np.repeat(LEVELS[:, None], 3, 1), atol=0.025
        )
    with pytest.raises(ValueError, match="1 features"):
        critical(at)


def test_wrong_arguments_are_refused():
    mu, statistic = toys(100, 1.0, 0)
    with pytest.raises(ValueError, match="finite"):
        fit_quantiles(mu, np.where(mu > 0, np.inf, statistic), LEVELS)
    with pytest.raises(ValueError, match="every toy"):
        fit_quantiles(mu, statistic[:-1], LEVELS)
    with pytest.raises(ValueError, match="leave the bounds"):
        fit_quantiles(mu, statistic, LEVELS, bounds=(0.0, 1.0))
    with pytest.raises(ValueError, match="edge value"):
        fit_quantiles(mu, statistic, LEVELS, edge_values=[1.0, 0.0])
    with pytest.raises(ValueError, match="10 toys for 14 coefficients"):
        fit_quantiles(mu[:10], statistic[:10], LEVELS)
    critical = fit_quantiles(mu, statistic, LEVELS, bounds=BOUNDS)
    with pytest.raises(ValueError, match="outside the range"):
        critical([5.1])
    with pytest.raises(ValueError, match="features are needed"):
        critical([0.0], [[1.0]])


def test_splines_contain_cubics_and_their_roughness():
    splines = CubicSplines([-1.0, 0.5, 2.0, 3.0])
    mu = np.linspace(-1.0, 3.0, 50)
    design = splines(mu)
    np.testing.assert_allclose(design.sum(axis=1), 1.0, rtol=1e-14)  # rounding
    cubic = 2.0 * mu**3 - mu
    coefficients, *_ = np.linalg.lstsq(design, cubic, rcond=None)
    np.testing.assert_allclose(design @ coefficients, cubic, atol=1e-11)  # rounding
    # d³/dt³ of 2 mu³ with mu = 4 t - 1 is 12 × 4³ everywhere.
    roughness = coefficients @ splines.roughness() @ coefficients
    assert roughness == pytest.approx((12 * 4**3) ** 2, rel=1e-9)  # rounding


def test_knots_at_quantiles():
    values = np.r_[np.zeros(50), np.linspace(0.0, 1.0, 50)]
    assert quantile_knots(values, 5, (0.0, 2.0)).tolist()[-1] == 2.0
    assert (np.diff(quantile_knots(values, 9)) > 0).all()
    with pytest.raises(ValueError, match="at least two"):
        CubicSplines([0.0])


def test_smoothed_loss_is_the_expectation_of_the_pinball_loss():
    # The minimum for a single constant solves E Φ((T - c) / h) = 1 - CL.
    rng = np.random.default_rng(6)
    statistic = rng.normal(size=4000)
    mu = np.tile(np.linspace(0.0, 1.0, 40), 100)
    critical = fit_quantiles(mu, statistic, [0.7], n_knots=2)
    average = integrate.trapezoid(critical(np.linspace(0, 1, 101))[0], dx=0.01)
    # Three standard errors of a quantile of 4000 normal numbers.
    expected, density = stats.norm.ppf(0.7), stats.norm.pdf(stats.norm.ppf(0.7))
    assert abs(average - expected) < 3 * np.sqrt(0.21 / 4000) / density
