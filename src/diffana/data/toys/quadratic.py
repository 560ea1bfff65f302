"""Quadratic functions of normal features: how often they are below a limit."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from diffana.data.toys.normal import Normal
from diffana.numerics import as_float


# Half the range of values, in standard deviations, beyond which the sum misplaces them.
# The tails fall at least as fast as exp(-x / √2) with their distance in that unit.
_REACH = 20.0
_N_TERMS = 4096


@final
class Quadratic(eqx.Module):
    """x'Ax + b'x + c, as the logarithm of the ratio of two normal densities is.

    Attributes:
        curvature: A, symmetric.
        slope: b.
        constant: c.

    Example:
        >>> above = Quadratic.log_ratio(Normal([1.0], [[1.0]]), Normal([0.0], [[1.0]]))
        >>> float(above(jnp.array([2.0])))
        1.5
    """

    curvature: Float[Array, "feature feature"] = eqx.field(converter=as_float)
    slope: Float[Array, " feature"] = eqx.field(converter=as_float)
    constant: Scalar = eqx.field(converter=as_float)

    @classmethod
    def log_ratio(cls, numerator: Normal, denominator: Normal) -> "Quadratic":
        """Logarithm of the density of `numerator` over that of `denominator`."""
        one, other = (_log_density(normal) for normal in (numerator, denominator))
        return cls(
            one.curvature - other.curvature,
            one.slope - other.slope,
            one.constant - other.constant,
        )

    def __call__(self, features: Float[Array, " feature"]) -> Scalar:
        """The value at one event."""
        return (self.curvature @ features + self.slope) @ features + self.constant

    def probability_below(self, normal: Normal, limit: float | Scalar) -> Scalar:
        """Probability of a value below `limit` under a normal distribution.

        The sum over the characteristic function of Davies, Biometrika 60 (1973) 415.
        What it leaves out falls with the number k of curvatures other than zero and
        with the slopes: 1e-5 for k = 2, 1e-8 for k = 5 without slopes, and 1e-12 where
        slopes are a few times the curvatures or all curvatures vanish. float64 is
        needed. Derivatives by the features' covariance are nan where two curvatures
        are equal in the coordinates in which the features are independent.

        Args:
            normal: distribution of the features.
            limit: any number.
        """
        root = jnp.linalg.cholesky(normal.covariance)
        curvature, axes = jnp.linalg.eigh(root.T @ self.curvature @ root)
        slope = axes.T @ root.T @ (self.slope + 2 * self.curvature @ normal.mean)
        centre = self(normal.mean) - limit

        mean = centre + curvature.sum()
        spread = jnp.sqrt(2 * (curvature**2).sum() + (slope**2).sum())
        step = jnp.pi / (jnp.abs(mean) + _REACH * spread)
        order = jnp.arange(_N_TERMS) + 0.5
        at = (step * order)[:, None]
        damping = 1 - 2j * at * curvature[None]
        exponent = 1j * at[:, 0] * centre - 0.5 * (
            jnp.log(damping) + (at * slope[None]) ** 2 / damping
        ).sum(axis=1)
        return 0.5 - (jnp.exp(exponent).imag / order).sum() / jnp.pi


def _log_density(normal: Normal) -> Quadratic:
    precision = jnp.linalg.inv(normal.covariance)
    slope = precision @ normal.mean
    zero = jnp.zeros_like(normal.mean)
    return Quadratic(-0.5 * precision, slope, normal.log_density(zero))
