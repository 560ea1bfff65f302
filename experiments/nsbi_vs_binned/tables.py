"""Tables of the study, in Markdown."""

import math

import numpy as np

from experiments.nsbi_vs_binned.information import N_BINS, TESTED


ORDER = (
    "exact likelihood",
    "unbinned",
    "parametrised",
    "fixed observable",
    "trained on σ",
    "classifier",
    "best variable",
    "parametrised, exact ratios",
    "fixed observable, exact ratios",
)
LEARNED = ("unbinned", "parametrised", "fixed observable", "trained on σ", "classifier")


def length(measured, segments="segments") -> float:
    """Total length of an interval."""
    return sum(high - low for low, high in measured[segments])


def chosen(rows, method, *, fixed):
    """What a method measured: of all seeds, or of the best variable."""
    own = [row for row in rows if row["fixed"] == fixed]
    if method == "best variable":
        variables = [row for row in own if row["method"].startswith("variable ")]
        return [min(variables, key=lambda row: length(row["measured"]))]
    return [row for row in own if row["method"] == method]


def markdown(found, lost) -> str:
    """All tables."""
    parts = []
    for name, rows in found.items():
        for fixed in sorted({row["fixed"] for row in rows}, reverse=True):
            parts += [*_table(name, rows, fixed=fixed), ""]
    for kind, shares in lost.items():
        parts += [*_bins(kind, shares), ""]
    return "\n".join(parts)


def _table(name, rows, *, fixed):
    what = "known" if fixed else "profiled"
    yield f"### {name}, nuisance parameters {what}"
    yield ""
    columns = ("method", "68 % interval", "length", "95 % interval", "best fit")
    columns = (*columns, "limit", "training", "evaluation")
    yield "| " + " | ".join(columns) + " |"
    yield "|---" * len(columns) + "|"
    for method in ORDER:
        own = chosen(rows, method, fixed=fixed)
        measured = [row["measured"] for row in own]
        label = method
        if method == "best variable":
            label = f"{own[0]['method']} (best)"
        first = measured[0]
        cells = [
            label,
            _segments(first["segments"]),
            spread([length(one) for one in measured]),
            _segments(first["segments_95"]),
            spread([one["best"] for one in measured]),
            spread([one["limit"] for one in measured]),
            f"{np.median([row['training'] for row in own]):.0f} s",
            f"{np.median([one['seconds'] for one in measured]):.0f} s",
        ]
        yield "| " + " | ".join(cells) + " |"


def spread(values) -> str:
    """Median, and the range if there are several."""
    middle = _told(float(np.median(values)))
    if len(values) == 1:
        return middle
    return f"{middle} [{_told(min(values))}, {_told(max(values))}]"


def _told(value: float) -> str:
    return "none" if math.isinf(value) else f"{value:.4g}"


def _segments(segments) -> str:
    return ", ".join(f"{_told(low)} to {_told(high)}" for low, high in segments)


def _bins(kind, shares):
    yield f"### Share of the unbinned t(μ) that is left, α {kind}"
    yield ""
    yield "| observable | μ | " + " | ".join(f"{n} bins" for n in N_BINS) + " |"
    yield "|---|---|" + "---|" * len(N_BINS)
    for name, rows in shares.items():
        if name == "unbinned":
            continue
        for i, mu in enumerate(TESTED):
            cells = " | ".join(f"{row[i]:.4f}" for row in rows)
            yield f"| {name} | {mu} | {cells} |"
