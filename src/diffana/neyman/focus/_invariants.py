"""What the numbers of a focus function must fulfil, where they are known."""

from collections.abc import Callable

import numpy as np
from jax.core import Tracer
from jaxtyping import Array


def check(
    value: Array, is_valid: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    """Refuse a concrete value; a traced one is not known."""
    if not isinstance(value, Tracer):
        wrong = np.asarray(value)[~is_valid(np.asarray(value))]
        if wrong.size:
            raise ValueError(message.format(wrong.flat[0]))


def check_width(sd: Array) -> None:
    message = "standard deviation of a focus: {} is not positive and finite"
    check(sd, lambda x: np.isfinite(x) & (x > 0), message)


def check_ordered(lower: Array, upper: Array) -> None:
    for bound in (lower, upper):
        check(bound, lambda x: ~np.isnan(x), "bound of a focus: {}")
    if not isinstance(lower, Tracer) and not isinstance(upper, Tracer):
        message = f"bounds of a focus: {lower} is not below {upper}"
        check(upper - lower, lambda x: x > 0, message)
