"""Invariants checked at construction; a traced value has nothing to check yet."""

from collections.abc import Sequence

import numpy as np
from jax.core import Tracer
from jaxtyping import ArrayLike


def check_positive(value: ArrayLike, name: str, advice: str) -> None:
    """Refuse a value that is not above zero.

    Raises:
        ValueError: giving the name, the value and the advice.
    """
    if not isinstance(value, Tracer) and not np.all(np.asarray(value) > 0):
        raise ValueError(f"{name} is {value}, but must be positive: {advice}")


def check_increasing(edges: ArrayLike | Sequence[float]) -> None:
    """Refuse bin edges that are not strictly increasing.

    Raises:
        ValueError: naming the first pair of edges out of order.
    """
    if isinstance(edges, Tracer):
        return
    values = np.asarray(edges)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"edges: a bin needs two of them, but the array has shape {values.shape}"
        )
    increasing = values[1:] > values[:-1]
    if not increasing.all():
        first = int(np.argmin(increasing))
        raise ValueError(
            f"edges: edge {first + 1} ({values[first + 1]}) is not above "
            f"edge {first} ({values[first]})"
        )
