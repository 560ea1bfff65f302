"""Events of both classes, as the fit of a calibration takes them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Scalar

from diffana.errors import DataError
from diffana.numerics import as_float


class Class(NamedTuple):
    """Events of one class with weight: log ratios and shares of the total weight."""

    log_ratio: Float[np.ndarray, " event"]
    share: Float[np.ndarray, " event"]


class Batches(NamedTuple):
    """Events of both classes in batches of equal size, padded with share 0.

    Attributes:
        log_ratio: of each event.
        share: of the weight of both classes, 1 in total.
        is_numerator: the class.
        size: effective number of events: as many of unit weight fluctuate as much.
    """

    log_ratio: Float[Array, "batch event"]
    share: Float[Array, "batch event"]
    is_numerator: Float[Array, "batch event"]
    size: Scalar


def checked(
    log_ratio: Float[ArrayLike, " event"], weight: Float[ArrayLike, " event"], name: str
) -> Class:
    """The events of a class that have weight.

    Raises:
        DataError: if there is none, a weight is negative, or a weight or a log ratio is
            not finite.
    """
    values, size = np.asarray(log_ratio, float), np.asarray(weight, float)
    if values.ndim != 1 or values.shape != size.shape:
        raise DataError(
            f"calibration, {name}: log ratios have shape {values.shape}, weights "
            f"{size.shape}"
        )
    wrong = ~(np.isfinite(size) & (size >= 0))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"calibration, {name}: event {first} has weight {size[first]}; weights "
            "have to be finite and not negative"
        )
    used = size > 0
    if not used.any():
        raise DataError(f"calibration, {name}: none of {len(size)} events has weight")
    if not np.isfinite(values[used]).all():
        first = int(np.argmax(used & ~np.isfinite(values)))
        raise DataError(
            f"calibration, {name}: event {first} has log ratio {values[first]}"
        )
    return Class(values[used], size[used] / size[used].sum())


def quantile_knots(
    numerator: Class, denominator: Class, n_knots: int
) -> Float[np.ndarray, " knot"]:
    """Quantiles of the log ratio, both classes weighing the same; fewer if they agree.

    Raises:
        DataError: if all of them agree.
    """
    values = np.concatenate([numerator.log_ratio, denominator.log_ratio])
    share = np.concatenate([numerator.share, denominator.share]) / 2
    order = np.argsort(values, kind="stable")
    middle = np.cumsum(share[order]) - share[order] / 2
    levels = np.linspace(0.01, 0.99, n_knots)
    knots = np.unique(np.interp(levels, middle, values[order]))
    if len(knots) < 2:
        raise DataError(
            f"calibration: the log ratio is {knots[0]:g} in almost all events"
        )
    return knots


def batches(numerator: Class, denominator: Class, batch: int) -> Batches:
    """Both classes in batches of `batch` events."""
    n_events = len(numerator.share) + len(denominator.share)
    n_padding = -n_events % batch
    padding = np.zeros(n_padding)
    log_ratio = np.concatenate([numerator.log_ratio, denominator.log_ratio, padding])
    share = np.concatenate([numerator.share, denominator.share, padding]) / 2
    is_numerator = np.arange(n_events + n_padding) < len(numerator.share)
    spread = np.sum(numerator.share**2) + np.sum(denominator.share**2)
    return Batches(
        *(
            jnp.asarray(column.reshape(-1, batch), float)
            for column in (log_ratio, share, is_numerator)
        ),
        size=as_float(4 / spread),
    )
