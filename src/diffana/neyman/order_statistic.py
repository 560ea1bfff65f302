"""Critical values of a test: from order statistics of toys, and from Markov's bound.

A test statistic is large where data and the tested parameter disagree: mu is accepted
where the statistic is at most the critical value c(mu).
"""

import abc
from typing import final

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float, Int


class AbstractCriticalValues(eqx.Module):
    """Largest accepted value of a test statistic, as a function of the parameter.

    Attributes:
        levels: confidence levels, strictly increasing, in (0, 1).
    """

    levels: eqx.AbstractVar[Float[np.ndarray, " level"]]

    @abc.abstractmethod
    def __call__(
        self, mu: Float[ArrayLike, " point"]
    ) -> Float[np.ndarray, "level point"]:
        """Critical values at `mu`, non-decreasing along the levels; may be infinite.

        Raises:
            ValueError: if `mu` leaves the range in which they are known.
        """


def checked_levels(levels: Float[ArrayLike, " level"]) -> Float[np.ndarray, " level"]:
    """Confidence levels as an array.

    Raises:
        ValueError: if there is none, one is not in (0, 1), or they do not increase.
    """
    found = np.atleast_1d(np.asarray(levels, float))
    inside = bool(((found > 0) & (found < 1)).all())
    if found.ndim != 1 or found.size == 0 or not inside or (np.diff(found) <= 0).any():
        raise ValueError(f"confidence levels {found} must increase inside (0, 1)")
    return found


def order_statistic(
    values: Float[ArrayLike, "toy *point"], levels: Float[ArrayLike, " level"]
) -> Float[np.ndarray, "level *point"]:
    """Smallest critical values that are sure to cover, from toys at one parameter.

    With n toys the critical value at confidence level CL is the ⌈(n + 1) CL⌉-th
    smallest. If the observed data set is exchangeable with the toys, it is accepted
    with a probability of at least CL at any n, and of at most CL + 1 / (n + 1) if the
    statistic is continuous. No value between two toys is ever returned, so that this
    is true of discrete statistics as well.

    Args:
        values: test statistic of each toy, along the first axis; may be infinite.
        levels: confidence levels, strictly increasing, in (0, 1).

    Returns:
        Critical values; +inf where n toys are too few, ⌈(n + 1) CL⌉ > n.

    Raises:
        ValueError: if a value is nan, or a level not allowed.

    Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, Springer
    2005, proposition 2.4; Lei et al., JASA 113 (2018) 1094, section 2.

    Example:
        >>> order_statistic([4.0, 1.0, 3.0, 2.0], [0.5, 0.8, 0.95]).tolist()
        [3.0, 4.0, inf]
    """
    found, wanted = np.asarray(values, float), checked_levels(levels)
    if found.ndim == 0:
        raise ValueError("the statistics of toys need an axis of toys")
    if np.isnan(found).any():
        raise ValueError(f"{np.isnan(found).sum()} statistics of toys are nan")
    rank = conformal_rank(len(found), wanted)
    enough = rank <= len(found)
    critical = np.full((len(wanted), *found.shape[1:]), np.inf)
    if enough.any():
        place = rank[enough] - 1
        critical[enough] = np.partition(found, np.unique(place), axis=0)[place]
    return critical


def conformal_rank(
    n_toys: int, levels: Float[np.ndarray, " level"]
) -> Int[np.ndarray, " level"]:
    """⌈(n_toys + 1) CL⌉, counted from one."""
    # 0.07 × 100 is 7.000000000000001: levels are meant as decimals.
    return np.ceil((n_toys + 1) * levels * (1 - 4 * np.finfo(float).eps)).astype(int)


@final
class Empirical(AbstractCriticalValues):
    """Critical values at some parameters, with straight lines between them.

    Attributes:
        mu: parameters, strictly increasing.
        values: critical values there, non-decreasing along the levels; may be +inf.
        levels: confidence levels, strictly increasing, in (0, 1).
    """

    mu: Float[np.ndarray, " node"] = eqx.field(converter=lambda x: np.asarray(x, float))
    values: Float[np.ndarray, "level node"] = eqx.field(
        converter=lambda x: np.asarray(x, float)
    )
    levels: Float[np.ndarray, " level"] = eqx.field(converter=checked_levels)

    def __check_init__(self):
        if self.mu.ndim != 1 or self.mu.size == 0 or not (np.diff(self.mu) > 0).all():
            raise ValueError("the parameters of critical values must increase")
        if self.values.shape != (self.levels.size, self.mu.size):
            raise ValueError(
                f"critical values of shape {self.values.shape} for {self.levels.size} "
                f"levels and {self.mu.size} parameters"
            )
        if np.isnan(self.values).any() or (self.values[1:] < self.values[:-1]).any():
            raise ValueError("critical values must not decrease with the level")

    def __call__(
        self, mu: Float[ArrayLike, " point"]
    ) -> Float[np.ndarray, "level point"]:
        """Critical values at `mu`; +inf next to an infinite one.

        Raises:
            ValueError: if `mu` is outside the range of the parameters by more than
                rounding.
        """
        at = within(mu, self.mu[0], self.mu[-1])
        above = np.minimum(np.searchsorted(self.mu, at), self.mu.size - 1)
        below = np.where(self.mu[above] == at, above, np.maximum(above - 1, 0))
        step = self.mu[above] - self.mu[below]
        share = (at - self.mu[below]) / np.where(step > 0, step, 1.0)
        low, high = self.values[:, below], self.values[:, above]
        unbounded = np.isinf(low) | np.isinf(high)
        with np.errstate(invalid="ignore"):
            line = low + share * (high - low)
        return np.where(unbounded, np.maximum(low, high), line)


def empirical(
    mu: Float[ArrayLike, " node"],
    statistic: Float[ArrayLike, "node toy"],
    levels: Float[ArrayLike, " level"],
) -> Empirical:
    """Critical values from separate toys at each of some parameters.

    Args:
        mu: parameters, strictly increasing.
        statistic: test of each parameter with its own toys.
        levels: confidence levels, strictly increasing, in (0, 1).

    Raises:
        ValueError: as `order_statistic`, or if shapes do not fit.

    Example:
        >>> at = empirical([0.0, 1.0], [[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]], [0.5])
        >>> at([0.5]).tolist()
        [[3.0]]
    """
    found = np.asarray(statistic, float)
    return Empirical(np.asarray(mu), order_statistic(found.T, levels), levels)


def within(
    mu: Float[ArrayLike, " point"], lower: float, upper: float
) -> Float[np.ndarray, " point"]:
    """The same points, those outside [lower, upper] by rounding moved to its ends.

    Raises:
        ValueError: if a point is outside by more than rounding, or nan.
    """
    at = np.atleast_1d(np.asarray(mu, float))
    rounding = 1e-9 * max(upper - lower, abs(lower), abs(upper))
    outside = ~((at >= lower - rounding) & (at <= upper + rounding))
    if outside.any():
        raise ValueError(
            f"{at[outside][0]} is outside the range [{lower}, {upper}] in which "
            "critical values are known"
        )
    return np.clip(at, lower, upper)


def ville_bound(
    levels: Float[ArrayLike, " level"],
) -> Float[np.ndarray, " level"]:
    """-2 ln(1 - CL), above which no critical value of the focused statistic lies.

    exp(FTS / 2) is a ratio of likelihoods of the average over the focus and the tested
    hypothesis, so that its expectation is 1 if the hypothesis is simple and the focus
    normalised. Markov's inequality then bounds its quantiles. It does not hold for
    profiled likelihoods.

    Args:
        levels: confidence levels, strictly increasing, in (0, 1).

    Source: Ville, Étude critique de la notion de collectif, 1939; Wasserman, Ramdas,
    Balakrishnan, PNAS 117 (2020) 16880, theorem 1, for confidence regions from it.

    Example:
        >>> ville_bound([0.9]).round(5).tolist()
        [4.60517]
    """
    return -2 * np.log1p(-checked_levels(levels))


@final
class Universal(AbstractCriticalValues):
    """The bound of `ville_bound` as critical values: valid without toys, conservative.

    Attributes:
        levels: confidence levels, strictly increasing, in (0, 1).
    """

    levels: Float[np.ndarray, " level"] = eqx.field(converter=checked_levels)

    def __call__(
        self, mu: Float[ArrayLike, " point"]
    ) -> Float[np.ndarray, "level point"]:
        """The same values at every `mu`."""
        n_points = np.atleast_1d(np.asarray(mu)).size
        return np.repeat(ville_bound(self.levels)[:, None], n_points, axis=1)


@final
class Capped(AbstractCriticalValues):
    """Critical values that never exceed a bound known to be enough.

    Attributes:
        levels: confidence levels of the critical values.
        critical: critical values.
        bound: upper bound of those of each level, such as `ville_bound`.
    """

    levels: Float[np.ndarray, " level"]
    critical: AbstractCriticalValues
    bound: Float[np.ndarray, " level"]

    def __init__(
        self, critical: AbstractCriticalValues, bound: Float[ArrayLike, " level"]
    ):
        self.levels = critical.levels
        self.critical = critical
        self.bound = np.asarray(bound, float)

    def __check_init__(self):
        if self.bound.shape != self.critical.levels.shape:
            raise ValueError("every level of the critical values needs a bound")
        if not (np.diff(self.bound) >= 0).all():
            raise ValueError("bounds must not decrease with the level")

    def __call__(
        self, mu: Float[ArrayLike, " point"]
    ) -> Float[np.ndarray, "level point"]:
        """Critical values at `mu`, or the bound if it is lower."""
        return np.minimum(self.critical(mu), self.bound[:, None])


def excess(
    critical: Float[ArrayLike, "level point"], bound: Float[ArrayLike, " level"]
) -> float:
    """By how much critical values exceed a bound at most; <= 0 where none does.

    Example:
        >>> excess([[1.0, 2.0]], [1.5])
        0.5
    """
    over = np.asarray(critical, float) - np.asarray(bound, float)[:, None]
    return float(over.max())
