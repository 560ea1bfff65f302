"""Functions whose textbook form loses digits or has no derivative where it is needed.

Every docstring names the trap. All functions work element by element, keep nan as nan,
and have the stated first and second derivatives in forward and in reverse mode.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy import special
from jaxtyping import Array, ArrayLike, Float


def as_float(x: ArrayLike) -> Float[Array, "..."]:
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
    return _log_normal_sf(jnp.asarray(z))


@jax.custom_jvp
def _log_normal_sf(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    far = _far_tail(z)
    distant, near = jnp.maximum(z, far), jnp.minimum(z, far)
    asymptotic = (
        -0.5 * distant**2
        - jnp.log(math.sqrt(2 * math.pi) * distant)
        + jnp.log(_tail_series(distant))
    )
    above = jnp.log(special.ndtr(-jnp.maximum(near, 0.0)))
    below = jnp.log1p(-special.ndtr(jnp.minimum(near, 0.0)))
    return jnp.where(z > far, asymptotic, jnp.where(z > 0, above, below))


@_log_normal_sf.defjvp
def _log_normal_sf_jvp(primals, tangents):
    (z,), (dz,) = primals, tangents
    return _log_normal_sf(z), -_hazard(z) * dz


@jax.custom_jvp
def _hazard(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """φ(z)/Φ̄(z), the density of the normal given that it is above z."""
    far = _far_tail(z)
    distant, near = jnp.maximum(z, far), jnp.minimum(z, far)
    density = jnp.exp(-0.5 * near**2) / math.sqrt(2 * math.pi)
    ratio = density / special.ndtr(-near)
    return jnp.where(z > far, distant / _tail_series(distant), ratio)


@_hazard.defjvp
def _hazard_jvp(primals, tangents):
    (z,), (dz,) = primals, tangents
    hazard = _hazard(z)
    return hazard, hazard * (hazard - z) * dz


def _far_tail(z: Float[Array, "*shape"]) -> float:
    # Below this Φ̄ has not underflowed, above it the series has converged.
    return 35.0 if z.dtype == jnp.float64 else 10.0


def _tail_series(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Asymptotic series of z Φ̄(z)/φ(z), Abramowitz and Stegun 26.2.12."""
    series = jnp.ones_like(z)
    for order in (11, 9, 7, 5, 3, 1):
        series = 1 - order * series / z**2
    return series
