"""Bins of an observable: where their edges are, and which events are in them."""

import abc
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from diffana.errors import DataError


class AbstractMembership(eqx.Module):
    """Which bins the rows of a bank, or of data, are in."""

    @property
    @abc.abstractmethod
    def n_bins(self) -> int:
        """Number of bins."""

    @abc.abstractmethod
    def shares(self, chunk: Int[Array, ""] | int) -> Float[Array, "event bin"]:
        """The share of each event of a chunk in each bin."""


@final
class HardBins(AbstractMembership):
    """Every event is in one bin.

    Attributes:
        index: number of the bin of each row.
        size: number of bins.
    """

    index: Int[Array, "chunk event"]
    size: int = eqx.field(static=True)

    @classmethod
    def between(
        cls, value: Float[ArrayLike, "chunk event"], edges: Float[ArrayLike, " edge"]
    ) -> "HardBins":
        """Bins of an observable.

        Args:
            value: observable of each row; a value on an edge is in the upper bin.
            edges: increasing; what lies beyond the outermost is in the outermost bins.
        """
        inner = jnp.asarray(edges)[1:-1]
        index = jnp.searchsorted(inner, jnp.asarray(value), side="right")
        return cls(index, len(inner) + 1)

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return self.size

    def shares(self, chunk: Int[Array, ""] | int) -> Float[Array, "event bin"]:
        """1 in the bin of the event, 0 elsewhere."""
        return jax.nn.one_hot(self.index[chunk], self.size, dtype=float)


@final
class SoftBins(AbstractMembership):
    """Events are in several bins at once, so that yields can be differentiated.

    Attributes:
        share: of each row in each bin, >= 0. They add up to 1, or to less where events
            leave the range of a histogram.
    """

    share: Float[Array, "chunk event bin"]

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return self.share.shape[2]

    def shares(self, chunk: Int[Array, ""] | int) -> Float[Array, "event bin"]:
        """The shares as they are."""
        return self.share[chunk]


def counts(
    weight: Float[Array, "chunk event"], membership: AbstractMembership
) -> Float[Array, " bin"]:
    """Sum of weights in each bin.

    Example:
        >>> bins = HardBins(jnp.array([[0, 1, 1]]), 2)
        >>> counts(jnp.array([[1.0, 2.0, 3.0]]), bins).tolist()
        [1.0, 5.0]
    """

    def add(total, chunk):
        number, row = chunk
        return total + row @ membership.shares(number), None

    numbered = jnp.arange(weight.shape[0]), weight
    return jax.lax.scan(add, jnp.zeros(membership.n_bins), numbered)[0]


def equal_expectation_edges(
    value: Float[ArrayLike, "*row"], weight: Float[ArrayLike, "*row"], n_bins: int
) -> Float[np.ndarray, " edge"]:
    """Edges between which equally many events are expected.

    Half as many bins have every other of these edges: results with 2, 4, 8, ... bins
    are steps of a refinement.

    Args:
        value: observable of each event.
        weight: expected events per row, >= 0; rows of weight 0 do not count.
        n_bins: number of bins, > 0.

    Raises:
        DataError: if a value is not finite, a weight is negative, or so many events
            have the same value that a bin would be empty.

    Returns:
        Edges of all bins; the outermost are infinite, the others lie halfway between
        the values of two events.

    Example:
        >>> equal_expectation_edges([1.0, 2.0, 3.0, 4.0], [1.0] * 4, 2).tolist()
        [-inf, 2.5, inf]
    """
    found, content = _distribution(value, weight)
    below = np.cumsum(content)
    wanted = below[-1] * np.arange(1, n_bins) / n_bins
    # The last value below the edge completes the share; rounding must not add another.
    last = np.searchsorted(below, wanted * (1 - 1e-12))
    return _edges_after(found, last)


def least_loss_edges(
    value: Float[ArrayLike, "*row"],
    weight: Float[ArrayLike, "*row"],
    n_bins: int,
    *,
    n_steps: int = 1000,
) -> Float[np.ndarray, " edge"]:
    """Edges that lose least of the information in a score.

    Counts in bins know of the score s of an event no more than its mean in the bin, so
    that of the Fisher information Σ w s² they lose Σ w (s - s_bin)². This is made
    smallest by alternating between means and the edges halfway between neighbouring
    means; a minimum, though not certainly the lowest one. Bins are narrow where scores
    are large, so that the outermost may hold few events.

    Args:
        value: score of each event, or the logarithm of a ratio, whose information is
            lost likewise.
        weight: expected events per row, >= 0; rows of weight 0 do not count.
        n_bins: number of bins, > 0.
        n_steps: how often means and edges are improved at most.

    Raises:
        DataError: as `equal_expectation_edges`.

    Source: Lloyd, IEEE Trans. Inf. Theory 28 (1982) 129; the start is the density of
    edges p^(1/3) of Panter and Dite, Proc. IRE 39 (1951) 44.

    Example:
        >>> least_loss_edges([0.0, 0.1, 0.2, 5.0], [9.0, 9.0, 9.0, 1.0], 2).tolist()
        [-inf, 2.6, inf]
    """
    found, content = _distribution(value, weight)
    last = _panter_dite(found, content, n_bins)
    _check_filled(found, last)
    moment = content * found
    for _ in range(n_steps):
        first = np.concatenate([[0], last + 1])
        # Not from cumulative sums, in which rare events vanish by rounding.
        mean = np.add.reduceat(moment, first) / np.add.reduceat(content, first)
        improved = np.searchsorted(found, 0.5 * (mean[1:] + mean[:-1]), "right") - 1
        if np.array_equal(improved, last) or not _all_filled(found, improved):
            break
        last = improved
    return _edges_after(found, last)


def _panter_dite(
    found: Float[np.ndarray, " value"],
    content: Float[np.ndarray, " value"],
    n_bins: int,
) -> Int[np.ndarray, " inner"]:
    """Number of the last value below each edge, at equal steps of ∫ p^(1/3)."""
    if len(found) < n_bins:
        return np.arange(n_bins - 1)
    # The density between quantiles, which are dense in the tails.
    below = np.cumsum(content)
    tail = np.geomspace(1e-6, 0.5, 20 * n_bins)
    share = below[-1] * np.concatenate([tail, 1 - tail[::-1]])
    at = np.unique(np.searchsorted(below, share * (1 - 1e-12)))
    step = np.cbrt(np.diff(below[at]) * np.diff(found[at]) ** 2)
    grown = np.concatenate([[0.0], np.cumsum(step)])
    wanted = np.interp(grown[-1] * np.arange(1, n_bins) / n_bins, grown, found[at])
    last = np.searchsorted(found, wanted, "right") - 1
    # Each bin needs a value of its own.
    order = np.arange(n_bins - 1)
    last = np.maximum.accumulate(last - order) + order
    return np.minimum(last, len(found) - n_bins + order)


def _distribution(
    value: Float[ArrayLike, "*row"], weight: Float[ArrayLike, "*row"]
) -> tuple[Float[np.ndarray, " value"], Float[np.ndarray, " value"]]:
    """The different values in increasing order, and the weight of each."""
    values, weights = np.ravel(value), np.ravel(weight)
    if not (weights >= 0).all():
        first = int(np.argmin(weights >= 0))
        raise DataError(f"event {first}: its expected weight is {weights[first]:.3g}")
    used = weights > 0
    finite = np.isfinite(values) | ~used
    if not finite.all():
        first = int(np.argmin(finite))
        raise DataError(f"event {first}: its observable is {values[first]}")
    found, place = np.unique(values[used], return_inverse=True)
    return found, np.bincount(place.ravel(), weights[used], len(found))


def _edges_after(
    found: Float[np.ndarray, " value"], last: Int[np.ndarray, " inner"]
) -> Float[np.ndarray, " edge"]:
    """Edges halfway between each last value of a bin and the next value."""
    _check_filled(found, last)
    inner = 0.5 * (found[last] + found[last + 1])
    return np.concatenate([[-np.inf], inner, [np.inf]])


def _all_filled(
    found: Float[np.ndarray, " value"], last: Int[np.ndarray, " inner"]
) -> bool:
    """Whether every bin has a value."""
    ends = np.concatenate([[-1], last, [len(found) - 1]])
    return bool((np.diff(ends) > 0).all())


def _check_filled(
    found: Float[np.ndarray, " value"], last: Int[np.ndarray, " inner"]
) -> None:
    if not _all_filled(found, last):
        raise DataError(
            f"{len(last) + 1} bins: the observable has too few different values, "
            f"{len(found)} in all, or one of them with a large share of the events"
        )
