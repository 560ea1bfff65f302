"""What density ratios are for: closure of a feature, and of a likelihood scan."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from diffana.histogram import Histogram
from diffana.plot.nsbi import (
    _DENOMINATOR,
    _GUIDE,
    _NUMERATOR,
    _edges,
    _normalised,
    _points,
    _reach,
)
from diffana.plot.stack import _arrows


class ClosureArtists(NamedTuple):
    """What `feature_closure` drew.

    Attributes:
        numerator: normalised distribution of the numerator.
        denominator: of the denominator as it is.
        reweighted: of the denominator weighted with the ratio, with errors.
        ratio: reweighted denominator over numerator, with errors.
        band: relative error of the numerator.
        beyond: arrows at the bins whose ratio lies above and below the panel.
        legend: the legend.
    """

    numerator: StepPatch
    denominator: StepPatch
    reweighted: ErrorbarContainer
    ratio: ErrorbarContainer
    band: StepPatch
    beyond: tuple[Line2D, Line2D]
    legend: Legend


def feature_closure(
    numerator: Histogram,
    denominator: Histogram,
    reweighted: Histogram,
    *,
    observable: str,
    ax: Axes,
    ax_ratio: Axes,
) -> ClosureArtists:
    """Draw a feature of the numerator and of the denominator before and after weights.

    All distributions are normalised to one. The lower panel is empty where the
    numerator is zero or negative; arrows mark what lies beyond it.

    Args:
        numerator: of the feature; the edges of all have to be the same and finite.
        denominator: of the same feature.
        reweighted: the denominator, every event weighted with its ratio.
        observable: name and unit of the feature.
        ax: the upper panel.
        ax_ratio: the lower panel.

    Raises:
        ValueError: if the edges differ or are infinite, or a sum is not positive.

    Example:
        >>> from matplotlib.figure import Figure
        >>> h = Histogram(edges=[0.0, 1.0, 2.0], sumw=[4.0, 1.0], sumw2=[4.0, 1.0])
        >>> ax, ax_ratio = Figure().subplots(2, 1, sharex=True)
        >>> drawn = feature_closure(
        ...     h, h, h, observable="mass [GeV]", ax=ax, ax_ratio=ax_ratio
        ... )
        >>> drawn.ratio.lines[0].get_ydata().tolist()
        [1.0, 1.0]
    """
    edges = _edges(numerator, denominator, reweighted)
    above, below, weighted = map(_normalised, (numerator, denominator, reweighted))
    steps = ax.stairs(above.values, edges, color=_NUMERATOR, label="numerator")
    before = ax.stairs(
        below.values, edges, color=_DENOMINATOR, ls="--", label="denominator"
    )
    middle = (edges[:-1] + edges[1:]) / 2
    after = _points(middle, weighted.values, weighted.errors, ax)
    after.set_label("denominator, weighted with $r$")
    highest = max(one.values.max() for one in (above, below, weighted))
    ax.set(xlim=edges[[0, -1]], ylim=(0, 1.6 * highest), ylabel="Fraction / bin")
    legend = ax.legend(handles=[steps, before, after], loc="upper right", frameon=False)

    known = np.where(above.values > 0, above.values, np.nan)
    values, relative = weighted.values / known, above.errors / known
    # Where there is nothing to compare with, the band is closed.
    width = np.nan_to_num(relative)
    band = ax_ratio.stairs(
        1 + width, edges, baseline=1 - width, color=_NUMERATOR, alpha=0.25, fill=True
    )
    ax_ratio.axhline(1, color=_GUIDE, lw=0.7, ls="--", zorder=1)
    ratio = _points(middle, values, weighted.errors / known, ax_ratio)
    reach = min(_reach(np.abs(values - 1) + relative), 1.0)
    beyond = (
        _arrows(values > 1 + reach, "^", edges, "black", ax_ratio),
        _arrows(values < 1 - reach, "v", edges, "black", ax_ratio),
    )
    ax_ratio.set(ylim=(1 - reach, 1 + reach), xlabel=observable)
    ax_ratio.set_ylabel("Ratio to num.", loc="center")
    ax.figure.align_ylabels([ax, ax_ratio])
    return ClosureArtists(steps, before, after, ratio, band, beyond, legend)


class AsimovArtists(NamedTuple):
    """What `asimov_scan` drew.

    Attributes:
        learned: the scan with learned ratios.
        exact: the scan with exact ratios.
        difference: learned minus exact.
        band: where the difference may lie.
        legend: the legend.
    """

    learned: Line2D
    exact: Line2D
    difference: Line2D
    band: FillBetweenPolyCollection
    legend: Legend


def asimov_scan(
    points: Float[ArrayLike, " point"],
    learned: Float[ArrayLike, " point"],
    exact: Float[ArrayLike, " point"],
    *,
    threshold: float = 0.1,
    poi_name: str = r"$\mu$",
    ax: Axes,
    ax_difference: Axes,
) -> AsimovArtists:
    """Draw a scan with learned ratios beside the exact one, and their difference.

    Args:
        points: values of the parameter of interest, increasing.
        learned: t = -2 Δ ln L with the learned ratios; nan is a gap.
        exact: the same with the exact ratios.
        threshold: largest difference that is allowed.
        poi_name: name and unit of the parameter.
        ax: the upper panel.
        ax_difference: the lower panel.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax, ax_difference = Figure().subplots(2, 1, sharex=True)
        >>> drawn = asimov_scan(
        ...     [0.0, 1.0], [4.5, 0.0], [4.0, 0.0], ax=ax, ax_difference=ax_difference
        ... )
        >>> drawn.difference.get_ydata().tolist()
        [0.5, 0.0]
    """
    at, found, truth = (np.asarray(one, float) for one in (points, learned, exact))
    style = {"marker": "." if len(at) <= 50 else "", "ms": 3}
    (exactly,) = ax.plot(at, truth, color="black", label="exact ratios")
    (line,) = ax.plot(at, found, color=_NUMERATOR, ls="--", label="learned", **style)
    highest = np.nanmax(np.concatenate([found, truth]))
    ax.set(xlim=at[[0, -1]], ylabel=rf"$t(${poi_name}$)$")
    ax.set_ylim(0, 1.1 * highest if highest > 0 else None)
    legend = ax.legend(handles=[exactly, line], loc="upper center", frameon=False)
    band = ax_difference.fill_between(
        at[[0, -1]], -threshold, threshold, color="0.85", lw=0, zorder=0
    )
    ax_difference.axhline(0, color=_GUIDE, lw=0.7, ls="--", zorder=1)
    (difference,) = ax_difference.plot(at, found - truth, color=_NUMERATOR, **style)
    reach = max(_reach(np.abs(found - truth)), 1.4 * threshold)
    ax_difference.set(ylim=(-reach, reach), xlabel=poi_name)
    ax_difference.set_ylabel("Difference", loc="center")
    ax.figure.align_ylabels([ax, ax_difference])
    return AsimovArtists(line, exactly, difference, band, legend)
