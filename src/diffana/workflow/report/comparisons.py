"""The section on other runs: baseline, other settings, spread over seeds."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from diffana import plot
from diffana.errors import RunError
from diffana.workflow import comparison_report
from diffana.workflow.comparison import (
    METRICS,
    Comparison,
    Group,
    compare,
    spread,
)
from diffana.workflow.report.document import (
    Block,
    Heading,
    Missing,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    Warned,
    number,
)
from diffana.workflow.report.material import Material
from diffana.workflow.report.pictures import picture


_CLASSIFIERS = {"bce", "bce_augmented"}
_NAMES = {"cls": "CLs", "p0": "p0", "sigma_mu": "uncertainty"}


class Others(NamedTuple):
    """A run among others.

    Attributes:
        comparison: all of them, grouped by configuration.
        left_out: runs of the same sweep that cannot be compared, and why.
    """

    comparison: Comparison
    left_out: tuple[str, ...]


def among(folder: Path, others: Sequence[Path]) -> Others:
    """Compare a run with others and with the finished ones of its sweep.

    Args:
        folder: the run.
        others: runs that were named.

    Raises:
        RunError: if a run that was named cannot be compared.
    """
    named = [folder, *others]
    known = {one.resolve() for one in named}
    found = [one for one in siblings(folder) if one.resolve() not in known]
    comparison = compare(named)
    if not found:
        return Others(comparison, ())
    try:
        return Others(compare([*named, *found]), ())
    except RunError:
        return _one_by_one(named, found)


def siblings(folder: Path) -> tuple[Path, ...]:
    """Finished runs beside a run of a sweep, itself left out."""
    place = folder.resolve().parent
    if place.name != "runs" or not (place.parent / "sweep.yaml").is_file():
        return ()
    return tuple(
        one
        for one in sorted(place.iterdir())
        if one != folder.resolve() and (one / "finished.json").is_file()
    )


def _one_by_one(named: list[Path], found: Sequence[Path]) -> Others:
    kept, left_out = list(named), []
    for one in found:
        try:
            compare([*kept, one])
        except RunError as error:
            left_out.append(str(error))
        else:
            kept.append(one)
    return Others(compare(kept), tuple(left_out))


def section(material: Material, others: Others) -> Section:
    """The run beside the baseline classifier, other settings and other seeds."""
    comparison = others.comparison
    own = own_group(material, comparison)
    blocks: list[Block] = [
        Heading("Settings"),
        *_settings(comparison, own),
        *(Warned(f"Left out: {reason}") for reason in others.left_out),
        Heading("Baseline"),
        _baseline(comparison, own),
        Heading("Spread over seeds"),
        *_seeds(own),
    ]
    return Section("comparison", "Comparison with other trainings", blocks)


def own_group(material: Material, comparison: Comparison) -> Group:
    """The run with those that differ from it only in the seed."""
    folder = material.run.folder.resolve()
    (own,) = (
        group
        for group in comparison.groups
        if any(run.folder.resolve() == folder for run in group.runs)
    )
    return own


def _settings(comparison: Comparison, own: Group) -> list[Block]:
    if len(comparison.groups) == 1:
        return [
            Missing(
                "No run with other settings was given and none lies in the same sweep."
            )
        ]
    rows = [
        (
            f"{group.name} (this run)" if group is own else group.name,
            str(len(group.runs)),
            *(_range(group, metric) for metric in METRICS),
        )
        for group in comparison.groups
    ]
    blocks: list[Block] = [
        Table(
            f"Expected on test events, CLs at {comparison.poi} = "
            f"{comparison.poi_test:g}, Asimov data; median and range of the seeds, "
            "smaller is better",
            ("Settings", "seeds", *_NAMES.values()),
            rows,
            sums=frozenset({comparison.groups.index(own)}),
        )
    ]
    if len(comparison.groups) > plot.MOST_SERIES:
        return [
            *blocks,
            Missing(
                f"{len(comparison.groups)} settings are too many for a figure, which "
                f"shows {plot.MOST_SERIES} at most."
            ),
        ]
    return [*blocks, Pictures([_figure(comparison)])]


def _figure(comparison: Comparison) -> Picture:
    width, height = mpl.rcParams["figure.figsize"]

    def draw(figure: Figure) -> None:
        comparison_report.draw(comparison, figure)

    return picture(
        "comparison",
        draw,
        size=(width, height),
        alternative="Expected CLs, p0 and uncertainty of every setting: after each "
        "epoch on validation events, and final values on test events.",
        caption="Median and range of the seeds after every epoch on validation events; "
        "right: every seed on test events, the line is their median. Asimov data.",
    )


def _baseline(comparison: Comparison, own: Group) -> Block:
    """Ratios of medians to those of the classifiers."""
    classifiers = [group for group in comparison.groups if _is_classifier(group)]
    if own in classifiers:
        return Text(
            "This run is itself a classifier trained on cross-entropy, the baseline."
        )
    if not classifiers:
        return Missing(
            "No classifier trained on cross-entropy (bce or bce_augmented) is among "
            "the runs, so there is no baseline to compare with."
        )
    rows = []
    for group in classifiers:
        ratios = [
            _ratio(spread(own.test(m)).median, spread(group.test(m)).median)
            for m in METRICS
        ]
        rows.append((group.name, str(len(group.runs)), *ratios))
    return Table(
        "Median of this setting over that of the baseline, expected on test events; "
        "below 1 this setting is better",
        ("Baseline", "seeds", *_NAMES.values()),
        rows,
    )


def _is_classifier(group: Group) -> bool:
    return {loss.type for loss in group.runs[0].config.loss} <= _CLASSIFIERS


def _ratio(ours: float, theirs: float) -> str:
    defined = math.isfinite(ours) and math.isfinite(theirs) and theirs > 0
    return number(ours / theirs, 3) if defined else number(math.nan)


def _seeds(own: Group) -> list[Block]:
    if len(own.runs) == 1:
        return [
            Missing(
                "Only one seed of these settings is among the runs, so nothing is "
                "known of the spread."
            )
        ]
    rows = [
        (str(run.seed), *(number(run.test[m]) for m in METRICS), str(run.selected))
        for run in own.runs
    ]
    rows.append(("median", *(number(spread(own.test(m)).median) for m in METRICS), ""))
    return [
        Table(
            "Expected on test events by seed, which decides split, initial weights and "
            "batches; Asimov data",
            ("Seed", *_NAMES.values(), "selected epoch"),
            rows,
            sums=frozenset({len(own.runs)}),
        )
    ]


def _range(group: Group, metric: str) -> str:
    found = spread(group.test(metric))
    if len(group.runs) == 1:
        return number(found.median, 3)
    return (
        f"{number(found.median, 3)} [{number(found.low, 2)}, {number(found.high, 2)}]"
    )
