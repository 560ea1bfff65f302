"""CLs as a function of the signal strength: the Brazil band."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.legend import Legend
from matplotlib.lines import Line2D


_ONE_SIGMA, _TWO_SIGMA = "#00cc00", "#ffcc00"
_LEVEL = "#bd1f01"


class BrazilArtists(NamedTuple):
    """What `brazil_band` drew.

    Attributes:
        observed: the observed CLs; None if there is none.
        expected: the median CLs expected under background only.
        one_sigma: the band of its 68 % interval.
        two_sigma: the band of its 95 % interval.
        level: a horizontal line at the CLs of the limit.
        limits: vertical lines at the observed and the median expected limit; those that
            are not given are missing.
        legend: the legend.
    """

    observed: Line2D | None
    expected: Line2D
    one_sigma: FillBetweenPolyCollection
    two_sigma: FillBetweenPolyCollection
    level: Line2D
    limits: dict[str, Line2D]
    legend: Legend


def brazil_band(
    poi: Float[ArrayLike, " value"],
    CLs_obs: Float[ArrayLike, " value"] | None,
    CLs_exp: Float[ArrayLike, "value band"],
    *,
    level: float = 0.05,
    observed_limit: float | None = None,
    expected_limit: float | None = None,
    poi_name: str = r"$\mu$",
    ax: Axes,
) -> BrazilArtists:
    """Draw observed and expected CLs, whose crossings of `level` are the limits.

    Args:
        poi: tested values of the parameter of interest, increasing.
        CLs_obs: observed CLs at each; nan is a gap. None without observed data.
        CLs_exp: expected CLs at each, at -2, -1, 0, 1, 2 standard deviations.
        level: one minus the confidence level.
        observed_limit: the observed limit, in the unit of the parameter.
        expected_limit: the median expected limit.
        poi_name: name and unit of the parameter.
        ax: where to draw.

    Example:
        >>> from matplotlib.figure import Figure
        >>> CLs = np.array([[0.5, 0.6, 0.7, 0.8, 0.9], [0.01, 0.02, 0.05, 0.1, 0.2]])
        >>> ax = Figure().add_subplot()
        >>> drawn = brazil_band([0.0, 2.0], CLs[:, 1], CLs, ax=ax)
        >>> drawn.level.get_ydata()
        [0.05, 0.05]
    """
    poi = np.asarray(poi, float)
    bands = np.asarray(CLs_exp, float).T
    two_sigma = ax.fill_between(
        poi, bands[0], bands[4], color=_TWO_SIGMA, lw=0, label=r"Expected $\pm2\sigma$"
    )
    one_sigma = ax.fill_between(
        poi, bands[1], bands[3], color=_ONE_SIGMA, lw=0, label=r"Expected $\pm1\sigma$"
    )
    (expected,) = ax.plot(
        poi,
        bands[2],
        color="black",
        ls="--",
        label=_with_limit("Expected", expected_limit),
    )
    observed = None
    if CLs_obs is not None:
        (observed,) = ax.plot(
            poi,
            np.asarray(CLs_obs, float),
            color="black",
            label=_with_limit("Observed", observed_limit),
        )
    line = ax.axhline(
        level, color=_LEVEL, lw=0.8, label=rf"CL$_\mathrm{{s}}$ = {level:g}"
    )
    limits = {
        name: ax.axvline(at, 0, 0.25, color=_LEVEL, lw=0.8, ls=style)
        for name, at, style in (
            ("observed", observed_limit, "-"),
            ("expected", expected_limit, "--"),
        )
        if at is not None
    }
    ax.set(
        xlim=(poi[0], poi[-1]),
        ylim=(0, 1),
        xlabel=poi_name,
        ylabel=r"CL$_\mathrm{s}$",
    )
    legend = ax.legend(
        handles=[
            *([] if observed is None else [observed]),
            expected,
            one_sigma,
            two_sigma,
            line,
        ],
        loc="upper right",
        frameon=True,
        framealpha=0.9,
        edgecolor="none",
    )
    return BrazilArtists(observed, expected, one_sigma, two_sigma, line, limits, legend)


def _with_limit(name: str, limit: float | None) -> str:
    return name if limit is None else f"{name}, limit {limit:.3g}"
