"""Coverage of confidence sets at a grid of true values, with exact errors.

Toys are made at known true values mu, and each says whether its set contains mu.
"""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float, Int
from scipy import special, stats

from diffana.errors import DataError


class Band(NamedTuple):
    """Lower and upper edge of a confidence band.

    Attributes:
        lower: at every point, in [0, 1].
        upper: at every point, in [0, 1].
    """

    lower: Float[np.ndarray, " point"]
    upper: Float[np.ndarray, " point"]


class LargestDeviation(NamedTuple):
    """The largest |coverage - level| over all points.

    Attributes:
        value: as observed; biased upwards by the fluctuations, of which it picks the
            largest.
        point: where it is observed.
        lower: lower edge of its confidence interval, 0 if the band contains the level
            everywhere.
        upper: upper edge of its confidence interval.
    """

    value: float
    point: int
    lower: float
    upper: float


@final
class BinomialCoverage(NamedTuple):
    """Fraction of toys whose set contains the true value, at a grid of true values.

    Attributes:
        coverage: the fraction at every point.
        level: what it should be.
        confidence: of the bands and the two tests.
        pointwise: Clopper-Pearson interval at each point by itself.
        simultaneous: contains the true coverage at all points together.
        p_below: probability of so few covered toys, or fewer, if the coverage were the
            level.
        p_equal: two-sided probability if the coverage were the level, twice the smaller
            tail as in a Clopper-Pearson interval.
        covers: whether the counts are compatible with coverage >= level at every point.
        exact: whether the counts are compatible with coverage == level at every point,
            which is where the simultaneous band contains the level.
        largest: the largest |coverage - level|, its interval from the simultaneous
            band.
    """

    coverage: Float[np.ndarray, " point"]
    level: float
    confidence: float
    pointwise: Band
    simultaneous: Band
    p_below: Float[np.ndarray, " point"]
    p_equal: Float[np.ndarray, " point"]
    covers: bool
    exact: bool
    largest: LargestDeviation


def binomial_coverage(
    n_covered: Int[np.ndarray, " point"],
    n_toys: int | Int[np.ndarray, " point"],
    level: float,
    *,
    confidence: float = 0.95,
    independent: bool = True,
) -> BinomialCoverage:
    """Coverage at a grid of true values with exact errors and exact tests.

    The chance that any of the points fails a true hypothesis is at most 1 - confidence.

    Args:
        n_covered: toys whose set contains the true value.
        n_toys: toys made at each point, > 0.
        level: confidence level that the sets claim, in (0, 1).
        confidence: of the bands and tests, in (0, 1).
        independent: whether each point has toys of its own. The bands then share
            1 - confidence by Šidák's rule, confidence^(1/points) for each point;
            otherwise by Bonferroni's, 1 - (1 - confidence) / points, which holds for
            any dependence and is hardly wider.

    Raises:
        DataError: if more toys are covered than were made, or fewer than none.
        ValueError: if a level or a confidence is not between 0 and 1.

    Source: Clopper and Pearson, Biometrika 26 (1934) 404; Šidák, J. Am. Stat. Assoc. 62
    (1967) 626.

    Example:
        >>> covered = statistic <= critical[:, None]
        >>> found = binomial_coverage(covered.sum(1), covered.shape[1], 0.6827)
        >>> found.covers, found.largest.value
    """
    check_between(level=level, confidence=confidence)
    n_covered, n_toys = np.broadcast_arrays(n_covered, n_toys)
    if not ((n_toys > 0) & (n_covered >= 0) & (n_covered <= n_toys)).all():
        raise DataError("coverage: a number of covered toys is not within 0 and all")
    n_points = n_covered.size
    each = (
        confidence ** (1 / n_points) if independent else 1 - (1 - confidence) / n_points
    )
    p_below = stats.binom.cdf(n_covered, n_toys, level)
    p_above = stats.binom.sf(n_covered - 1, n_toys, level)
    p_equal = np.minimum(2 * np.minimum(p_below, p_above), 1.0)
    coverage = n_covered / n_toys
    simultaneous = clopper_pearson(n_covered, n_toys, each)
    return BinomialCoverage(
        coverage=coverage,
        level=level,
        confidence=confidence,
        pointwise=clopper_pearson(n_covered, n_toys, confidence),
        simultaneous=simultaneous,
        p_below=p_below,
        p_equal=p_equal,
        covers=bool((p_below > 1 - each).all()),
        exact=bool((p_equal > 1 - each).all()),
        largest=largest_deviation(coverage, simultaneous, level),
    )


def clopper_pearson(
    n_covered: Int[np.ndarray, " point"],
    n_toys: Int[np.ndarray, " point"],
    confidence: float,
) -> Band:
    """Exact central interval of a binomial probability, for each point by itself.

    Example:
        >>> clopper_pearson(np.array([683]), np.array([1000]), 0.95)
    """
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore"):
        lower = special.betaincinv(n_covered, n_toys - n_covered + 1, tail)
        upper = special.betainccinv(n_covered + 1, n_toys - n_covered, tail)
    # A beta distribution does not exist where one of its parameters is 0.
    return Band(
        np.where(n_covered == 0, 0.0, lower), np.where(n_covered == n_toys, 1.0, upper)
    )


def largest_deviation(
    coverage: Float[np.ndarray, " point"], band: Band, level: float
) -> LargestDeviation:
    """The largest |coverage - level|, with the interval that a simultaneous band gives.

    If the band contains the coverage at all points, the interval contains the largest
    deviation of the true coverage.

    Example:
        >>> largest_deviation(found.coverage, found.simultaneous, 0.6827)
    """
    deviation = np.abs(coverage - level)
    point = int(np.argmax(deviation))
    outside = np.maximum(band.lower - level, level - band.upper)
    farthest = np.maximum(level - band.lower, band.upper - level)
    return LargestDeviation(
        value=float(deviation[point]),
        point=point,
        lower=float(max(outside.max(), 0.0)),
        upper=float(farthest.max()),
    )


def check_between(**values: float) -> None:
    """Raise a ValueError that names a value outside (0, 1)."""
    for name, value in values.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} {value} is not between 0 and 1")
