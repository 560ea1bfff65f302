"""Asymptotic p-values of the profile-likelihood statistics, arXiv:1007.1727, section 3.

Tail probabilities come from survival functions, whose logarithm keeps its digits where
1 - cdf has lost them all.
"""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from diffana.numerics import log_normal_sf, safe_sqrt


BANDS = (-2, -1, 0, 1, 2)
"""Order of every expected set, in standard deviations of the alternative."""


@final
class LimitPValues(eqx.Module):
    """Natural logarithms of the p-values for an upper limit.

    Attributes:
        log_CLsb: of CLsb, the p-value of signal plus background.
        log_CLb: of CLb, the p-value of background only.
    """

    log_CLsb: Scalar
    log_CLb: Scalar

    @property
    def log_CLs(self) -> Scalar:
        """Logarithm of CLs = CLsb / CLb."""
        return self.log_CLsb - self.log_CLb


def limit_p_values(q: Scalar, q_asimov: Scalar, *, bounded: bool) -> LimitPValues:
    """p-values of an observed q_mu or q~_mu.

    Args:
        q: observed value of the statistic.
        q_asimov: its value on the background-only Asimov data, > 0.
        bounded: whether the statistic is q~_mu (equations 65 and 67), whose
            distribution changes form above `q_asimov`, rather than q_mu (equation 59).
    """
    root, root_asimov = safe_sqrt(q), safe_sqrt(q_asimov)
    below = root - root_asimov
    if bounded:
        positive = jnp.where(root_asimov > 0, root_asimov, 1.0)
        above = (q - q_asimov) / (2 * positive)
        below = jnp.where((q > q_asimov) & (root_asimov > 0), above, below)
    return LimitPValues(log_normal_sf(below + root_asimov), log_normal_sf(below))


def expected_log_CLs(q_asimov: Scalar) -> Float[Array, " band"]:
    """Logarithm of the CLs expected under background only, for the bands of `BANDS`.

    Args:
        q_asimov: q_mu on the background-only Asimov data, >= 0.
    """
    root = safe_sqrt(q_asimov)
    # A data set n standard deviations up from the background has sqrt(q) lower by n.
    shift = -jnp.array(BANDS, float)
    return log_normal_sf(root + shift) - log_normal_sf(shift)


def log_p0(q0: Scalar) -> Scalar:
    """Logarithm of the discovery p-value, equation 53."""
    return log_normal_sf(safe_sqrt(q0))


def significance(q0: Scalar) -> Scalar:
    """Discovery significance Z in standard deviations, equation 53."""
    return safe_sqrt(q0)
