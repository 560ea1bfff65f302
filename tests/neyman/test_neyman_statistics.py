"""Test statistics and nuisance parameters against Gaussian closed forms."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffana.neyman.construction import Construction, usual_nuisance
from diffana.neyman.curves import Curves, highest
from diffana.neyman.focus import Mixture, Nodes, Normal, Uniform
from diffana.neyman.grid import Grid
from diffana.neyman.nuisance import Known, Laplace, Marginal, Mixed, Profile
from diffana.neyman.statistics import FTS, LRS
from neyman.normal_models import Direct, Shifted


WIDE = Grid.between(-40.0, 40.0, 1601)
MU = np.asarray(WIDE.points)
POSITIVE = Grid.between(0.0, 30.0, 3001)
_N_X = 41
LEVELS = (0.6826894921, 0.9544997361)


DIRECT, SHIFTED = Direct(), Shifted(jnp.asarray(0.7))
TAU = 0.7


def direct(x, statistic, grid=WIDE):
    """[x, tested]"""
    test = Construction(DIRECT, statistic, Known(jnp.zeros(1)), grid)
    test.check()
    # Few shapes, so that few programs are compiled.
    x = np.asarray(x, float).ravel()
    filled = np.concatenate([x, np.zeros(max(_N_X - x.size, 0))])
    return test.of(jnp.asarray(filled)[:, None])[: x.size]


def pratt(x, mu, m, s, sigma=1.0):
    """The focused statistic of a measurement with standard deviation sigma."""
    variance = sigma**2 + s**2
    ratio = ((x - mu) / sigma) ** 2 - (x - m) ** 2 / variance
    return ratio - np.log(variance / sigma**2)


def truncated(x, mu, m, s):
    """The same for mu >= 0 and a focus that ends there."""
    v = 1 + s**2
    mean, sd = (x * s**2 + m) / v, s / np.sqrt(v)
    return pratt(x, mu, m, s) + 2 * (
        stats.norm.logcdf(mean / sd) - stats.norm.logcdf(m / s)
    )


@pytest.mark.parametrize(("m", "s"), [(0.0, 1.0), (1.5, 0.5), (-2.0, 4.0)])
def test_the_focused_statistic_of_a_normal_measurement(m, s):
    x = np.linspace(-6, 6, 7)
    # The trapezoidal rule is exact to rounding for normal densities that are several
    # steps wide and end before the grid does.
    want = pratt(x[:, None], MU[None], m, s)
    np.testing.assert_allclose(direct(x, FTS(Normal(m, s))), want, atol=1e-9, rtol=1e-9)


def test_the_likelihood_ratio_of_a_normal_measurement():
    x = np.array([-3.217, 0.0, 1.0303])
    want = (x[:, None] - MU[None]) ** 2
    # A parabola through three points of a parabola is exact.
    np.testing.assert_allclose(direct(x, LRS()), want, atol=1e-9)


def test_a_parameter_that_cannot_be_negative():
    x, mu = np.array([-4.0, -0.3, 0.2, 3.0])[:, None], np.asarray(POSITIVE.points)
    ratio = direct(x, LRS(), POSITIVE)
    want = (x - mu) ** 2 - np.minimum(x, 0.0) ** 2
    np.testing.assert_allclose(ratio, want, atol=1e-9)
    for m, s in ((0.0, 1.0), (1.0, 1.0)):
        found = direct(x, FTS(Normal(m, s, lower=0.0)), POSITIVE)
        # Where a density ends on the grid the rule is of fourth order: 0.01⁴ times a
        # fourth derivative, which is some tens for x = -4.
        np.testing.assert_allclose(found, truncated(x, mu, m, s), atol=2e-6)


# Critical values from a closed form, at mu = 0, 0.5, 1, 2; see also Feldman, Cousins,
# Phys. Rev. D 57 (1998) 3873, table X, for the regions of mu at 90 %.
@pytest.mark.parametrize(
    ("statistic", "level", "mu", "critical"),
    [
        (None, LEVELS[0], 0.0, 0.22585),
        (None, 0.9, 0.0, 1.64237),
        (None, LEVELS[1], 0.0, 2.85658),
        (None, LEVELS[0], 0.5, 0.8407),
        (None, 0.9, 0.5, 1.8981),
        (None, LEVELS[1], 0.5, 2.8871),
        (None, LEVELS[0], 1.0, 1.0),
        (None, 0.9, 1.0, 2.4625),
        (None, LEVELS[1], 1.0, 3.4270),
        (None, 0.9, 2.0, 2.7055),
        (None, LEVELS[1], 2.0, 4.0),
        ((0.0, 1.0), LEVELS[0], 0.0, -0.1130),
        ((0.0, 1.0), LEVELS[0], 1.0, -0.0275),
        ((0.0, 1.0), LEVELS[0], 3.0, -2.3439),
        ((0.0, 1.0), LEVELS[1], 0.0, 1.8748),
        ((0.0, 1.0), LEVELS[1], 1.0, 1.0356),
        ((1.0, 1.0), LEVELS[0], 0.0, -0.5809),
        ((1.0, 1.0), LEVELS[0], 1.0, -0.1606),
        ((1.0, 1.0), LEVELS[1], 1.0, 1.1129),
    ],
)
def test_critical_values_at_a_physical_boundary(statistic, level, mu, critical):
    """The distribution function of the statistic at the published critical value."""
    # Equally probable data: the fraction accepted is off by one of them per edge.
    n = 4001
    x = mu + stats.norm.ppf((np.arange(n) + 0.5) / n)
    chosen = LRS() if statistic is None else FTS(Normal(*statistic, lower=0.0))
    found = direct(x, chosen, POSITIVE)[:, round(mu / 0.01)]
    # Where all small x give the same value, as for the likelihood ratio at 0 with
    # x < 0, the rounding of the critical value would decide.
    slack = 1e-4
    below, above = (
        (found <= critical - slack).mean(),
        (found <= critical + slack).mean(),
    )
    assert below - 1 / n <= level <= above + 1 / n
    # The density of the statistic is at most 1 here, but where it starts like that of a
    # square of a small number.
    assert above - below < 0.01


TABLE = [
    # s, mu, acceptance regions at one and two standard deviations, with m = 0.
    (1, 0, (-1.00000, 1.00000, -0.19315), (-2.00000, 2.00000, 1.30685)),
    (1, 1, (0.50692, 3.49308, -0.57851), (-0.69131, 4.69131, 1.92843)),
    (1, 2, (1.52476, 6.47524, -1.62973), (0.30986, 7.69014, 2.11543)),
    (1, 3, (2.52477, 9.47523, -3.65453), (1.30986, 10.69014, 1.30558)),
    (2, 0, (-1.00000, 1.00000, -0.80944), (-2.00000, 2.00000, 1.59056)),
    (2, 1, (0.21860, 2.28140, -1.00841), (-0.81087, 3.31087, 1.53832)),
    (2, 3, (2.46515, 5.03485, -2.53877), (1.30256, 6.19744, 0.93252)),
    (5, 0, (-1.00000, 1.00000, -2.29656), (-2.00000, 2.00000, 0.58806)),
    (5, 5, (4.17994, 6.22006, -3.25759), (3.16067, 7.23933, -0.25918)),
]


@pytest.mark.parametrize("row", TABLE)
def test_acceptance_regions_of_a_normal_focus(row):
    s, mu, *regions = row
    for level, (low, high, critical) in zip(LEVELS, regions, strict=True):
        assert abs(np.diff(stats.norm.cdf([low - mu, high - mu]))[0] - level) < 1e-5
        at = np.argmin(np.abs(MU - mu))
        edges = direct([low, high], FTS(Normal(0.0, s)))[:, at]
        # Five digits of the edges, times the slope of the statistic, below 20.
        np.testing.assert_allclose(edges, critical, atol=2e-4)


def test_the_focused_statistic_does_not_exceed_the_likelihood_ratio():
    x = np.linspace(-9, 9, 31)
    ratio = direct(x, LRS())
    for focus in (Normal(0.0, 0.3), Uniform(-5.0, 5.0), Nodes([0.0], [0.0])):
        assert (direct(x, FTS(focus)) <= ratio + 1e-9).all()


def test_the_scale_of_a_focus_and_of_a_likelihood_do_not_matter():
    """Weights of a mixture are relative, and ln L has a constant per data set."""
    x = np.linspace(-4, 4, 9)
    focus = Normal(0.5, 1.0)
    want = direct(x, FTS(focus))
    scaled = direct(x, FTS(Mixture((focus,), jnp.array([7.0]))))
    np.testing.assert_allclose(scaled, want, atol=1e-12)

    curve = jnp.asarray(-0.5 * (x[:, None] - MU[None]) ** 2)
    offset = jnp.linspace(-1e3, 1e3, 9)[:, None]
    for statistic in (LRS(), FTS(focus)):
        plain = statistic(Curves(curve, curve, highest(curve)), WIDE)
        moved = curve + offset
        other = statistic(Curves(moved, moved, highest(moved)), WIDE)
        # Rounding of numbers of order 1e3.
        np.testing.assert_allclose(plain, other, atol=1e-9)


def test_a_flat_focus_orders_data_as_the_likelihood_ratio_does():
    x = np.linspace(-5, 5, 11)
    difference = direct(x, FTS(Uniform(-40.0, 40.0))) - direct(x, LRS())
    # 2 ln of the integral of exp(-(x - mu)² / 2) times the density of 1/80.
    want = np.log(2 * np.pi) - 2 * np.log(80.0)
    np.testing.assert_allclose(difference, want, atol=1e-9)


def test_all_of_the_focus_at_one_value_is_the_test_of_neyman_and_pearson():
    x = np.linspace(-5, 5, 11)
    found = direct(x, FTS(Nodes([1.0], [3.0])))
    ratio = -2 * (
        stats.norm.logpdf(x[:, None], MU[None]) - stats.norm.logpdf(x, 1.0)[:, None]
    )
    np.testing.assert_allclose(found, ratio, atol=1e-9)


DATA = np.array([[0.3, 0.1], [2.0, -1.0], [-1.5, 0.8]])


@eqx.filter_jit
def curves(nuisance, grid, data):
    return nuisance.curves(SHIFTED, data, grid, SHIFTED.parameters.inits)


def shifted(nuisance, *statistics, grid=WIDE, data=DATA):
    found = curves(nuisance, grid, jnp.asarray(data))
    return [np.asarray(statistic(found, grid)) for statistic in statistics]


@pytest.mark.parametrize("nuisance", [Profile(), Laplace()])
def test_profile_and_laplace_of_a_shift_are_a_wider_normal(nuisance):
    """x - y ~ N(mu, 1 + tau²), and the volume of theta is the same for all mu."""
    sigma = np.sqrt(1 + TAU**2)
    difference = (DATA[:, 0] - DATA[:, 1])[:, None]
    ratio, found = shifted(nuisance, LRS(), FTS(Normal(0.5, 1.2)))
    # The minimum of a quadratic function is found exactly, and polynomials are exact
    # between the nodes and beyond.
    want = ((difference - MU) / sigma) ** 2
    np.testing.assert_allclose(ratio, want, atol=1e-7, rtol=1e-9)
    want = pratt(difference, MU, 0.5, 1.2, sigma)
    if isinstance(nuisance, Laplace):
        # Volume in a flat prior of density 1, (2 pi) left out: a constant.
        found = found - (found - want)[:, :1]
    np.testing.assert_allclose(found, want, atol=1e-7, rtol=1e-9)


def test_a_flat_prior_of_a_shift_is_a_wider_normal():
    prior = np.zeros((801, 2))
    prior[:, 0] = np.linspace(-20, 20, 801)
    (found,) = shifted(Marginal(jnp.asarray(prior)), FTS(Normal(0.5, 1.2)))
    difference = (DATA[:, 0] - DATA[:, 1])[:, None]
    want = pratt(difference, MU, 0.5, 1.2, np.sqrt(1 + TAU**2))
    # For the trapezoidal rule see above; far from the data theta leaves the prior.
    near = np.abs(MU) < 10
    np.testing.assert_allclose(found[:, near], want[:, near], atol=1e-7)


def test_with_a_proper_prior_the_average_of_exponentials_is_one_at_most():
    """For every value of the nuisance parameter, and not on average over them only."""
    n = 101
    nodes = stats.norm.ppf((np.arange(n) + 0.5) / n) * 0.5
    prior = np.zeros((n, 2))
    prior[:, 0] = nodes
    grid = Grid.between(-12.0, 12.0, 241)
    mu_0 = 1.0
    at = round((mu_0 + 12) / 0.1)
    statistic = FTS(Normal(0.0, 1.0))
    # Data on a lattice, with the probability of each cell. It reaches where the average
    # over the focus has its probability, too.
    first, second = np.linspace(-9, 9, 46), np.linspace(-6, 6, 25)
    weight = 0.4 * 0.5 * np.outer(stats.norm.pdf(first), stats.norm.pdf(second)).ravel()
    first, second = (z.ravel() for z in np.meshgrid(first, second, indexing="ij"))
    for theta in (-1.5, 0.0, 2.5):
        data = np.stack([mu_0 + theta + first, theta + TAU * second], 1)
        mixed, known = (
            shifted(nuisance, statistic, grid=grid, data=data)[0][:, at]
            for nuisance in (
                Mixed(jnp.asarray(prior)),
                Known(jnp.array([theta, 0.0])),
            )
        )
        # The lattice integrates normal densities to 1e-9; it ends at nine standard
        # deviations, six of the average.
        assert (weight * np.exp(0.5 * mixed)).sum() <= 1 + 1e-6
        # It is exactly one if theta is known.
        total = (weight * np.exp(0.5 * known)).sum()
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_what_a_grid_does_not_hold_is_refused():
    with pytest.raises(ValueError, match="truncate it, or widen"):
        FTS(Normal(0.0, 1.0)).check(Grid.between(0.0, 5.0, 101))
    with pytest.raises(ValueError, match="truncate it, or widen"):
        FTS(Normal(1.0, 0.01)).check(Grid.between(0.0, 5.0, 101))
    FTS(Normal(0.0, 1.0, lower=0.0)).check(Grid.between(0.0, 5.0, 101))
    with pytest.raises(ValueError, match="no grid from 1 to 1"):
        Grid.between(1.0, 1.0, 10)
    with pytest.raises(ValueError, match="at least 6 points"):
        Grid.between(0.0, 1.0, 3)


def test_the_quadrature_is_of_fourth_order_and_exact_for_straight_lines():
    for power, atol in ((0, 1e-12), (1, 1e-12), (5, 1e-3)):
        errors = []
        for n_points in (21, 41):
            grid = Grid.between(0.0, 2.0, n_points)
            total = jnp.sum(jnp.exp(grid.log_quadrature) * grid.points**power)
            errors.append(abs(float(total) - 2 ** (power + 1) / (power + 1)))
        assert errors[0] < atol
        # Half the step, a sixteenth of the error.
        assert power < 2 or errors[1] < errors[0] / 12


def test_without_nuisance_parameters_nothing_is_fitted():
    assert isinstance(usual_nuisance(DIRECT), Known)
    assert isinstance(usual_nuisance(SHIFTED), Profile)
    frozen = eqx.tree_at(lambda m: m.tau, SHIFTED, jnp.asarray(1.0))
    assert isinstance(usual_nuisance(frozen), Profile)
