"""Focus functions with a formula: normal, half-normal and uniform densities."""

import math
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Array, Float, Scalar
from scipy.special import ndtri_exp

from diffana.neyman.focus._invariants import check, check_ordered, check_width
from diffana.neyman.focus.abstract import AbstractDensity
from diffana.numerics import as_float, log_normal_sf


@final
class Normal(AbstractDensity):
    """A normal density, truncated to an interval and normalised there.

    Whether a focus is cut at a physical boundary of the parameter changes intervals
    visibly; so the bounds are of the focus, not of the parameter, and none by default.

    Attributes:
        mean: of the normal before truncation, in units of the parameter.
        sd: its standard deviation, > 0.
        lower: lower bound; may be -∞.
        upper: upper bound, > `lower`; may be ∞.

    Raises:
        ValueError: if `sd` or the bounds are not as said.

    Example:
        >>> round(float(jnp.exp(Normal(0.0, 1.0).log_density(jnp.zeros(1)))[0]), 4)
        0.3989
        >>> round(float(jnp.exp(Normal(0, 1, lower=0).log_density(jnp.ones(1)))[0]), 4)
        0.4839
    """

    mean: Float[Array, ""] = eqx.field(converter=as_float)
    sd: Float[Array, ""] = eqx.field(converter=as_float)
    lower: Float[Array, ""] = eqx.field(converter=as_float, default=-math.inf)
    upper: Float[Array, ""] = eqx.field(converter=as_float, default=math.inf)

    def __check_init__(self):
        """Refuse what is no probability density."""
        check(self.mean, np.isfinite, "mean of a normal focus: {} is not finite")
        check_width(self.sd)
        check_ordered(self.lower, self.upper)

    @property
    def support(self) -> tuple[Scalar, Scalar]:
        """The two bounds."""
        return self.lower, self.upper

    def log_density(self, mu: Float[Array, " point"]) -> Float[Array, " point"]:
        """Logarithm of the truncated density; see `AbstractDensity`."""
        inside = (mu >= self.lower) & (mu <= self.upper)
        z = (mu - self.mean) / self.sd
        untruncated = -0.5 * z**2 - jnp.log(self.sd) - 0.5 * math.log(2 * math.pi)
        return jnp.where(inside, untruncated - self._log_mass(), -jnp.inf)

    def bulk(self, tail: float) -> tuple[float, float]:
        """See `AbstractFocus.bulk`; each side has half of `tail`, or nothing."""
        # The normal beyond a quantile has at least the probability that it has up to
        # the bound, so half of `tail` times that of the interval is enough.
        z = float(ndtri_exp(float(self._log_mass()) + math.log(0.5 * tail)))
        mean, reach = float(self.mean), -z * float(self.sd)
        return max(float(self.lower), mean - reach), min(
            float(self.upper), mean + reach
        )

    @eqx.filter_jit
    def _log_mass(self) -> Scalar:
        """Logarithm of the probability that the untruncated normal has in the bounds.

        A difference of distribution functions is 0 far in a tail. There, the logarithms
        of the two survival functions are subtracted.
        """
        # Derivatives with respect to an infinite bound do not exist, and 0 ⋅ ∞ would
        # spoil the others.
        alpha, beta = (
            (jnp.where(jnp.isfinite(bound), bound, self.mean) - self.mean) / self.sd
            for bound in (self.lower, self.upper)
        )
        open_below, open_above = jnp.isinf(self.lower), jnp.isinf(self.upper)
        below = jnp.where(open_below, -1.0, special.erf(alpha / math.sqrt(2)))
        above = jnp.where(open_above, 1.0, special.erf(beta / math.sqrt(2)))

        right, left = (alpha > 0) & ~open_below, (beta < 0) & ~open_above
        aside = right | left
        around = jnp.log(jnp.where(aside, 1.0, 0.5 * (above - below)))

        near = jnp.where(right, alpha, jnp.where(left, -beta, 1.0))
        far = jnp.where(right, beta, jnp.where(left, -alpha, 2.0))
        is_open = (right & open_above) | (left & open_below)
        log_near = log_normal_sf(near)
        drop = log_normal_sf(jnp.where(is_open, near + 1, far)) - log_near
        tail = log_near + jnp.where(is_open, 0.0, jnp.log(-jnp.expm1(drop)))
        return jnp.where(aside, tail, around)


@final
class HalfNormal(AbstractDensity):
    """The upper half of a normal density: highest at a boundary of the parameter.

    Attributes:
        sd: standard deviation of the whole normal, in units of the parameter, > 0.
        lower: where the density begins and is highest; finite.

    Raises:
        ValueError: if `sd` or `lower` is not as said.
    """

    sd: Float[Array, ""] = eqx.field(converter=as_float)
    lower: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)

    def __check_init__(self):
        """Refuse what is no probability density."""
        check(self.lower, np.isfinite, "lower end of a half-normal: {} is not finite")
        check_width(self.sd)

    @property
    def support(self) -> tuple[Scalar, Scalar]:
        """From `lower` to infinity."""
        return self.lower, jnp.full_like(self.lower, jnp.inf)

    def log_density(self, mu: Float[Array, " point"]) -> Float[Array, " point"]:
        """Logarithm of the density; see `AbstractDensity`."""
        z = (mu - self.lower) / self.sd
        inside = -0.5 * z**2 - jnp.log(self.sd) + 0.5 * math.log(2 / math.pi)
        return jnp.where(mu >= self.lower, inside, -jnp.inf)

    def bulk(self, tail: float) -> tuple[float, float]:
        """See `AbstractFocus.bulk`; from `lower` on."""
        z = -float(ndtri_exp(math.log(0.5 * tail)))
        return float(self.lower), float(self.lower) + z * float(self.sd)


@final
class Uniform(AbstractDensity):
    """A constant density on an interval.

    Attributes:
        lower: lower end, in units of the parameter; finite.
        upper: upper end, > `lower`; finite.

    Raises:
        ValueError: if the ends are not as said.
    """

    lower: Float[Array, ""] = eqx.field(converter=as_float)
    upper: Float[Array, ""] = eqx.field(converter=as_float)

    def __check_init__(self):
        """Refuse what is no probability density."""
        for end in (self.lower, self.upper):
            check(end, np.isfinite, "end of a uniform focus: {} is not finite")
        check_ordered(self.lower, self.upper)

    @property
    def support(self) -> tuple[Scalar, Scalar]:
        """The two ends."""
        return self.lower, self.upper

    def log_density(self, mu: Float[Array, " point"]) -> Float[Array, " point"]:
        """Logarithm of the density; see `AbstractDensity`."""
        inside = (mu >= self.lower) & (mu <= self.upper)
        return jnp.where(inside, -jnp.log(self.upper - self.lower), -jnp.inf)

    def bulk(self, tail: float) -> tuple[float, float]:
        """The two ends, whatever `tail`."""
        return float(self.lower), float(self.upper)
