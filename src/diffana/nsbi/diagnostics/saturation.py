"""Whether the score of the classifier behind a ratio saturates."""

import numpy as np
from jaxtyping import ArrayLike, Float

from diffana.nsbi.diagnostics._events import log_ratio_sample, not_finite
from diffana.nsbi.diagnostics.gate import Gate, verdict


NAME = "saturation"


def saturation_gate(
    log_ratio: Float[ArrayLike, " event"],
    weight: Float[ArrayLike, " event"],
    *,
    edge: float = 1e-6,
    threshold: float = 0.01,
) -> Gate:
    """Whether few events have a score r/(1 + r) next to 0 or 1, and none a ratio of 0.

    There the ratio is an extrapolation: of a sample of the other class, a million
    events may not hold a single one.

    Args:
        log_ratio: of events of any class.
        weight: of these events, any unit and sign; |weight| is the mass.
        edge: scores below it and above 1 - edge are counted, in (0, 1/2).
        threshold: largest share of the mass that may be counted.

    Raises:
        DataError: if there is no event, a weight is not finite, or the sum of weights
            is not positive.

    Example:
        >>> saturation_gate(np.array([0.0, 1.0, 20.0]), np.ones(3)).verdict
        'fail'
    """
    if not 0 < edge < 0.5:
        raise ValueError(f"saturation: the edge {edge} is not between 0 and 1/2")
    events = log_ratio_sample(log_ratio, weight, NAME)
    if (failed := not_finite(NAME, threshold, events)) is not None:
        return failed
    mass = np.abs(events.share) / np.sum(np.abs(events.share))
    bound = np.log1p(-edge) - np.log(edge)
    low = float(mass @ (events.values < -bound))
    high = float(mass @ (events.values > bound))
    return Gate(
        NAME,
        verdict(low + high <= threshold),
        f"{100 * (low + high):.3g} % of the mass has a score within {edge:g} of 0 or "
        f"1, at most {100 * threshold:g} % allowed",
        {
            "below": low,
            "above": high,
            "smallest": float(events.values.min()),
            "largest": float(events.values.max()),
        },
        threshold,
    )
