"""Confidence belts: critical values, confidence sets, their coverage and lengths."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text


Pair = tuple[Float[ArrayLike, " point"], Float[ArrayLike, " point"]]

# From M. Petroff, arXiv:2107.02270, told apart with any colour vision.
_LEVELS = ("#3f90da", "#bd1f01", "#832db6", "#e76300", "#717581")
_BELTS = ("#3f90da", "#bd1f01", "#832db6", "#e76300", "#a96b59", "#717581")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_REFERENCE, _BAND, _CLAIM = "black", "#92dadb", "#bd1f01"
_GUIDE, _SHELF = "0.5", "0.94"
_BOUND = r"bound $-\mathrm{2}\,\ln(\mathrm{1}-\mathrm{CL})$"
# Fraction of the height of the axes.
_ROW, _HEADROOM = 0.055, 0.2


class CriticalValuesArtists(NamedTuple):
    """What `critical_values` drew.

    Attributes:
        curves: critical values of each level.
        bounds: upper bound of those of each level; nothing if there is none.
        legend: the levels.
    """

    curves: tuple[Line2D, ...]
    bounds: tuple[Line2D, ...]
    legend: Legend


def critical_values(
    mu: Float[ArrayLike, " point"],
    critical: Float[ArrayLike, "level point"],
    levels: Sequence[float],
    *,
    bound: Float[ArrayLike, " level"] | None = None,
    poi_name: str = r"$\mu$",
    statistic_name: str = "the test statistic",
    ax: Axes,
) -> CriticalValuesArtists:
    """Draw above which value of the statistic a tested value is rejected.

    Args:
        mu: tested values of the parameter of interest, increasing.
        critical: critical value of each level at each; infinities and nan are gaps.
        levels: confidence levels, in (0, 1).
        bound: what no critical value of each level exceeds, whatever the toys.
        poi_name: name and unit of the parameter.
        statistic_name: name of the statistic.
        ax: where to draw, inside `plot.style()`.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().add_subplot()
        >>> drawn = critical_values([0, 1], [[0.8, 1.0]], [0.6827], ax=ax)
        >>> drawn.curves[0].get_label()
        '68.27 % CL'
    """
    at, rows = np.asarray(mu, float), np.asarray(critical, float)
    curves = _level_curves(at, rows, [f"{_percent(one)} CL" for one in levels], ax)
    heights = [] if bound is None else np.asarray(bound, float).tolist()
    bounds = tuple(
        ax.axhline(height, color=curve.get_color(), lw=0.8, ls="--", zorder=1)
        for curve, height in zip(curves, heights, strict=bound is not None)
    )
    low, high = _finite_range(np.append(rows, heights))
    pad = 0.08 * (high - low)
    ax.set(
        xlim=_ends(at),
        ylim=(0.0 if low >= 0 else low - pad, high + pad),
        xlabel=poi_name,
        ylabel=f"Critical value of {statistic_name}",
    )
    proxy = [Line2D([], [], color=_GUIDE, lw=0.8, ls="--", label=_BOUND)]
    handles = [*curves, *(proxy if bounds else [])]
    return CriticalValuesArtists(curves, bounds, _legend_above(ax, handles))


class ConfidenceSetsArtists(NamedTuple):
    """What `confidence_sets` drew.

    Attributes:
        observed: the statistic of the data.
        curves: critical values of each level.
        best: line at the best fit; None if it is not given or not in the range.
        segments: bars of the confidence set of each level, in order.
        arrows: by level, at ends of the tested range where the set may go on.
        notes: one for each empty set.
        legend: the legend.
    """

    observed: Line2D
    curves: tuple[Line2D, ...]
    best: Line2D | None
    segments: tuple[tuple[Rectangle, ...], ...]
    arrows: tuple[tuple[Line2D, ...], ...]
    notes: tuple[Text, ...]
    legend: Legend


def confidence_sets(
    mu: Float[ArrayLike, " point"],
    statistic: Float[ArrayLike, " point"],
    critical: Float[ArrayLike, "level point"],
    levels: Sequence[float],
    segments_per_level: Sequence[Sequence[tuple[float, float]]],
    *,
    hits_edge: Sequence[tuple[bool, bool]] | None = None,
    best: float | None = None,
    poi_name: str = r"$\mu$",
    statistic_name: str = "Test statistic",
    ax: Axes,
) -> ConfidenceSetsArtists:
    """Draw the statistic of the data, critical values, and the sets they leave.

    Args:
        mu: tested values of the parameter of interest, increasing.
        statistic: of the data at each; infinities and nan are gaps.
        critical: critical value of each level at each; likewise.
        levels: confidence levels, in (0, 1).
        segments_per_level: lower and upper ends of the parts of the set of each level;
            nothing for an empty set.
        hits_edge: by level, whether the set reaches the lower, and the upper end of the
            tested range, where an arrow says that it may go on.
        best: best fit of the parameter.
        poi_name: name and unit of the parameter.
        statistic_name: name of the statistic.
        ax: where to draw, inside `plot.style()`.

    Example:
        >>> from matplotlib.figure import Figure
        >>> mu, ax = np.linspace(-2, 2, 9), Figure().add_subplot()
        >>> drawn = confidence_sets(mu, mu**2, [[1] * 9], [0.68], [[(-1, 1)]], ax=ax)
        >>> [len(bars) for bars in drawn.segments]
        [1]
    """
    at, rows = np.asarray(mu, float), np.asarray(critical, float)
    values = np.asarray(statistic, float)
    ends = _ends(at)
    curves = _level_curves(
        at, rows, [f"critical, {_percent(one)}" for one in levels], ax
    )
    (observed,) = ax.plot(at, _gapped(values), color="black", label="data", zorder=3)
    low, high = _finite_range(rows)
    best_value = _finite_range(values)[0]
    lowest = min(low, best_value)
    # Far above the critical values nothing is decided.
    highest = high + 0.7 * max(high - lowest, 0.5)
    highest = max(highest, 1.2 * best_value - 0.2 * lowest)
    shelf = 0.02 + _ROW * len(curves)
    # A little below the lowest value, the bars of the sets have the rest.
    floor = lowest - 0.06 * (highest - lowest)
    bottom = floor - (highest - floor) * shelf / (1 - shelf)
    ax.set(xlim=ends, ylim=(bottom, highest), xlabel=poi_name, ylabel=statistic_name)
    _without_ticks_below(ax, lowest)
    ax.axhspan(bottom, floor, color=_SHELF, lw=0, zorder=0)
    segments, arrows, notes = [], [], []
    edges = [(False, False)] * len(curves) if hits_edge is None else hits_edge
    colours = [str(curve.get_color()) for curve in curves]
    for row, (parts, hit, colour) in enumerate(
        zip(segments_per_level, edges, colours, strict=True)
    ):
        height = 0.02 + _ROW * (len(curves) - 1 - row)
        segments.append(_bars(parts, height, colour, ax))
        arrows.append(_arrows(ends, hit, height + _ROW / 2, colour, ax))
        if not parts:
            notes.append(_note(height + _ROW / 2, colour, ax))
    line = None
    if best is not None and ends[0] <= best <= ends[1]:
        line = ax.axvline(best, color=_GUIDE, lw=0.8, ls=":", label="best fit")
    handles = [observed, *([line] if line else []), *curves]
    return ConfidenceSetsArtists(
        observed,
        curves,
        line,
        tuple(segments),
        tuple(arrows),
        tuple(notes),
        _legend_above(ax, handles),
    )


class CoverageArtists(NamedTuple):
    """What `coverage` drew.

    Attributes:
        points: fractions of toys with intervals of each point by itself.
        band: contains the true coverage of all points together.
        level: what the coverage should be.
        legend: the legend.
    """

    points: ErrorbarContainer
    band: FillBetweenPolyCollection
    level: Line2D
    legend: Legend


def coverage(
    mu: Float[ArrayLike, " point"],
    coverage: Float[ArrayLike, " point"],
    pointwise: Pair,
    band: Pair,
    level: float,
    *,
    confidence: float = 0.95,
    poi_name: str = r"$\mu$",
    ax: Axes,
) -> CoverageArtists:
    """Draw how often confidence sets contain the true value.

    Args:
        mu: true values of the parameter of interest, increasing.
        coverage: fraction of the toys made at each; nan is a gap.
        pointwise: lower and upper ends of confidence intervals of the coverage.
        band: lower and upper edge of a band that holds at all points together.
        level: confidence level of the sets, in (0, 1).
        confidence: of intervals and band, in (0, 1).
        poi_name: name and unit of the parameter.
        ax: where to draw, inside `plot.style()`.

    Example:
        >>> from matplotlib.figure import Figure
        >>> each, both = ([0.64, 0.66], [0.7, 0.72]), ([0.63, 0.65], [0.71, 0.73])
        >>> ax = Figure().add_subplot()
        >>> drawn = coverage([0, 1], [0.67, 0.69], each, both, 0.6827, ax=ax)
        >>> drawn.level.get_ydata()
        [0.6827, 0.6827]
    """
    at, fraction = np.asarray(mu, float), np.asarray(coverage, float)
    low, high = (np.asarray(one, float) for one in pointwise)
    lower, upper = (np.asarray(one, float) for one in band)
    ends = _ends(at, margin=0.03)
    # A band over one point would have no width.
    x = at if at.size > 1 else np.array(ends)
    filled = ax.fill_between(
        x,
        np.broadcast_to(lower, x.shape),
        np.broadcast_to(upper, x.shape),
        color=_BAND,
        alpha=0.6,
        lw=0,
        label=f"{_percent(confidence)}, all points",
    )
    points = ax.errorbar(
        at,
        fraction,
        np.maximum([fraction - low, high - fraction], 0.0),
        color="black",
        ls="",
        marker="o",
        ms=2.5,
        elinewidth=0.8,
        label=f"toys, {_percent(confidence)} each",
    )
    line = ax.axhline(level, color=_CLAIM, lw=1.0, label=f"{_percent(level)} CL")
    bottom, top = _finite_range(np.concatenate([lower, upper, low, high, [level]]))
    pad = 0.06 * (top - bottom)
    ax.set(
        xlim=ends,
        ylim=(bottom - pad, top + pad + _HEADROOM * (top - bottom)),
        xlabel=f"True {poi_name}",
        ylabel="Coverage",
    )
    legend = ax.legend(
        handles=[points, filled, line],
        loc="upper center",
        ncols=3,
        fontsize="x-small",
        frameon=False,
        # Below the ticks of the upper edge.
        borderaxespad=1.0,
    )
    return CoverageArtists(points, filled, line, legend)


class LengthsArtists(NamedTuple):
    """What `lengths` drew.

    Attributes:
        curves: median length with errors, by name of the belt.
        legend: the belts.
    """

    curves: dict[str, ErrorbarContainer]
    legend: Legend


def lengths(
    mu: Float[ArrayLike, " point"],
    belts: Mapping[str, Pair],
    *,
    reference: str | None = None,
    poi_name: str = r"$\mu$",
    ax: Axes,
) -> LengthsArtists:
    """Draw the median length of the confidence sets of several belts.

    Args:
        mu: true values of the parameter of interest, increasing.
        belts: median length of the sets of each, in the unit of `mu`, and its error;
            nan is a gap.
        reference: the belt that others are compared with, drawn in black.
        poi_name: name and unit of the parameter.
        ax: where to draw, inside `plot.style()`.

    Example:
        >>> from matplotlib.figure import Figure
        >>> belts = {"narrow": ([1.5, 2.5], [0.1, 0.1]), "lrs": ([2, 2], [0.1, 0.1])}
        >>> drawn = lengths([0, 1], belts, reference="lrs", ax=Figure().add_subplot())
        >>> list(drawn.curves)
        ['narrow', 'lrs']
    """
    curves = _belt_curves(mu, belts, reference, ax)
    top = _finite_range([np.add(*map(_floats, one)) for one in belts.values()])[1]
    ax.set(
        xlim=_ends(_floats(mu), margin=0.03),
        ylim=(0, 1.08 * top if top > 0 else 1.0),
        xlabel=f"True {poi_name}",
        ylabel=f"Median length in {poi_name}",
    )
    return LengthsArtists(curves, ax.legend(list(curves.values()), list(curves)))


class RegretArtists(NamedTuple):
    """What `regret` drew.

    Attributes:
        curves: ratio with errors, by name of the belt.
        unity: where both are of the same length.
        legend: the belts.
    """

    curves: dict[str, ErrorbarContainer]
    unity: Line2D
    legend: Legend


def regret(
    mu: Float[ArrayLike, " point"],
    belts: Mapping[str, Pair],
    *,
    reference: str = "reference",
    poi_name: str = r"$\mu$",
    ax: Axes,
) -> RegretArtists:
    """Draw expected lengths of confidence sets relative to those of another belt.

    Colours are those of `lengths` if the belts, without the reference, are in the same
    order there.

    Args:
        mu: true values of the parameter of interest, increasing.
        belts: ratio of expected lengths of each belt, below 1 where it is better, and
            its error; nan is a gap.
        reference: name of the other belt.
        poi_name: name and unit of the parameter.
        ax: where to draw, inside `plot.style()`.

    Example:
        >>> from matplotlib.figure import Figure
        >>> belts = {"narrow": ([0.8, 1.2], [0.01, 0.01])}
        >>> regret([0, 1], belts, ax=Figure().add_subplot()).unity.get_ydata()
        [1.0, 1.0]
    """
    unity = ax.axhline(1.0, color=_REFERENCE, lw=0.9, ls="--", zorder=1)
    curves = _belt_curves(mu, belts, None, ax)
    edges = [_floats(r) + s * _floats(e) for r, e in belts.values() for s in (-1, 1)]
    low, high = _finite_range([[1.0] * np.size(mu), *edges])
    pad = 0.08 * max(high - low, 0.1)
    ax.set(
        xlim=_ends(_floats(mu), margin=0.03),
        ylim=(low - pad, high + pad),
        xlabel=f"True {poi_name}",
        ylabel="Ratio of mean lengths",
    )
    legend = ax.legend([*curves.values(), unity], [*curves, reference])
    return RegretArtists(curves, unity, legend)


def _level_curves(
    at: Float[np.ndarray, " point"],
    rows: Float[np.ndarray, "level point"],
    names: Sequence[str],
    ax: Axes,
) -> tuple[Line2D, ...]:
    curves = []
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        colour = _LEVELS[i % len(_LEVELS)]
        curves += ax.plot(at, _gapped(row), color=colour, label=name)
    return tuple(curves)


def _without_ticks_below(ax: Axes, lowest: float) -> None:
    """Leave ticks on the ordinate only where it has a meaning."""
    low, high = ax.get_ylim()
    slack = 1e-9 * (high - low)
    for minor in (False, True):
        ticks = ax.yaxis.get_ticklocs(minor=minor)
        shown = ticks[(ticks >= lowest - slack) & (ticks <= high)]
        ax.set_yticks(shown, minor=minor)


def _bars(
    parts: Sequence[tuple[float, float]], height: float, colour: str, ax: Axes
) -> tuple[Rectangle, ...]:
    """One bar for each part of a set, at a height in fractions of the axes."""
    bars = tuple(
        # The outline keeps visible what has hardly a length.
        Rectangle(
            (lower, height),
            upper - lower,
            0.7 * _ROW,
            transform=ax.get_xaxis_transform(),
            facecolor=colour,
            edgecolor=colour,
            lw=0.8,
        )
        for lower, upper in parts
    )
    for bar in bars:
        ax.add_patch(bar)
    return bars


def _arrows(
    ends: tuple[float, float],
    hit: tuple[bool, bool],
    height: float,
    colour: str,
    ax: Axes,
) -> tuple[Line2D, ...]:
    return tuple(
        ax.plot(
            [end],
            [height - 0.15 * _ROW],
            marker=marker,
            ms=5,
            color=colour,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
            zorder=5,
        )[0]
        for end, is_hit, marker in zip(ends, hit, "<>", strict=True)
        if is_hit
    )


def _note(height: float, colour: str, ax: Axes) -> Text:
    return ax.text(
        0.5,
        height - 0.15 * _ROW,
        "empty",
        transform=ax.transAxes,
        color=colour,
        fontsize="x-small",
        ha="center",
        va="center",
    )


def _belt_curves(
    mu: Float[ArrayLike, " point"],
    belts: Mapping[str, Pair],
    reference: str | None,
    ax: Axes,
) -> dict[str, ErrorbarContainer]:
    others = [name for name in belts if name != reference]
    curves = {}
    for name, (value, error) in belts.items():
        if name == reference:
            look = {"color": _REFERENCE, "ls": "--", "marker": "", "zorder": 2}
        else:
            i = others.index(name)
            look = {
                "color": _BELTS[i % len(_BELTS)],
                "marker": _MARKERS[i % len(_MARKERS)],
                "ms": 2.5,
                "zorder": 3,
            }
        curves[name] = ax.errorbar(
            _floats(mu),
            _floats(value),
            _floats(error),
            lw=0.9,
            elinewidth=0.8,
            label=name,
            **look,
        )
    return curves


def _legend_above(ax: Axes, handles: Sequence[object]) -> Legend:
    """Outside, where it hides no curve; a title of it is that of the figure."""
    return ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=min(len(handles), 4),
        fontsize="x-small",
        title_fontsize="small",
        alignment="left",
        frameon=False,
        borderaxespad=0.0,
        borderpad=0.2,
        columnspacing=1.0,
        handlelength=1.4,
    )


def _percent(level: float) -> str:
    return f"{100 * level:.6g} %"


def _floats(values: object) -> Float[np.ndarray, "..."]:
    return np.asarray(values, float)


def _gapped(values: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
    return np.where(np.isfinite(values), values, np.nan)


def _finite_range(values: object) -> tuple[float, float]:
    """Smallest and largest finite number, made different if they are not."""
    numbers = np.asarray(values, float)
    numbers = numbers[np.isfinite(numbers)]
    low, high = (numbers.min(), numbers.max()) if numbers.size else (0.0, 1.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _ends(at: Float[np.ndarray, " point"], margin: float = 0.0) -> tuple[float, float]:
    low, high = float(at[0]), float(at[-1])
    if low == high:
        return low - 0.5, high + 0.5
    return low - margin * (high - low), high + margin * (high - low)
