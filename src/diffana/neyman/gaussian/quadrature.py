"""Critical values of any statistic of a Gaussian measurement, by quadrature."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.special import ndtr


def baseline(
    statistic_of: Callable[[Float[np.ndarray, " node"], float], ArrayLike],
    mu: Float[ArrayLike, " point"],
    sigma: ArrayLike,
    levels: Sequence[float],
    n_nodes: int = 20_001,
) -> Float[np.ndarray, "level point"]:
    """Critical values of any statistic of a Gaussian measurement, without random toys.

    The quantile of the statistic of x ~ N(mu, sigma²), from weighted nodes in x. With
    the default number of nodes its coverage is that asked for to 10⁻⁴, and in the tails
    to one per cent of the probability outside. Where the statistic has a point mass,
    the quantile is the upper one.

    Args:
        statistic_of: of many measurements, at one tested value. May be ∞, not nan.
        mu: tested values.
        sigma: standard deviation of the measurement, > 0; one, or one per tested value.
        levels: confidence levels, between 0 and 1.
        n_nodes: number of measurements.

    Raises:
        ValueError: if a statistic is nan.

    Example:
        >>> found = baseline(lambda x, mu: (x - mu) ** 2, [3.0], 1.0, [0.6827, 0.9545])
        >>> found.round(2).tolist()
        [[1.0], [4.0]]
    """
    points = np.asarray(mu, float)
    widths = np.broadcast_to(np.asarray(sigma, float), points.shape)
    z, weight = _nodes(n_nodes)
    critical = np.empty((len(levels), points.size))
    for i, (at, width) in enumerate(zip(points, widths, strict=True)):
        values = np.asarray(statistic_of(at + width * z, float(at)), float)
        if np.isnan(values).any():
            raise ValueError(f"the statistic is nan for {at} and some measurement")
        order = np.argsort(values, kind="stable")
        values, share = values[order], weight[order]
        # Half of a node's probability is below it.
        below = np.cumsum(share) - 0.5 * share
        after = np.searchsorted(below, levels).clip(1, n_nodes - 1)
        low, high = values[after - 1], values[after]
        step = (np.asarray(levels) - below[after - 1]) / (
            below[after] - below[after - 1]
        )
        smooth = np.isfinite(low) & np.isfinite(high)
        rise = np.where(smooth, high, 0.0) - np.where(smooth, low, 0.0)
        critical[:, i] = np.where(smooth, low + step.clip(0, 1) * rise, high)
    return critical


def _nodes(
    n_nodes: int,
) -> tuple[Float[np.ndarray, " node"], Float[np.ndarray, " node"]]:
    """Nodes and weights of the standard normal: half as it is, half spread evenly.

    The former half makes all weights small, the latter makes tails fine.
    """
    limit = 8.5
    table = np.linspace(-limit, limit, 4001)
    density = 0.5 * ndtr(table) + 0.5 * (table + limit) / (2 * limit)
    z = np.interp((np.arange(n_nodes) + 0.5) / n_nodes, density, table)
    edges = np.concatenate([[-np.inf], 0.5 * (z[1:] + z[:-1]), [np.inf]])
    # Differences of the smaller tail keep their digits.
    upper = np.where(edges[:-1] > 0, -1.0, 1.0)
    weight = upper * (ndtr(upper * edges[1:]) - ndtr(upper * edges[:-1]))
    return z, weight
