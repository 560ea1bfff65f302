"""The sections on parameters: pulls, constraints, impacts, correlations."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from diffana import plot
from diffana.workflow import workspace_figures
from diffana.workflow.report.document import (
    Block,
    Folded,
    Missing,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    Warned,
    measured,
    number,
)
from diffana.workflow.report.fits import Fits
from diffana.workflow.report.material import Material
from diffana.workflow.report.outcome import dataset
from diffana.workflow.report.pictures import picture


TOP = 20
FEW = 15
"""Parameters of which all correlations are drawn."""

STRONG = 0.2
_MOST_DRAWN = 40


def nuisance(material: Material, fits: Fits) -> Section:
    """Pulls, constraints and impacts of the nuisance parameters."""
    title, on = "Nuisance parameters", dataset(material)
    ranked, estimates = fits.ranked, fits.estimates
    blocks: list[Block] = []
    if isinstance(estimates, Missing):
        return Section("nuisance", title, [estimates])
    if isinstance(ranked, Missing):
        return Section("nuisance", title, [ranked])
    poi = ranked["poi"]
    best = measured(ranked["poi_bestfit"], estimates["uncertainty"][poi])
    blocks.append(Text(f"Fit to {on}: {poi} = {best}."))
    if not material.on_data:
        blocks.append(
            Text(
                "Pulls vanish by construction on Asimov data; constraints and impacts "
                "are those to expect."
            )
        )
    blocks += _goodness(material, estimates)
    if ranked["poi_at_bound"]:
        blocks.append(
            Warned(f"{poi} stopped at a bound and does not move: all impacts are zero.")
        )
    if not ranked["labels"]:
        blocks.append(Missing("The model has no nuisance parameter."))
        return Section("nuisance", title, blocks)
    blocks.append(Pictures([_ranking(material, ranked)]))
    blocks.append(_table(ranked, estimates, on))
    return Section("nuisance", title, blocks)


def _goodness(material: Material, estimates: Mapping[str, Any]) -> list[Block]:
    found = estimates.get("goodness_of_fit")
    if found is None or not material.on_data:
        return []
    if found["ndf"] <= 0:
        return [Missing("The fit has no degrees of freedom to test how well it fits.")]
    return [
        Text(
            f"Goodness of fit, against the saturated model: χ² = "
            f"{number(found['chi2'])} for {found['ndf']} degrees of freedom, p = "
            f"{number(found['p_value'], 3)}."
        )
    ]


def _ranking(material: Material, ranked: Mapping[str, Any]) -> Picture:
    poi, shown = ranked["poi"], ranked["labels"][:TOP]

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        workspace_figures.draw_ranking(ranked, top=TOP, ax=ax)

    count = "all" if len(shown) == len(ranked["labels"]) else f"the {len(shown)} first"
    return picture(
        "ranking",
        draw,
        size=workspace_figures.ranking_size(ranked, top=TOP),
        alternative=f"Nuisance parameters by their impact on {poi}: "
        f"{', '.join(shown[:5])} are the first.",
        caption=f"Impacts on {poi}, {count} of {len(ranked['labels'])} parameters; "
        "pulls and constraints in units of the pre-fit uncertainty. "
        f"{dataset(material)[0].upper()}{dataset(material)[1:]}.",
    )


def _table(
    ranked: Mapping[str, Any], estimates: Mapping[str, Any], on: str
) -> Table | Folded:
    impacts = ("prefit_up", "prefit_down", "postfit_up", "postfit_down")
    bounds = set(estimates["at_bound"])

    def row(name: str) -> tuple[str, ...]:
        value, sigma = ranked["bestfit"][name], ranked["uncertainty"][name]
        state = "at its bound" if name in bounds else "held"
        return (
            name,
            _rounded(value, sigma),
            number(sigma, 3) if sigma > 0 else state,
            *(_known(ranked[column][name]) for column in ("pull", "constraint")),
            *(_known(ranked[column][name]) for column in impacts),
        )

    table = Table(
        f"All nuisance parameters by post-fit impact; {on}. Impacts in units of "
        f"{ranked['poi']}, the parameter raised and lowered by its uncertainty before "
        "and after the fit; – without a constraint.",
        (
            "Parameter",
            "best fit",
            "uncertainty",
            "pull",
            "constraint",
            "pre-fit up",
            "pre-fit down",
            "post-fit up",
            "post-fit down",
        ),
        [row(name) for name in ranked["labels"]],
    )
    if len(table.rows) <= 2 * TOP:
        return table
    return Folded(f"Table of all {len(table.rows)} nuisance parameters", [table])


def _rounded(value: float, sigma: float) -> str:
    """A best fit; zero where it differs from zero by rounding alone."""
    return number(0.0 if abs(value) < 1e-9 * sigma else value)


def _known(value: float) -> str:
    if math.isnan(value):
        return "–"
    return number(0.0 if abs(value) < 1e-9 else value, 3)


def correlations(material: Material, fits: Fits) -> Section:
    """The correlation matrix of the fit."""
    title, estimates = "Correlations", fits.estimates
    if isinstance(estimates, Missing):
        return Section("correlations", title, [estimates])
    sigma = np.array(list(estimates["uncertainty"].values()))
    moving = np.flatnonzero(sigma > 0)
    names = [estimates["labels"][i] for i in moving]
    matrix = np.array(estimates["corr_mat"])[np.ix_(moving, moving)]
    if len(names) < 2:
        reason = "Fewer than two parameters move in the fit."
        return Section("correlations", title, [Missing(reason)])
    poi = material.finished.poi
    shown = _shown(names, matrix, poi)
    blocks: list[Block] = []
    if len(shown) < len(names):
        blocks.append(
            Text(
                f"Drawn: {poi} and parameters with a coefficient above {STRONG:g} in "
                f"magnitude with another one, {len(shown)} of {len(names)}."
            )
        )
    if len(shown) > 1:
        blocks.append(Pictures([_matrix(material, names, matrix, shown)]))
    else:
        blocks.append(
            Missing(f"No coefficient is above {STRONG:g} in magnitude; none is drawn.")
        )
    blocks.append(
        Folded(
            f"All coefficients of {len(names)} parameters",
            [_triangle(names, matrix, dataset(material))],
        )
    )
    return Section("correlations", title, blocks)


def _shown(
    names: list[str], matrix: Float[np.ndarray, "par par"], poi: str
) -> list[int]:
    if len(names) <= FEW:
        return list(range(len(names)))
    largest = np.abs(matrix - np.diag(np.diag(matrix))).max(axis=1)
    order = np.argsort(-largest, kind="stable")[:_MOST_DRAWN].tolist()
    kept = {position for position in order if largest[position] > STRONG}
    return sorted(kept | ({names.index(poi)} if poi in names else set()))


def _matrix(
    material: Material,
    names: list[str],
    matrix: Float[np.ndarray, "par par"],
    shown: list[int],
) -> Picture:
    labels = [names[i] for i in shown]
    part = matrix[np.ix_(shown, shown)]
    off = np.abs(np.tril(part, -1))
    row, column = np.unravel_index(np.argmax(off), off.shape)
    side = 1.6 + 0.065 * min(max(map(len, labels)), 40) + 0.17 * len(labels)

    def draw(figure: Figure) -> None:
        plot.correlation_matrix(
            [plot.literal(name) for name in labels], part, ax=figure.subplots()
        )

    return picture(
        "correlations",
        draw,
        size=(side + 0.6, side),
        alternative=f"Correlation matrix of {len(labels)} parameters; the largest "
        f"coefficient is {number(part[row, column], 2)}, of {labels[row]} and "
        f"{labels[column]}.",
        caption="Correlation coefficients of the fit"
        + (", in per cent" if len(labels) <= FEW else "")
        + f"; {dataset(material)}.",
    )


def _triangle(names: list[str], matrix: Float[np.ndarray, "par par"], on: str) -> Table:
    rows = [
        (name, *(f"{value:.2f}".replace("-", "−") for value in line[: i + 1]))
        + ("",) * (len(names) - i - 1)
        for i, (name, line) in enumerate(zip(names, matrix, strict=True))
    ]
    return Table(
        f"Correlation coefficients, lower half of a symmetric matrix; {on}",
        ("", *names),
        rows,
    )
