"""The sections on what was measured: summary and final numbers."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from matplotlib.figure import Figure

from diffana.workflow import workspace_figures
from diffana.workflow.published import BANDS
from diffana.workflow.report.document import (
    Block,
    Heading,
    Missing,
    Pictures,
    Section,
    Table,
    Text,
    Warned,
    counted,
    listed,
    number,
)
from diffana.workflow.report.fits import Fits
from diffana.workflow.report.material import Material
from diffana.workflow.report.pictures import picture
from diffana.workflow.safety import Check


_FROM_MEDIAN = (2, 0, 1, 3, 4)
"""Order in which bands are listed."""


def _band(position: int) -> str:
    return BANDS[position].replace("-", "−")


def dataset(material: Material, strength: float = 1.0) -> str:
    """The data that numbers are from, for captions."""
    if material.on_data:
        return "observed data"
    return f"Asimov data with {material.config.general.poi} = {strength:g}"


def summary(
    material: Material, fits: Fits, checks: Sequence[Check] | Missing
) -> Section:
    """What was measured, whether it can be trusted, and the main result."""
    blocks: list[Block] = [_what(material), _verdict(checks)]
    blocks += [Warned(failure) for failure in fits.failures]
    blocks.append(_main(material, fits))
    return Section("summary", "Summary", blocks)


def _what(material: Material) -> Table:
    config, finished = material.config, material.finished
    learned = [region.name for region in config.regions if region.observable]
    binned = [region.name for region in config.regions if region.variable]
    kept = [name for name in material.channels if material.section(name) is None]
    parameters = material.published.model.layout.parameters
    losses = " + ".join(
        loss.type if loss.weight == 1 else f"{loss.weight:g} {loss.type}"
        for loss in config.loss
    )
    simulated = [sample.name for sample in config.samples if not sample.data]
    rows = [
        ("Measurement", config.general.measurement),
        ("Parameter of interest", f"{finished.poi}, tested at {finished.poi_test:g}"),
        ("Regions with a learned observable", listed(learned) or "none"),
        ("Regions with a variable of the events", listed(binned) or "none"),
        ("Published channels", listed(kept) or "none"),
        ("Signal", listed(material.signals)),
        (
            "Backgrounds",
            listed([n for n in simulated if n not in material.signals]) or "none",
        ),
        ("Parameters", counted(len(parameters), "parameter")),
        ("Trained on", losses),
        (
            "Model",
            f"epoch {finished.selected} of {len(finished.epoch)}, selected by "
            f"{config.train.selection} on validation events; seed {finished.seed}",
        ),
        ("Data", _data(material)),
    ]
    return Table("", ("", ""), rows, left=2)


def _data(material: Material) -> str:
    if material.on_data:
        return "observed counts in every channel; fits see them"
    asimov = "all fits are on Asimov data, made of the expectation itself"
    if not material.observed:
        return f"no observed data; {asimov}"
    seen = [name for name in material.channels if name in material.observed]
    return (
        f"observed counts in {listed(seen)} alone, shown there; since the other "
        f"channels have none, {asimov}"
    )


def _verdict(checks: Sequence[Check] | Missing) -> Block:
    if isinstance(checks, Missing):
        return checks
    warned = [check.name for check in checks if check.verdict == "warn"]
    passed = sum(check.verdict == "pass" for check in checks)
    open_ones = sum(check.verdict == "not checked" for check in checks)
    told = f"Safety checks: {passed} passed, {len(warned)} warned"
    told += f", {open_ones} could not be made" if open_ones else ""
    if warned:
        return Warned(f"{told}. Warnings: {'; '.join(warned)}.")
    return Text(f"{told}.")


def _main(material: Material, fits: Fits) -> Table:
    poi, on_data = material.finished.poi, material.on_data
    ours = material.results["diffana"]
    CLs = [float(value) for value in ours["CLs_exp"]]
    at = f"CLs at {poi} = {material.finished.poi_test:g}"
    if not isinstance(fits.tested, Missing):
        rows = [_row(at, fits.tested["CLs_exp"], fits.tested["CLs_obs"])]
    else:
        rows = [_row(f"{at}, before any fit", CLs)]
    if not isinstance(fits.limits, Missing):
        level = 100 * fits.limits["confidence_level"]
        rows.append(
            _row(
                f"Upper limit on {poi}, {level:g} % CL",
                fits.limits["expected_limit"],
                fits.limits["observed_limit"] if on_data else None,
            )
        )
    if not isinstance(fits.significance, Missing):
        rows.append(
            _row(
                "Discovery significance [σ]",
                # From the largest p-value to the smallest.
                fits.significance["significance_exp"][::-1],
                fits.significance["significance"] if on_data else None,
            )
        )
    rows.append(_row(f"Uncertainty of {poi}, before any fit", [_one(ours, "sigma_mu")]))
    return Table(
        "Main results: test events, sharp cuts and bins. Expected: under background "
        "only for CLs and limit, with signal of strength 1 for the significance and "
        f"the uncertainty of {poi}; the bands are those of statistical fluctuations. "
        + ("" if on_data else "Nothing here was observed."),
        (
            "Result",
            "observed",
            "median expected",
            *(b.replace("-", "−") for b in BANDS if "σ" in b),
        ),
        rows,
    )


def _row(
    name: str, expected: Sequence[float], observed: float | None = None
) -> tuple[str, ...]:
    seen = "–" if observed is None else number(observed)
    if len(expected) == 1:
        return (name, seen, number(expected[0]), *["–"] * 4)
    bands = (number(expected[i]) for i in _FROM_MEDIAN)
    return (name, seen, *bands)


def _one(numbers: Mapping[str, Any], key: str) -> float:
    return float(numbers[key])


def results(material: Material, fits: Fits) -> Section:
    """Expected and observed limit and significance, ours beside pyhf's."""
    return Section(
        "results",
        "Limit and significance",
        [
            Heading("Expected before any fit, diffana beside pyhf"),
            _beside_pyhf(material),
            *_notes(material),
            *_tested(material, fits),
            Heading("Upper limit"),
            *_limit(material, fits),
            Heading("Discovery"),
            *_discovery(material, fits),
        ],
    )


def _beside_pyhf(material: Material) -> Table:
    finished = material.finished
    ours, theirs = material.results["diffana"], material.results["pyhf"]
    at = f"CLs at {finished.poi} = {finished.poi_test:g}"
    pairs = [
        (f"{at}, {_band(i)}", float(ours["CLs_exp"][i]), float(theirs["CLs_exp"][i]))
        for i in _FROM_MEDIAN
    ]
    pairs += [
        ("Discovery p0", _one(ours, "p0"), _one(theirs, "p0")),
        (
            "Discovery significance [σ]",
            _sigma(_one(ours, "p0")),
            _sigma(_one(theirs, "p0")),
        ),
        (
            f"Uncertainty of {finished.poi}",
            _one(ours, "sigma_mu"),
            _one(theirs, "sigma_mu"),
        ),
    ]
    return Table(
        "Expected results on test events with sharp cuts and bins, nuisance parameters "
        "at their nominal values (results.json)",
        ("", "diffana", "pyhf", "relative difference"),
        [(n, number(a), number(b), _difference(a, b)) for n, a, b in pairs],
    )


def _sigma(p_value: float) -> float:
    return -NormalDist().inv_cdf(p_value) if 0 < p_value < 1 else math.nan


def _difference(ours: float, theirs: float) -> str:
    if ours == theirs:
        return "0"
    if not (math.isfinite(ours) and math.isfinite(theirs)) or theirs == 0:
        return "–"
    return f"{ours / theirs - 1:+.0e}".replace("-", "−")


def _notes(material: Material) -> list[Block]:
    fits = material.results["diffana"]["fits"]
    notes: list[Block] = [
        Warned(f"The fit behind {name} is not certified: {state}")
        for name, state in fits.items()
        if state != "certified"
    ]
    notes += [
        Warned(f"pyhf gave up on {name}: {reason}")
        for name, reason in material.results["failures"].items()
    ]
    return notes


def _tested(material: Material, fits: Fits) -> list[Block]:
    """Observed CLs of the tested strength; nothing without observed data."""
    if not material.on_data:
        return []
    poi, tested = material.finished.poi, fits.tested
    title = Heading(f"Test of {poi} = {material.finished.poi_test:g}")
    if isinstance(tested, Missing):
        return [title, tested]
    rows = [("observed", number(tested["CLs_obs"]))]
    rows += [
        (f"expected, {_band(i)}", number(tested["CLs_exp"][i])) for i in _FROM_MEDIAN
    ]
    return [
        title,
        Table(
            "CLs, asymptotic; nuisance parameters fitted to the observed data",
            ("", "CLs"),
            rows,
        ),
    ]


def _limit(material: Material, fits: Fits) -> list[Block]:
    limits, on_data = fits.limits, material.on_data
    if isinstance(limits, Missing):
        return [limits]
    confidence = f"{100 * limits['confidence_level']:g} % CL"
    source = (
        "nuisance parameters fitted to the observed data"
        if on_data
        else dataset(material, 0.0)
    )
    names = ["observed"] * on_data + [f"expected, {_band(i)}" for i in _FROM_MEDIAN]
    values = [limits["observed_limit"]] * on_data
    values += [limits["expected_limit"][i] for i in _FROM_MEDIAN]
    blocks: list[Block] = [
        Table(
            f"Upper limit on {limits['poi']} at {confidence}, asymptotic CLs; {source}",
            ("Limit", limits["poi"]),
            [(n, number(v)) for n, v in zip(names, values, strict=True)],
        )
    ]
    blocks += [
        Warned(f"Undefined: {reason}")
        for name, reason in limits["failures"].items()
        if on_data or "observed" not in name
    ]
    band = fits.band
    if isinstance(band, Missing):
        return [*blocks, band]

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        workspace_figures.draw_limit(limits, band, observed=on_data, ax=ax)

    seen = "Observed and expected" if on_data else "Expected"
    expected = number(limits["expected_limit"][2])
    drawn = picture(
        "limit",
        draw,
        alternative=f"{seen} CLs as a function of {limits['poi']}; the median expected "
        f"limit is {expected}.",
        caption=f"{seen} CLs with the bands of one and two standard deviations; the "
        f"limit is where it crosses the line. {source[0].upper()}{source[1:]}.",
    )
    return [*blocks, Pictures([drawn])]


def _discovery(material: Material, fits: Fits) -> list[Block]:
    found, on_data = fits.significance, material.on_data
    if isinstance(found, Missing):
        return [found]
    rows = []
    if on_data:
        seen = number(found["p0"]), number(found["significance"])
        rows.append(("observed", *seen))
    rows += [
        (
            f"expected, {_band(i)} of p0",
            number(found["p0_exp"][i]),
            number(found["significance_exp"][i]),
        )
        for i in _FROM_MEDIAN
    ]
    return [
        Table(
            f"Discovery p-value and significance, asymptotic; {dataset(material)}. "
            "Expected: with signal of strength 1.",
            ("", "p0", "significance [σ]"),
            rows,
        )
    ]
