"""Acceptance regions of statistics that are convex in the measurement."""

from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np
from jaxtyping import ArrayLike
from scipy.special import log_ndtr, ndtr, ndtri

from diffana.neyman.gaussian._root import Numbers, root


# Standard deviations beyond which a normal distribution has no float64 probability.
_FAR = 38.0


@final
class Acceptance(NamedTuple):
    """Measurements that accept a tested value: those from `lower` to `upper`.

    Attributes:
        critical: critical value of the statistic.
        lower: lowest accepted measurement; -∞ if none is too low.
        upper: highest accepted measurement; ∞ if none is too high.
    """

    critical: Numbers
    lower: Numbers
    upper: Numbers


def acceptance(
    statistic: Callable[[Numbers, Numbers], Numbers],
    mu: ArrayLike,
    level: float,
    sigma: ArrayLike = 1.0,
) -> Acceptance:
    """Critical value and accepted measurements of a statistic that is convex in x.

    That is every focused statistic of a Gaussian measurement, whatever the focus, and
    every likelihood ratio, whatever the bounds: -2 ln L is linear in x, apart from a
    term that cancels, and the denominator is the exponential of a convex function. The
    accepted measurements are an interval of probability `level` with equal statistic at
    both ends, or one without an end at the side where the statistic stays low. An end
    more than 38 standard deviations away, beyond which there is no probability in
    float64, is infinite.

    Args:
        statistic: of measurement and tested value, element by element.
        mu: tested values.
        level: confidence level, between 0.5 and 1.
        sigma: standard deviation of the measurement, > 0; one, or one per tested value.

    Raises:
        ValueError: if `level` is not as said.

    Example:
        >>> found = acceptance(bounded_lrs, 0.0, 0.9)
        >>> round(float(found.critical), 5), float(found.lower)
        (1.64237, -inf)
    """
    if not 0.5 < level < 1:
        raise ValueError(f"confidence level {level} is not between 0.5 and 1")
    mu, sigma = np.broadcast_arrays(np.asarray(mu, float), np.asarray(sigma, float))
    outside = 1 - level

    def ends(z: Numbers, side: Numbers) -> tuple[Numbers, Numbers]:
        """The end with the smaller probability beyond it, and the other end."""
        other = -ndtri(outside - ndtr(z))
        return mu + side * sigma * z, mu + side * sigma * other

    def unequal(z: Numbers, side: Numbers) -> Numbers:
        small, other = ends(z, side)
        return statistic(other, mu) - statistic(small, mu)

    # The end with less probability beyond it is the one to look for: its place tells
    # that of the other one exactly, not the other way round.
    middle = np.full(mu.shape, ndtri(outside / 2))
    side = np.where(unequal(middle, np.ones(mu.shape)) >= 0, 1.0, -1.0)
    lowest = np.full(mu.shape, -_FAR)
    z = root(lambda z: unequal(z, side), lowest, middle)
    is_open = unequal(lowest, side) >= 0
    z = np.where(is_open, -np.inf, z)
    small, other = ends(z, side)
    return Acceptance(
        critical=statistic(other, mu),
        lower=np.where(side > 0, small, other),
        upper=np.where(side > 0, other, small),
    )


def bounded_lrs(x: ArrayLike, mu: ArrayLike, sigma: ArrayLike = 1.0) -> Numbers:
    """Likelihood-ratio statistic of a parameter that cannot be negative.

    Args:
        x: measurement; may be negative.
        mu: tested value, >= 0.
        sigma: standard deviation of the measurement, > 0.

    Source: Feldman and Cousins, Phys. Rev. D 57 (1998) 3873, section IV.B.
    """
    x, mu, sigma = (np.asarray(number, float) for number in (x, mu, sigma))
    return ((x - mu) / sigma) ** 2 - (np.minimum(x, 0) / sigma) ** 2


def truncated_fts(
    x: ArrayLike, mu: ArrayLike, mean: float, sd: float, sigma: ArrayLike = 1.0
) -> Numbers:
    """Focused test statistic for a normal focus that is truncated at 0.

    Args:
        x: measurement; may be negative.
        mu: tested value.
        mean: of the focus before truncation; 0 is a half-normal focus.
        sd: standard deviation of the focus before truncation, > 0.
        sigma: standard deviation of the measurement, > 0.
    """
    x, mu, sigma = (np.asarray(number, float) for number in (x, mu, sigma))
    variance = sigma**2 + sd**2
    # Of the focus times the likelihood, before truncation.
    mean_of_both = (x * sd**2 + mean * sigma**2) / variance
    sd_of_both = sd * sigma / np.sqrt(variance)
    return (
        ((x - mu) / sigma) ** 2
        - (x - mean) ** 2 / variance
        - np.log(variance / sigma**2)
        + 2 * (log_ndtr(mean_of_both / sd_of_both) - log_ndtr(mean / sd))
    )
