"""How far the members of an ensemble of ratios disagree."""

import numpy as np
from jaxtyping import ArrayLike, Float

from diffana.errors import DataError
from diffana.nsbi.diagnostics._events import not_finite, sample
from diffana.nsbi.diagnostics.gate import Gate, verdict


NAME = "ensemble spread"


def spread_gate(
    member_log_ratios: Float[ArrayLike, "event member"],
    weight: Float[ArrayLike, " event"],
    *,
    threshold: float = 0.1,
) -> Gate:
    """Whether the mean of an ensemble is certain enough.

    The standard deviation s(x) of the log ratios of M members makes the mean ratio
    uncertain by the relative amount s(x)/√M, for s well below 1. Its root mean square
    over the events may not exceed `threshold`. What all members have wrong is not in
    it.

    Args:
        member_log_ratios: of each event according to each member.
        weight: of the events, any unit and sign; |weight| is the mass.
        threshold: largest root mean square of s/√M.

    Raises:
        DataError: if there is no event, a weight is not finite, the sum of weights is
            not positive, or there is no member.

    Example:
        >>> log_ratios = np.array([[0.1, -0.1], [0.4, 0.6]])
        >>> round(spread_gate(log_ratios, np.ones(2)).numbers["of_mean"], 3)
        0.1
    """
    if np.ndim(member_log_ratios) != 2 or not np.shape(member_log_ratios)[1]:
        raise DataError(
            f"{NAME}: log ratios of shape {np.shape(member_log_ratios)}, not (event, "
            "member)"
        )
    events = sample(member_log_ratios, weight, NAME)
    n_members = events.values.shape[1]
    if (failed := not_finite(NAME, threshold, events)) is not None:
        return failed
    if n_members < 2:
        reason = "a single member has no spread"
        return Gate(NAME, "not checked", reason, {"members": n_members}, threshold)
    mass = np.abs(events.share) / np.sum(np.abs(events.share))
    spread = events.values.std(axis=1, ddof=1)
    single = float(np.sqrt(mass @ spread**2))
    of_mean = single / np.sqrt(n_members)
    return Gate(
        NAME,
        verdict(of_mean <= threshold),
        f"{n_members} members differ by {single:.3g} in the log ratio, so that their "
        f"mean is uncertain by {of_mean:.3g}, at most {threshold:g} allowed",
        {
            "of_mean": float(of_mean),
            "of_member": single,
            "largest": float(spread.max()),
            "members": n_members,
        },
        threshold,
    )
