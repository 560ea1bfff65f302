"""Whether the fits behind a result are sound: constraints, minima, and pyhf."""

import json
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpy as np

from diffana import runs
from diffana.errors import RESULTS
from diffana.fit import FitResult
from diffana.histfactory import HistFactory
from diffana.infer import nominal
from diffana.infer.ranking import Ranking, ranking
from diffana.workflow.safety.check import Check
from diffana.workflow.safety.sensitivity import METRICS, Expected


SMALLEST_WIDTH = 0.5
LARGEST_WIDTH = 1.001
LARGEST_PULL = 1e-3
SMALLEST_GAP = 1.0
LARGEST_DIFFERENCE = 1e-3
_STATISTICAL = ("staterror", "shapesys")


def check_parameters(
    likelihood: HistFactory,
    *,
    smallest_width: float = SMALLEST_WIDTH,
    largest_width: float = LARGEST_WIDTH,
    largest_pull: float = LARGEST_PULL,
) -> Check:
    """Look at the nuisance parameters after a fit to Asimov data with the signal.

    The γ of simulated statistics are left out: `check_statistics` looks at these.

    Args:
        likelihood: with the templates of the test events.
        smallest_width: uncertainty after the fit over the one before, below which a
            parameter counts as over-constrained. At 0.5 the main measurement knows
            three times as much about it as the auxiliary measurement that defines it,
            and rests on its shape being right in all regions and samples alike.
        largest_width: the same ratio, above which a parameter counts as
            under-constrained, which Asimov data cannot do to a sound model.
        largest_pull: of a parameter on Asimov data, in units of its uncertainty before
            the fit; the exact answer is 0.
    """
    name = "nuisance parameters"
    statistical = {
        modifier.name
        for row in likelihood.layout.rows
        for modifier in row.modifiers
        if modifier.type in _STATISTICAL
    }
    chosen = tuple(
        component
        for one in likelihood.layout.parameter_sets
        if one.aux_stop > one.aux_start and one.name not in statistical
        for component in likelihood.parameters.names[one.components]
    )
    if not chosen:
        return Check(name, "not checked", "the model has no nuisance parameter", {})
    ranked = _ranked(likelihood, chosen)
    numbers: dict[str, Any] = {
        "smallest_width": smallest_width,
        "largest_width": largest_width,
        "largest_pull": largest_pull,
    }
    if bool(ranked.result != RESULTS.successful):
        reason = f"the fit to Asimov data is not certified: {RESULTS[ranked.result]}"
        return Check(name, "warn", reason, numbers)
    rows = {
        one: {"width": float(width), "pull": float(pull)}
        for one, width, pull in zip(chosen, ranked.constraint, ranked.pull, strict=True)
        if np.isfinite(width)
    }
    over = {k: r["width"] for k, r in rows.items() if r["width"] < smallest_width}
    under = {k: r["width"] for k, r in rows.items() if r["width"] > largest_width}
    pulled = {
        k: r["pull"] for k, r in rows.items() if not abs(r["pull"]) < largest_pull
    }
    numbers |= {
        "parameters": rows,
        "over_constrained": over,
        "under_constrained": under,
        "pulled": pulled,
    }
    if not rows:
        return Check(name, "not checked", "all nuisance parameters are held", numbers)
    problems = [
        f"{kind}: "
        + ", ".join(f"{key!r} ({value:.2g})" for key, value in found.items())
        for kind, found in (
            ("over-constrained", over),
            ("under-constrained", under),
            ("pulled by Asimov data", pulled),
        )
        if found
    ]
    tightest = min(rows, key=lambda key: rows[key]["width"])
    thresholds = f"warns below {smallest_width:g} or above {largest_width:g}"
    summary = (
        f"{'; '.join(problems)}; {thresholds}"
        if problems
        else f"of {len(rows)} nuisance parameters {tightest!r} is constrained most, to "
        f"{rows[tightest]['width']:.2f} of its uncertainty before the fit; {thresholds}"
    )
    return Check(name, "warn" if problems else "pass", summary, numbers)


@eqx.filter_jit
def _ranked(likelihood: HistFactory, chosen: tuple[str, ...]) -> Ranking:
    data = likelihood.expected_data(nominal(likelihood, 1.0))
    return ranking(likelihood, data, parameters=chosen, throw=False)


def check_minima(
    fits: Mapping[str, FitResult], *, smallest: float = SMALLEST_GAP
) -> Check:
    """Look for second minima of the profiles behind CLs and p0.

    Args:
        fits: the fits.
        smallest: how much higher in twice_nll the next minimum has to lie. Within 1 it
            lies within a standard deviation, and which of the two is lower, and with it
            the result, is up to small changes of the templates.
    """
    gaps = {name: float(fit.competing_gap) for name, fit in fits.items()}
    failed = {
        name: RESULTS[fit.result]
        for name, fit in fits.items()
        if bool(fit.result != RESULTS.successful)
    }
    numbers = {"smallest": smallest, "gaps": gaps, "not_certified": failed}
    name = "competing minima"
    if failed:
        reasons = "; ".join(f"the fit of {key}: {why}" for key, why in failed.items())
        return Check(name, "warn", reasons, numbers)
    found = {key: gap for key, gap in gaps.items() if np.isfinite(gap)}
    if not found:
        return Check(name, "pass", "all starts of all fits end in one minimum", numbers)
    shown = ", ".join(f"{gap:.2g} above that of {key}" for key, gap in found.items())
    summary = f"a second minimum lies {shown} in 2 ln L; warns below {smallest:g}"
    near = min(found.values()) < smallest
    return Check(name, "warn" if near else "pass", summary, numbers)


def check_agreement_with_pyhf(
    run: runs.Run, test: Expected, *, largest: float = LARGEST_DIFFERENCE
) -> Check:
    """Compare the stored results with pyhf's, and with those of the stored model.

    Args:
        run: a run with results.
        test: results of its model on its test events.
        largest: relative difference. Equal models agree to about 1e-4, where pyhf's
            minimiser stops.
    """
    name = "agreement with pyhf"
    path = run.folder / "results.json"
    try:
        stored = json.loads(path.read_bytes())
        ours, theirs = (_quoted(stored[key]) for key in ("diffana", "pyhf"))
        failures = dict(stored["failures"])
    except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        return Check(name, "not checked", f"{path} has no such results: {error}", {})
    against = {"pyhf": theirs, "the model on the test events": test.quoted}
    numbers: dict[str, Any] = {
        "largest": largest,
        "failures": failures,
        "diffana": ours,
        "pyhf": theirs,
        "recomputed": test.quoted,
    }
    differences = {
        f"{metric}, {other}": _relative(ours[metric], values[metric])
        for other, values in against.items()
        for metric in METRICS
    }
    numbers["differences"] = differences
    if failures:
        reasons = "; ".join(f"pyhf on {key}: {why}" for key, why in failures.items())
        return Check(name, "warn", reasons, numbers)
    # nan, where only one of two numbers exists, is no agreement.
    poor = {key: value for key, value in differences.items() if not value <= largest}
    worst = max(differences.values())
    if poor:
        shown = ", ".join(f"{key}: {value:.2g}" for key, value in poor.items())
        summary = f"relative differences above {largest:g}: {shown}"
        return Check(name, "warn", summary, numbers)
    summary = f"relative differences are at most {worst:.1g}; warns above {largest:g}"
    return Check(name, "pass", summary, numbers)


def _quoted(results: Mapping[str, Any]) -> dict[str, float]:
    return {
        "cls": float(results["CLs_exp"][2]),
        "p0": float(results["p0"]),
        "sigma_mu": float(results["sigma_mu"]),
    }


def _relative(first: float, second: float) -> float:
    if first == second:
        return 0.0
    return abs(first / second - 1) if second else float("nan")
