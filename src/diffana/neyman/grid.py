"""Values of the parameter of interest at which likelihoods are known."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


# Gregory's correction of the trapezoidal rule at both ends, of fourth order.
_ENDS = (3 / 8, 7 / 6, 23 / 24)


@final
class Grid(eqx.Module):
    """Equally spaced values of the parameter of interest.

    Attributes:
        points: the values, increasing.
    """

    points: Float[Array, " grid"]

    def __check_init__(self):
        if self.points.shape[0] < 2 * len(_ENDS):
            raise ValueError(f"a grid needs at least {2 * len(_ENDS)} points")

    @classmethod
    def between(cls, lower: float, upper: float, n_points: int) -> "Grid":
        """So many values, ends included.

        Raises:
            ValueError: if `lower` is not below `upper`, or there are too few points.
        """
        if not (np.isfinite(lower) and np.isfinite(upper) and lower < upper):
            raise ValueError(f"no grid from {lower:g} to {upper:g}")
        return cls(jnp.linspace(lower, upper, n_points))

    @property
    def step(self) -> Float[Array, ""]:
        """Distance of neighbouring values."""
        return (self.points[-1] - self.points[0]) / (self.points.shape[0] - 1)

    @property
    def log_quadrature(self) -> Float[Array, " grid"]:
        """Logarithm of the weights that turn a sum over the points into an integral.

        They are those of the trapezoidal rule with Gregory's correction: positive, of
        fourth order in the step where the integrand ends at an end of the grid, and far
        better where it vanishes there.
        """
        weight = np.ones(self.points.shape[0])
        weight[: len(_ENDS)] = _ENDS
        weight[-len(_ENDS) :] = _ENDS[::-1]
        return jnp.log(self.step) + jnp.log(jnp.asarray(weight))
