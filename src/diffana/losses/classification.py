"""Losses of a classifier, which see the events and not the likelihood."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Scalar

from diffana.losses.ingredients import Needs
from diffana.losses.loss import AbstractLoss
from diffana.losses.scores import Scores


@final
class BinaryCrossEntropy(AbstractLoss):
    """Binary cross-entropy of signal against background, both with equal total weight.

    Attributes:
        augmented: whether systematic variations of the background count as background
            too, each with the weights of its own events. Variations of the signal then
            count as signal.
    """

    augmented: bool = eqx.field(static=True, default=False)

    @property
    def needs(self) -> Needs:
        """Nothing."""
        return Needs()

    def value(self, likelihood, scores, found) -> Scalar:
        """Mean of the two classes' mean -ln(probability of the true class)."""
        used = [score for score in scores if score.is_nominal or self.augmented]
        classes = [
            _class_entropy([score for score in used if score.is_signal is is_signal])
            for is_signal in (True, False)
        ]
        return 0.5 * (classes[0] + classes[1])


def _class_entropy(scores: list[Scores]) -> Scalar:
    """Weighted mean of -ln p over the populations of one class."""
    if not scores:
        raise ValueError("cross-entropy needs both signal and background events")
    total = sum((score.entropy for score in scores), start=jnp.zeros(()))
    return total / sum((score.weight for score in scores), start=jnp.zeros(()))
