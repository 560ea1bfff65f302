"""Samples with negative weights."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from diffana.errors import DataError


class SignedPart(NamedTuple):
    """The events of one sign of weight, as a component of a mixture.

    Attributes:
        features: of these events.
        weight: absolute values of their weights.
        coefficient: factor of this normalised density in that of the whole sample;
            negative for the events of negative weight.
    """

    features: Float[np.ndarray, "event feature"]
    weight: Float[np.ndarray, " event"]
    coefficient: float


def split_signed(
    features: Float[ArrayLike, "event feature"], weight: Float[ArrayLike, " event"]
) -> tuple[SignedPart, ...]:
    """A sample with negative weights as two with positive ones: p = c₊p₊ - c₋p₋.

    A classifier is trained on positive weights only: with signed ones the loss has no
    lower bound. A mixture takes the two parts as components with coefficients c₊ and
    -c₋, which add up to 1.

    Args:
        features: of the events.
        weight: of the events, any sign.

    Returns:
        The positive part, and the negative part if any weight is negative. Events of
        weight 0 are in neither.

    Raises:
        DataError: if a weight is not finite, or if the sum of weights is not positive.

    Example:
        >>> parts = split_signed(np.zeros((3, 1)), np.array([1.0, 2.0, -1.0]))
        >>> [part.coefficient for part in parts]
        [1.5, -0.5]
    """
    events = np.asarray(features)
    size = np.asarray(weight, dtype=np.float64)
    if events.shape[:1] != size.shape:
        raise DataError(
            f"signed sample: features have shape {events.shape}, weights {size.shape}"
        )
    if not np.isfinite(size).all():
        first = int(np.argmin(np.isfinite(size)))
        raise DataError(f"signed sample: event {first} has weight {size[first]}")
    total = size.sum()
    if total <= 0:
        raise DataError(
            f"signed sample: the weights of {len(size)} events add up to {total:g}; "
            "the sum of a density has to be positive"
        )
    sides = [size > 0, size < 0]
    return tuple(
        SignedPart(
            events[side],
            np.abs(size[side]),
            coefficient=float(size[side].sum() / total),
        )
        for side in sides
        if side.any()
    )
