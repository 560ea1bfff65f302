"""What a focus is learned for: a number that the confidence sets of all toys have.

Sets are soft here: a value of mu belongs to one with a probability between 0 and 1, so
that the objective has a derivative with respect to the focus.
"""

import abc
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from diffana.neyman.smoothed_quantile import smoothed_quantile


@final
class SoftSets(eqx.Module):
    """Confidence sets of toys, each value in them with a probability.

    Attributes:
        logit: (c(mu) - T(D; mu)) / temperature of every toy and tested value; the value
            is in the set with probability sigmoid(logit).
        weight: probability of each toy under each true value, rows add up to 1.
        width: of the cell around each tested value, in the unit of mu.
        mu: true and tested values, increasing.
        temperature: in units of the statistic; sets are sharp at 0.

    The first axis of `logit` is the true value that a toy was made at, or has length 1
    where all true values share their toys.
    """

    logit: Float[Array, "source toy point"]
    weight: Float[Array, "point toy"]
    width: Float[Array, " point"]
    mu: Float[Array, " point"]
    temperature: Scalar

    @property
    def length(self) -> Float[Array, "point toy"]:
        """Length of the set of each toy, under each true value."""
        return self._under_each(jax.nn.sigmoid(self.logit) @ self.width)

    @property
    def upper(self) -> Float[Array, "point toy"]:
        """Upper edge of the set of each toy; the lowest mu where the set is empty."""
        # The edge is above a value unless no value from there on is accepted.
        rejected = jax.nn.log_sigmoid(-self.logit)
        log_none = jax.lax.cumsum(rejected, axis=2, reverse=True)
        return self._under_each(self.mu[0] - jnp.expm1(log_none) @ self.width)

    def expected(self, quantity: Float[Array, "point toy"]) -> Float[Array, " point"]:
        """Expectation of a property of the sets under each true value."""
        return (self.weight * quantity).sum(1)

    def _under_each(
        self, quantity: Float[Array, "source toy"]
    ) -> Float[Array, "point toy"]:
        return jnp.broadcast_to(quantity, self.weight.shape)


class AbstractObjective(eqx.Module):
    """A number to be made small by the choice of the focus."""

    @abc.abstractmethod
    def __call__(self, sets: SoftSets) -> Scalar:
        """The number for the sets of all toys at one stage of learning."""


@final
class MeanLength(AbstractObjective):
    """Expected length of the set, averaged over true values.

    The best focus is the average itself, f = `true_weight`: there is nothing to learn
    here (Pratt, J. Am. Stat. Assoc. 56 (1961) 549), which tests the learning.

    Attributes:
        true_weight: of each true value, adds up to 1.

    Example:
        >>> MeanLength(jnp.ones(41) / 41)
    """

    true_weight: Float[Array, " point"] = eqx.field(converter=jnp.asarray)

    def __call__(self, sets: SoftSets) -> Scalar:
        """The averaged expected length."""
        return self.true_weight @ sets.expected(sets.length)


@final
class MedianLength(AbstractObjective):
    """Median length of the set, averaged over true values.

    Attributes:
        true_weight: of each true value, adds up to 1.
        bandwidth: over which the distribution of lengths is smoothed, in units of mu.

    Example:
        >>> MedianLength(jnp.zeros(41).at[0].set(1.0), bandwidth=0.05)
    """

    true_weight: Float[Array, " point"] = eqx.field(converter=jnp.asarray)
    bandwidth: float

    def __call__(self, sets: SoftSets) -> Scalar:
        """The averaged median length."""
        median = smoothed_quantile(sets.length, sets.weight, 0.5, self.bandwidth)
        return self.true_weight @ median


@final
class UpperLimit(AbstractObjective):
    """Expected upper edge of the set, averaged over true values.

    Attributes:
        true_weight: of each true value, adds up to 1.

    Example:
        >>> UpperLimit(jnp.zeros(41).at[0].set(1.0))
    """

    true_weight: Float[Array, " point"] = eqx.field(converter=jnp.asarray)

    def __call__(self, sets: SoftSets) -> Scalar:
        """The averaged expected upper edge."""
        return self.true_weight @ sets.expected(sets.upper)


@final
class WorstRegret(AbstractObjective):
    """Largest ratio of the expected length to that of another belt.

    The largest of n ratios r is smoothed to s ln(sum_j exp(r_j / s)), which is above it
    by s ln(n) at most; s = `softness` * temperature falls as learning goes on.

    Attributes:
        reference: expected length of the other belt at each true value, > 0.
        included: true values over which the largest ratio is taken.
        softness: per unit of temperature.

    Example:
        >>> WorstRegret(lengths.mean, mu <= 8)
    """

    reference: Float[Array, " point"] = eqx.field(converter=jnp.asarray)
    included: Bool[Array, " point"] = eqx.field(converter=jnp.asarray)
    softness: float = 0.005

    def __call__(self, sets: SoftSets) -> Scalar:
        """The largest ratio, smoothed."""
        ratio = sets.expected(sets.length) / self.reference
        scale = self.softness * sets.temperature
        return scale * jax.nn.logsumexp(ratio / scale, where=self.included)
