"""Values that change while a training proceeds: bandwidths, slopes, temperatures."""

import abc
from typing import final

import equinox as eqx
from jaxtyping import Array, Float, ScalarLike

from diffana.histogram._invariants import check_positive
from diffana.numerics import as_float


class AbstractSchedule(eqx.Module):
    """A value as a function of the progress of a training."""

    @abc.abstractmethod
    def __call__(self, progress: ScalarLike) -> Float[Array, ""]:
        """Value at `progress`, the fraction of all steps that is done, in [0, 1]."""


@final
class Constant(AbstractSchedule):
    """The same value throughout.

    Example:
        >>> float(Constant(0.2)(0.7))
        0.2
    """

    value: Float[Array, ""] = eqx.field(converter=as_float)

    def __call__(self, progress: ScalarLike) -> Float[Array, ""]:
        """The value."""
        return self.value


@final
class Linear(AbstractSchedule):
    """From `start` to `end` in equal steps.

    Example:
        >>> float(Linear(start=1.0, end=0.0)(0.25))
        0.75
    """

    start: Float[Array, ""] = eqx.field(converter=as_float)
    end: Float[Array, ""] = eqx.field(converter=as_float)

    def __call__(self, progress: ScalarLike) -> Float[Array, ""]:
        """Weighted arithmetic mean of both ends."""
        progress = as_float(progress)
        return (1 - progress) * self.start + progress * self.end


@final
class Geometric(AbstractSchedule):
    """From `start` to `end` by equal factors; both ends positive.

    Example:
        >>> round(float(Geometric(start=1.0, end=0.01)(0.5)), 6)
        0.1
    """

    start: Float[Array, ""] = eqx.field(converter=as_float)
    end: Float[Array, ""] = eqx.field(converter=as_float)

    def __check_init__(self):
        ends = f"the geometric schedule goes from {self.start} to {self.end}"
        check_positive(self.start, "start", ends)
        check_positive(self.end, "end", ends)

    def __call__(self, progress: ScalarLike) -> Float[Array, ""]:
        """Weighted geometric mean of both ends."""
        progress = as_float(progress)
        return self.start ** (1 - progress) * self.end**progress
