"""How many simulated events stand behind each bin."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from diffana.workflow.safety.check import Check
from diffana.workflow.safety.drawing import Drawn


LARGEST_BACKGROUND = 0.2
LARGEST_SAMPLE = 0.5
SMALLEST_SHARE = 0.1
_NAME = "simulated statistics"


def check_statistics(
    test: Drawn,
    signal: Sequence[str],
    *,
    largest_background: float = LARGEST_BACKGROUND,
    largest_sample: float = LARGEST_SAMPLE,
    smallest_share: float = SMALLEST_SHARE,
) -> Check:
    """Look for bins with too few simulated events.

    It warns of a bin whose total background is not positive, or uncertain by more than
    `largest_background`, which is that of 25 events of equal weight: with fewer, the
    Gaussian constraint of HistFactory is a poor likelihood of the simulated counts. It
    warns of a sample with a negative yield in a bin, and of one that is uncertain by
    more than `largest_sample` where it makes up `smallest_share` or more of the bin.
    These are thresholds, not tests.

    Args:
        test: histograms of the test events.
        signal: samples that are not background.
        largest_background: relative statistical uncertainty.
        largest_sample: relative statistical uncertainty.
        smallest_share: of the expected events in a bin.
    """
    nominal = {
        (region, sample): histogram
        for (region, sample, variation), histogram in test.histograms().items()
        if variation == "nominal"
    }
    regions: list[dict[str, Any]] = []
    problems: list[str] = []

    def warn(where: str, chosen: Bool[np.ndarray, " bin"], what: str) -> None:
        if chosen.any():
            noun = "bin" if chosen.sum() == 1 else "bins"
            bins = ", ".join(str(position) for position in np.flatnonzero(chosen))
            problems.append(f"{where}, {noun} {bins}: {what}")

    for region in dict.fromkeys(region for region, _ in nominal):
        samples = {s: h for (r, s), h in nominal.items() if r == region}
        total = np.sum([h.values() for h in samples.values()], axis=0)
        rows = []
        for sample, histogram in samples.items():
            row = _row(histogram.values(), histogram.variances())
            rows.append({"sample": sample, **row})
            where = f"region {region!r}, sample {sample!r}"
            warn(where, histogram.values() < 0, "negative yield")
            matters = histogram.values() >= smallest_share * total
            poor = matters & (histogram.values() > 0) & _above(row, largest_sample)
            warn(where, poor, f"uncertain by {_percent(row, poor)}")
        background = {s: h for s, h in samples.items() if s not in signal}
        row = None
        if background:
            row = _row(
                np.sum([h.values() for h in background.values()], axis=0),
                np.sum([h.variances() for h in background.values()], axis=0),
            )
            where = f"region {region!r}, background"
            empty = np.array(row["yield"]) <= 0
            warn(where, empty, "no yield")
            poor = ~empty & _above(row, largest_background)
            warn(where, poor, f"uncertain by {_percent(row, poor)}")
        regions.append({"region": region, "background": row, "samples": rows})
    numbers = {
        "largest_background": largest_background,
        "largest_sample": largest_sample,
        "smallest_share": smallest_share,
        "regions": regions,
        "problems": problems,
    }
    worst = max(
        (
            (relative, one["region"])
            for one in regions
            if one["background"] is not None
            for relative in one["background"]["relative"]
        ),
        default=None,
    )
    if problems:
        summary = "; ".join(problems[:5])
        summary += f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        summary += (
            f"; warns above {100 * largest_background:g} % for the background and "
            f"{100 * largest_sample:g} % for a sample that matters"
        )
    elif worst is None:
        summary = "no region holds simulated background"
    else:
        summary = (
            f"the simulated background is uncertain by at most {100 * worst[0]:.1f} %, "
            f"in region {worst[1]!r}; warns above {100 * largest_background:g} %"
        )
    return Check(_NAME, "warn" if problems else "pass", summary, numbers)


def _row(
    sumw: Float[np.ndarray, " bin"], sumw2: Float[np.ndarray, " bin"]
) -> dict[str, Any]:
    sigma = np.sqrt(sumw2)
    positive = sumw > 0
    return {
        "yield": sumw.tolist(),
        "relative": np.divide(
            sigma, sumw, out=np.full_like(sumw, np.inf), where=positive
        ).tolist(),
        "effective_events": np.divide(
            sumw**2, sumw2, out=np.zeros_like(sumw), where=sumw2 > 0
        ).tolist(),
        "not_positive": int(np.count_nonzero(~positive)),
    }


def _above(row: dict[str, Any], largest: float) -> Bool[np.ndarray, " bin"]:
    return np.array(row["relative"]) > largest


def _percent(row: dict[str, Any], chosen: Bool[np.ndarray, " bin"]) -> str:
    largest = np.max(np.array(row["relative"]), where=chosen, initial=0.0)
    return f"{100 * largest:.0f} %"
