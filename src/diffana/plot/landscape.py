"""Loss landscapes: one loss along a line or over a plane, and several compared."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.contour import QuadContourSet
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from diffana.plot.style import _BACKGROUND, _SIGNAL, _VARIATION


# Dark ones first, so that few lines are the ones that are seen best.
_COLOURS = (*_BACKGROUND[:1], *_SIGNAL[:1], *_VARIATION, *_BACKGROUND[1:], *_SIGNAL[1:])
_CURVE, _MINIMUM, _NO_VALUE = _BACKGROUND[0], _SIGNAL[0], "#e8c9c2"
_LINE_STYLES = ("-", "--", ":")


class LandscapeMapArtists(NamedTuple):
    """What `landscape_map` drew.

    Attributes:
        mesh: the loss; points without a value have a colour of their own.
        contours: lines of equal loss; None if the loss is constant or has no value.
        minima: points where the loss is lowest; None if it is constant or has no value.
        target: the point that was marked; None without one.
        colour_bar: scale of the loss.
    """

    mesh: QuadMesh
    contours: QuadContourSet | None
    minima: Line2D | None
    target: Line2D | None
    colour_bar: Colorbar


def landscape_map(
    x: Float[ArrayLike, " x"],
    y: Float[ArrayLike, " y"],
    values: Float[ArrayLike, "x y"],
    *,
    minima: Float[ArrayLike, "place 2"],
    name: str,
    x_name: str,
    y_name: str,
    target: tuple[float, float] | None = None,
    ax: Axes,
) -> LandscapeMapArtists:
    """Draw a loss over a plane, with the points where it is lowest.

    Args:
        x: values along the first axis, increasing.
        y: values along the second axis, increasing.
        values: the loss; nan is drawn in a colour of its own.
        minima: coordinates of the lowest points; several for a valley, none if the loss
            has no value.
        name: name and unit of the loss.
        x_name: name and unit of the first axis.
        y_name: name and unit of the second axis.
        target: a point to mark with a cross.
        ax: where to draw; it gives room to the colour bar.

    Example:
        >>> from matplotlib.figure import Figure
        >>> grid = np.linspace(-1, 1, 5)
        >>> drawn = landscape_map(
        ...     grid,
        ...     grid,
        ...     grid[:, None] ** 2 + grid**2,
        ...     minima=[[0.0, 0.0]],
        ...     name="loss",
        ...     x_name="a",
        ...     y_name="b",
        ...     ax=Figure().add_subplot(),
        ... )
        >>> drawn.minima.get_xydata().tolist()
        [[0.0, 0.0]]
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    heights = np.ma.masked_invalid(np.asarray(values, float).T)
    blues = LinearSegmentedColormap.from_list("blues", ["#1b4f84", "#9cc9ef", "1.0"])
    blues = blues.with_extremes(bad=_NO_VALUE)
    mesh = ax.pcolormesh(x, y, heights, cmap=blues, shading="nearest", rasterized=True)
    colour_bar = ax.figure.colorbar(mesh, ax=ax, label=name, pad=0.02)
    lowest, highest = _limits(heights)
    contours, lines = None, None
    if lowest < highest:
        levels = np.linspace(lowest, highest, 10)[1:-1]
        contours = ax.contour(
            x, y, heights, levels, colors="0.35", linewidths=0.4, linestyles="-"
        )
        lines = _marks(np.asarray(minima, float).reshape(-1, 2), ax)
    else:
        mesh.set_clim(lowest - 0.5, highest + 0.5)
    cross = None
    if target is not None:
        (cross,) = ax.plot(*target, color="black", ls="", marker="x", ms=4, zorder=4)
    half = [0.5 * (row[1] - row[0]) for row in (x, y)]
    ax.set(
        xlim=(x[0] - half[0], x[-1] + half[0]),
        ylim=(y[0] - half[1], y[-1] + half[1]),
        xlabel=x_name,
        ylabel=y_name,
    )
    return LandscapeMapArtists(mesh, contours, lines, cross, colour_bar)


class LandscapeCurveArtists(NamedTuple):
    """What `landscape_curve` drew.

    Attributes:
        curve: the loss; a point without a value is a gap.
        minima: points where the loss is lowest; None if it has no value.
    """

    curve: Line2D
    minima: Line2D | None


def landscape_curve(
    x: Float[ArrayLike, " x"],
    values: Float[ArrayLike, " x"],
    *,
    minima: Float[ArrayLike, "place 1"],
    name: str,
    x_name: str,
    ax: Axes,
) -> LandscapeCurveArtists:
    """Draw a loss along a line, with the points where it is lowest.

    Args:
        x: values along the axis, increasing.
        values: the loss; nan is a gap.
        minima: where it is lowest.
        name: name and unit of the loss.
        x_name: name and unit of the axis.
        ax: where to draw.

    Example:
        >>> from matplotlib.figure import Figure
        >>> drawn = landscape_curve(
        ...     [0, 1, 2],
        ...     [3.0, 1.0, 2.0],
        ...     minima=[[1.0]],
        ...     name="loss",
        ...     x_name="a",
        ...     ax=Figure().add_subplot(),
        ... )
        >>> drawn.minima.get_xydata().tolist()
        [[1.0, 1.0]]
    """
    x, values = np.asarray(x, float), np.asarray(values, float)
    marker = "." if len(x) <= 50 else ""
    (curve,) = ax.plot(x, values, color=_CURVE, marker=marker, ms=3)
    places = np.asarray(minima, float).reshape(-1)
    lowest = np.full_like(places, np.nanmin(values) if places.size else np.nan)
    lines = _marks(np.stack([places, lowest], axis=-1), ax)
    ax.set(xlim=x[[0, -1]], xlabel=x_name, ylabel=name)
    return LandscapeCurveArtists(curve, lines)


class LandscapeComparisonArtists(NamedTuple):
    """What `landscape_comparison` drew.

    Attributes:
        losses: the curve of each loss, or its contour; None for a contour that is not
            crossed.
        minima: where each loss is lowest; none for a loss that is constant or has no
            value.
        legend: names the losses.
    """

    losses: dict[str, Line2D | QuadContourSet | None]
    minima: dict[str, Line2D]
    legend: Legend


def landscape_comparison(
    axes: Mapping[str, Float[ArrayLike, " point"]],
    normalised: Mapping[str, Float[ArrayLike, "..."]],
    *,
    minima: Mapping[str, Float[ArrayLike, "place axis"]],
    level: float = 0.1,
    ax: Axes,
) -> LandscapeComparisonArtists:
    """Draw several losses on the same one or two axes.

    Along a line each loss is a curve. Over a plane each is the contour around its
    lowest values.

    Args:
        axes: values along one or two axes, by name and unit.
        normalised: each loss mapped to [0, 1], on the grid; nan is left out.
        minima: where each loss is lowest.
        level: height of the contours, in (0, 1).
        ax: where to draw; the legend stands below.

    Example:
        >>> from matplotlib.figure import Figure
        >>> drawn = landscape_comparison(
        ...     {"a": [0, 1, 2]},
        ...     {"f": [1.0, 0.0, 1.0], "g": [0.0, 0.5, 1.0]},
        ...     minima={"f": [[1.0]], "g": [[0.0]]},
        ...     ax=Figure().add_subplot(),
        ... )
        >>> [text.get_text() for text in drawn.legend.get_texts()]
        ['f', 'g']
    """
    names, rows = list(axes), [np.asarray(row, float) for row in axes.values()]
    drawn, marked, handles = {}, {}, []
    for number, (name, heights) in enumerate(normalised.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        style = _LINE_STYLES[number // len(_COLOURS) % len(_LINE_STYLES)]
        heights = np.ma.masked_invalid(np.asarray(heights, float))
        places = np.asarray(minima.get(name, ()), float).reshape(-1, len(rows))
        lowest, highest = _limits(heights)
        label = name if lowest < highest else f"{name} (constant)"
        handles.append(Line2D([], [], color=colour, ls=style, label=label))
        if len(rows) == 1:
            (drawn[name],) = ax.plot(rows[0], heights, color=colour, ls=style)
            # Curves of one shape hide each other; their minima do not.
            height = -0.03 * (1 + number)
            places = np.insert(places, 1, height, axis=1)
        else:
            drawn[name] = _contour(
                rows, heights, level=level, colour=colour, style=style, ax=ax
            )
        if len(places) and lowest < highest:
            (marked[name],) = ax.plot(
                *places.T,
                color=colour,
                ls="",
                marker=".",
                # The size decreases, so that of several at one point all are seen.
                ms=max(9.0 - number, 2.0) if len(rows) == 2 else 2.5,
                mew=0,
                clip_on=False,
                zorder=3 + number / 100,
            )
    low = -0.03 * (len(normalised) + 2)
    ax.set(xlim=rows[0][[0, -1]], xlabel=names[0])
    if len(rows) == 1:
        ax.set(ylim=(low, 1.05), ylabel="Normalised loss")
    else:
        ax.set(ylim=rows[1][[0, -1]], ylabel=names[1])
    legend = ax.legend(
        handles=handles,
        title="Dots: minima"
        if len(rows) == 1
        else f"Contours: {level:.0%} of the range. Dots: minima",
        title_fontsize="small",
        loc="upper center",
        # Below the plane: inside, it would hide contours.
        bbox_to_anchor=(0.5, -0.16),
        ncols=2,
        frameon=False,
    )
    return LandscapeComparisonArtists(drawn, marked, legend)


def _contour(
    rows: Sequence[np.ndarray],
    heights: np.ma.MaskedArray,
    *,
    level: float,
    colour: str,
    style: str,
    ax: Axes,
) -> QuadContourSet | None:
    lowest, highest = _limits(heights)
    if not lowest < level < highest:
        return None
    return ax.contour(
        rows[0],
        rows[1],
        heights.T,
        [level],
        colors=colour,
        linestyles=style,
        linewidths=1.2,
    )


def _limits(heights: np.ma.MaskedArray) -> tuple[float, float]:
    """Smallest and largest value; 0 if there is none."""
    values = heights.compressed()
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _marks(places: np.ndarray, ax: Axes) -> Line2D | None:
    if not len(places):
        return None
    size = 4.0 if len(places) == 1 else 2.5
    (marks,) = ax.plot(
        *places.T, color=_MINIMUM, ls="", marker="o", ms=size, mew=0, zorder=3
    )
    return marks
