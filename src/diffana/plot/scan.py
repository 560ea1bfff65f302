"""Profile-likelihood scans over one parameter or two."""

from collections.abc import Sequence
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
from matplotlib.text import Text


_CURVE, _BEST = "#3f90da", "#bd1f01"
# Quantiles of the χ² distribution with two degrees of freedom.
_TWO_DIMENSIONAL = {"68.3 %": 2.296, "95.4 %": 6.180}


class ScanArtists(NamedTuple):
    """What `scan_curve` drew.

    Attributes:
        curve: twice_nll above its minimum.
        best: the free minimum.
        levels: horizontal lines at 1, 4, 9, ... as far as the curve reaches.
        level_names: the number of standard deviations beside each.
    """

    curve: Line2D
    best: Line2D
    levels: tuple[Line2D, ...]
    level_names: tuple[Text, ...]


def scan_curve(
    values: Float[ArrayLike, " value"],
    delta_twice_nll: Float[ArrayLike, " value"],
    *,
    best: float,
    name: str,
    ax: Axes,
) -> ScanArtists:
    """Draw the profile of -2 ln L over one parameter.

    Args:
        values: scanned values, increasing.
        delta_twice_nll: twice_nll of the conditional fit above the free minimum; nan is
            a gap.
        best: best-fit value of the parameter.
        name: name and unit of the parameter.
        ax: where to draw.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().add_subplot()
        >>> drawn = scan_curve([-2, 0, 2], [4.0, 0.0, 4.0], best=0.0, name="x", ax=ax)
        >>> len(drawn.levels)
        2
    """
    values = np.asarray(values, float)
    heights = np.asarray(delta_twice_nll, float)
    highest = np.nanmax(heights, initial=0.0)
    (curve,) = ax.plot(
        values, heights, color=_CURVE, marker="." if len(values) <= 50 else "", ms=3
    )
    (star,) = ax.plot(
        [best], [0.0], color=_BEST, ls="", marker="o", ms=3.5, zorder=4, clip_on=False
    )
    top = 1.15 * max(highest, 1.0)
    # Above five standard deviations the lines would be all that is seen.
    reached = [n for n in range(1, 6) if n**2 <= top]
    levels = tuple(
        ax.axhline(n**2, color="0.6", lw=0.6, ls="--", zorder=1) for n in reached
    )
    level_names = tuple(
        ax.annotate(
            rf"${n}\sigma$",
            (0.97, n**2),
            xycoords=ax.get_yaxis_transform(),
            xytext=(0, 1),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize="small",
            color="0.4",
        )
        for n in reached
    )
    ax.set(
        xlim=(values[0], values[-1]),
        ylim=(0, top),
        xlabel=name,
        ylabel=r"$-2\,\Delta\ln L$",
    )
    return ScanArtists(curve, star, levels, level_names)


class ScanMapArtists(NamedTuple):
    """What `scan_map` drew.

    Attributes:
        mesh: twice_nll above its minimum.
        contours: the boundaries of the confidence regions; None if none is crossed.
        best: the free minimum.
        colour_bar: scale of the values.
        legend: the legend.
    """

    mesh: QuadMesh
    contours: QuadContourSet | None
    best: Line2D
    colour_bar: Colorbar
    legend: Legend


def scan_map(
    x: Float[ArrayLike, " x"],
    y: Float[ArrayLike, " y"],
    delta_twice_nll: Float[ArrayLike, "x y"],
    *,
    best: Sequence[float],
    x_name: str,
    y_name: str,
    ax: Axes,
) -> ScanMapArtists:
    """Draw the profile of -2 ln L over two parameters with its confidence regions.

    Args:
        x: scanned values of the first parameter, increasing.
        y: scanned values of the second parameter, increasing.
        delta_twice_nll: twice_nll of each conditional fit above the free minimum; nan
            is a gap.
        best: best-fit values of the two parameters.
        x_name: name and unit of the first parameter.
        y_name: name and unit of the second parameter.
        ax: where to draw; it gives room to the colour bar.

    Source: the regions contain both true values with the stated probability where
    Wilks' theorem holds: quantiles 2.30 and 6.18 of χ² with two degrees of freedom.

    Example:
        >>> from matplotlib.figure import Figure
        >>> grid = np.linspace(-3, 3, 7)
        >>> heights = grid[:, None] ** 2 + grid**2
        >>> ax = Figure().add_subplot()
        >>> drawn = scan_map(
        ...     grid, grid, heights, best=(0, 0), x_name="a", y_name="b", ax=ax
        ... )
        >>> drawn.contours.levels.tolist()
        [2.296, 6.18]
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    heights = np.ma.masked_invalid(np.asarray(delta_twice_nll, float).T)
    # Far from the minimum it fades into the paper.
    greys = LinearSegmentedColormap.from_list("greys", ["0.7", "1.0"])
    mesh = ax.pcolormesh(x, y, heights, cmap=greys, shading="nearest", rasterized=True)
    mesh.set_clim(0, min(float(heights.max()), 12.0))
    colour_bar = ax.figure.colorbar(
        mesh, ax=ax, label=r"$-2\,\Delta\ln L$", pad=0.02, extend="max"
    )
    reached = {
        name: level
        for name, level in _TWO_DIMENSIONAL.items()
        if heights.min() < level < heights.max()
    }
    contours, lines = None, []
    if reached:
        styles = ["-", "--"][: len(reached)]
        contours = ax.contour(
            x, y, heights, list(reached.values()), colors=_CURVE, linestyles=styles
        )
        lines = [
            Line2D([], [], color=_CURVE, ls=style, label=name)
            for name, style in zip(reached, styles, strict=True)
        ]
    (star,) = ax.plot(
        [best[0]], [best[1]], color=_BEST, ls="", marker="o", ms=3.5, label="best fit"
    )
    ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]], xlabel=x_name, ylabel=y_name)
    legend = ax.legend(
        handles=[star, *lines],
        # Outside, where it hides no contour.
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=3,
        frameon=False,
    )
    return ScanMapArtists(mesh, contours, star, colour_bar, legend)
