"""Norms of density ratios: the mean of a ratio over its denominator has to be 1."""

from typing import final

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Scalar

from diffana.errors import DataError
from diffana.nsbi.ratios import AbstractRatio, log_ratios
from diffana.numerics import as_float
from diffana.trainable import HELD


@final
class Normalised(AbstractRatio):
    """A ratio divided by its mean over the denominator, which has to be 1.

    Attributes:
        ratio: as trained.
        log_norm: ln E_denominator[ratio]; estimated, not trained.
        log_norm_error: its standard error.
        ess: effective number of events behind the estimate, (Σwr)²/Σ(wr)².
    """

    ratio: AbstractRatio
    log_norm: Scalar = eqx.field(converter=as_float, metadata=HELD)
    log_norm_error: Scalar = eqx.field(converter=as_float, metadata=HELD)
    ess: Scalar = eqx.field(converter=as_float, metadata=HELD)

    def log_ratio(self, features: Float[Array, " feature"]) -> Scalar:
        """Log ratio minus the logarithm of the norm."""
        return self.ratio.log_ratio(features) - jax.lax.stop_gradient(self.log_norm)


def normalised(
    ratio: AbstractRatio,
    features: Float[ArrayLike, "event feature"],
    weight: Float[ArrayLike, " event"],
    *,
    batch: int = 2**13,
) -> Normalised:
    """A ratio r divided by C = E_denominator[r].

    With p_i = w_i/Σw, C = Σ p_i r_i and its standard error is
    √(V Σp²/(1 - Σp²)), V = Σ p_i (r_i - C)² (the unbiased variance of a weighted mean
    whose weights do not depend on r). That of ln C is the relative one.

    Args:
        ratio: the ratio r.
        features: events of the denominator that took no part in the training.
        weight: of these events, any unit, >= 0; events of weight 0 are not looked at.
        batch: events in memory at a time.

    Raises:
        DataError: if a weight is negative or not finite, if fewer than two events have
            weight, so that C has no error, or if the ratio of one is not finite.

    Example:
        >>> from diffana.nsbi.ratios import Exact
        >>> ratio = Exact(lambda x: np.log(3.0), lambda x: 0.0)
        >>> print(normalised(ratio, np.zeros((4, 1)), np.ones(4)).log_norm.round(4))
        1.0986
    """
    size = np.asarray(weight, dtype=np.float64)
    events = np.asarray(features)
    if events.shape[:1] != size.shape:
        raise DataError(
            f"norm of a ratio: features have shape {events.shape}, weights {size.shape}"
        )
    if not (np.isfinite(size) & (size >= 0)).all():
        first = int(np.argmin(np.isfinite(size) & (size >= 0)))
        raise DataError(
            f"norm of a ratio: event {first} has weight {size[first]}; the weights of "
            "the denominator have to be finite and not negative"
        )
    used = size > 0
    if np.count_nonzero(used) < 2:
        raise DataError(
            f"norm of a ratio: {np.count_nonzero(used)} of {len(size)} events have "
            "weight; at least two have to"
        )
    share = size[used] / size.sum()
    log_values = log_ratios(ratio, events[used], batch=batch)
    # Relative to the largest one: the others may underflow, but nothing overflows.
    largest = log_values.max()
    values = np.exp(log_values - largest)
    norm = share @ values
    variance = share @ (values - norm) ** 2
    spread = share @ share
    parts = share * values
    return Normalised(
        ratio=ratio,
        log_norm=np.log(norm) + largest,
        log_norm_error=np.sqrt(variance * spread / (1 - spread)) / norm,
        ess=norm**2 / (parts @ parts),
    )
