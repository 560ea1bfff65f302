"""Whether a density ratio integrates to one."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from diffana.nsbi.diagnostics._events import Sample, log_ratio_sample, not_finite
from diffana.nsbi.diagnostics.gate import Gate, verdict


NAME = "normalisation"
# With fewer, a pull of 3 is no rare event any more.
_LEAST_SIZE = 10.0


class Normalisation(NamedTuple):
    """Mean of a ratio over the events of its denominator.

    Attributes:
        mean: E[r], 1 for a normalised ratio; inf if it overflows.
        standard_error: of the mean, from the finite number of events.
        pull: (mean - 1)/standard_error after a transformation that takes out most of
            its skewness; close to a standard normal number for a normalised ratio.
        effective_size: effective number of events, (Σw)²/Σw² or, if that is less,
            (Σwr)²/Σ(wr)².
    """

    mean: float
    standard_error: float
    pull: float
    effective_size: float


def normalisation(
    log_ratio: Float[ArrayLike, " event"], weight: Float[ArrayLike, " event"]
) -> Normalisation:
    """Mean of the ratio r over the denominator, with its standard error.

    With p_i = w_i/Σw and m = Σ p_i r_i the variance is Σ p_i² (r_i - m)²/(1 - Σp²),
    that of a quotient of two sums. It holds for weights of any sign which may depend
    on r. For weights that do not, it is Σp²/(1 - Σp²) times the weighted variance of
    r, which for weights of both signs could come out negative.

    Ratios have a long upper tail. A mean that missed it is too small and has too small
    an error, so that z = (m - 1)/error is skewed. With the skewness a of the sum that
    is the mean, Σd³/(Σd²)^{3/2} of its terms d_i = p_i (r_i - m), the pull is
    z + a z²/3 + a² z³/27 + a/6, which increases with z.

    Args:
        log_ratio: of events of the denominator that took no part in training; finite.
        weight: of these events, any unit and sign.

    Raises:
        DataError: if there is no event, a weight is not finite, or the sum of weights
            is not positive.

    Source: P. Hall, J. R. Stat. Soc. B 54 (1992) 221, for the transformation.

    Example:
        >>> found = normalisation(np.log([0.5, 1.5, 0.5, 1.9]), np.ones(4))
        >>> round(found.mean, 3), round(found.standard_error, 3)
        (1.1, 0.356)
    """
    return _estimate(log_ratio_sample(log_ratio, weight, NAME))


def normalisation_gate(
    log_ratio: Float[ArrayLike, " event"],
    weight: Float[ArrayLike, " event"],
    *,
    threshold: float = 3.0,
) -> Gate:
    """Whether E[r] = 1 over the denominator within `threshold` standard errors.

    A right ratio fails in about 0.3 % of all cases at a threshold of 3, and more often
    where the standard deviation of its logarithm is well above 1 and few events carry
    most of the sum (1 % at a standard deviation of 2 with 5000 events): what a sample
    does not contain, it cannot tell. Below 10 effective events nothing is said.

    Args:
        log_ratio: of events of the denominator that took no part in training.
        weight: of these events, any unit and sign.
        threshold: largest |pull|.

    Raises:
        DataError: as `normalisation`.

    Example:
        >>> normalisation_gate(np.log([0.5, 1.5] * 50), np.ones(100)).verdict
        'pass'
    """
    events = log_ratio_sample(log_ratio, weight, NAME)
    if (failed := not_finite(NAME, threshold, events)) is not None:
        return failed
    found = _estimate(events)
    numbers = found._asdict()
    if found.effective_size < _LEAST_SIZE:
        return Gate(
            NAME,
            "not checked",
            f"{found.effective_size:.1f} effective events carry the mean, too few for "
            "a normal distribution",
            numbers,
            threshold,
        )
    return Gate(
        NAME,
        verdict(abs(found.pull) < threshold),
        f"E[r] = {found.mean:.4g} ± {found.standard_error:.2g}: "
        f"pull {found.pull:.2f}, at most {threshold:g} allowed",
        numbers,
        threshold,
    )


def _estimate(events: Sample) -> Normalisation:
    log_ratio, share = events
    # Relative to the largest ratio: only the mean itself may overflow.
    largest = log_ratio.max()
    values = np.exp(log_ratio - largest)
    mean = share @ values
    spread = share @ share
    terms = share * (values - mean)
    variance = np.sum(terms**2)
    error = np.sqrt(variance / (1 - spread)) if spread < 1 else np.nan
    distance = mean - np.exp(-largest)
    # What rounding leaves of a ratio that is 1 everywhere is no distance.
    is_one = abs(distance) <= 1e-13 * mean
    with np.errstate(over="ignore"):
        scale = np.exp(largest)
        return Normalisation(
            mean=float(mean * scale),
            standard_error=float(error * scale),
            pull=0.0 if is_one else _pull(distance, error, terms),
            effective_size=min(events.effective_size, _size(share * values)),
        )


def _size(parts: Float[np.ndarray, " event"]) -> float:
    return float(parts.sum() ** 2 / (parts @ parts))


def _pull(distance: float, error: float, terms: Float[np.ndarray, " event"]) -> float:
    if error == 0:
        return float(np.copysign(np.inf, distance))
    z = distance / error
    skewness = np.sum(terms**3) / np.sum(terms**2) ** 1.5
    return float(z + skewness * z**2 / 3 + skewness**2 * z**3 / 27 + skewness / 6)
