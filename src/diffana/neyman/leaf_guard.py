"""Critical values with guaranteed coverage, by a shift in every part of the range."""

from typing import final

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from diffana.neyman.order_statistic import AbstractCriticalValues, order_statistic


@final
class Guarded(AbstractCriticalValues):
    """Critical values plus a constant in each leaf, a part of the parameter's range.

    Attributes:
        levels: confidence levels of the critical values.
        critical: critical values without a guarantee.
        edges: of the leaves, strictly increasing; the first and last leaf have no
            other end.
        shift: added in each leaf; +inf where it has too few toys.
    """

    levels: Float[np.ndarray, " level"]
    critical: AbstractCriticalValues
    edges: Float[np.ndarray, " edge"]
    shift: Float[np.ndarray, "level leaf"]

    def __call__(
        self, mu: Float[ArrayLike, " point"]
    ) -> Float[np.ndarray, "level point"]:
        """Critical values at `mu`; they jump between leaves.

        Raises:
            ValueError: as the critical values without a guarantee.
        """
        at = np.atleast_1d(np.asarray(mu, float))
        shifted = self.critical(at) + self.shift[:, _leaf(at, self.edges)]
        # Only ever larger, so that coverage is kept.
        return np.maximum.accumulate(shifted, axis=0)


def guarded(
    critical: AbstractCriticalValues,
    mu: Float[ArrayLike, " toy"],
    statistic: Float[ArrayLike, " toy"],
    n_leaves: int,
) -> Guarded:
    """Critical values shifted such that every leaf of the range is covered on average.

    In each leaf the shift is the order statistic of the statistic minus its critical
    value. Data drawn like the toys in that leaf are then accepted with a probability
    of at least CL at any number of toys, averaged over the parameters in the leaf and
    over toys. It is at most CL + 1 / (n + 1) with n toys in the leaf if the statistic
    is continuous and no level overtakes the next.

    Args:
        critical: critical values, of any quality.
        mu: parameter that each toy is drawn from.
        statistic: test of that parameter with the toy. These toys must have had no
            part in `critical`.
        n_leaves: number of leaves, with equally many toys; fewer if parameters of toys
            are equal.

    Raises:
        ValueError: if there are fewer toys than leaves, a statistic is nan or not one
            per parameter, or `mu` outside the range of the critical values.

    Source: Cabezas, Soares, Ramos, Stern, Izbicki, TRUST, arXiv:2411.19368, with leaves
    of equally many toys instead of those of a regression tree; Lei and Wasserman,
    J. R. Stat. Soc. B 76 (2014) 71.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> mu = rng.uniform(0.0, 1.0, 10_000)
        >>> safe = guarded(Universal([0.6827]), mu, rng.chisquare(1, mu.size), 10)
        >>> safe([0.5]).shape
        (1, 1)
    """
    at, found = np.asarray(mu, float), np.asarray(statistic, float)
    if at.ndim != 1 or found.shape != at.shape or not 1 <= n_leaves <= at.size:
        raise ValueError(
            f"{n_leaves} leaves need at least as many toys, each with a parameter and "
            "a statistic"
        )
    shares = np.arange(1, n_leaves) / n_leaves
    edges = np.unique(np.quantile(at, shares))
    residual = found - critical(at)
    leaf = _leaf(at, edges)
    # Equal parameters can leave the first leaf without toys.
    shift = [
        _shift(residual[:, leaf == i], critical.levels) for i in range(edges.size + 1)
    ]
    return Guarded(critical.levels, critical, edges, np.stack(shift, axis=1))


def _shift(
    residual: Float[np.ndarray, "level toy"], levels: Float[np.ndarray, " level"]
) -> Float[np.ndarray, " level"]:
    if residual.shape[1] == 0:
        return np.full(levels.size, np.inf)
    return np.diagonal(order_statistic(residual.T, levels)).copy()


def _leaf(
    mu: Float[np.ndarray, " point"], edges: Float[np.ndarray, " edge"]
) -> Int[np.ndarray, " point"]:
    return np.searchsorted(edges, mu, side="right")
