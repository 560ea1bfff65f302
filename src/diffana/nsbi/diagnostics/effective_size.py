"""Whether enough events of the denominator cover the numerator."""

import numpy as np
from jaxtyping import ArrayLike, Float

from diffana.nsbi.diagnostics._events import log_ratio_sample, not_finite, reweighted
from diffana.nsbi.diagnostics.gate import Gate, verdict


NAME = "effective size"


def effective_size_gate(
    log_ratio: Float[ArrayLike, " event"],
    weight: Float[ArrayLike, " event"],
    *,
    fraction: float = 0.01,
    size: float | None = None,
) -> Gate:
    """Whether the events of the denominator, weighted with the ratio, are enough.

    Their effective number is (Σwr)²/Σ(wr)². It is small where the numerator lies where
    the denominator has few events: whatever is averaged over them then hangs on a few.

    Args:
        log_ratio: of events of the denominator.
        weight: of these events, any unit and sign.
        fraction: least effective number per event that has weight.
        size: least effective number instead; None for a fraction of the events.

    Returns:
        The gate; among its numbers is the largest share of an event in Σ|wr|.

    Raises:
        DataError: if there is no event, a weight is not finite, or the sum of weights
            is not positive.

    Example:
        >>> round(effective_size_gate(np.log([1, 3]), np.ones(2)).numbers["size"], 12)
        1.6
    """
    events = log_ratio_sample(log_ratio, weight, NAME)
    n_events = len(events.share)
    threshold = fraction * n_events if size is None else size
    if (failed := not_finite(NAME, threshold, events)) is not None:
        return failed
    weighted = reweighted(events)
    found = float(weighted.sum() ** 2 / (weighted @ weighted))
    largest = float(np.max(np.abs(weighted)) / np.sum(np.abs(weighted)))
    return Gate(
        NAME,
        verdict(found >= threshold),
        f"{found:.4g} effective events of {n_events}, at least {threshold:.4g} needed; "
        f"one has {100 * largest:.2g} % of the weight",
        {"size": found, "events": n_events, "largest_share": largest},
        threshold,
    )
