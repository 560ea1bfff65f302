"""Density ratios: their distribution, calibration, spread and normalisation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from diffana.histogram import Histogram
from diffana.plot.style import literal


_NUMERATOR, _DENOMINATOR, _MEAN = "#bd1f01", "#3f90da", "#e76300"
_GUIDE = "0.5"
_LOG_RATIO = r"$\ln\,r$"


class CalibrationArtists(NamedTuple):
    """What `calibration_curve` drew.

    Attributes:
        points: observed over predicted fraction, with errors.
        diagonal: where both are the same.
        differences: observed minus predicted fraction, with errors.
    """

    points: ErrorbarContainer
    diagonal: Line2D
    differences: ErrorbarContainer


def calibration_curve(
    predicted: Float[ArrayLike, " bin"],
    observed: Float[ArrayLike, " bin"],
    error: Float[ArrayLike, " bin"],
    *,
    ax: Axes,
    ax_difference: Axes,
) -> CalibrationArtists:
    """Draw how often events of the numerator occur against how often they should.

    Args:
        predicted: mean score r/(1 + r) in each bin, in [0, 1].
        observed: fraction of the numerator in each bin; nan is a gap.
        error: its standard error.
        ax: the upper panel.
        ax_difference: the lower panel, where small differences can be seen.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax, ax_difference = Figure().subplots(2, 1, sharex=True)
        >>> drawn = calibration_curve(
        ...     [0.2, 0.8], [0.3, 0.8], [0.1, 0.1], ax=ax, ax_difference=ax_difference
        ... )
        >>> drawn.points.lines[0].get_ydata().tolist()
        [0.3, 0.8]
    """
    x, y, sigma = (np.asarray(one, float) for one in (predicted, observed, error))
    (diagonal,) = ax.plot([0, 1], [0, 1], color=_GUIDE, lw=0.7, ls="--", zorder=1)
    points = _points(x, y, sigma, ax)
    ax_difference.axhline(0, color=_GUIDE, lw=0.7, ls="--", zorder=1)
    differences = _points(x, y - x, sigma, ax_difference)
    ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="Observed fraction")
    # The lowest label would be on the highest one of the lower panel.
    ax.set_yticks([0.2, 0.4, 0.6, 0.8, 1.0])
    reach = _reach(np.abs(y - x) + sigma)
    ax_difference.set(
        ylim=(-reach, reach), xlabel=r"Predicted fraction $r/(\mathrm{1}+r)$"
    )
    ax_difference.set_ylabel(r"Obs. $-$ pred.", loc="center")
    ax.figure.align_ylabels([ax, ax_difference])
    return CalibrationArtists(points, diagonal, differences)


class LogRatioArtists(NamedTuple):
    """What `log_ratio_distribution` drew.

    Attributes:
        numerator: normalised distribution of the numerator.
        denominator: of the denominator.
        legend: the legend.
    """

    numerator: StepPatch
    denominator: StepPatch
    legend: Legend


def log_ratio_distribution(
    numerator: Histogram, denominator: Histogram, *, ax: Axes
) -> LogRatioArtists:
    """Draw the log ratio of the events of both classes, normalised to one.

    The axis is logarithmic unless a bin is negative.

    Args:
        numerator: log ratios of the events of the numerator, in finite bins.
        denominator: the same for the denominator, in the same bins.
        ax: where to draw.

    Raises:
        ValueError: if the edges differ or are infinite, or a sum is not positive.

    Example:
        >>> from matplotlib.figure import Figure
        >>> h = Histogram(edges=[-1.0, 0.0, 1.0], sumw=[4.0, 1.0], sumw2=[4.0, 1.0])
        >>> ax = Figure().add_subplot()
        >>> drawn = log_ratio_distribution(h, h, ax=ax)
        >>> drawn.numerator.get_data().values.tolist()
        [0.8, 0.2]
    """
    edges = _edges(numerator, denominator)
    contents = [_normalised(one).values for one in (numerator, denominator)]
    patches = [
        ax.stairs(
            values, edges, color=colour, fill=True, alpha=0.3, label=name, zorder=zorder
        )
        for values, colour, name, zorder in zip(
            contents,
            (_NUMERATOR, _DENOMINATOR),
            ("numerator", "denominator"),
            (2, 1),
            strict=True,
        )
    ]
    for values, colour in zip(contents, (_NUMERATOR, _DENOMINATOR), strict=True):
        ax.stairs(values, edges, color=colour, zorder=3)
    every = np.concatenate(contents)
    if np.all(every >= 0):
        ax.set_yscale("log")
        ax.set_ylim(0.5 * every[every > 0].min(), 10 * every.max())
    # Not up to the legend.
    ax.axvline(0, 0, 0.88, color=_GUIDE, lw=0.7, ls="--", zorder=4)
    ax.set(xlim=edges[[0, -1]], xlabel=f"Log ratio {_LOG_RATIO}")
    ax.set_ylabel("Fraction / bin")
    legend = ax.legend(handles=patches, loc="upper right", ncols=2, frameon=False)
    return LogRatioArtists(patches[0], patches[1], legend)


class SpreadArtists(NamedTuple):
    """What `ensemble_spread` drew.

    Attributes:
        member: median standard deviation of the members in bins of the log ratio.
        band: its central 68 % of events.
        mean: median standard deviation of their mean.
        legend: the legend.
    """

    member: Line2D
    band: FillBetweenPolyCollection
    mean: Line2D
    legend: Legend


def ensemble_spread(
    log_ratio: Float[ArrayLike, " event"],
    spread: Float[ArrayLike, " event"],
    *,
    n_members: int,
    n_bins: int = 20,
    ax: Axes,
) -> SpreadArtists:
    """Draw how far the members of an ensemble differ, against the log ratio.

    Bins have equal numbers of events.

    Args:
        log_ratio: of each event, according to the ensemble.
        spread: standard deviation of the log ratios of the members.
        n_members: how many they are.
        n_bins: number of bins, at most one per event.
        ax: where to draw.

    Raises:
        ValueError: if there is no event.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().add_subplot()
        >>> drawn = ensemble_spread([0.0, 1.0], [0.2, 0.4], n_members=4, ax=ax)
        >>> drawn.mean.get_ydata().tolist()
        [0.1, 0.2]
    """
    values, sigma = np.asarray(log_ratio, float), np.asarray(spread, float)
    if not len(values):
        raise ValueError("spread of an ensemble: there are no events to draw")
    order = np.argsort(values, kind="stable")
    groups = np.array_split(order, min(n_bins, len(order)))
    at = np.array([np.median(values[group]) for group in groups])
    low, middle, high = np.array(
        [np.quantile(sigma[group], [0.16, 0.5, 0.84]) for group in groups]
    ).T
    band = ax.fill_between(
        at, low, high, color=_DENOMINATOR, alpha=0.3, lw=0, label="68 % of events"
    )
    style = {"marker": ".", "ms": 3}
    (member,) = ax.plot(at, middle, color=_DENOMINATOR, label="one member", **style)
    (mean,) = ax.plot(
        at,
        middle / np.sqrt(n_members),
        color=_MEAN,
        ls="--",
        label=f"mean of {n_members}",
        **style,
    )
    ax.set_ylim(0, 1.4 * high.max() or None)
    ax.set_xlabel(f"Log ratio {_LOG_RATIO}")
    ax.set_ylabel(rf"Standard deviation of {_LOG_RATIO}")
    legend = ax.legend(
        handles=[member, band, mean], loc="upper center", ncols=3, frameon=False
    )
    return SpreadArtists(member, band, mean, legend)


class PullsArtists(NamedTuple):
    """What `normalisation_pulls` drew.

    Attributes:
        points: the pull of each ratio, with a bar of one standard error.
        beyond: those of them outside of the threshold, in another colour.
        means: mean and standard error of each ratio, written at the right.
    """

    points: ErrorbarContainer
    beyond: Line2D
    means: tuple[Text, ...]


def normalisation_pulls(
    names: Sequence[str],
    *,
    mean: Float[ArrayLike, " ratio"],
    standard_error: Float[ArrayLike, " ratio"],
    pull: Float[ArrayLike, " ratio"],
    threshold: float = 3.0,
    top: int = 40,
    ax: Axes,
) -> PullsArtists:
    """Draw how far the means of ratios over their denominator are from 1.

    Args:
        names: of the ratios.
        mean: E[r] of each.
        standard_error: of the mean.
        pull: distance of the mean from 1 in standard errors; finite.
        threshold: largest |pull| that is allowed.
        top: how many ratios to draw at most, those with the largest |pull|; they keep
            their order.
        ax: where to draw; best 0.16 inches high for each ratio, plus 0.6 inches.

    Example:
        >>> from matplotlib.figure import Figure
        >>> drawn = normalisation_pulls(
        ...     ["signal", "background"],
        ...     mean=[1.01, 0.9],
        ...     standard_error=[0.01, 0.02],
        ...     pull=[1.0, -5.0],
        ...     ax=Figure().add_subplot(),
        ... )
        >>> drawn.beyond.get_xdata().tolist()
        [-5.0]
    """
    pulls = np.asarray(pull, float)
    rows = np.sort(np.argsort(-np.abs(pulls), kind="stable")[:top])
    shown, at = pulls[rows], np.arange(len(rows))
    ax.axvspan(-threshold, threshold, color="0.93", lw=0, zorder=0)
    ax.axvspan(-1, 1, color="0.85", lw=0, zorder=0)
    ax.axvline(0, color=_GUIDE, lw=0.7, ls="--", zorder=1)
    points = ax.errorbar(
        shown, at, xerr=1.0, color="black", fmt="o", ms=2.5, lw=0.8, capsize=0
    )
    outside = np.abs(shown) >= threshold
    (beyond,) = ax.plot(
        shown[outside], at[outside], color=_NUMERATOR, ls="", marker="o", ms=4, zorder=5
    )
    ax.set_yticks(at, [literal(str(names[row])) for row in rows])
    ax.tick_params(axis="y", which="both", left=False, right=False)
    reach = 1.1 * max(np.max(np.abs(shown), initial=0.0) + 1, threshold)
    ax.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -0.6))
    ax.set_xlabel(r"Pull of $E[r] = \mathrm{1}$ (standard errors)")
    means = tuple(
        ax.annotate(
            _with_error(value, error),
            (1.02, row),
            xycoords=ax.get_yaxis_transform(),
            va="center",
            fontsize="small",
            annotation_clip=False,
        )
        for row, value, error in zip(
            at,
            np.asarray(mean, float)[rows],
            np.asarray(standard_error, float)[rows],
            strict=True,
        )
    )
    return PullsArtists(points, beyond, means)


class _Shape(NamedTuple):
    values: Float[np.ndarray, " bin"]
    errors: Float[np.ndarray, " bin"]


def _normalised(histogram: Histogram) -> _Shape:
    values = np.asarray(histogram.values(), float)
    total = values.sum()
    if not total > 0:
        raise ValueError(f"the sum {total:g} of a histogram cannot be normalised to 1")
    errors = np.sqrt(np.asarray(histogram.variances(), float))
    return _Shape(values / total, errors / total)


def _edges(first: Histogram, *others: Histogram) -> Float[np.ndarray, " edge"]:
    edges = np.asarray(first.edges, float)
    if not np.isfinite(edges).all():
        raise ValueError("a bin that is drawn needs finite edges")
    if any(not np.array_equal(edges, np.asarray(one.edges)) for one in others):
        raise ValueError("the histograms differ in their edges")
    return edges


def _points(
    x: Float[np.ndarray, " point"],
    y: Float[np.ndarray, " point"],
    error: Float[np.ndarray, " point"],
    ax: Axes,
) -> ErrorbarContainer:
    style = {"color": "black", "fmt": "o", "ms": 2.5, "lw": 0.8, "capsize": 0}
    return ax.errorbar(x, y, yerr=error, zorder=5, **style)


def _with_error(value: float, error: float) -> str:
    """Both with as many decimals as give two digits of the error.

    Example:
        >>> _with_error(1.00271, 0.0021)
        '1.0027 ± 0.0021'
    """
    if not (np.isfinite(error) and error > 0):
        return f"{value:.4g} ± {error:.2g}"
    n_decimals = max(1 - int(np.floor(np.log10(error))), 0)
    return f"{value:.{n_decimals}f} ± {error:.{n_decimals}f}"


def _reach(distance: Float[np.ndarray, " point"]) -> float:
    """Half the height of a panel that shows deviations from its middle."""
    largest = np.max(distance, where=np.isfinite(distance), initial=0.0)
    return 1.25 * float(largest) if largest > 0 else 0.05
