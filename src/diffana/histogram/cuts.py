"""Cuts: soft weights for training, hard decisions for results."""

import abc
import functools as ft
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from diffana.histogram._invariants import check_positive
from diffana.numerics import as_float
from diffana.trainable import HELD


class AbstractCut(eqx.Module):
    """A selection of events."""

    @abc.abstractmethod
    def soft(self, features: Float[Array, " feature"]) -> Float[Array, ""]:
        """Weight of one event in [0, 1], differentiable."""

    @abc.abstractmethod
    def hard(self, features: Float[Array, " feature"]) -> Bool[Array, ""]:
        """Whether one event is kept; an event without a value (nan) is not."""


@final
class KeepAbove(AbstractCut):
    """Keep events whose value is at or above a threshold.

    The soft weight is the logistic function of slope · (x − threshold) (Simpson, PhD
    thesis, Lund 2023, section 7.2.1), 1/2 at the threshold; an infinite slope is the
    hard cut.

    Attributes:
        threshold: in the unit of the feature.
        slope: steepness of the soft cut, in inverse units of the feature; > 0.
        column: position of the feature in an event.

    Example:
        >>> cut = KeepAbove(column=0, threshold=25.0, slope=0.5)
        >>> event = jnp.array([27.0])
        >>> round(float(cut.soft(event)), 4), bool(cut.hard(event))
        (0.7311, True)
    """

    threshold: Float[Array, ""] = eqx.field(converter=as_float)
    slope: Float[Array, ""] = eqx.field(converter=as_float, metadata=HELD)
    column: int = eqx.field(static=True)

    def __check_init__(self):
        check_positive(self.slope, "slope", "the class names the direction")

    def soft(self, features: Float[Array, " feature"]) -> Float[Array, ""]:
        """Weight of one event in [0, 1]."""
        return _logistic(features[self.column], self.threshold, self.slope)

    def hard(self, features: Float[Array, " feature"]) -> Bool[Array, ""]:
        """Whether one event is at or above the threshold."""
        return features[self.column] >= self.threshold


@final
class KeepBelow(AbstractCut):
    """Keep events whose value is below a threshold: the complement of `KeepAbove`.

    Attributes:
        threshold: in the unit of the feature.
        slope: steepness of the soft cut, in inverse units of the feature; > 0.
        column: position of the feature in an event.

    Example:
        >>> cut = KeepBelow(column=0, threshold=25.0, slope=0.5)
        >>> event = jnp.array([27.0])
        >>> round(float(cut.soft(event)), 4), bool(cut.hard(event))
        (0.2689, False)
    """

    threshold: Float[Array, ""] = eqx.field(converter=as_float)
    slope: Float[Array, ""] = eqx.field(converter=as_float, metadata=HELD)
    column: int = eqx.field(static=True)

    def __check_init__(self):
        check_positive(self.slope, "slope", "the class names the direction")

    def soft(self, features: Float[Array, " feature"]) -> Float[Array, ""]:
        """Weight of one event in [0, 1]."""
        return _logistic(features[self.column], self.threshold, -self.slope)

    def hard(self, features: Float[Array, " feature"]) -> Bool[Array, ""]:
        """Whether one event is below the threshold."""
        return features[self.column] < self.threshold


@final
class HeldCut(AbstractCut):
    """A cut whose threshold is not trained.

    Example:
        >>> from diffana.trainable import trainable
        >>> held = HeldCut(KeepAbove(column=0, threshold=25.0, slope=0.1))
        >>> any(jax.tree.leaves(trainable(held)))
        False
    """

    cut: AbstractCut = eqx.field(metadata=HELD)

    def soft(self, features: Float[Array, " feature"]) -> Float[Array, ""]:
        """Weight of one event in [0, 1]."""
        return self.cut.soft(features)

    def hard(self, features: Float[Array, " feature"]) -> Bool[Array, ""]:
        """Whether one event is kept."""
        return self.cut.hard(features)


@final
class Selection(AbstractCut):
    """All of several cuts: soft weights multiply, hard decisions must all agree.

    Example:
        >>> window = Selection((KeepAbove(1.0, 10.0, 0), KeepBelow(2.0, 10.0, 0)))
        >>> event = jnp.array([1.5])
        >>> round(float(window.soft(event)), 4), bool(window.hard(event))
        (0.9867, True)
    """

    cuts: tuple[AbstractCut, ...]

    def soft(self, features: Float[Array, " feature"]) -> Float[Array, ""]:
        """Product of the weights; 1 if there is no cut."""
        return ft.reduce(
            jnp.multiply, (cut.soft(features) for cut in self.cuts), jnp.ones(())
        )

    def hard(self, features: Float[Array, " feature"]) -> Bool[Array, ""]:
        """Whether every cut keeps the event."""
        return ft.reduce(
            jnp.logical_and,
            (cut.hard(features) for cut in self.cuts),
            jnp.ones((), bool),
        )


def _logistic(x: Array, threshold: Array, slope: Array) -> Float[Array, ""]:
    # 1/(1 + exp(−z)) has a nan derivative for large −z; `jax.nn.sigmoid` has not.
    return jax.nn.sigmoid(slope * (x - threshold))
