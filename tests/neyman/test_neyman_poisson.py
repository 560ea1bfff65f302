"""Belts of counting experiments against published and enumerated ones."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffana.neyman.construction import Construction
from diffana.neyman.focus import Normal
from diffana.neyman.grid import Grid
from diffana.neyman.nuisance import Known
from diffana.neyman.regions import invert
from diffana.neyman.statistics import FTS, LRS
from neyman.counting import one_count, poisson_critical


STEP = 0.005
GRID = Grid.between(0.0, 40.0, 8001)
# Above it at mu = 40 the probability is 1e-16.
N_MAX = 115
CL68, CL95 = 0.6826894921, 0.9544997361


@functools.cache
def statistic_of_counts(background, focus=None):
    """Of the likelihood ratio, or of a normal focus: [count, tested]."""
    model = one_count(background)
    statistic = LRS()
    if focus is not None:
        statistic = FTS(Normal(*focus, lower=0.0, upper=40.0))
    test = Construction(model, statistic, Known(model.parameters.inits), GRID)
    test.check()
    return test.of(jnp.arange(N_MAX + 1.0)[:, None])


@functools.cache
def belt(background, level, focus=None):
    found = statistic_of_counts(background, focus)
    mu = np.asarray(GRID.points)
    return found, poisson_critical(found, mu, background, level)


def region(background, level, count, focus=None):
    found, critical = belt(background, level, focus)
    return invert(np.asarray(GRID.points), found[count], critical)


# Table IV of Feldman and Cousins, Phys. Rev. D 57 (1998) 3873, without n = 0: there
# they lengthen the interval, lest limits rise when the background falls.
PUBLISHED = {
    1: (0.00, 1.88),
    2: (0.00, 3.04),
    3: (0.00, 4.42),
    4: (0.00, 5.60),
    5: (0.00, 6.99),
    6: (0.15, 8.47),
    7: (0.89, 9.53),
    8: (1.51, 10.99),
    9: (1.88, 12.30),
    10: (2.63, 13.50),
}


@pytest.mark.parametrize("count", PUBLISHED)
def test_intervals_of_feldman_and_cousins_are_reproduced(count):
    # The table has steps of 0.01 and the grid one of 0.005.
    np.testing.assert_allclose(
        region(3.0, 0.90, count).hull, PUBLISHED[count], atol=0.01
    )


# From an enumeration independent of this package, to 0.001.
ENUMERATED = [
    (0.90, 3.0, 0, (0.0, 0.953)),
    (0.90, 3.0, 15, (6.485, 19.52)),
    (0.90, 0.0, 0, (0.0, 2.435)),
    (0.90, 0.0, 1, (0.106, 4.357)),
    (0.90, 0.0, 2, (0.532, 5.910)),
    (0.90, 0.0, 3, (1.103, 7.424)),
    (0.90, 0.0, 4, (1.472, 8.597)),
    (0.90, 0.0, 5, (1.840, 9.987)),
    (0.90, 0.0, 10, (5.50, 16.50)),
    (0.90, 1.0, 0, (0.0, 1.605)),
    (0.90, 1.0, 1, (0.0, 3.355)),
    (0.90, 1.0, 3, (0.105, 6.42)),
    (0.90, 1.0, 5, (1.25, 8.985)),
    (0.90, 0.5, 0, (0.0, 1.935)),
    (0.90, 0.5, 3, (0.605, 6.92)),
    (0.95, 3.0, 3, (0.0, 5.25)),
    (0.95, 3.0, 7, (0.29, 10.81)),
    (0.95, 3.0, 10, (2.255, 14.815)),
    (CL68, 3.0, 0, (0.0, 0.115)),
    (CL68, 3.0, 3, (0.0, 2.30)),
    (CL68, 3.0, 5, (0.45, 4.805)),
    (CL68, 3.0, 8, (2.305, 8.315)),
    (CL68, 0.0, 0, (0.0, 1.29)),
    (CL68, 0.0, 1, (0.37, 2.75)),
    (CL68, 0.0, 5, (2.755, 7.805)),
]


@pytest.mark.parametrize(("level", "background", "count", "want"), ENUMERATED)
def test_belts_of_the_likelihood_ratio(level, background, count, want):
    # One step of the grid, and the rounding of the numbers.
    found = region(background, level, count).hull
    np.testing.assert_allclose(found, want, atol=STEP + 5e-4)


def test_a_disconnected_region_is_not_closed():
    found = region(3.0, 0.95, 0)
    assert len(found.segments) == 2
    np.testing.assert_allclose(found.hull, (0.0, 1.62), atol=STEP + 5e-4)
    assert found.length < 1.62 - STEP
    assert found.hits_edge == (True, False)


# Upper edges, or both edges, for n = 0, 1, 3, 5, 8, 10; critical values at 0, 2, 5.
# From an independent enumeration with 4001 nodes.
FOCUSED = [
    (
        (0.0, 2.0),
        CL68,
        (1.035, 1.210, 1.815, (0.725, 3.870), (1.640, 7.135), (2.025, 9.290)),
        (0.0243, -0.0623, -1.1022),
    ),
    (
        (0.0, 2.0),
        0.90,
        (1.225, 1.540, 3.680, 6.270, (1.430, 9.990), (1.775, 12.405)),
        (0.7879, 0.7295, 0.9796),
    ),
    (
        (0.0, 2.0),
        CL95,
        (1.445, 1.905, 4.890, 7.670, (0.905, 11.620), (1.665, 14.160)),
        (1.6545, 0.8374, 2.1777),
    ),
    (
        (0.0, 5.0),
        CL68,
        (1.645, 1.800, 2.700, (0.725, 4.410), (2.705, 7.220), (3.530, 9.300)),
        (-0.8661, -0.6013, -0.2641),
    ),
    (
        (0.0, 5.0),
        0.90,
        (2.060, 2.490, 4.045, 6.300, (1.660, 9.995), (2.975, 12.405)),
        (0.2269, 0.4600, 1.2873),
    ),
    (
        (3.0, 3.0),
        0.90,
        (2.500, 2.705, 4.035, 6.275, (1.660, 9.990), (2.980, 12.405)),
        (0.3023, 0.7085, 1.2503),
    ),
]


@pytest.mark.parametrize(("focus", "level", "edges", "critical"), FOCUSED)
def test_belts_of_the_focused_statistic(focus, level, edges, critical):
    _, found = belt(3.0, level, focus)
    at = [0, round(2 / STEP), round(5 / STEP)]
    # Four digits are given.
    np.testing.assert_allclose(found[at], critical, atol=1e-4)
    for count, edge in zip((0, 1, 3, 5, 8, 10), edges, strict=True):
        want = edge if isinstance(edge, tuple) else (0.0, edge)
        hull = region(3.0, level, count, focus).hull
        np.testing.assert_allclose(hull, want, atol=STEP + 5e-4)


@pytest.mark.parametrize("level", [CL68, 0.90, CL95])
def test_critical_values_of_a_focus_stay_below_the_bound_of_ville(level):
    mu = np.asarray(GRID.points)
    for focus in ((0.0, 2.0), (0.0, 5.0), (3.0, 3.0)):
        _, critical = belt(3.0, level, focus)
        # Above, counts beyond the range of the grid are no longer rare.
        assert critical[mu < 25].max() < -2 * np.log(1 - level)


def test_belts_cover_everywhere_and_the_focus_does_not_exceed_the_supremum():
    """P(accept) at every tested value, by a sum over counts."""
    mu = np.asarray(GRID.points)
    probability = stats.poisson.pmf(np.arange(N_MAX + 1)[:, None], mu + 3.0)
    ratio = statistic_of_counts(3.0)
    focused = statistic_of_counts(3.0, (0.0, 2.0))
    # An average is not larger than the largest value, which lies between two points.
    assert (focused <= ratio + 1e-9).all()
    for focus in (None, (0.0, 2.0)):
        found, critical = belt(3.0, 0.90, focus)
        covered = (probability * (found <= critical)).sum(0)
        assert covered.min() >= 0.90 - 1e-9


def test_the_likelihood_ratio_is_exact_between_the_points_of_the_grid():
    model = one_count(3.0)
    coarse = Grid.between(0.0, 40.0, 401)
    test = Construction(model, LRS(), Known(model.parameters.inits), coarse)
    counts = np.array([5.37, 8.0, 2.0])
    found = test.of(jnp.asarray(counts)[:, None])
    rate = np.asarray(coarse.points) + 3.0
    best = np.maximum(counts, 3.0)[:, None]
    k = counts[:, None]
    want = 2 * (rate - best - k * np.log(rate / best))
    # Third order of the step of 0.1 over a width of 2.3: (0.1 / 2.3)³ / 12 at most.
    np.testing.assert_allclose(found, want, atol=1e-5)
