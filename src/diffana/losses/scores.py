"""What a classification loss sees of the events."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar


@final
class Scores(eqx.Module):
    """How a classifier does on one population of simulated events, as sums over them.

    Those of parts of a population add up to those of the whole.

    Attributes:
        entropy: sum over the events of the weight times -ln(probability of the true
            class).
        weight: sum of the weights; in events at the target luminosity.
        is_signal: whether the population is signal.
        is_nominal: whether it is not a systematic variation.

    Example:
        >>> logit, weight = jnp.zeros(2), jnp.array([1.0, 3.0])
        >>> score = Scores.of(logit, weight, is_signal=True, is_nominal=True)
        >>> print(score.entropy.round(4), (score + score).weight)
        2.7726 8.0
    """

    entropy: Scalar
    weight: Scalar
    is_signal: bool = eqx.field(static=True)
    is_nominal: bool = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        logit: Float[Array, " event"],
        weight: Float[Array, " event"],
        *,
        is_signal: bool,
        is_nominal: bool,
    ) -> "Scores":
        """The scores of events.

        Args:
            logit: logarithm of the odds that an event is signal, one per event.
            weight: events at the target luminosity per simulated event; may be
                negative.
            is_signal: whether the population is signal.
            is_nominal: whether it is not a systematic variation.
        """
        sign = -1.0 if is_signal else 1.0
        entropy = jax.nn.softplus(sign * logit.astype(float))
        return cls(jnp.sum(weight * entropy), jnp.sum(weight), is_signal, is_nominal)

    def __add__(self, other: "Scores") -> "Scores":
        """The scores of both parts of a population."""
        return Scores(
            self.entropy + other.entropy,
            self.weight + other.weight,
            self.is_signal,
            self.is_nominal,
        )
