"""The map of log ratios, and ratios that go through it."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Scalar

from diffana.nsbi.ratios import AbstractRatio
from diffana.numerics import as_float
from diffana.trainable import HELD


@final
class Calibration(eqx.Module):
    """A monotone rational-quadratic spline with linear tails.

    Between two knots it is the quotient of two quadratic polynomials, beyond the outer
    ones a straight line with the slope of the outer knot. Value and first derivative
    are continuous everywhere; the second derivative is continuous between the knots
    and jumps at them. It is strictly increasing for any finite parameters, and the
    identity if all of them are zero.

    Attributes:
        knots: log ratios, strictly increasing. Not trained.
        offset: value at the middle knot, number n_knots // 2, minus that knot.
        log_stretches: logarithm of the mean slope between neighbouring knots.
        log_slopes: logarithm of the slope at each knot.

    Source: Durkan et al., arXiv:1906.04032, section 3.1, after Gregory and Delbourgo,
    IMA J. Numer. Anal. 2 (1982) 123; here with tails of any slope instead of the
    identity.

    Example:
        >>> calibration = Calibration.identity([-2.0, 0.0, 3.0])
        >>> [float(calibration(t)) for t in (-5.0, 1.0, 8.0)]
        [-5.0, 1.0, 8.0]
    """

    knots: Float[Array, " knot"] = eqx.field(converter=as_float, metadata=HELD)
    offset: Scalar = eqx.field(converter=as_float)
    log_stretches: Float[Array, " knot-1"] = eqx.field(converter=as_float)
    log_slopes: Float[Array, " knot"] = eqx.field(converter=as_float)

    def __check_init__(self):
        n_knots = self.knots.shape[0]
        if n_knots < 2:
            raise ValueError(f"calibration: {n_knots} knots, at least 2 are needed")
        shapes = (self.log_stretches.shape, self.log_slopes.shape)
        if shapes != ((n_knots - 1,), (n_knots,)):
            raise ValueError(
                f"calibration: {n_knots} knots need {n_knots - 1} stretches and "
                f"{n_knots} slopes, but their shapes are {shapes[0]} and {shapes[1]}"
            )
        if not isinstance(self.knots, Tracer) and not (np.diff(self.knots) > 0).all():
            raise ValueError("calibration: the knots have to increase strictly")

    @classmethod
    def identity(cls, knots: Float[ArrayLike, " knot"]) -> "Calibration":
        """The calibration that changes nothing.

        Args:
            knots: log ratios, strictly increasing, at least two.
        """
        return cls.line(knots, 0.0, 1.0)

    @classmethod
    def line(
        cls, knots: Float[ArrayLike, " knot"], intercept: float, slope: float
    ) -> "Calibration":
        """The straight line intercept + slope · log ratio.

        Args:
            knots: log ratios, strictly increasing, at least two.
            intercept: any number.
            slope: > 0.
        """
        knots = np.asarray(knots, float)
        n_knots = len(knots)
        middle = knots[n_knots // 2]
        return cls(
            knots,
            intercept + (slope - 1) * middle,
            np.full(n_knots - 1, np.log(slope)),
            np.full(n_knots, np.log(slope)),
        )

    def __call__(self, log_ratio: Float[ArrayLike, ""]) -> Scalar:
        """Calibrated log ratio of one event.

        Args:
            log_ratio: as estimated, natural logarithm; finite.
        """
        log_ratio = as_float(log_ratio)
        first, last = self.knots[0], self.knots[-1]
        values, slopes = self._values(), jnp.exp(self.log_slopes)
        below, above = log_ratio < first, log_ratio > last
        # Selected before it is used, so that the tails leave no trace in derivatives.
        inside = jnp.where(below | above, first, log_ratio)
        spline = self._spline(inside, values, slopes)
        lower_tail = values[0] + slopes[0] * (log_ratio - first)
        upper_tail = values[-1] + slopes[-1] * (log_ratio - last)
        return jnp.where(below, lower_tail, jnp.where(above, upper_tail, spline))

    def _values(self) -> Float[Array, " knot"]:
        """Value of the spline at each knot."""
        rises = jnp.diff(self.knots) * jnp.exp(self.log_stretches)
        climbed = jnp.concatenate([jnp.zeros(1), jnp.cumsum(rises)])
        middle = self.knots.shape[0] // 2
        return self.knots[middle] + self.offset + climbed - climbed[middle]

    def _spline(
        self,
        log_ratio: Scalar,
        values: Float[Array, " knot"],
        slopes: Float[Array, " knot"],
    ) -> Scalar:
        at = jnp.searchsorted(self.knots, log_ratio, side="right") - 1
        at = jnp.clip(at, 0, self.knots.shape[0] - 2)
        stretch = jnp.exp(self.log_stretches[at])
        width = self.knots[at + 1] - self.knots[at]
        part = (log_ratio - self.knots[at]) / width
        mixed = part * (1 - part)
        bend = slopes[at] + slopes[at + 1] - 2 * stretch
        numerator = stretch * part**2 + slopes[at] * mixed
        return values[at] + width * stretch * numerator / (stretch + bend * mixed)


@final
class Calibrated(AbstractRatio):
    """A ratio whose logarithm goes through a calibration.

    The mean over the denominator need not be 1 afterwards: calibrate first, then
    normalise.

    Attributes:
        ratio: as trained.
        calibration: map of its logarithm.

    Example:
        >>> from diffana.nsbi.ratios import Exact
        >>> ratio = Exact(lambda x: -x[0], lambda x: -2.0 * x[0])
        >>> same = Calibrated(ratio, Calibration.identity([-1.0, 1.0]))
        >>> float(same.log_ratio(jnp.array([0.5])))
        0.5
    """

    ratio: AbstractRatio
    calibration: Calibration

    def log_ratio(self, features: Float[Array, " feature"]) -> Scalar:
        """Calibrated log ratio of one event."""
        return self.calibration(self.ratio.log_ratio(features))
