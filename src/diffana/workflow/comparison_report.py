"""What `diffana compare` shows: tables on a terminal, a figure."""

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.console import Group as Rows, RenderableType
from rich.table import Table
from rich.text import Text

from diffana import plot, runs
from diffana.errors import RunError
from diffana.workflow.comparison import METRICS, REACHED, Comparison, Group, spread


def tables(comparison: Comparison) -> RenderableType:
    """Results on test events, then what the training took, one row per group."""
    results = _table("on test events, median\nand range")
    for heading in ("seeds", "CLs", "p0", "σ_μ", "from pyhf"):
        results.add_column(heading, justify="right")
    training = _table("training, median\nof the seeds")
    share = f"{100 * REACHED:.0f} %\nat"
    for heading in ("updates", "refused", "time", "per\nepoch", "best\nepoch", share):
        training.add_column(heading, justify="right")
    training.add_column("still\nimproved", justify="right")
    for group in comparison.groups:
        results.add_row(
            _lines(group.name),
            str(len(group.runs)),
            *(_spread(group, metric) for metric in METRICS),
            f"{group.difference_to_pyhf:.0e}",
        )
        training.add_row(_lines(group.name), *_training(group))
    return Rows(
        results,
        Text(""),
        training,
        Text(""),
        Text(
            f"Expected CLs at {comparison.poi} = {comparison.poi_test:g}; sharp cuts "
            "and bins, model of the best epoch; smaller is better.\nFrom pyhf: largest "
            "relative difference to it."
        ),
        Text(
            f"{100 * REACHED:.0f} % at: epoch with that share of the improvement of "
            "the selecting metric.\nStill improved: runs with the best epoch in the "
            "last tenth of the training."
        ),
    )


def save(comparison: Comparison, folder: Path, document: str) -> None:
    """Write `comparison.json`, and the figure as pdf and png, into a new folder.

    Args:
        comparison: the comparison.
        folder: must not exist; folders above it are created.
        document: content of `comparison.json`.

    Raises:
        RunError: if the folder exists or cannot be made, or there are too many groups
            for a figure.
    """
    if folder.exists() or folder.is_symlink():
        raise RunError(f"{folder} exists; a comparison never overwrites anything")
    figures = figure_files(comparison)
    runs.create_folder(folder, {"comparison.json": document.encode(), **figures})


def figure_files(comparison: Comparison) -> dict[str, bytes]:
    """The figure as `comparison.pdf` and `comparison.png`.

    Raises:
        RunError: if there are too many groups for a figure.
    """
    contents = {}
    with plot.style():
        drawn = figure(comparison)
        for suffix in ("pdf", "png"):
            file = io.BytesIO()
            drawn.savefig(file, format=suffix, dpi=200)
            contents[f"comparison.{suffix}"] = file.getvalue()
    return contents


def figure(comparison: Comparison) -> Figure:
    """Validation metrics of all groups by epoch, and their values on test events.

    Create and save it inside `plot.style()`.

    Raises:
        RunError: if there are more groups than can be told apart.
    """
    drawn = Figure(layout="constrained")
    draw(comparison, drawn)
    return drawn


def draw(comparison: Comparison, figure: Figure) -> None:
    """Fill an empty figure, whose size is adapted; otherwise as `figure`."""
    names = [plot.literal(group.name) for group in comparison.groups]
    if len(names) > plot.MOST_SERIES:
        raise RunError(
            f"{len(names)} configurations, but a figure shows {plot.MOST_SERIES} at "
            "most"
        )
    width, height = mpl.rcParams["figure.figsize"]
    figure.set_size_inches(1.5 * width, 2.1 * height + 0.14 * len(names))
    plot.comparison(
        {
            metric: plot.MetricSeries(
                curves={
                    name: plot.Curves(group.runs[0].epoch, group.validation(metric))
                    for name, group in zip(names, comparison.groups, strict=True)
                },
                final={
                    name: group.test(metric)
                    for name, group in zip(names, comparison.groups, strict=True)
                },
            )
            for metric in METRICS
        },
        figure=figure,
    )


def _table(title: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title, no_wrap=True, overflow="fold")
    return table


def _lines(name: str) -> Text:
    return Text(name.replace(", ", "\n"))


def _spread(group: Group, metric: str) -> str:
    values = group.test(metric)
    found = spread(values)
    if len(values) == 1:
        return f"{found.median:.3g}"
    return f"{found.median:.3g}\n[{found.low:.2g}, {found.high:.2g}]"


def _training(group: Group) -> list[str]:
    members = group.runs

    def median(numbers: list[int]) -> str:
        return f"{np.median(numbers):g}"

    return [
        median([run.updates for run in members]),
        median([run.refused for run in members]),
        _seconds(group.seconds),
        _seconds(group.seconds_per_epoch),
        f"{median([run.selected for run in members])} of {len(members[0].epoch)}",
        median([run.reached for run in members]),
        f"{sum(run.still_improved for run in members)} of {len(members)}",
    ]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g} s"
