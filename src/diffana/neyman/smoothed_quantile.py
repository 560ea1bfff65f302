"""Quantiles that can be differentiated with respect to what is ranked."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


_HALVINGS = 50


def smoothed_quantile(
    values: Float[Array, "*row toy"],
    weight: Float[Array, "*row toy"],
    probability: ArrayLike,
    bandwidth: ArrayLike,
) -> Float[Array, "*row"]:
    """The q where a smoothed distribution function reaches a probability.

    It solves sum_t w_t sigmoid((q - v_t) / bandwidth) = probability, by bisection. The
    derivative is that of an implicit function, dq = E[dv | v = q], a mean over the toys
    near q in a logistic kernel; it is exact to first order.

    Args:
        values: what is ranked, finite.
        weight: of each value, >= 0, with sum 1 along the last axis.
        probability: in (0, 1).
        bandwidth: of the logistic kernel, in the units of `values`, > 0. Below the
            distance of neighbouring values the result is a step function of them.

    Example:
        >>> smoothed_quantile(statistic, jnp.full(1000, 1e-3), 0.6827, 0.1)
    """
    fixed = jax.lax.stop_gradient(values)
    # Beyond them the distribution function is 0 or 1 within rounding.
    reach = 40.0 * bandwidth
    low, high = fixed.min(-1) - reach, fixed.max(-1) + reach

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        smooth = jax.nn.sigmoid((middle[..., None] - fixed) / bandwidth)
        below = (weight * smooth).sum(-1) < probability
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))
    root = 0.5 * (low + high)
    distance = jnp.abs(root[..., None] - fixed) / bandwidth
    # The logistic kernel is symmetric, and does not underflow in this form.
    log_kernel = -distance - 2.0 * jnp.log1p(jnp.exp(-distance))
    share = jax.nn.softmax(jnp.log(weight) + log_kernel, axis=-1)
    # Zero in value; its derivative is the mean of those of the values.
    return root + (jax.lax.stop_gradient(share) * (values - fixed)).sum(-1)
