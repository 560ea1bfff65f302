"""Several trainings side by side: metrics by epoch, and final values."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Real
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import FigureBase
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from diffana.plot.training import _appearance


# The ten colours of M. Petroff, arXiv:2107.02270, in their order.
_SERIES = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadb",
)
MOST_SERIES = len(_SERIES)


class Curves(NamedTuple):
    """A metric of one configuration after each epoch, for several seeds.

    Attributes:
        epoch: epochs made, increasing.
        values: one row per seed; nan where a fit failed.
    """

    epoch: Real[ArrayLike, " epoch"]
    values: Float[ArrayLike, "seed epoch"]


class MetricSeries(NamedTuple):
    """One metric of several configurations.

    Attributes:
        curves: on validation events, by name of the configuration.
        final: on test events, one value per seed, by the same names.
    """

    curves: Mapping[str, Curves]
    final: Mapping[str, Float[ArrayLike, " seed"]]


class BandArtists(NamedTuple):
    """A configuration in `metric_bands`.

    Attributes:
        median: over the seeds, after each epoch.
        band: from the smallest to the largest value.
    """

    median: Line2D
    band: FillBetweenPolyCollection


class FinalArtists(NamedTuple):
    """A configuration in `final_values`.

    Attributes:
        seeds: one point per seed.
        median: a horizontal line.
    """

    seeds: Line2D
    median: Line2D


class ComparisonArtists(NamedTuple):
    """What `comparison` drew.

    Attributes:
        bands: by metric and configuration.
        final: by metric and configuration.
        axes: panel of the curves and panel of the final values, by metric.
        legend: the legend.
    """

    bands: dict[str, dict[str, BandArtists]]
    final: dict[str, dict[str, FinalArtists]]
    axes: dict[str, tuple[Axes, Axes]]
    legend: Legend


def series_colours(names: Sequence[str]) -> dict[str, str]:
    """Colour of each configuration, to be used in every figure.

    Raises:
        ValueError: if there are more names than colours.

    Example:
        >>> series_colours(["bce", "cls"])
        {'bce': '#3f90da', 'cls': '#ffa90e'}
    """
    if len(names) > MOST_SERIES:
        raise ValueError(
            f"{len(names)} configurations, but only {MOST_SERIES} colours for them "
            "that can be told apart"
        )
    return dict(zip(names, _SERIES, strict=False))


def metric_bands(
    curves: Mapping[str, Curves],
    *,
    metric: str,
    colours: Mapping[str, str],
    ax: Axes,
) -> dict[str, BandArtists]:
    """Draw median and range over the seeds of a metric after every epoch.

    P-values have a logarithmic axis; negative significances, as training minimises
    them, are drawn as positive ones. An epoch in which a seed has no value is drawn
    from the others.

    Args:
        curves: by name of the configuration.
        metric: name of the metric as in training, see `metric_curve`.
        colours: of each configuration, see `series_colours`.
        ax: where to draw.

    Example:
        >>> from matplotlib.figure import Figure
        >>> curves = {"cls": Curves([1, 2], [[0.3, 0.1], [0.3, 0.2], [0.4, 0.3]])}
        >>> ax = Figure().add_subplot()
        >>> drawn = metric_bands(
        ...     curves, metric="sigma_mu", colours={"cls": "red"}, ax=ax
        ... )
        >>> drawn["cls"].median.get_ydata().tolist()
        [0.3, 0.2]
    """
    appearance = _appearance(metric)
    artists = {}
    for name, (epoch, values) in curves.items():
        values = appearance.sign * np.ma.masked_invalid(np.atleast_2d(values))
        (line,) = ax.plot(
            np.asarray(epoch),
            np.ma.median(values, axis=0).filled(np.nan),
            color=colours[name],
            marker=".",
            ms=3,
            label=name,
        )
        band = ax.fill_between(
            np.asarray(epoch),
            values.min(axis=0).filled(np.nan),
            values.max(axis=0).filled(np.nan),
            color=colours[name],
            alpha=0.2 if len(curves) < 4 else 0.12,
            lw=0,
        )
        artists[name] = BandArtists(line, band)
    everything = [np.ravel(values) for _, values in curves.values()]
    appearance.scale(ax, np.concatenate(everything))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.xaxis.minorticks_off()
    ax.set(xlabel="Epoch", ylabel=appearance.label)
    return artists


def final_values(
    final: Mapping[str, Float[ArrayLike, " seed"]],
    *,
    metric: str,
    colours: Mapping[str, str],
    ax: Axes,
) -> dict[str, FinalArtists]:
    """Draw the final value of each seed as a point and their median as a line.

    The configurations stand side by side in their order. A value that is nan has no
    point and counts as worse than all others in the median.

    Args:
        final: one value per seed, by name of the configuration.
        metric: name of the metric as in training, see `metric_curve`.
        colours: of each configuration, see `series_colours`.
        ax: where to draw.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().add_subplot()
        >>> drawn = final_values(
        ...     {"cls": [0.2, 0.4, 0.3]}, metric="cls", colours={"cls": "red"}, ax=ax
        ... )
        >>> list(map(float, drawn["cls"].median.get_ydata()))
        [0.3, 0.3]
    """
    appearance = _appearance(metric)
    artists = {}
    for position, (name, values) in enumerate(final.items()):
        values = np.asarray(values, float)
        worst_last = np.median(np.where(np.isnan(values), np.inf, values))
        median = float(worst_last) if np.isfinite(worst_last) else np.nan
        spacing = 0.5 * (np.arange(len(values)) + 0.5) / len(values) - 0.25
        (points,) = ax.plot(
            position + spacing,
            appearance.sign * values,
            color=colours[name],
            ls="",
            marker="o",
            ms=3.5,
            mec="white",
            mew=0.4,
            zorder=3,
            label=name,
        )
        (line,) = ax.plot(
            [position - 0.38, position + 0.38],
            [appearance.sign * median] * 2,
            color=colours[name],
            lw=1.6,
            solid_capstyle="butt",
        )
        artists[name] = FinalArtists(points, line)
    appearance.scale(ax, np.concatenate([np.ravel(one) for one in final.values()]))
    ax.set_xlim(-0.7, len(final) - 0.3)
    ax.set_xticks([])
    ax.set_ylabel(appearance.label)
    return artists


def comparison(
    series: Mapping[str, MetricSeries], *, figure: FigureBase
) -> ComparisonArtists:
    """Fill a figure: one row per metric, its curves left and its final values right.

    Both panels of a row share the ordinate.

    Args:
        series: by name of the metric as in training; all with the same configurations.
        figure: an empty figure with constrained layout, or part of one.

    Raises:
        ValueError: if there are more configurations than colours.

    Example:
        >>> from matplotlib.figure import Figure
        >>> one = MetricSeries({"cls": Curves([1, 2], [[0.3, 0.1]])}, {"cls": [0.2]})
        >>> drawn = comparison({"sigma_mu": one}, figure=Figure(layout="constrained"))
        >>> [text.get_text() for text in drawn.legend.get_texts()]
        ['cls']
    """
    names = list(next(iter(series.values())).curves)
    colours = series_colours(names)
    panels = figure.subplots(
        len(series),
        2,
        squeeze=False,
        sharey="row",
        sharex="col",
        width_ratios=(1.0, max(0.3, min(0.12 * len(names), 0.8))),
    )
    bands, final, axes = {}, {}, {}
    for (metric, one), (left, right) in zip(series.items(), panels, strict=True):
        bands[metric] = metric_bands(
            one.curves, metric=metric, colours=colours, ax=left
        )
        final[metric] = final_values(
            one.final, metric=metric, colours=colours, ax=right
        )
        left.set_xlabel("")
        right.set_ylabel("")
        axes[metric] = (left, right)
    left, right = panels[-1]
    left.set_xlabel("Epoch")
    last = max(
        np.max(np.asarray(curves.epoch))
        for one in series.values()
        for curves in one.curves.values()
    )
    left.set_xlim(0.5, last + 0.5)
    panels[0, 0].set_title("Validation events", loc="left")
    panels[0, 1].set_title("Test events", loc="left")
    figure.align_ylabels(list(panels[:, 0]))
    legend = figure.legend(
        handles=[next(iter(bands.values()))[name].median for name in names],
        loc="outside upper left",
    )
    return ComparisonArtists(bands, final, axes, legend)
