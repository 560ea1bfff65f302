"""Events as the gates take them: checked, and without those of weight zero."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Float
from scipy.special import log_expit

from diffana.errors import DataError
from diffana.nsbi.diagnostics.gate import Gate


class Sample(NamedTuple):
    """The events of a sample that have weight.

    Attributes:
        values: of each event: its log ratio, its features, ...
        share: weights over their sum; any sign.
    """

    values: Float[np.ndarray, "event ..."]
    share: Float[np.ndarray, " event"]

    @property
    def effective_size(self) -> float:
        """(Σw)²/Σw²: as many events of unit weight fluctuate as much."""
        return float(1 / (self.share @ self.share))


def sample(
    values: Float[ArrayLike, "event ..."], weight: Float[ArrayLike, " event"], name: str
) -> Sample:
    """The sample, if its weights can be normalised.

    Args:
        values: of each event; not looked at.
        weight: any unit and sign; finite, with a positive sum.
        name: of the sample, for the error message.

    Raises:
        DataError: if there is no event, the numbers of events do not agree, a weight
            is not finite, or the weights do not have a positive sum.
    """
    every, size = np.asarray(values, float), np.asarray(weight, float)
    if size.ndim != 1 or every.shape[:1] != size.shape:
        raise DataError(
            f"{name}: values of shape {every.shape}, but weights of shape {size.shape}"
        )
    if not len(size):
        raise DataError(f"{name}: there are no events")
    if not np.isfinite(size).all():
        first = int(np.argmin(np.isfinite(size)))
        raise DataError(f"{name}: event {first} has weight {size[first]}")
    if size.sum() <= 0:
        raise DataError(
            f"{name}: the weights of {len(size)} events add up to {size.sum():g}; "
            "their sum has to be positive"
        )
    used = size != 0
    return Sample(every[used], size[used] / size.sum())


def log_ratio_sample(
    log_ratio: Float[ArrayLike, " event"], weight: Float[ArrayLike, " event"], name: str
) -> Sample:
    """A sample of log ratios, one number per event; otherwise as `sample`."""
    if np.ndim(log_ratio) != 1:
        raise DataError(
            f"{name}: log ratios of shape {np.shape(log_ratio)}, not one per event"
        )
    return sample(log_ratio, weight, name)


def feature_sample(
    features: Float[ArrayLike, "event feature"],
    weight: Float[ArrayLike, " event"],
    name: str,
) -> Sample:
    """A sample of features; otherwise as `sample`.

    Raises:
        DataError: also if a feature of an event with weight is not finite.
    """
    if np.ndim(features) != 2:
        raise DataError(
            f"{name}: features of shape {np.shape(features)}, not (event, feature)"
        )
    found = sample(features, weight, name)
    finite = np.isfinite(found.values)
    if not finite.all():
        column = int(np.argmin(finite.all(axis=0)))
        raise DataError(f"{name}: feature {column} is not finite somewhere")
    return found


def not_finite(name: str, threshold: float, *samples: Sample) -> Gate | None:
    """The gate of a ratio that has no finite logarithm for an event; else None."""
    n_bad = sum(int(np.sum(~_finite(one))) for one in samples)
    if not n_bad:
        return None
    n_events = sum(len(one.values) for one in samples)
    return Gate(
        name,
        "fail",
        f"the log ratio is not finite in {n_bad} of {n_events} events",
        {"not_finite": n_bad, "events": n_events},
        threshold,
    )


def _finite(one: Sample) -> Bool[np.ndarray, " event"]:
    finite = np.isfinite(one.values)
    return finite if finite.ndim == 1 else np.all(finite, axis=1)


def reweighted(events: Sample) -> Float[np.ndarray, " event"]:
    """Weights of the denominator's events times their ratio, in any unit and sign.

    Args:
        events: log ratios of the denominator; finite.
    """
    return _weighted(events.share, events.values)


def _weighted(
    weight: Float[np.ndarray, " event"], log_factor: Float[np.ndarray, " event"]
) -> Float[np.ndarray, " event"]:
    # Relative to the largest factor: nothing overflows, and not all underflows.
    return weight * np.exp(log_factor - log_factor.max())


class Closure(NamedTuple):
    """Features of both classes, weighted so that they agree if the ratio is right.

    Attributes:
        numerator: features with the shares of the weighted numerator.
        denominator: the same for the denominator.
    """

    numerator: Sample
    denominator: Sample


def closure(
    name: str,
    threshold: float,
    numerator: tuple[ArrayLike, ArrayLike],
    denominator: tuple[ArrayLike, ArrayLike],
    log_ratio: Float[ArrayLike, " other"],
    numerator_log_ratio: Float[ArrayLike, " event"] | None,
) -> Closure | Gate:
    """Both classes weighted to one distribution, or the gate of a ratio without one.

    Args:
        name: of the gate.
        threshold: of the gate.
        numerator: features and weights.
        denominator: likewise.
        log_ratio: of the events of the denominator, which are weighted with r. Where
            the numerator has log ratios too, with r/(1 + r) instead.
        numerator_log_ratio: of the events of the numerator, which are weighted with
            1/(1 + r); None leaves their weights as they are.

    Raises:
        DataError: if a sample has no event, a weight or a feature is not finite, the
            sum of the weights of a sample is not positive, or the numbers of features
            differ.
    """
    of_numerator, of_denominator = f"{name}, numerator", f"{name}, denominator"
    first = feature_sample(*numerator, of_numerator)
    second = feature_sample(*denominator, of_denominator)
    if first.values.shape[1] != second.values.shape[1]:
        raise DataError(
            f"{name}: the numerator has {first.values.shape[1]} features, the "
            f"denominator {second.values.shape[1]}"
        )
    below = log_ratio_sample(log_ratio, denominator[1], of_denominator)
    if numerator_log_ratio is None:
        if (failed := not_finite(name, threshold, below)) is not None:
            return failed
        weights = (first.share, reweighted(below))
    else:
        above = log_ratio_sample(numerator_log_ratio, numerator[1], of_numerator)
        if (failed := not_finite(name, threshold, above, below)) is not None:
            return failed
        weights = (
            _weighted(above.share, log_expit(-above.values)),
            _weighted(below.share, log_expit(below.values)),
        )
    if not all(weight.sum() > 0 for weight in weights):
        reason = "weighted with the ratio, the events do not have a positive sum"
        return Gate(name, "not checked", reason, {}, threshold)
    pairs = zip((first, second), weights, strict=True)
    return Closure(*(Sample(one.values, size / size.sum()) for one, size in pairs))
