"""The figures of the diagnosis of a learned likelihood."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffana import plot, runs
from diffana.histogram import Histogram
from diffana.nsbi.diagnostics import reliability
from diffana.workflow.figures import save
from diffana.workflow.nsbi.closure import Closure
from diffana.workflow.nsbi.prepared import Prepared
from diffana.workflow.nsbi.tested import Tested


_N_COLUMNS = 3
_N_BINS = 40


@contextlib.contextmanager
def drawing(run: runs.Run) -> Iterator["Drawing"]:
    """What puts figures into a run folder, inside a `with` block in one look."""
    # Figure objects without pyplot leave the user's backend and figures alone.
    with plot.style():
        yield Drawing(run)


class Drawing:
    """Puts figures into a run folder; used inside `plot.style()`."""

    def __init__(self, run: runs.Run):
        self._run = run

    def training(self, prepared: Prepared) -> None:
        """Losses of every job."""
        records = self._run.read_metrics()
        jobs = [job.name for job in prepared.plan.jobs]
        save(self._run, "training", lambda figure: draw_losses(figure, records, jobs))

    def ratio(self, prepared: Prepared, one: Tested) -> None:
        """A ratio at test events: distribution, calibration, spread, features."""
        columns = prepared.config.features
        save(
            self._run,
            f"ratio_{one.name}",
            lambda figure: draw_ratio(figure, one, columns),
        )

    def norms(self, judged: Sequence[Any]) -> None:
        """Means of all ratios over their denominators."""
        found = [
            one
            for one in judged
            if one.gate.name == "normalisation"
            and np.isfinite(one.gate.numbers.get("pull", np.nan))
        ]
        if found:
            save(self._run, "normalisation", lambda figure: draw_norms(figure, found))

    def closure(self, prepared: Prepared, found: Closure) -> None:
        """The scan with learned ratios beside the exact one."""
        threshold = prepared.config.diagnostics.asimov_difference
        reach = prepared.config.diagnostics.asimov_reach
        save(
            self._run,
            "asimov",
            lambda figure: draw_closure(figure, found, threshold, reach),
        )


def draw_losses(
    figure: Figure, records: Sequence[dict[str, Any]], jobs: Sequence[str]
) -> None:
    """Draw training and validation loss of every job, the mean of its members.

    Args:
        figure: an empty figure, whose size is adapted.
        records: of the training.
        jobs: names of the jobs.
    """
    n_columns = min(_N_COLUMNS, len(jobs)) or 1
    n_rows = math.ceil(len(jobs) / n_columns) or 1
    width, _ = figure.get_size_inches()
    figure.set_size_inches(0.62 * width * n_columns, 1.5 * n_rows + 0.3)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for ax, name in zip(axes, jobs, strict=False):
        own = [r for r in records if r["job"] == name and "epoch" in r]
        _draw_loss(ax, own)
        ax.set_title(plot.literal(name), loc="left")
    for ax in axes[len(jobs) :]:
        ax.remove()
    for ax in axes[max(len(jobs) - n_columns, 0) : len(jobs)]:
        ax.set_xlabel("Epoch")
    if jobs:
        axes[0].set_ylabel("Loss")
        handles = axes[0].get_legend_handles_labels()[0]
        figure.legend(
            handles=handles, loc="outside upper right", ncols=3, frameon=False
        )


def _draw_loss(ax: Axes, records: Sequence[dict[str, Any]]) -> None:
    epoch = [record["epoch"] for record in records]
    for key, color, width, label in (
        ("loss", "#94a4a2", 0.7, "training"),
        ("validation", "#3f90da", None, "validation"),
    ):
        losses = np.array([record[key] for record in records], float)
        ax.plot(epoch, losses.mean(axis=1), color=color, lw=width, label=label)
    label = "best epoch of a member"
    for best in dict.fromkeys(records[-1]["best_epoch"] if records else ()):
        ax.axvline(best, color="black", lw=0.6, ls="--", zorder=1, label=label)
        label = ""
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.xaxis.minorticks_off()
    # The first epochs would hide the others.
    values = np.array([record["validation"] for record in records], float).ravel()
    if len(values) > 4:
        low, high = np.quantile(values, [0.0, 0.8])
        ax.set_ylim(low - 0.3 * (high - low) - 1e-6, high + 2.0 * (high - low) + 1e-6)
    ax.ticklabel_format(axis="y", useOffset=False)


def draw_ratio(figure: Figure, one: Tested, columns: Sequence[str]) -> None:
    """Draw what is known of a ratio at independent events.

    Args:
        figure: an empty figure, whose size is adapted.
        one: the ratio.
        columns: names of the features.
    """
    width, height = figure.get_size_inches()
    n_rows = 1 + math.ceil(len(columns) / _N_COLUMNS)
    figure.set_size_inches(2.1 * width, 1.1 * height * n_rows)
    grid = figure.subfigures(n_rows, _N_COLUMNS, squeeze=False)
    top, *below = grid
    _draw_log_ratio(top[0].subplots(), one)
    _draw_calibration(top[1], one)
    if one.members is not None and one.members.shape[1] > 1:
        _draw_spread(top[2].subplots(), one)
    panels = [panel for row in below for panel in row]
    for index, (name, panel) in enumerate(zip(columns, panels, strict=False)):
        _draw_feature(panel, one, index, name)
    plot.label(plot.literal(one.name), ax=top[0].axes[0])


def _draw_log_ratio(ax: Axes, one: Tested) -> None:
    both = np.concatenate([one.numerator.log_ratio, one.denominator.log_ratio])
    edges = _edges(both, 0.0005)
    histograms = [
        _filled(part.log_ratio, part.events.weight, edges)
        for part in (one.numerator, one.denominator)
    ]
    plot.log_ratio_distribution(*histograms, ax=ax)


def _draw_calibration(panel: Any, one: Tested) -> None:
    ax, ax_difference = plot.ratio_axes(panel)
    curve = reliability(
        one.numerator.log_ratio,
        one.numerator.events.weight,
        one.denominator.log_ratio,
        one.denominator.events.weight,
    )
    plot.calibration_curve(
        curve.predicted, curve.observed, curve.error, ax=ax, ax_difference=ax_difference
    )


def _draw_spread(ax: Axes, one: Tested) -> None:
    assert one.members is not None
    drawn = plot.ensemble_spread(
        one.denominator.log_ratio,
        one.members.std(axis=1, ddof=1),
        n_members=one.members.shape[1],
        ax=ax,
    )
    # In one row it would be wider than a panel of a third of the figure.
    drawn.legend.remove()
    handles = [drawn.member, drawn.band, drawn.mean]
    ax.legend(handles=handles, loc="upper right", frameon=False)


def _draw_feature(panel: Any, one: Tested, index: int, name: str) -> None:
    ax, ax_ratio = plot.ratio_axes(panel)
    above, below = (
        part.events.features[:, index] for part in (one.numerator, one.denominator)
    )
    edges = _edges(np.concatenate([above, below]), 0.005)
    weight = one.denominator.events.weight
    # Relative to the largest ratio: nothing overflows.
    ratio = np.exp(one.denominator.log_ratio - one.denominator.log_ratio.max())
    plot.feature_closure(
        _filled(above, one.numerator.events.weight, edges),
        _filled(below, weight, edges),
        _filled(below, weight * ratio, edges),
        observable=plot.literal(name),
        ax=ax,
        ax_ratio=ax_ratio,
    )


def _edges(values: np.ndarray, tail: float) -> np.ndarray:
    """Equal bins that leave out a little at both ends."""
    low, high = np.quantile(values, [tail, 1 - tail])
    if not low < high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _N_BINS + 1)


def _filled(values: np.ndarray, weight: np.ndarray, edges: np.ndarray) -> Histogram:
    sumw, sumw2 = (
        np.histogram(values, edges, weights=w)[0] for w in (weight, weight**2)
    )
    return Histogram(edges=edges, sumw=sumw, sumw2=sumw2)


def draw_norms(figure: Figure, judged: Sequence[Any]) -> None:
    """Draw the means of ratios over their denominators.

    Args:
        figure: an empty figure, whose size is adapted.
        judged: gates of normalisation.
    """
    numbers = [one.gate.numbers for one in judged]
    width, _ = figure.get_size_inches()
    figure.set_size_inches(1.3 * width, 0.16 * min(len(judged), 40) + 0.7)
    plot.normalisation_pulls(
        [one.subject for one in judged],
        mean=np.array([one["mean"] for one in numbers]),
        standard_error=np.array([one["standard_error"] for one in numbers]),
        pull=np.array([one["pull"] for one in numbers]),
        threshold=judged[0].gate.threshold,
        ax=figure.add_subplot(),
    )


def draw_closure(
    figure: Figure, found: Closure, threshold: float, reach: float
) -> None:
    """Draw the scan with learned ratios beside the exact one.

    Args:
        figure: an empty figure.
        found: both scans.
        threshold: largest difference that is allowed.
        reach: largest exact value at which they are compared.
    """
    ax, ax_difference = plot.ratio_axes(figure)
    shown = found.exact <= 4 * reach
    first, last = np.flatnonzero(shown)[[0, -1]]
    rows = slice(first, last + 1)
    plot.asimov_scan(
        found.points[rows],
        found.learned[rows],
        found.exact[rows],
        threshold=threshold,
        poi_name=plot.literal(found.poi),
        ax=ax,
        ax_difference=ax_difference,
    )
