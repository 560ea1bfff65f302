"""Nuisance parameters by their impact on the parameter of interest, and pulls."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.legend import Legend
from matplotlib.transforms import ScaledTranslation, Transform


_UP, _DOWN = "#3f90da", "#ffa90e"
_COLOURS = {
    "prefit_up": _UP,
    "prefit_down": _DOWN,
    "postfit_up": _UP,
    "postfit_down": _DOWN,
}
_LABELS = {
    "prefit_up": r"Pre-fit, $\theta_0 + \Delta\theta$",
    "prefit_down": r"Pre-fit, $\theta_0 - \Delta\theta$",
    "postfit_up": r"Post-fit, $\hat\theta + \Delta\hat\theta$",
    "postfit_down": r"Post-fit, $\hat\theta - \Delta\hat\theta$",
}


class RankingArtists(NamedTuple):
    """What `ranking` drew.

    Attributes:
        prefit_up: outlined bars, impact of the parameter raised by its pre-fit
            uncertainty.
        prefit_down: the same, lowered.
        postfit_up: filled bars, impact of the parameter raised by its post-fit
            uncertainty.
        postfit_down: the same, lowered.
        pulls: points with the post-fit uncertainty, both relative to the pre-fit
            uncertainty.
        pull_axes: the lower abscissa, of the pulls; the upper one is that of the
            impacts.
        legend: the legend.
    """

    prefit_up: BarContainer
    prefit_down: BarContainer
    postfit_up: BarContainer
    postfit_down: BarContainer
    pulls: ErrorbarContainer
    pull_axes: Axes
    legend: Legend


def ranking(
    names: Sequence[str],
    *,
    pull: Float[ArrayLike, " par"],
    constraint: Float[ArrayLike, " par"],
    prefit_up: Float[ArrayLike, " par"],
    prefit_down: Float[ArrayLike, " par"],
    postfit_up: Float[ArrayLike, " par"],
    postfit_down: Float[ArrayLike, " par"],
    poi_name: str = r"$\mu$",
    top: int = 20,
    ax: Axes,
) -> RankingArtists:
    """Draw the parameters with the largest post-fit impact, the largest on top.

    Args:
        names: parameters.
        pull: best fit minus nominal value over the pre-fit uncertainty; nan for a
            parameter without constraint, which gets no point.
        constraint: post-fit over pre-fit uncertainty; nan as for `pull`.
        prefit_up: shift of the parameter of interest, in its unit, when the parameter
            is raised by its pre-fit uncertainty; nan without constraint.
        prefit_down: the same, lowered.
        postfit_up: the same for the post-fit uncertainty, raised.
        postfit_down: the same, lowered.
        poi_name: name of the parameter of interest.
        top: how many parameters to draw at most.
        ax: where to draw; best 0.16 inches high for each parameter, plus 1.1 inches.

    Example:
        >>> from matplotlib.figure import Figure
        >>> drawn = ranking(
        ...     ["scale", "norm"],
        ...     pull=[0.3, np.nan],
        ...     constraint=[0.8, np.nan],
        ...     prefit_up=[0.1, np.nan],
        ...     prefit_down=[-0.1, np.nan],
        ...     postfit_up=[0.08, 0.2],
        ...     postfit_down=[-0.08, -0.2],
        ...     ax=Figure().add_subplot(),
        ... )
        >>> drawn.postfit_up.patches[0].get_width()
        0.2
    """
    shifts = {
        name: np.asarray(values, float)
        for name, values in (
            ("prefit_up", prefit_up),
            ("prefit_down", prefit_down),
            ("postfit_up", postfit_up),
            ("postfit_down", postfit_down),
        )
    }
    impact = np.fmax(np.abs(shifts["postfit_up"]), np.abs(shifts["postfit_down"]))
    # nan sorts to the end.
    order = np.argsort(-impact, kind="stable")[:top]
    rows = np.arange(len(order))
    bars = {
        name: ax.barh(
            rows,
            values[order],
            height=0.8,
            label=_LABELS[name],
            zorder=2 if name.startswith("post") else 3,
            facecolor=_COLOURS[name] if name.startswith("post") else "none",
            edgecolor="none" if name.startswith("post") else _COLOURS[name],
            linewidth=0.8,
        )
        for name, values in shifts.items()
    }
    ax.axvline(0, color="black", lw=0.6, zorder=4)
    ax.set_yticks(rows, [str(names[i]) for i in order])
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.tick_params(axis="y", which="both", left=False, right=False)
    widest = np.nanmax(
        [np.nanmax(np.abs(v[order]), initial=0) for v in shifts.values()]
    )
    if widest > 0:
        ax.set_xlim(-1.15 * widest, 1.15 * widest)
    ax.set_xlabel(rf"Impact on {poi_name}")
    pull_axes = ax.twiny()
    # Creating the second abscissa moves the ticks of the first one to the bottom.
    ax.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
    ax.tick_params(axis="x", which="both", top=True, labeltop=True)
    ax.xaxis.set_label_position("top")
    pull_axes.tick_params(axis="x", which="both", top=False, labeltop=False)
    pull_axes.tick_params(axis="x", which="both", bottom=True, labelbottom=True)
    pull_axes.xaxis.set_label_position("bottom")
    pull, constraint = np.asarray(pull, float)[order], np.asarray(constraint)[order]
    pulls = pull_axes.errorbar(
        pull,
        rows,
        xerr=constraint,
        color="black",
        fmt="o",
        ms=2.5,
        lw=0.8,
        capsize=0,
        label="Pull, constraint",
    )
    reach = np.nanmax(np.abs(pull) + constraint, initial=1.25)
    pull_axes.set_xlim(-1.1 * reach, 1.1 * reach)
    for at in (-1, 1):
        pull_axes.axvline(at, color="black", lw=0.5, ls=":", zorder=1)
    pull_axes.set_xlabel(r"$(\hat\theta - \theta_0)/\Delta\theta$")
    legend = pull_axes.legend(
        handles=[*bars.values(), pulls],
        loc="upper right",
        bbox_to_anchor=(1, 0),
        bbox_transform=_below(ax),
        ncols=2,
        frameon=False,
    )
    return RankingArtists(**bars, pulls=pulls, pull_axes=pull_axes, legend=legend)


def _below(ax: Axes) -> Transform:
    """Axes coordinates, shifted down by the height of ticks and label of the pulls."""
    return ax.transAxes + ScaledTranslation(0, -0.38, ax.figure.dpi_scale_trans)
