"""Roots of many increasing functions at once."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float


Numbers = Float[np.ndarray, "*shape"]


def root(
    function: Callable[[Numbers], Numbers],
    lower: Numbers,
    upper: Numbers,
    n_halvings: int = 64,
) -> Numbers:
    """Where an increasing function changes sign, by halving; element by element.

    Args:
        function: of as many numbers as there are brackets.
        lower: where it is negative.
        upper: where it is positive.
        n_halvings: of each bracket; by default until it is shorter than its rounding.
    """
    for _ in range(n_halvings):
        middle = 0.5 * (lower + upper)
        negative = function(middle) < 0
        lower = np.where(negative, middle, lower)
        upper = np.where(negative, upper, middle)
    return 0.5 * (lower + upper)
