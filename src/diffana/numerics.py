"""Functions whose textbook form loses digits or has no derivative where it is needed.

Every docstring names the trap. All functions work element by element, keep nan as nan,
and have the stated first and second derivatives in forward and in reverse mode.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax.scipy import special
from jaxtyping import Array, ArrayLike, Float


def as_float(x: ArrayLike | Sequence[float]) -> Float[Array, "..."]:
    """The argument as an array of JAX's default floating-point type.

    A sum over 10⁵ events in float32 has four correct digits, and a field given as the
    integer 1 has no derivative; so statistics convert whatever they are handed. The
    default type is float64 once x64 is switched on.
    """
    return jnp.asarray(x, dtype=float)


def safe_sqrt(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """√x for x > 0, and 0 with zero derivatives for x ≤ 0.

    A test statistic is zero at the best fit and negative by rounding next to it. There
    the derivative of `sqrt(maximum(x, 0))` is infinite or nan, and one `where` around
    the square root heals reverse mode only: in forward mode 0 · ∞ survives the
    selection. So the argument is selected too.

    Args:
        x: any real number, in squared units of the result.

    Example:
        >>> float(safe_sqrt(4.0)), float(safe_sqrt(-1e-9))
        (2.0, 0.0)
    """
    x = jnp.asarray(x)
    outside = x <= 0  # false for nan, which stays visible
    return jnp.where(outside, 0.0, jnp.sqrt(jnp.where(outside, 1.0, x)))


def safe_divide(
    numerator: Float[ArrayLike, "*shape"], denominator: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    """Quotient, and 0 with zero derivatives where the denominator is 0.

    For ratios of sums over events, which are 0/0 in an empty bin and mean nothing
    there. A single `where` around the quotient leaves nan in its derivative; here the
    denominator is selected too. Not for quotients whose pole means something: the pole
    would be hidden.

    Args:
        numerator: any real number.
        denominator: any real number, 0 included.

    Example:
        >>> float(safe_divide(1.0, 4.0)), float(safe_divide(0.0, 0.0))
        (0.25, 0.0)
    """
    numerator, denominator = jnp.asarray(numerator), jnp.asarray(denominator)
    empty = denominator == 0
    return jnp.where(empty, 0.0, numerator / jnp.where(empty, 1.0, denominator))


def normal_sf(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Survival function Φ̄(z) = 1 − Φ(z) of the standard normal distribution.

    `1 - cdf(z)` has no correct digit beyond z = 8.3; Φ(−z) keeps all of them until it
    underflows to 0 at z = 38 (z = 13 in float32). From there on use `log_normal_sf`.

    Args:
        z: significance, in standard deviations; finite.

    Example:
        >>> f"{float(normal_sf(5.0)):.4e}"
        '2.8665e-07'
    """
    return special.ndtr(-jnp.asarray(z))


def log_normal_sf(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Logarithm ln Φ̄(z) of the survival function of the standard normal.

    The logarithm of `normal_sf` is −∞ with a nan derivative where that has underflowed;
    this one, and its derivatives, stay right. `jax.scipy.special.log_ndtr(-z)` stays
    finite too, but is wrong by 4·10⁻⁹ above z = 20 and jumps by as much there, and its
    derivative with it; this one is good to 10⁻¹² everywhere.

    Args:
        z: significance, in standard deviations; finite.

    Example:
        >>> round(float(log_normal_sf(40.0)), 3)
        -804.608
    """
    z = jnp.asarray(z)
    # The square of Φ̄, which is in the second derivative, underflows above z = 26 in
    # float64 and z = 9 in float32; below, the series has not converged.
    is_far = z > (25.0 if z.dtype == jnp.float64 else 8.0)
    is_near = (z > 0) & ~is_far

    far = jnp.where(is_far, z, 100.0)
    asymptotic = jnp.log(_mills_series(far) / (math.sqrt(2 * math.pi) * far))
    above = jnp.log(special.ndtr(-jnp.where(is_near, z, 1.0)))
    below = jnp.log1p(-special.ndtr(jnp.where(z > 0, -1.0, z)))
    return jnp.where(
        is_far, asymptotic - 0.5 * far**2, jnp.where(is_near, above, below)
    )


def _mills_series(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Asymptotic series of z Φ̄(z)/φ(z), Abramowitz and Stegun 26.2.12."""
    series = jnp.ones_like(z)
    for order in (13, 11, 9, 7, 5, 3, 1):
        series = 1 - order * series / z**2
    return series
