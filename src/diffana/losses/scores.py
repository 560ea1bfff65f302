"""What a classification loss sees of the events."""

from typing import final

import equinox as eqx
from jaxtyping import Array, Float


@final
class Scores(eqx.Module):
    """The observable's output on one population of simulated events.

    Attributes:
        logit: logarithm of the odds that an event is signal, one per event.
        weight: events at the target luminosity per simulated event; may be negative.
        is_signal: whether the population is signal.
        is_nominal: whether it is not a systematic variation.
    """

    logit: Float[Array, " event"]
    weight: Float[Array, " event"]
    is_signal: bool = eqx.field(static=True)
    is_nominal: bool = eqx.field(static=True)
