"""Cubic B-splines of one parameter."""

from typing import final

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.interpolate import BSpline

from diffana.neyman.order_statistic import within


_DEGREE = 3


@final
class CubicSplines(eqx.Module):
    """Cubic B-splines between given knots: non-negative, and one in sum.

    Attributes:
        knots: strictly increasing; the outermost are the ends of the range, where a
            single spline is not zero.
    """

    knots: Float[np.ndarray, " knot"] = eqx.field(
        converter=lambda x: np.asarray(x, float)
    )

    def __check_init__(self):
        knots = self.knots
        if knots.ndim != 1 or knots.size < 2 or not (np.diff(knots) > 0).all():
            raise ValueError("splines need at least two knots that increase")

    @property
    def n_splines(self) -> int:
        """Number of splines, two more than there are knots."""
        return self.knots.size + _DEGREE - 1

    def __call__(
        self, mu: Float[ArrayLike, " point"]
    ) -> Float[np.ndarray, "point spline"]:
        """Value of every spline at each point.

        Raises:
            ValueError: if a point is outside the knots by more than rounding.

        Source: de Boor, A Practical Guide to Splines, Springer 1978, chapter IX.

        Example:
            >>> CubicSplines([0.0, 1.0])([0.0, 1.0]).tolist()
            [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
        """
        lower, upper = self.knots[0], self.knots[-1]
        ends = np.full(_DEGREE, lower), np.full(_DEGREE, upper)
        padded = np.concatenate([ends[0], self.knots, ends[1]])
        at = within(mu, lower, upper)
        return BSpline.design_matrix(at, padded, _DEGREE).toarray()

    def roughness(self) -> Float[np.ndarray, "spline spline"]:
        """Matrix P of ∫ (d³s/dt³)² dt = θᵀ P θ for a sum s of splines times θ.

        The range is t = 0 to 1. Polynomials of second order have no roughness.
        """
        lower, upper = self.knots[0], self.knots[-1]
        unit = (self.knots - lower) / (upper - lower)
        padded = np.concatenate([np.zeros(_DEGREE), unit, np.ones(_DEGREE)])
        # Constant between two knots.
        middle = 0.5 * (unit[1:] + unit[:-1])
        third = BSpline(padded, np.eye(self.n_splines), _DEGREE)(middle, nu=3)
        return third.T @ (np.diff(unit)[:, None] * third)


def quantile_knots(
    values: Float[ArrayLike, " row"],
    n_knots: int,
    bounds: tuple[float, float] | None = None,
) -> Float[np.ndarray, " knot"]:
    """Knots between which there are equally many values, both ends included.

    There are fewer of them where so many values are equal that knots would coincide.

    Args:
        values: finite.
        n_knots: number of knots, >= 2.
        bounds: first and last knot; by default the lowest and highest value.

    Raises:
        ValueError: if a value is outside the bounds.
    """
    knots = np.quantile(np.asarray(values, float), np.linspace(0, 1, n_knots))
    if bounds is not None:
        if knots[0] < bounds[0] or knots[-1] > bounds[1]:
            raise ValueError(
                f"values from {knots[0]} to {knots[-1]} leave the bounds {bounds}"
            )
        knots[[0, -1]] = bounds
    return np.unique(knots)
