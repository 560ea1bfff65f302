"""Focused intervals for an unbounded parameter and a normal focus."""

from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np
from jaxtyping import ArrayLike
from scipy.special import ndtr, ndtri

from diffana.neyman.gaussian._root import Numbers, root
from diffana.neyman.gaussian.convex import Acceptance


@final
class Pratt(NamedTuple):
    """Focused intervals for an unbounded parameter and a normal focus, in closed form.

    All arguments may be arrays that broadcast. Levels are between 0 and 1.

    Attributes:
        mean: mean of the focus, in units of the parameter.
        sd: standard deviation of the focus, > 0.
        sigma: standard deviation of the measurement, > 0.

    Source: Pratt, J. Am. Stat. Assoc. 56 (1961) 549.

    Example:
        >>> lower, upper = Pratt(mean=0.0, sd=1.0).interval(1.0, 0.9544997)
        >>> round(float(lower), 4), round(float(upper), 4)
        (-0.7003, 2.6901)
    """

    mean: float
    sd: float
    sigma: float = 1.0

    def statistic(self, x: ArrayLike, mu: ArrayLike) -> Numbers:
        """Focused test statistic of the measurement `x` at the tested value `mu`."""
        x, mu = np.asarray(x, float), np.asarray(mu, float)
        variance = self.sigma**2 + self.sd**2
        return (
            ((x - mu) / self.sigma) ** 2
            - (x - self.mean) ** 2 / variance
            - np.log(variance / self.sigma**2)
        )

    def acceptance(self, mu: ArrayLike, level: ArrayLike) -> Acceptance:
        """Critical value and accepted measurements at the tested value `mu`.

        The lower and the upper end both grow with `mu`, at least as fast: intervals are
        never disconnected.
        """
        mu = np.asarray(mu, float)
        centre = self.sigma * (mu - self.mean) / self.sd**2
        excess = _excess(np.abs(centre), level)
        # The nearer end is the excess away. As a difference of the shift and the reach
        # it would lose its digits far from the focus.
        near = self.sigma * excess
        far = self.sigma * (2 * np.abs(centre) + excess)
        lower = mu - np.where(centre > 0, near, far)
        upper = mu + np.where(centre > 0, far, near)
        nearer = np.where(centre > 0, lower, upper)
        return Acceptance(self.statistic(nearer, mu), lower, upper)

    def interval(self, x: ArrayLike, level: ArrayLike) -> tuple[Numbers, Numbers]:
        """Lower and upper end of the confidence interval of the measurement `x`."""
        x, level = np.broadcast_arrays(np.asarray(x, float), np.asarray(level, float))

        def inverse(end: Callable[[Numbers], Numbers], at_mean: Numbers) -> Numbers:
            # An end moves at least as fast as the tested value.
            furthest = self.mean + x - at_mean
            return root(
                lambda mu: end(mu) - x,
                np.minimum(self.mean, furthest),
                np.maximum(self.mean, furthest),
            )

        at_mean = self.acceptance(self.mean, level)
        return (
            inverse(lambda mu: self.acceptance(mu, level).upper, at_mean.upper),
            inverse(lambda mu: self.acceptance(mu, level).lower, at_mean.lower),
        )

    def median_length(self, mu_true: ArrayLike, level: ArrayLike) -> Numbers:
        """Median length of the interval if the true value is `mu_true`.

        The length grows with the distance of the measurement from the mean of the
        focus, so its median is the length at the median distance.
        """
        away = np.abs(np.asarray(mu_true, float) - self.mean) / self.sigma
        x = self.mean + self.sigma * reach(away, 0.5)
        lower, upper = self.interval(x, level)
        return upper - lower

    def mean_length(self, mu_true: ArrayLike, level: ArrayLike) -> Numbers:
        """Expected length of the interval if the true value is `mu_true`.

        It is the integral, over tested values, of the probability to accept them.

        Source: Pratt, J. Am. Stat. Assoc. 56 (1961) 549; Ghosh, Calcutta Stat. Assoc.
        Bull. 10 (1961) 147.
        """
        return np.vectorize(self._mean_length, otypes=[float])(mu_true, level)

    def _mean_length(self, mu_true: float, level: float) -> float:
        # Nothing is accepted by measurements more than 9 standard deviations away.
        lowest = self.interval(mu_true - 9 * self.sigma, level)[0]
        highest = self.interval(mu_true + 9 * self.sigma, level)[1]
        # The reach has a structure of this width around the mean of the focus.
        width = self.sd**2 / self.sigma
        edges = np.union1d(
            np.linspace(lowest, highest, 65),
            np.clip(self.mean + width * np.linspace(-8, 8, 33), lowest, highest),
        )
        nodes, weights = np.polynomial.legendre.leggauss(12)
        half = 0.5 * np.diff(edges)[:, None]
        mu = edges[:-1, None] + half * (1 + nodes)
        found = self.acceptance(mu, level)
        accepted = ndtr((found.upper - mu_true) / self.sigma) - ndtr(
            (found.lower - mu_true) / self.sigma
        )
        return float((half * weights * accepted).sum())


def reach(d: ArrayLike, level: ArrayLike) -> Numbers:
    """The r at which Φ(d + r) - Φ(d - r) is the level.

    Its square is the quantile of the noncentral χ² distribution with one degree of
    freedom and noncentrality d². Its derivative is tanh(d r). Good to 10⁻¹⁰ for any d,
    where `scipy.stats.ncx2.ppf` is not.

    Args:
        d: any real number.
        level: between 0 and 1.

    Example:
        >>> round(float(reach(0.0, 0.6826895)), 6), round(float(reach(9.0, 0.5)), 6)
        (1.0, 9.0)
    """
    away = np.abs(np.asarray(d, float))
    return away + _excess(away, level)


def _excess(away: Numbers, level: ArrayLike) -> Numbers:
    """`reach` minus |d|: between the one-sided and the two-sided normal quantile."""
    away, level = np.broadcast_arrays(away, np.asarray(level, float))
    outside = 1 - level

    def missing(u: Numbers) -> Numbers:
        return outside - ndtr(-u) - ndtr(-2 * away - u)

    u = root(missing, -ndtri(outside), -ndtri(outside / 2), n_halvings=5)
    # The error is below 0.1 now, and each step squares it.
    for _ in range(5):
        slope = np.exp(-0.5 * u**2) + np.exp(-0.5 * (2 * away + u) ** 2)
        u = u - np.sqrt(2 * np.pi) * missing(u) / slope
    return u
