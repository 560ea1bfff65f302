"""Test statistics of several methods over one parameter."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D


_COLOURS = (
    "black",
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
)
_STYLES = ("-", "--", ":")
_LEVELS = ((1.0, "68 %"), (3.841, "95 %"))


class StatisticsArtists(NamedTuple):
    """What `statistics` drew.

    Attributes:
        lines: the statistic of each method.
        levels: heights of the asymptotic intervals.
        legend: the methods.
    """

    lines: dict[str, Line2D]
    levels: tuple[Line2D, ...]
    legend: Legend


def statistics(
    points: Float[ArrayLike, " point"],
    methods: Mapping[str, Float[ArrayLike, " point"]],
    *,
    poi_name: str = r"$\mu$",
    ax: Axes,
) -> StatisticsArtists:
    """Draw t = -2 Δ ln L of several methods at the same values.

    Args:
        points: tested values of the parameter of interest, increasing.
        methods: name of each method and its statistic; nan is a gap.
        poi_name: name and unit of the parameter.
        ax: where to draw, inside `plot.style()`.

    Example:
        >>> from matplotlib.figure import Figure
        >>> drawn = statistics([0, 1], {"exact": [4, 0]}, ax=Figure().add_subplot())
        >>> list(drawn.lines)
        ['exact']
    """
    at = np.asarray(points, float)
    lines = {}
    for i, (name, t) in enumerate(methods.items()):
        (lines[name],) = ax.plot(
            at,
            np.asarray(t, float),
            color=_COLOURS[i % len(_COLOURS)],
            ls=_STYLES[i % len(_STYLES)],
            label=name,
        )
    levels = tuple(
        ax.axhline(height, color="0.6", lw=0.6, ls=":", zorder=0)
        for height, _ in _LEVELS
    )
    for height, text in _LEVELS:
        ax.annotate(
            text,
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 1),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize="x-small",
            color="0.4",
        )
    highest = max(float(np.nanmax(line.get_ydata())) for line in lines.values())
    ax.set(xlim=at[[0, -1]], ylim=(0, min(1.5 * highest, 16.0)))
    ax.set(xlabel=poi_name, ylabel=rf"$t(${poi_name}$)$")
    legend = ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize="x-small"
    )
    return StatisticsArtists(lines, levels, legend)
