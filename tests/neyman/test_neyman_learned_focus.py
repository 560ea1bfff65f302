"""The learned focus of a bounded Gaussian, against optima that are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats

from diffana.errors import DataError, TrainingError
from diffana.neyman.focus_objective import (
    AbstractObjective,
    MeanLength,
    MedianLength,
    UpperLimit,
    WorstRegret,
)
from diffana.neyman.learned import learn_focus, soft_sets
from diffana.neyman.smoothed_quantile import smoothed_quantile
from diffana.neyman.toy_table import ToyTable, mixture_weight
from neyman import exact_gaussian as exact


EVERY = np.arange(len(exact.MU))


def quadrature(step=0.06, every=1):
    """Cells of x in place of toys, with their exact probabilities."""
    edges = np.arange(-7.0, 17.0 + step / 2, step)
    points = EVERY[::every]
    probability = np.diff(special.ndtr(edges - exact.MU[points, None]), axis=1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    log_likelihood = exact.log_likelihood(middle)
    return ToyTable.shared(exact.MU, points, log_likelihood, probability)


def at(value):
    """All weight on one true value."""
    return (value == exact.MU).astype(float)


def test_quantile_of_a_noncentral_chi_square_has_the_derivative_of_scipy():
    edges = np.linspace(-9.0, 9.0, 9001)
    weight = np.diff(special.ndtr(edges))
    z = 0.5 * (edges[1:] + edges[:-1])

    def quantile(shift):
        return smoothed_quantile((z - shift) ** 2, weight, 0.6827, 0.005)

    def truth(shift):
        return stats.ncx2.ppf(0.6827, 1, shift**2)

    for shift in (0.3, 1.0, 2.5):
        value, slope = jax.value_and_grad(quantile)(shift)
        expected = (truth(shift + 1e-4) - truth(shift - 1e-4)) / 2e-4
        # The bias of smoothing is of second order in 0.005 over the scale 1 of the
        # density: 1e-4 times the curvature of the distribution function.
        np.testing.assert_allclose(value, truth(shift), rtol=1e-3)
        np.testing.assert_allclose(slope, expected, rtol=1e-3)


def test_quantile_of_few_values_has_the_derivative_of_finite_differences():
    rng = np.random.default_rng(1)
    values, weight = rng.normal(size=(3, 7)), rng.dirichlet(np.ones(7), 3)

    def root(row, share):
        excess = lambda q: share @ special.expit((q - row) / 0.4) - 0.3
        return optimize.brentq(excess, -50, 50, xtol=1e-14)

    def quantile(values):
        return smoothed_quantile(values, weight, 0.3, 0.4)

    exact_roots = [root(*row) for row in zip(values, weight, strict=True)]
    # 50 halvings of a range of 35.
    np.testing.assert_allclose(quantile(values), exact_roots, atol=1e-12)
    slopes = jax.jacobian(quantile)(jnp.asarray(values))
    for row in range(3):
        for place in range(7):
            up, down = values[row].copy(), values[row].copy()
            up[place] += 1e-5
            down[place] -= 1e-5
            expected = (root(up, weight[row]) - root(down, weight[row])) / 2e-5
            # Central differences: third derivatives times 1e-10.
            np.testing.assert_allclose(slopes[row, row, place], expected, atol=1e-8)


def test_soft_sets_cover_exactly():
    toys = quadrature()
    sets = soft_sets(toys, EVERY, jnp.asarray(exact.half_normal(1.0)), 0.6827, 0.3)
    accepted = np.asarray(jax.nn.sigmoid(sets.logit))[0]
    coverage = np.einsum("pt,tp->p", toys.weight, accepted)
    # Rounding and the last bracket of the bisection.
    np.testing.assert_allclose(coverage, 0.6827, atol=1e-10)


# For a half-normal focus of width 1 and x ~ N(mu, 1), mu >= 0, in closed form.
@pytest.mark.parametrize(
    ("level", "critical"),
    [
        (0.6827, {0.0: -0.1130, 1.0: -0.0275, 3.0: -2.3439}),
        (0.9545, {0.0: 1.8748, 1.0: 1.0356}),
    ],
)
def test_critical_values_are_those_of_the_closed_form(level, critical):
    toys, focus = quadrature(0.005), exact.half_normal(1.0)
    sets = soft_sets(toys, EVERY, jnp.asarray(focus), exact.LEVELS[level], 0.03)
    # The critical value is the same for each toy: logit * temperature + statistic.
    row = toys.log_likelihood[0, 0]
    statistic = -2 * (row - special.logsumexp(row + focus))
    found = 0.03 * np.asarray(sets.logit)[0, 0] + statistic
    for mu, expected in critical.items():
        place = int(np.argmin(np.abs(exact.MU - mu)))
        # The bias of smoothing over 0.03 is up to 0.0027, of second order. A sum over
        # nodes of 0.1 differs from the integral by 0.1^2 / 12 times the slope at the
        # bound mu = 0, which changes the statistic by up to 0.002.
        assert found[place] == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(
    "level", [0.6827, pytest.param(0.9545, marks=pytest.mark.slow)]
)
def test_gradient_is_that_of_sharp_sets(level):
    level = exact.LEVELS[level]
    true_weight = np.exp(exact.half_normal(2.0))
    start = exact.insured(exact.half_normal(1.0), 0.3)
    rng = np.random.default_rng(2)
    # Smooth directions: the focus is seen through a resolution of 1.
    directions = [np.cos(k * exact.MU * np.pi / 10 + rng.uniform()) for k in (1, 2)]

    def sharp(logit):
        log_weight = logit - special.logsumexp(logit)
        statistic = exact.focused(log_weight, exact.MU)
        return true_weight @ exact.expected_length(statistic, level, exact.MU)

    toys = quadrature(0.04)

    def soft(logit):
        return MeanLength(true_weight)(soft_sets(toys, EVERY, logit, level, 0.1))

    gradient = np.asarray(jax.grad(soft)(jnp.asarray(start)))
    for direction in directions:
        expected = (
            sharp(start + 0.02 * direction) - sharp(start - 0.02 * direction)
        ) / 0.04
        # Smoothing over a temperature of 0.1, of second order, and differences.
        assert gradient @ direction == pytest.approx(expected, rel=0.03, abs=1e-4)


def test_the_average_length_returns_its_own_weight():
    # Ghosh and Pratt: among all sets of this coverage, those of the focus f = g have
    # the smallest length averaged over g.
    level, best = exact.LEVELS[0.6827], exact.half_normal(2.0)
    learned = learn_focus(
        quadrature(), MeanLength(np.exp(best)), level, n_steps=200, learning_rate=0.2
    )
    average = {
        name: np.exp(best)
        @ exact.expected_length(exact.focused(focus, exact.MU), level, exact.MU)
        for name, focus in {
            "best": best,
            "learned": learned.log_weight,
            "narrow": exact.half_normal(1.0),
        }.items()
    }
    excess = {name: value / average["best"] - 1 for name, value in average.items()}
    # The excess is of second order in the focus; sums over cells of 0.1 and 0.02 are
    # good to 1e-4, so that nothing may be lower by more.
    assert -1e-4 < excess["learned"] < 1e-3
    assert excess["narrow"] > 0.02
    # Weights are seen through a resolution of 1, as sums over a wider range.
    gap = np.cumsum(np.exp(learned.log_weight)) - np.cumsum(np.exp(best))
    assert np.abs(gap).max() < 0.15
    assert special.logsumexp(learned.log_weight) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "level", [0.9545, pytest.param(0.6827, marks=pytest.mark.slow)]
)
def test_the_upper_limit_at_zero_is_that_of_the_one_sided_test(level):
    # By Neyman and Pearson no upper edge is lower on average at mu = 0 than x + z,
    # and it belongs to the focus with all its weight at 0.
    level = exact.LEVELS[level]
    z = special.ndtri(level)
    optimum = z * special.ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    learned = learn_focus(
        quadrature(every=2),
        UpperLimit(at(0.0)[::2]),
        level,
        nodes=EVERY[::5],
        n_steps=100,
        learning_rate=0.3,
    )
    # At mu = 0 itself the statistic of the best focus is constant: midpoints avoid it.
    tested = 0.5 * (exact.MU[1:] + exact.MU[:-1])
    statistic = exact.focused(learned.log_weight, tested, learned.mu)
    critical = exact.critical_values(statistic, tested, level)
    accepted = exact.accepted_fraction(statistic, critical)
    above = np.maximum.accumulate(accepted[:, ::-1], axis=1)[:, ::-1]
    upper = 0.1 * (exact.cell_probability(np.zeros(1)) @ above).sum()
    # Midpoints of cells of 0.1 give the integral over a normal distribution to 0.05 %.
    assert -5e-4 < upper / optimum - 1 < 2e-3


class Impossible(AbstractObjective):
    """The square root of a negative number."""

    def __call__(self, sets):
        return jnp.sqrt(-sets.length.sum())


def test_impossible_toys_settings_and_objectives_are_refused():
    toys = quadrature(0.5, every=10)
    objective = MeanLength(np.ones(11) / 11)
    with pytest.raises(ValueError, match=r"level 68\.27"):
        learn_focus(toys, objective, 68.27)
    with pytest.raises(ValueError, match="not positive"):
        learn_focus(toys, objective, 0.68, temperatures=(1.0, 0.0))
    with pytest.raises(TrainingError, match="since step 0"):
        learn_focus(toys, Impossible(), 0.68)
    table, weight = toys.log_likelihood[0], toys.weight
    impossible = np.where(np.arange(len(table))[:, None] == 3, -np.inf, table)
    broken = ToyTable.shared(exact.MU, toys.points, impossible, weight)
    with pytest.raises(DataError, match="no likelihood at any node"):
        learn_focus(broken, objective, 0.68)
    with pytest.raises(DataError, match="do not belong to a grid of 101"):
        ToyTable.shared(exact.MU, toys.points, table[:, 1:], weight)
    with pytest.raises(DataError, match="made at 2 of 11"):
        ToyTable(exact.MU, toys.points, np.stack([table] * 2), weight)
    with pytest.raises(DataError, match="weights are negative"):
        ToyTable(exact.MU, toys.points, table[None], 0.5 * weight)


def test_counts_that_are_impossible_at_zero_do_no_harm():
    # Without background, n > 0 cannot happen at mu = 0.
    mu, n = np.linspace(0.0, 20.0, 41), np.arange(60)
    log_likelihood = stats.poisson.logpmf(n[:, None], mu)
    points = np.arange(0, 41, 2)
    toys = ToyTable.shared(mu, points, log_likelihood, np.exp(log_likelihood.T[points]))
    learned = learn_focus(
        toys, MeanLength(np.ones(21) / 21), 0.6827, n_steps=5, temperatures=(1.0, 0.5)
    )
    assert np.isfinite(learned.log_weight).all()
    assert learned.objective[-1] < learned.objective[0]


def test_weights_of_a_mixture_give_expectations_at_every_true_value():
    rng = np.random.default_rng(3)
    points = EVERY[::10]
    x = (exact.MU[points, None] + rng.standard_normal((11, 4000))).ravel()
    weight = mixture_weight(exact.log_likelihood(x), points)
    error = np.sqrt((weight**2 * (x - exact.MU[points, None]) ** 2).sum(1))
    # Four standard deviations.
    assert (np.abs(weight @ x - exact.MU[points]) < 4 * error).all()
    assert (error < 0.02).all()
    assert weight.max() < 11 / (0.9 * x.size)


def fresh_lengths(log_weight, nodes, level, rng):
    """Coverage and expected length at each true value, with sharp critical values."""
    points = exact.MU[::5]
    x = points[:, None] + rng.standard_normal((2, len(points), 4000))
    denominator = special.logsumexp(
        exact.log_likelihood(x.ravel(), nodes) + log_weight, axis=1
    ).reshape(x.shape)
    own = (x - points[:, None]) ** 2 + 2 * denominator
    place = int(np.ceil(4001 * level)) - 1
    critical = np.sort(own[0], axis=1)[:, place]
    inside = (x[1, ..., None] - points) ** 2 + 2 * denominator[1, ..., None] <= critical
    return (own[1] <= critical[:, None]).mean(1), inside.mean(1) @ exact.trapezoid(
        points
    )


@pytest.mark.parametrize("batch", [400, pytest.param(None, marks=pytest.mark.slow)])
def test_a_focus_learned_on_own_toys_holds_on_fresh_ones(batch):
    rng = np.random.default_rng(4)
    points = EVERY[::5]
    x = exact.MU[points, None] + rng.standard_normal((len(points), 600))
    table = exact.log_likelihood(x.ravel()).reshape(*x.shape, -1)
    level, nodes = exact.LEVELS[0.6827], EVERY[::5]
    weight = np.exp(exact.half_normal(2.0))[::5]
    weight /= weight.sum()
    learned = learn_focus(
        ToyTable.own(exact.MU, points, table),
        MeanLength(weight),
        level,
        nodes=nodes,
        n_steps=60,
        learning_rate=0.3,
        batch=batch,
    )
    coverage, length = fresh_lengths(learned.log_weight, learned.mu, level, rng)
    _, best = fresh_lengths(np.log(weight), exact.MU[nodes], level, rng)
    _, start = fresh_lengths(np.full(21, -np.log(21)), exact.MU[nodes], level, rng)
    # 4000 calibrating and 4000 fresh toys: 0.0104, four times for the worst of 21.
    np.testing.assert_allclose(coverage, level, atol=0.042)
    # Average lengths of 4000 toys fluctuate by 0.5 %, and 600 toys fix a focus to about
    # a per cent of the length.
    assert weight @ length < 1.02 * (weight @ best)
    assert weight @ length < 0.99 * (weight @ start)


# Brackets of the best largest ratio on mu in [0, 8] for any sets, from multiplicative
# weights on randomised tests.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "bracket", "temperatures", "softness"),
    [
        (0.6827, (0.9722, 0.9733), (0.5, 0.03), 0.005),
        (0.9545, (0.9935, 0.9944), (1.0, 0.1), 0.003),
    ],
)
def test_the_smallest_largest_regret_is_reached(level, bracket, temperatures, softness):
    level = exact.LEVELS[level]
    reference = exact.expected_length(exact.likelihood_ratio(exact.MU), level, exact.MU)
    included = exact.MU < 8.05
    learned = learn_focus(
        quadrature(0.03),
        WorstRegret(reference, included, softness=softness),
        level,
        n_steps=1000,
        temperatures=temperatures,
    )
    statistic = exact.focused(learned.log_weight, exact.MU)
    ratio = exact.expected_length(statistic, level, exact.MU) / reference
    # No focus can be below the bracket. Learning smooths the largest of 81 ratios by
    # softness * temperature * ln(81), 0.07 and 0.13 %, and steps of 0.1 in mu matter
    # less than the width of the bracket, 0.1 %.
    assert bracket[0] - 5e-4 < ratio[included].max() < bracket[1] + 1e-3


@pytest.mark.slow
def test_the_median_is_shorter_than_with_the_focus_of_the_mean():
    level, true = exact.LEVELS[0.6827], at(1.0)
    toys = quadrature()
    objectives = MedianLength(true, bandwidth=0.05), MeanLength(true)
    cells = np.diff(special.ndtr(exact.EDGES - 1.0))
    medians = []
    for objective in objectives:
        focus = learn_focus(toys, objective, level, n_steps=200, learning_rate=0.2)
        focus = focus.log_weight
        length = exact.cell_lengths(exact.focused(focus, exact.MU), level)
        order = np.argsort(length)
        place = np.searchsorted(np.cumsum(cells[order]), 0.5)
        medians.append(length[order][place])
    # The focus of the mean is all at mu = 1 and has a median of 1.000; 1.799 has the
    # likelihood ratio. Lengths are smoothed over 0.05 in learning.
    assert medians[1] == pytest.approx(1.0, abs=0.01)
    assert medians[0] < 0.99 * medians[1]
