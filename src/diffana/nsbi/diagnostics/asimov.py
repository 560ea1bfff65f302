"""Whether learned ratios give the test statistic of the exact ones."""

import numpy as np
from jaxtyping import ArrayLike, Float

from diffana.errors import DataError
from diffana.nsbi.diagnostics.gate import Gate, verdict


NAME = "Asimov closure"


def asimov_gate(
    points: Float[ArrayLike, " point"],
    learned: Float[ArrayLike, " point"],
    exact: Float[ArrayLike, " point"],
    *,
    threshold: float = 0.1,
) -> Gate:
    """Whether a scan with learned ratios follows that with exact ones.

    Both scans have to be to the same Asimov data, and these data must not be made with
    the learned ratios: such a scan has its minimum at the truth whatever was learned.

    Args:
        points: values of the parameter of interest, in its unit.
        learned: t = -2 Δ ln L at each with the learned ratios.
        exact: the same with the exact ratios; finite.
        threshold: largest |learned - exact|.

    Raises:
        DataError: if there is no point, the lengths differ, or an exact value is not
            finite.

    Example:
        >>> asimov_gate([0.0, 1.0], [4.3, 0.0], [4.0, 0.0]).numbers["worst_point"]
        0.0
    """
    at, found, truth = (np.asarray(one, float) for one in (points, learned, exact))
    if at.ndim != 1 or not at.size or not at.shape == found.shape == truth.shape:
        raise DataError(
            f"{NAME}: {at.shape} points, {found.shape} learned and {truth.shape} "
            "exact values; one of each is needed per point"
        )
    if not np.isfinite(truth).all():
        first = at[np.argmin(np.isfinite(truth))]
        raise DataError(f"{NAME}: the exact value at {first:g} is not finite")
    missing = ~np.isfinite(found)
    if missing.any():
        reason = f"{missing.sum()} of {len(at)} learned values are not finite"
        numbers = {"not_finite": int(missing.sum()), "points": len(at)}
        return Gate(NAME, "fail", reason, numbers, threshold)
    difference = found - truth
    worst = int(np.argmax(np.abs(difference)))
    return Gate(
        NAME,
        verdict(bool(abs(difference[worst]) <= threshold)),
        f"learned - exact is {difference[worst]:.3g} at {at[worst]:g}, the worst of "
        f"{len(at)} points; at most {threshold:g} allowed",
        {
            "worst_point": float(at[worst]),
            "worst_difference": float(difference[worst]),
            "learned": float(found[worst]),
            "exact": float(truth[worst]),
        },
        threshold,
    )
