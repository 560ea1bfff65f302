"""The Poisson term of a likelihood, for counts that need not be whole numbers.

Asimov data are expected rates, so k! is Γ(k + 1). As in pyhf, a bin with no count has
-2 ln L = 2 · rate whatever the sign of the rate, a count above 0 at rate 0 gives inf,
and a count above 0 at a negative rate gives NaN.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, PRNGKeyArray


def twice_nll(
    count: Float[Array, " bin"], rate: Float[Array, " bin"]
) -> Float[Array, " bin"]:
    """-2 ln Pois(count | rate) of each bin.

    Args:
        count: observed or Asimov events, ≥ 0.
        rate: expected events.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(twice_nll(jnp.array([3.0]), jnp.array([3.0]))[0]), 4)
        2.9918
    """
    return 2 * (rate - count * jnp.log(_guarded(count, rate)) + gammaln(count + 1))


def slope(
    count: Float[Array, " bin"], rate: Float[Array, " bin"]
) -> Float[Array, " bin"]:
    """Derivative of `twice_nll` with respect to the rate."""
    return 2 * (1 - count / _guarded(count, rate))


def bend(
    count: Float[Array, " bin"], rate: Float[Array, " bin"]
) -> Float[Array, " bin"]:
    """Second derivative of `twice_nll` with respect to the rate, ≥ 0."""
    return 2 * count / _guarded(count, rate) ** 2


def _guarded(
    count: Float[Array, " bin"], rate: Float[Array, " bin"]
) -> Float[Array, " bin"]:
    """The rate, replaced where a count of 0 makes its logarithm irrelevant.

    Positive rates stay, so that derivatives with respect to the count are right.
    """
    return jnp.where((count == 0) & (rate <= 0), 1.0, rate)


def sample(rate: Float[Array, " bin"], key: PRNGKeyArray) -> Float[Array, " bin"]:
    """Counts drawn at `rate`; NaN where it is not ≥ 0."""
    drawn = jax.random.poisson(key, jnp.where(rate >= 0, rate, 0.0))
    return jnp.where(rate >= 0, drawn.astype(rate.dtype), jnp.nan)
