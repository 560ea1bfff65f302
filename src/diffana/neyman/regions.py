"""Confidence regions by inversion of a test: which tested values are accepted.

A region is a union of segments; it may be disconnected or empty, and neither is mended.
The region of one data set, with its segments, is found by `invert`; the lengths and the
outermost bounds of many data sets by `lengths` and `bounds`, which agree with it.
"""

from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Int
from scipy import optimize


Bracket = tuple[float, float]
"""An accepted and a rejected grid point on either side of an edge of a segment."""

# Stands for infinity where an infinite value has no use: in differences of a root.
_HUGE = 1e100


@final
class Region(NamedTuple):
    """Accepted values of the parameter.

    Attributes:
        segments: lower and upper edge of each connected part, increasing.
        brackets: of the lower and of the upper edge of each segment. Accepted and
            rejected point are the same where a segment touches an end of the tested
            range.
        hits_edge: whether the lowest, and whether the highest tested value is accepted.
            The region may go on beyond; a physical boundary is such an end too.
    """

    segments: tuple[tuple[float, float], ...]
    brackets: tuple[tuple[Bracket, Bracket], ...]
    hits_edge: tuple[bool, bool]

    @property
    def empty(self) -> bool:
        """Whether every tested value is rejected."""
        return not self.segments

    @property
    def hull(self) -> tuple[float, float]:
        """Lowest and highest edge; nan if the region is empty.

        What lies between may be rejected: see `segments`.
        """
        if self.empty:
            return np.nan, np.nan
        return self.segments[0][0], self.segments[-1][1]

    @property
    def length(self) -> float:
        """Sum of the lengths of the segments, which is not that of the hull."""
        return float(sum((upper - lower for lower, upper in self.segments), 0.0))

    def contains(self, mu: float) -> bool:
        """Whether a value is in a segment, edges included."""
        return any(lower <= mu <= upper for lower, upper in self.segments)


def invert(
    mu: Float[ArrayLike, " point"],
    statistic: Float[ArrayLike, " point"],
    critical: Float[ArrayLike, " point"],
) -> Region:
    """The region of one data set: where the statistic is at most the critical value.

    Between an accepted and a rejected neighbour the difference of statistic and
    critical value is taken to be linear, and the edge is at its root. Where it is +∞
    at the rejected point (a value that the data exclude), that root is the accepted
    point; where it is -∞ at the accepted point (a critical value of +∞), the rejected
    one. An accepted point between two rejected ones is a segment, if need be of length
    zero. Structure between two grid points that are both accepted, or both rejected,
    is not seen.

    Args:
        mu: tested values, increasing.
        statistic: observed value at each; large where the data disagree. May be ±∞.
        critical: critical value at each. May be ±∞: +∞ accepts whatever the data.

    Raises:
        ValueError: if shapes disagree, `mu` does not increase, or a number is nan.

    Source: Neyman, Phil. Trans. R. Soc. A 236 (1937) 333.

    Example:
        >>> invert([0, 1, 2, 3], [4, 0, 0, 4], [1, 1, 1, 1]).segments
        ((0.75, 2.25),)
    """
    points, row, levels = _checked(mu, np.asarray(statistic, float)[None], critical)
    found = _segments(points, row, levels)
    return Region(
        segments=tuple(zip(found.lower.tolist(), found.upper.tolist(), strict=True)),
        brackets=tuple(
            ((first, before), (last, after))
            for first, before, last, after in zip(
                points[found.first].tolist(),
                points[np.maximum(found.first - 1, 0)].tolist(),
                points[found.last].tolist(),
                points[np.minimum(found.last + 1, points.size - 1)].tolist(),
                strict=True,
            )
        ),
        hits_edge=(bool(row[0, 0] <= levels[0]), bool(row[0, -1] <= levels[-1])),
    )


def is_accepted(
    statistic: Float[ArrayLike, "*toy point"], critical: Float[ArrayLike, " point"]
) -> Bool[np.ndarray, "*toy point"]:
    """Whether each tested value is accepted, as `invert` decides it.

    Args:
        statistic: of each data set at each tested value; may be ±∞.
        critical: critical value at each; may be ±∞.

    Raises:
        ValueError: if the last dimensions disagree or a number is nan.
    """
    values, levels = np.asarray(statistic, float), np.asarray(critical, float)
    if levels.ndim != 1 or values.shape[-1:] != levels.shape:
        raise ValueError(
            f"statistic of shape {values.shape}, critical values of {levels.shape}"
        )
    for name, array in (("statistic", values), ("critical value", levels)):
        if np.isnan(array).any():
            raise ValueError(f"{name}: {np.isnan(array).sum()} of {array.size} are nan")
    return values <= levels


def lengths(
    mu: Float[ArrayLike, " point"],
    statistic: Float[ArrayLike, "toy point"],
    critical: Float[ArrayLike, " point"],
) -> Float[np.ndarray, " toy"]:
    """Length of the region of each data set, that of `Region`; 0 if it is empty.

    Arguments, errors and treatment of infinities are those of `invert`.

    Example:
        >>> lengths([0, 1, 2, 3], [[4, 0, 0, 4], [4, 4, 4, 4]], [1, 1, 1, 1]).tolist()
        [1.5, 0.0]
    """
    points, values, levels = _checked(mu, statistic, critical)
    found = _segments(points, values, levels)
    # Adds from left to right, as a loop over the segments of one data set does.
    return np.bincount(
        found.toy, weights=found.upper - found.lower, minlength=len(values)
    )


def bounds(
    mu: Float[ArrayLike, " point"],
    statistic: Float[ArrayLike, "toy point"],
    critical: Float[ArrayLike, " point"],
) -> tuple[Float[np.ndarray, " toy"], Float[np.ndarray, " toy"]]:
    """Lower and upper edge of the hull of each region; nan where it is empty.

    Arguments, errors and treatment of infinities are those of `invert`.
    """
    points, values, levels = _checked(mu, statistic, critical)
    found = _segments(points, values, levels)
    lower, upper = np.full(len(values), np.nan), np.full(len(values), np.nan)
    toy, leftmost = np.unique(found.toy, return_index=True)
    lower[toy] = found.lower[leftmost]
    upper[toy] = found.upper[np.append(leftmost[1:], found.toy.size)[: toy.size] - 1]
    return lower, upper


def refined(
    region: Region, difference: Callable[[float], float], xtol: float = 1e-10
) -> Region:
    """The region with each inner edge moved to the root between its two grid points.

    Args:
        region: from `invert`.
        difference: statistic minus critical value at any tested value, continuous;
            ±∞ is allowed, nan is not.
        xtol: largest error of an edge, in units of the parameter.

    Raises:
        ValueError: if the difference is nan, or does not tell the accepted from the
            rejected point of a bracket as the grid did.

    Example:
        >>> coarse = invert([0, 1, 2], [0, 1, 4], [2, 2, 2])
        >>> [round(edge, 6) for edge in refined(coarse, lambda m: m**2 - 2).hull]
        [0.0, 1.414214]
    """

    def finite(mu: float) -> float:
        value = float(difference(mu))
        if np.isnan(value):
            raise ValueError(f"the difference is nan at {mu}")
        return min(max(value, -_HUGE), _HUGE)

    def edge(bracket: Bracket) -> float:
        accepted, rejected = bracket
        if accepted == rejected:
            return accepted
        if finite(accepted) > 0 or finite(rejected) <= 0:
            raise ValueError(
                f"the difference is {finite(accepted)} at {accepted}, which the grid "
                f"accepts, and {finite(rejected)} at {rejected}, which it rejects"
            )
        return float(optimize.brentq(finite, accepted, rejected, xtol=xtol))  # pyright: ignore[reportArgumentType]

    return region._replace(
        segments=tuple((edge(low), edge(high)) for low, high in region.brackets)
    )


class _Segments(NamedTuple):
    """Segments of many data sets, in order of data set and of value."""

    toy: Int[np.ndarray, " segment"]
    first: Int[np.ndarray, " segment"]
    last: Int[np.ndarray, " segment"]
    lower: Float[np.ndarray, " segment"]
    upper: Float[np.ndarray, " segment"]


def _checked(
    mu: Float[ArrayLike, " point"],
    statistic: Float[ArrayLike, "toy point"],
    critical: Float[ArrayLike, " point"],
) -> tuple[
    Float[np.ndarray, " point"],
    Float[np.ndarray, "toy point"],
    Float[np.ndarray, " point"],
]:
    points, values, levels = (
        np.asarray(array, float) for array in (mu, statistic, critical)
    )
    if points.ndim != 1 or not points.size or not np.isfinite(points).all():
        raise ValueError(f"tested values of shape {points.shape} must be finite")
    if (np.diff(points) <= 0).any():
        raise ValueError("tested values must increase")
    if values.ndim != 2 or values.shape[1:] != points.shape:
        raise ValueError(
            f"statistic of shape {values.shape[-1:]} per data set at {points.size} "
            "tested values"
        )
    return points, values, levels


def _segments(
    mu: Float[np.ndarray, " point"],
    statistic: Float[np.ndarray, "toy point"],
    critical: Float[np.ndarray, " point"],
) -> _Segments:
    accepted = is_accepted(statistic, critical)
    rejected = np.ones((len(accepted), 1), bool)
    starts = accepted & np.hstack([rejected, ~accepted[:, :-1]])
    ends = accepted & np.hstack([~accepted[:, 1:], rejected])
    # Every segment has one start and one end, so both lists are in the same order.
    toy, first = np.nonzero(starts)
    last = np.nonzero(ends)[1]

    def edge(
        inside: Int[np.ndarray, " segment"], outside: Int[np.ndarray, " segment"]
    ) -> Float[np.ndarray, " segment"]:
        low, high = (
            _difference(statistic[toy, at], critical[at]) for at in (inside, outside)
        )
        share = np.where(np.isinf(low) & np.isfinite(high), 1.0, 0.0)
        finite = np.isfinite(low) & np.isfinite(high) & (inside != outside)
        share[finite] = -low[finite] / (high[finite] - low[finite])
        near, far = mu[inside], mu[outside]
        # Rounding must not take the edge out of its interval.
        between = (1 - share) * near + share * far
        return np.clip(between, np.minimum(near, far), np.maximum(near, far))

    return _Segments(
        toy=toy,
        first=first,
        last=last,
        lower=edge(first, np.maximum(first - 1, 0)),
        upper=edge(last, np.minimum(last + 1, mu.size - 1)),
    )


def _difference(
    statistic: Float[np.ndarray, " segment"], critical: Float[np.ndarray, " segment"]
) -> Float[np.ndarray, " segment"]:
    """Statistic minus critical value; -∞, surely accepted, where both are infinite."""
    equal = np.isinf(statistic) & (statistic == critical)
    return np.where(equal, -np.inf, statistic - np.where(equal, 0.0, critical))
