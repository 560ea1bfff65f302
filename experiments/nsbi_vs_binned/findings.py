"""What the study states, decided from its numbers."""

from collections.abc import Iterator

import numpy as np

from experiments.claims import Claim
from experiments.nsbi_vs_binned.information import N_BINS, TESTED
from experiments.nsbi_vs_binned.tables import chosen, length


ATLAS = "ATLAS, arXiv:2412.01600"
POODEMO = "poodemo, its documentation of parametrised NSBI"
OURS = "this study"
WORDS = {True: "known", False: "profiled"}


def claims(found, lost) -> list[Claim]:
    """Every statement with its verdict."""
    made = []
    for name, rows in found.items():
        for fixed in sorted({row["fixed"] for row in rows}, reverse=True):
            where = f"{name}, nuisance parameters {WORDS[fixed]}"
            made += _of_ratios(rows, fixed, where)
            made += _of_bins(rows, fixed, where)
    if "interference" in found:
        made += _of_minima(found["interference"])
    if lost:
        made += _of_information(lost)
    return made


def _relative(rows, method, *, fixed) -> np.ndarray:
    """Length of the 68 % interval over that of the exact likelihood, less 1."""
    (exact,) = chosen(rows, "exact likelihood", fixed=fixed)
    whole = length(exact["measured"])
    own = [length(row["measured"]) for row in chosen(rows, method, fixed=fixed)]
    return np.array(own) / whole - 1


def _biases(rows, method, *, fixed) -> np.ndarray:
    """Distance of the best fit from the truth, in units of the exact uncertainty."""
    (exact,) = chosen(rows, "exact likelihood", fixed=fixed)
    sigma = length(exact["measured"]) / 2
    own = [row["measured"]["best"] for row in chosen(rows, method, fixed=fixed)]
    return (np.array(own) - 1) / sigma


def _of_ratios(rows, fixed, where) -> Iterator[Claim]:
    longer = _relative(rows, "unbinned", fixed=fixed)
    bias = _biases(rows, "unbinned", fixed=fixed)
    yield Claim(
        claim=f"{where}: learned ratios measure μ without bins as the exact ones do",
        source=ATLAS,
        expected="best fit within 0.1 σ of the truth and length within 5 %, all seeds",
        measured=f"best fit off by {_signed(bias)} σ, length by {_percent(longer)}",
        verdict="reproduced"
        if np.abs(bias).max() < 0.1 and np.abs(longer).max() < 0.05
        else "differs",
    )
    moving = _relative(rows, "parametrised", fixed=fixed)
    off = _biases(rows, "parametrised", fixed=fixed)
    worse = np.abs(longer).max()
    yield Claim(
        claim=f"{where}: their moving observable in 32 bins that are filled rightly is "
        "not biased, and nearer to the exact length",
        source=OURS,
        expected="best fit at the truth, longer than exact by less than the unbinned "
        "one is away from it, all seeds",
        measured=f"best fit off by {_signed(off)} σ, length by {_percent(moving)}; "
        f"unbinned by {_percent(longer)}",
        verdict="reproduced"
        if np.abs(off).max() < 1e-3 and 0 <= moving.min() <= moving.max() < worse
        else "differs",
    )


def _of_bins(rows, fixed, where) -> Iterator[Claim]:
    (optimal,) = _relative(rows, "parametrised, exact ratios", fixed=fixed)
    yield Claim(
        claim=f"{where}: with exact ratios 32 bins of a moving observable lose little",
        source=POODEMO,
        expected="length within 1 % of the exact likelihood's",
        measured=f"{optimal:+.2%}",
        verdict="reproduced" if 0 <= optimal < 0.01 else "differs",
    )
    trained = _relative(rows, "trained on σ", fixed=fixed)
    classified = _relative(rows, "classifier", fixed=fixed)
    yield Claim(
        claim=f"{where}: 20 bins of a network trained on σ come close to no bins",
        source="this study",
        expected="length within 5 % of the exact likelihood's, median",
        measured=f"{_percent(trained)}",
        verdict="reproduced" if np.median(trained) < 0.05 else "differs",
    )
    yield Claim(
        claim=f"{where}: a network trained on σ beats a classifier in 20 bins",
        source="de Castro and Dorigo, arXiv:1806.04743",
        expected="shorter interval for every seed",
        measured=f"{_percent(trained)} against {_percent(classified)} above the exact",
        verdict="reproduced" if np.all(trained < classified) else "differs",
    )


def _of_minima(rows) -> Iterator[Claim]:
    fixed = False
    (variable,) = chosen(rows, "best variable", fixed=fixed)
    parts = len(variable["measured"]["segments"])
    yield Claim(
        claim="interference: one variable does not tell the two minima apart",
        source=POODEMO,
        expected="more than one segment in its 68 % interval",
        measured=f"{parts} segments",
        verdict="reproduced" if parts > 1 else "not reproduced",
    )
    ends = {}
    for method in ("fixed observable", "parametrised"):
        own = chosen(rows, f"{method}, exact ratios", fixed=fixed)
        ends[method] = own[0]["measured"]
    parts = {name: len(one["segments_95"]) for name, one in ends.items()}
    yield Claim(
        claim="interference: a moving observable excludes the second minimum at 95 %, "
        "a fixed one does not",
        source=POODEMO,
        expected="one segment against more",
        measured=f"{parts['parametrised']} against {parts['fixed observable']}",
        verdict="reproduced"
        if parts["parametrised"] == 1 < parts["fixed observable"]
        else "differs",
    )


def _of_information(lost) -> Iterator[Claim]:
    last = {
        kind: {name: rows[-1] for name, rows in shares.items() if name != "unbinned"}
        for kind, shares in lost.items()
    }
    for kind, rows in last.items():
        yield Claim(
            claim=f"interference, α {kind}: with many bins of the ratio a moving test "
            "becomes the unbinned one at every μ",
            source=POODEMO,
            expected=f"0.999 of t(μ) with {N_BINS[-1]} bins at μ = "
            + ", ".join(map(str, TESTED)),
            measured=", ".join(f"{share:.4f}" for share in rows["ratio"]),
            verdict="reproduced" if min(rows["ratio"]) > 0.999 else "differs",
        )
        moving, fixed = rows["score, moving"], rows["score, fixed at 1"]
        second = TESTED.index(0.126)
        yield Claim(
            claim=f"interference, α {kind}: so does the test with the score at μ",
            source=POODEMO,
            expected=f"0.99 of t(μ) with {N_BINS[-1]} bins at the second minimum",
            measured=f"{moving[second]:.3f}; {fixed[second]:.3f} with the score at 1",
            verdict="reproduced" if moving[second] > 0.99 else "not reproduced",
        )
    eight, sixteen = (N_BINS.index(n) for n in (8, 16))
    least = lost["profiled"]["ratio"][eight]
    even = lost["profiled"]["ratio, equal bins"][sixteen]
    yield Claim(
        claim="8 bins of least loss keep more than 16 of equal expectation",
        source="Lloyd, IEEE Trans. Inf. Theory 28 (1982) 129",
        expected="at every tested μ",
        measured=", ".join(f"{a:.3f}" for a in least)
        + " against "
        + ", ".join(f"{b:.3f}" for b in even),
        verdict="reproduced" if np.all(np.array(least) > even) else "not reproduced",
    )


def _percent(values) -> str:
    return spread_of([100 * value for value in values]) + " %"


def _signed(values) -> str:
    return spread_of(values)


def spread_of(values) -> str:
    """Median and range, with signs."""
    middle = f"{np.median(values):+.2g}"
    if len(values) == 1:
        return middle
    return f"{middle} [{min(values):+.2g}, {max(values):+.2g}]"
