"""Losses that are ranges of the parameter of interest: limits and intervals."""

import math
from statistics import NormalDist
from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Scalar

from diffana.losses.ingredients import Interval, Needs
from diffana.losses.loss import AbstractLoss


@final
class UpperLimit(AbstractLoss):
    """Upper limit expected under background only, in the unit of the parameter.

    Differentiated by the implicit function theorem. Its search tests five or so values,
    one fit each. A limit beyond the upper bound of the parameter is none: `no_root`.

    Attributes:
        level: one minus the confidence level, in (0, 1).
        n_sigma: which background data, in standard deviations up from the median; the
            usual band goes from -2 to 2.
        log: whether the value is the logarithm of the limit.

    Source: Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, equations 59 and 89.
    """

    level: float = eqx.field(static=True, default=0.05)
    n_sigma: float = eqx.field(static=True, default=0.0)
    log: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level} is not between 0 and 1")
        if not math.isfinite(self.n_sigma):
            raise ValueError(f"n_sigma {self.n_sigma} is not finite")

    @property
    def median_level(self) -> float:
        """CLs at which the median limit is the wanted one.

        With the background n standard deviations up, CLs is Φ̄(√q - n) / Φ(n), where q
        is the statistic on Asimov data. It equals `level` at the same q as the median
        CLs, 2 Φ̄(√q), equals this.
        """
        n = self.n_sigma
        below = 0.5 * math.erfc(-n / math.sqrt(2))
        root = n - NormalDist().inv_cdf(self.level * below)
        return math.erfc(root / math.sqrt(2))

    @property
    def needs(self) -> Needs:
        """The search for one limit."""
        return Needs(limits=(self.median_level,))

    def value(self, likelihood, scores, found) -> Scalar:
        """The limit, or its logarithm."""
        limit = found.limits[self.median_level].median
        return jnp.log(limit) if self.log else limit


@final
class IntervalLength(AbstractLoss):
    """Length of the profile-likelihood interval of the parameter of interest.

    The interval on Asimov data within which twice_nll is at most `level` above its
    minimum. It ends at the bounds of the parameter; an edge there does not move, so
    that a length limited on both sides has a gradient of zero.

    Attributes:
        poi: true value of the parameter of interest.
        level: height in twice_nll, > 0: 1 for a confidence level of 68.3 %.
        log: whether the value is the logarithm of the length.

    Source: James, Roos, Comput. Phys. Commun. 10 (1975) 343 (MINOS).
    """

    poi: float = eqx.field(static=True, default=1.0)
    level: float = eqx.field(static=True, default=1.0)
    log: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not self.level > 0:
            raise ValueError(f"level {self.level} is not positive")

    @property
    def _interval(self) -> Interval:
        return Interval(self.poi, self.level)

    @property
    def needs(self) -> Needs:
        """The searches for both edges."""
        return Needs(intervals=(self._interval,))

    def value(self, likelihood, scores, found) -> Scalar:
        """Upper minus lower edge, or its logarithm."""
        interval = found.intervals[self._interval]
        length = interval.upper - interval.lower
        return jnp.log(length) if self.log else length
