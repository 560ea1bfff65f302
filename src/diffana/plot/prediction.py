"""What a model predicts beside what was observed: stacked samples, band, data."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from scipy.special import gammaincinv

from diffana.plot.stack import (
    Edges,
    Yields,
    _arrows,
    _band,
    _Content,
    _legend_height,
    _ratio,
    _set_scale,
    _stack,
    _steps,
    _sum,
)


# Probability content of one standard deviation on either side.
_TAIL = 0.15865525393145707


class PredictionRatioArtists(NamedTuple):
    """The lower panel: everything is relative to the predicted sum.

    Attributes:
        band: uncertainty of the prediction.
        data: observed over predicted; None without data.
        beyond: arrows at the bins whose data lie above and below the panel; None
            without data.
    """

    band: StepPatch
    data: ErrorbarContainer | None
    beyond: tuple[Line2D, Line2D] | None


class PredictionArtists(NamedTuple):
    """What `prediction` drew.

    Attributes:
        samples: stacked yield of each sample, from the top.
        total: sum of all samples.
        band: its uncertainty.
        data: observed counts; None without data.
        legend: the legend.
        ratio: the lower panel.
    """

    samples: dict[str, StepPatch]
    total: StepPatch
    band: StepPatch
    data: ErrorbarContainer | None
    legend: Legend
    ratio: PredictionRatioArtists


def prediction(
    samples: Mapping[str, Float[ArrayLike, " bin"]],
    uncertainty: Float[ArrayLike, " bin"],
    *,
    edges: Float[ArrayLike, " bin+1"],
    signals: Collection[str],
    colours: Mapping[str, str],
    observable: str,
    data: Float[ArrayLike, " bin"] | None = None,
    ax: Axes,
    ax_ratio: Axes,
) -> PredictionArtists:
    """Draw the samples on top of each other, the uncertainty of their sum, and data.

    Negative yields are stacked downwards from zero. The lower panel is empty where the
    sum is zero or negative. The axis is logarithmic if the sums differ by more than two
    decades and no sum is negative.

    Args:
        samples: yields of each sample, in events per bin. The first is on top, but for
            the signals, which are on top of everything.
        uncertainty: standard deviation of their sum, in events.
        edges: finite edges of the bins.
        signals: which of the samples are signals.
        colours: colour of each sample, see `palette`.
        observable: name and unit of what is histogrammed.
        data: observed counts, with central 68 % intervals of a Poisson mean; None if
            there are none, or nobody may see them.
        ax: the upper panel.
        ax_ratio: the lower panel.

    Raises:
        ValueError: if there is no sample, or the numbers of bins differ.

    Source: the intervals are those of Garwood, Biometrika 28 (1936) 437.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax, ax_ratio = Figure().subplots(2, 1, sharex=True)
        >>> drawn = prediction(
        ...     {"background": [4.0, 1.0]},
        ...     [1.0, 0.5],
        ...     edges=[0.0, 1.0, 2.0],
        ...     signals=(),
        ...     colours={"background": "blue"},
        ...     observable="mass [GeV]",
        ...     ax=ax,
        ...     ax_ratio=ax_ratio,
        ... )
        >>> drawn.band.get_data().values.tolist()
        [5.0, 1.5]
    """
    content, counts = _checked(samples, uncertainty, edges, signals, data)
    stacked = _stack(content.samples, content.edges, colours, ax)
    line = _steps(content.total, content.edges, "black", ax)
    band = _band(content.total, content.uncertainty, content.edges, ax)
    points, visible = None, content.total
    if counts is not None:
        low, high = _poisson_interval(counts)
        points = _points(counts, low, high, content.edges, ax)
        visible = np.concatenate([visible, counts])
        # The axis has to reach as far as the error bars.
        content = content._replace(varied={"data": (high, low)})
    entries: dict[str, Any] = {**stacked, "sum, unc.": (line, band)}
    if points is not None:
        entries["data"] = points
    legend = ax.legend(entries.values(), entries.keys(), loc="upper right", ncols=2)
    _set_scale(content, visible, _legend_height(legend, ax), ax)
    ax.set(xlim=content.edges[[0, -1]], ylabel="Events / bin")
    ratio = _draw_ratio(content, counts, ax_ratio)
    ax_ratio.set(xlim=content.edges[[0, -1]], xlabel=observable)
    ax_ratio.set_ylabel("Data / pred." if points else "Rel. unc.", loc="center")
    ax.figure.align_ylabels([ax, ax_ratio])
    return PredictionArtists(stacked, line, band, points, legend, ratio)


def _checked(
    samples: Mapping[str, Float[ArrayLike, " bin"]],
    uncertainty: Float[ArrayLike, " bin"],
    edges: Float[ArrayLike, " bin+1"],
    signals: Collection[str],
    data: Float[ArrayLike, " bin"] | None,
) -> tuple[_Content, Yields | None]:
    if not samples:
        raise ValueError("there is no sample to draw")
    names = sorted(samples, key=lambda name: name not in signals)
    yields = {name: np.asarray(samples[name], float) for name in names}
    borders = np.asarray(edges, float)
    arrays = {f"sample {name!r}": values for name, values in yields.items()}
    arrays["the uncertainty"] = sigma = np.asarray(uncertainty, float)
    if data is not None:
        arrays["the data"] = np.asarray(data, float)
    for name, values in arrays.items():
        if values.shape != (len(borders) - 1,):
            raise ValueError(
                f"{name}: shape {values.shape}, but there are {len(borders) - 1} bins"
            )
    content = _Content(borders, yields, _sum(yields.values()), sigma, {})
    return content, arrays.get("the data")


def _poisson_interval(counts: Yields) -> tuple[Yields, Yields]:
    """Central 68 % interval of the mean behind each count."""
    low = np.where(counts > 0, gammaincinv(np.where(counts > 0, counts, 1), _TAIL), 0)
    return low, gammaincinv(counts + 1, 1 - _TAIL)


def _points(
    values: Yields, low: Yields, high: Yields, edges: Edges, ax: Axes
) -> ErrorbarContainer:
    return ax.errorbar(
        (edges[:-1] + edges[1:]) / 2,
        values,
        yerr=[values - low, high - values],
        color="black",
        fmt="o",
        ms=2.5,
        lw=0.8,
        capsize=0,
        zorder=5,
    )


def _draw_ratio(
    content: _Content, counts: Yields | None, ax: Axes
) -> PredictionRatioArtists:
    edges, total = content.edges, content.total
    ones, relative = _ratio(total, total), _ratio(content.uncertainty, total)
    ax.axhline(1.0, color="black", lw=0.6, zorder=1)
    band = _band(ones, relative, edges, ax)
    shifts, points, ratio = [relative], None, None
    if counts is not None:
        ratio, low, high = (
            _ratio(values, total) for values in (counts, *_poisson_interval(counts))
        )
        points = _points(ratio, low, high, edges, ax)
        shifts += [np.abs(values - 1) for values in (ratio, low, high)]
    largest = np.max(shifts, where=np.isfinite(shifts), initial=0.05)
    # A panel that reaches further would hide what happens around one.
    reach = min(1.25 * largest, 1.0)
    ax.set_ylim(1 - reach, 1 + reach)
    arrows = None
    if ratio is not None:
        arrows = (
            _arrows(ratio > 1 + reach, "^", edges, "black", ax),
            _arrows(ratio < 1 - reach, "v", edges, "black", ax),
        )
    return PredictionRatioArtists(band, points, arrows)
