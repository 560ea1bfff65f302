"""How far the expected result depends on which events were simulated."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from diffana.workflow.safety.check import Check
from diffana.workflow.safety.sensitivity import METRICS, Expected


FALSE_ALARM = 0.01
LARGEST_SPREAD = 0.1
LARGEST_UNDEFINED = 0.1
_LABEL = {"cls": "CLs", "p0": "p0", "sigma_mu": "σ_μ"}


def check_precision(
    test: Expected, resampled: Sequence[Expected], *, largest: float = LARGEST_SPREAD
) -> Check:
    """How certain the expected result is, given the number of simulated test events.

    The spread is that of resampled test events whose samples keep their total yields.

    Args:
        test: result on the test events.
        resampled: results on test events drawn with replacement.
        largest: relative standard deviation of the sensitivity (standard deviations of
            CLs and p0, 1/σ_μ) above which the check warns. It is a threshold, not a
            test: gains of a few per cent cannot be told above it.
    """
    name = "precision of the expected result"
    rows = {metric: _spread(metric, test, resampled) for metric in METRICS}
    numbers = {
        "largest": largest,
        "largest_undefined": LARGEST_UNDEFINED,
        "n_resamples": len(resampled),
        "metrics": rows,
    }
    undefined = _undefined(rows)
    if undefined is not None:
        return Check(name, "warn", undefined, numbers)
    shown = ", ".join(
        f"{_LABEL[metric]} {row['value']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
        for metric, row in rows.items()
    )
    worst = max(rows, key=lambda metric: rows[metric]["relative"])
    summary = (
        f"with 68 % intervals of the simulated statistics {shown}; the sensitivity in "
        f"{_LABEL[worst]} is uncertain by {100 * rows[worst]['relative']:.1f} %; warns "
        f"above {100 * largest:g} %"
    )
    wide = rows[worst]["relative"] > largest
    return Check(name, "warn" if wide else "pass", summary, numbers)


def check_halves(
    halves: tuple[Expected, Expected],
    resampled: tuple[Sequence[Expected], Sequence[Expected]],
    *,
    false_alarm: float = FALSE_ALARM,
) -> Check:
    """Compare the results on two halves of the test events, which share none.

    Args:
        halves: result on each half.
        resampled: for each half, results on its events drawn with replacement.
        false_alarm: probability of a warning if only chance sets the halves apart.
    """
    return _difference(
        "independent halves",
        ("one half of the test events", "the other"),
        halves,
        resampled,
        false_alarm,
    )


def check_generalisation(
    parts: tuple[Expected, Expected],
    resampled: tuple[Sequence[Expected], Sequence[Expected]],
    *,
    false_alarm: float = FALSE_ALARM,
) -> Check:
    """Compare the results on training and test events.

    Args:
        parts: result on as many training events as there are test events, and on the
            test events: with the same simulated statistics on either side nothing but
            what was learned from single events sets them apart.
        resampled: for each, results on its events drawn with replacement.
        false_alarm: probability of a warning if only chance sets the parts apart.
    """
    return _difference(
        "generalisation",
        ("as many training as test events", "test events"),
        parts,
        resampled,
        false_alarm,
    )


def _difference(
    name: str,
    labels: tuple[str, str],
    results: tuple[Expected, Expected],
    resampled: tuple[Sequence[Expected], Sequence[Expected]],
    false_alarm: float,
) -> Check:
    first, second = (
        {metric: _spread(metric, *side) for metric in METRICS}
        for side in zip(results, resampled, strict=True)
    )
    # The spread itself is estimated, which widens the tails of what it divides.
    ndf = min(len(side) for side in resampled) - 1
    threshold = float(-stdtrit(ndf, false_alarm / len(METRICS) / 2))
    rows = {
        metric: {
            "values": [first[metric]["value"], second[metric]["value"]],
            "relative_gain": first[metric]["sensitivity"]
            / second[metric]["sensitivity"]
            - 1,
            "pull": (first[metric]["sensitivity"] - second[metric]["sensitivity"])
            / np.hypot(first[metric]["spread"], second[metric]["spread"]),
        }
        for metric in METRICS
    }
    numbers = {
        "false_alarm": false_alarm,
        "threshold": threshold,
        "largest_undefined": LARGEST_UNDEFINED,
        "n_resamples": ndf + 1,
        "metrics": rows,
        "spreads": [first, second],
    }
    for rows_of_side in (first, second):
        undefined = _undefined(rows_of_side)
        if undefined is not None:
            return Check(name, "warn", undefined, numbers)
    shown = ", ".join(
        f"{_LABEL[metric]} {row['values'][0]:.3g} and {row['values'][1]:.3g} "
        f"({row['pull']:+.1f} σ)"
        for metric, row in rows.items()
    )
    summary = (
        f"on {labels[0]} and on {labels[1]}: {shown}; positive where the former is "
        f"more sensitive, and warns beyond ±{threshold:.1f} σ, a false alarm in "
        f"{100 * false_alarm:g} % of cases"
    )
    far = any(abs(row["pull"]) > threshold for row in rows.values())
    return Check(name, "warn" if far else "pass", summary, numbers)


def _spread(
    metric: str, result: Expected, resampled: Sequence[Expected]
) -> dict[str, Any]:
    """Value and spread of one metric."""
    quoted = np.array([one.quoted[metric] for one in resampled])
    spread = np.array([one.sensitivity[metric] for one in resampled])
    defined = np.isfinite(spread)
    known = np.count_nonzero(defined) > 1
    nothing = [np.nan, np.nan]
    low, high = np.quantile(quoted[defined], [0.16, 0.84]) if known else nothing
    sigma = float(np.std(spread[defined], ddof=1)) if known else np.nan
    return {
        "value": result.quoted[metric],
        "low": float(low),
        "high": float(high),
        "sensitivity": result.sensitivity[metric],
        "spread": sigma,
        "relative": sigma / result.sensitivity[metric],
        "undefined": float(np.mean(~defined)),
    }


def _undefined(rows: dict[str, dict[str, Any]]) -> str | None:
    """What to say where results are missing."""
    for metric, row in rows.items():
        if not np.isfinite(row["sensitivity"]):
            return f"{_LABEL[metric]} has no certified value on these events"
        if row["undefined"] > LARGEST_UNDEFINED:
            return (
                f"{_LABEL[metric]} has no certified value for "
                f"{100 * row['undefined']:.0f} % of the resampled events: bins run "
                f"empty; warns above {100 * LARGEST_UNDEFINED:g} %"
            )
    return None
