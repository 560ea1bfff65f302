"""Interpolation between the templates of a systematic uncertainty.

The nuisance parameter α is 0 at the nominal template and ±1 at the up and down
templates. `code0`, `code2` and `code4p` give a difference of yields and serve
`histosys`; `code1` and `code4` give a factor and serve `normsys`. All act element by
element.

Every branch is evaluated at an α inside its own range and the unused ones are
discarded: otherwise an overflow in a discarded branch turns the derivative into NaN.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def code0(
    alpha: Float[Array, " entry"],
    lo: Float[Array, " entry"],
    nominal: Float[Array, " entry"],
    hi: Float[Array, " entry"],
) -> Float[Array, " entry"]:
    """Difference to the nominal yield, piecewise linear in α.

    The function has a kink at α = 0, where the slope is that of the down side.

    Args:
        alpha: nuisance parameter, in standard deviations.
        lo: yield at α = -1, in events.
        nominal: yield at α = 0, in events.
        hi: yield at α = +1, in events.

    Example:
        >>> import jax.numpy as jnp
        >>> float(code0(*map(jnp.asarray, (2.0, 8.0, 10.0, 13.0))))
        6.0
    """
    return alpha * jnp.where(alpha > 0, hi - nominal, nominal - lo)


def code1(
    alpha: Float[Array, " entry"],
    lo: Float[Array, " entry"],
    hi: Float[Array, " entry"],
) -> Float[Array, " entry"]:
    """Factor on the yield, piecewise exponential in α.

    The function has a kink at α = 0, where the slope is that of the down side.

    Args:
        alpha: nuisance parameter, in standard deviations.
        lo: factor at α = -1; NaN results where it is negative.
        hi: factor at α = +1; NaN results where it is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(code1(*map(jnp.asarray, (2.0, 0.9, 1.1)))), 6)
        1.21
    """
    up = alpha > 0
    return jnp.where(
        up,
        _power(hi, jnp.where(up, alpha, 0.0)),
        _power(lo, jnp.where(up, 0.0, -alpha)),
    )


def code2(
    alpha: Float[Array, " entry"],
    lo: Float[Array, " entry"],
    nominal: Float[Array, " entry"],
    hi: Float[Array, " entry"],
) -> Float[Array, " entry"]:
    """Difference to the nominal yield, quadratic in α inside ±1 and linear outside.

    The linear parts are those of pyhf 0.7, so that fits agree: they start at 0 above
    α = 1 and at the down slope times α below α = -1. The function jumps at both places,
    where it takes the value of the quadratic part.

    Args:
        alpha: nuisance parameter, in standard deviations.
        lo: yield at α = -1, in events.
        nominal: yield at α = 0, in events.
        hi: yield at α = +1, in events.

    Example:
        >>> import jax.numpy as jnp
        >>> float(code2(*map(jnp.asarray, (0.5, 8.0, 10.0, 13.0))))
        1.375
    """
    quadratic = 0.5 * (hi + lo) - nominal
    linear = 0.5 * (hi - lo)
    inside = alpha * (quadratic * alpha + linear)
    above = (linear + 2 * quadratic) * (alpha - 1)
    below = (linear - 2 * quadratic) * alpha
    return jnp.where(alpha > 1, above, jnp.where(alpha < -1, below, inside))


def code4(
    alpha: Float[Array, " entry"],
    lo: Float[Array, " entry"],
    hi: Float[Array, " entry"],
) -> Float[Array, " entry"]:
    """Factor on the yield, exponential in α outside ±1 and a polynomial inside.

    The six coefficients of the polynomial make the factor and its first two derivatives
    continuous at ±1.

    Args:
        alpha: nuisance parameter, in standard deviations.
        lo: factor at α = -1; NaN results where it is negative.
        hi: factor at α = +1; NaN results where it is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(code4(*map(jnp.asarray, (-2.0, 0.9, 1.1)))), 6)
        0.81
    """
    above, below = alpha >= 1, alpha <= -1
    inside = jnp.where(above | below, 0.0, alpha)
    log_hi, log_lo = _log(hi), _log(lo)
    # The even and the odd part of the factor at 1, with their slope and bend.
    even, odd = 0.5 * (hi + lo) - 1, 0.5 * (hi - lo)
    even_slope = 0.5 * (hi * log_hi + lo * log_lo)
    odd_slope = 0.5 * (hi * log_hi - lo * log_lo)
    even_bend = 0.5 * (hi * log_hi**2 + lo * log_lo**2)
    odd_bend = 0.5 * (hi * log_hi**2 - lo * log_lo**2)
    coefficients = (
        (15 * odd - 7 * odd_slope + odd_bend) / 8,
        (24 * even - 9 * even_slope + even_bend) / 8,
        (-5 * odd + 5 * odd_slope - odd_bend) / 4,
        (-12 * even + 7 * even_slope - even_bend) / 4,
        (3 * odd - 3 * odd_slope + odd_bend) / 8,
        (8 * even - 5 * even_slope + even_bend) / 8,
    )
    polynomial = jnp.zeros_like(inside)
    for coefficient in reversed(coefficients):
        polynomial = inside * (polynomial + coefficient)
    return jnp.where(
        above,
        _power(hi, jnp.where(above, alpha, 1.0)),
        jnp.where(below, _power(lo, jnp.where(below, -alpha, 1.0)), 1 + polynomial),
    )


def code4p(
    alpha: Float[Array, " entry"],
    lo: Float[Array, " entry"],
    nominal: Float[Array, " entry"],
    hi: Float[Array, " entry"],
) -> Float[Array, " entry"]:
    """Difference to the nominal yield, linear in α outside ±1 and a polynomial inside.

    The difference and its first two derivatives are continuous everywhere.

    Args:
        alpha: nuisance parameter, in standard deviations.
        lo: yield at α = -1, in events.
        nominal: yield at α = 0, in events.
        hi: yield at α = +1, in events.

    Example:
        >>> import jax.numpy as jnp
        >>> float(code4p(*map(jnp.asarray, (2.0, 8.0, 10.0, 13.0))))
        6.0
    """
    up, down = hi - nominal, nominal - lo
    above, below = alpha > 1, alpha < -1
    inside = jnp.where(above | below, 0.0, alpha)
    square = inside * inside
    bend = square * (15 + square * (3 * square - 10))
    polynomial = 0.5 * (up + down) * inside + 0.0625 * (up - down) * bend
    return jnp.where(above, alpha * up, jnp.where(below, alpha * down, polynomial))


def _log(base: Float[Array, " entry"]) -> Float[Array, " entry"]:
    """Logarithm, but 0 at 0, where it only occurs multiplied by `base`."""
    return jnp.where(base == 0, 0.0, jnp.log(jnp.where(base == 0, 1.0, base)))


def _power(
    base: Float[Array, " entry"], exponent: Float[Array, " entry"]
) -> Float[Array, " entry"]:
    """`base**exponent` for an exponent ≥ 0, with finite derivatives at base 0.

    The derivative of `jnp.power` at exponent 0 and of `abs` at 0 would be 0.
    """
    vanishing = (base == 0) & (exponent > 0)
    return jnp.where(vanishing, 0.0, jnp.exp(exponent * _log(base)))
