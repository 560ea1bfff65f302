"""Confidence belts and what they are worth, judged on toys they were not made with."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from diffana.neyman import Belt, Known, Plugin, calibrate
from diffana.neyman.calibration import LENGTHS
from diffana.neyman.construction import Construction
from diffana.neyman.coverage import binomial_coverage
from diffana.neyman.grid import Grid
from diffana.neyman.order_statistic import empirical
from diffana.neyman.regions import bounds, is_accepted, lengths
from diffana.neyman.toys import batches


def known(model, statistic, step, lower, upper):
    """Test of a model without nuisance parameters, on a grid that contains 0."""
    first, last = round(lower / step), round(upper / step)
    grid = Grid.between(first * step, last * step, last - first + 1)
    return Construction(model, statistic, Known(model.parameters.inits), grid)


def position(construction, mu):
    """Places of values on the grid."""
    grid = construction.grid
    return np.rint((np.asarray(mu) - grid.points[0]) / grid.step).astype(int)


def as_generated(construction):
    """Where toys come from: nominal parameters, but for that of interest."""
    parameters = construction.likelihood.parameters
    rows = np.tile(np.asarray(parameters.inits), (construction.grid.points.size, 1))
    rows[:, parameters.poi_index] = np.asarray(construction.grid.points)
    return Plugin(rows)


def statistics(construction, batch):
    """Statistic of every toy of a batch at every tested value."""
    params = jnp.asarray(batch.params)
    toys = construction.likelihood.samples(params, batch.at.size, batch.seed)
    return construction.of(toys, params)


def own_statistics(construction, several):
    """Statistic of every toy of each batch at the value that it was made for."""
    for batch in several:
        found = statistics(construction, batch)
        yield found[np.arange(batch.at.size), batch.at]


class Halves(NamedTuple):
    """A belt, and two that are made with half of its toys each.

    The difference of the halves tells the error that the belt has from its own toys.
    """

    belt: Belt
    halves: tuple[Belt, Belt]
    excess: float


def halved(construction, lower, upper, settings):
    """A belt from order statistics of toys, for tested values between two ends."""
    first, last = (int(at) for at in position(construction, [lower, upper]))
    found = calibrate(
        construction,
        as_generated(construction),
        (first, last),
        settings,
        evaluate=own_statistics,
    )
    places = np.unique(found.at)
    rows = found.statistic.reshape(places.size, -1)
    mu = np.asarray(construction.grid.points)[places]
    belt = found.belt
    halves = tuple(
        Belt(
            construction,
            empirical(mu, rows[:, half::2], belt.critical.levels),
            belt.first,
            belt.last,
            belt.guarantee,
        )
        for half in range(2)
    )
    return Halves(belt, halves, found.excess)


class Sets(NamedTuple):
    """Confidence sets of toys, as arrays [level, toy].

    Attributes:
        length: sum of the lengths of the segments.
        lower: lowest edge; nan if the set is empty.
        upper: highest edge; nan if the set is empty.
        is_covered: whether the true value is in the set.
    """

    length: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    is_covered: np.ndarray


def sets_of(belts, mu, n_toys, seed=1):
    """Sets of several belts of one construction, for toys of one true value.

    Equal seeds give equal toys for different constructions of one model.
    """
    construction, first = belts[0].construction, belts[0].first
    (at,) = position(construction, [mu])
    plan = batches(
        as_generated(construction),
        np.array([at]),
        n_toys,
        # Toys of different true values must not fluctuate together.
        seed + round(1000 * mu),
        stream=LENGTHS,
    )
    parts = [[] for _ in belts]
    for batch in plan:
        found = statistics(construction, batch)[:, first : belts[0].last + 1]
        for belt, part in zip(belts, parts, strict=True):
            part.append(_sets(belt, found, at - first))
    return [
        Sets(*(np.concatenate(one, axis=1) for one in zip(*part, strict=True)))
        for part in parts
    ]


def _sets(belt, statistic, place):
    tested, rows = belt.tested, []
    for critical in belt.critical_values:
        lower, upper = bounds(tested, statistic, critical)
        covered = is_accepted(statistic, critical)[:, place]
        rows.append((lengths(tested, statistic, critical), lower, upper, covered))
    return tuple(np.stack(one) for one in zip(*rows, strict=True))


def covered(sets, levels):
    """Coverage at every level, from sets at several true values."""
    return [
        binomial_coverage(
            np.array([one.is_covered[i].sum() for one in sets]),
            sets[0].is_covered.shape[1],
            level,
        )
        for i, level in enumerate(levels)
    ]
