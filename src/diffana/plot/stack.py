"""The learned histogram: samples stacked, with their uncertainties and variations."""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from diffana.histogram import Histogram


Yields = Float[np.ndarray, " bin"]
Edges = Float[np.ndarray, " bin+1"]

_SPAN_OF_LINEAR_AXIS = 100.0


class VariationArtists(NamedTuple):
    """One systematic variation of the sum of all samples.

    Attributes:
        up: the upward variation, a solid line.
        down: the downward variation, a dashed line.
    """

    up: StepPatch
    down: StepPatch


class RatioArtists(NamedTuple):
    """The lower panel: everything is relative to the nominal sum.

    Attributes:
        band: statistical uncertainty of the nominal sum.
        variations: by systematic uncertainty.
        beyond: by systematic uncertainty, arrows at the bins where a variation lies
            above and below the panel.
    """

    band: StepPatch
    variations: dict[str, VariationArtists]
    beyond: dict[str, tuple[Line2D, Line2D]]


class StackArtists(NamedTuple):
    """What `stacked_histogram` drew.

    Attributes:
        samples: stacked yield of each sample, from the top.
        total: nominal sum of all samples.
        band: its statistical uncertainty.
        signals: yield of each signal by itself.
        variations: by systematic uncertainty.
        legend: the legend.
        ratio: the lower panel.
    """

    samples: dict[str, StepPatch]
    total: StepPatch
    band: StepPatch
    signals: dict[str, StepPatch]
    variations: dict[str, VariationArtists]
    legend: Legend
    ratio: RatioArtists


def stacked_histogram(
    histograms: Mapping[str, Histogram],
    *,
    signals: Collection[str],
    variations: Mapping[tuple[str, str], tuple[Histogram, Histogram]],
    colours: Mapping[str, str],
    observable: str,
    ax: Axes,
    ax_ratio: Axes,
) -> StackArtists:
    """Draw the samples on top of each other, and how far their sum varies.

    Negative yields are stacked downwards from zero, so that no sample hides another;
    the black line is the sum. The lower panel is empty where the nominal sum is zero or
    negative, as a ratio to it means nothing; arrows mark what lies beyond the panel.
    The axis is logarithmic if the sums, or one of them and the largest yield of a
    signal, differ by more than two decades and no sum is negative.

    Args:
        histograms: nominal yields of each sample, all with the same edges. The first is
            on top, but for the signals, which are on top of everything.
        signals: which of them are signals; they are also drawn by themselves.
        variations: upward and downward yields by sample and systematic uncertainty.
            Samples that a systematic uncertainty leaves alone are absent.
        colours: colour of each sample and systematic uncertainty, see `palette`.
        observable: name and unit of what is histogrammed.
        ax: the upper panel.
        ax_ratio: the lower panel.

    Raises:
        ValueError: if there is no sample, edges differ, a yield is not finite, or a
            signal or a variation belongs to no sample.

    Example:
        >>> from matplotlib.figure import Figure
        >>> nominal = Histogram(edges=[0.0, 1.0, 2.0], sumw=[4.0, 1.0], sumw2=[1, 1])
        >>> up = Histogram(edges=[0.0, 1.0, 2.0], sumw=[5.0, 1.0], sumw2=[1, 1])
        >>> ax, ax_ratio = Figure().subplots(2, 1, sharex=True)
        >>> drawn = stacked_histogram(
        ...     {"background": nominal},
        ...     signals=(),
        ...     variations={("background", "scale"): (up, nominal)},
        ...     colours={"background": "blue", "scale": "purple"},
        ...     observable="mass [GeV]",
        ...     ax=ax,
        ...     ax_ratio=ax_ratio,
        ... )
        >>> drawn.ratio.variations["scale"].up.get_data().values.tolist()
        [1.25, 1.0]
    """
    _check(histograms, signals, variations)
    content = _content(histograms, signals, variations)
    edges, total, uncertainty = content.edges, content.total, content.uncertainty

    samples = _stack(content.samples, edges, colours, ax)
    line = _steps(total, edges, "black", ax)
    band = _band(total, uncertainty, edges, ax)
    alone = {
        name: _steps(content.samples[name], edges, colours[name], ax)
        for name in content.samples
        if name in signals
    }
    varied = _variations(content.varied, edges, colours, ax)
    legend = _legend(samples, (line, band), alone, varied, ax)
    visible = [total, *(content.samples[name].max(keepdims=True) for name in alone)]
    _set_scale(content, np.concatenate(visible), _legend_height(legend, ax), ax)
    ax.set(xlim=edges[[0, -1]], ylabel="Events / bin")

    ratio = _draw_ratio(content, colours, ax_ratio)
    ax_ratio.set(xlim=edges[[0, -1]], xlabel=observable)
    ax_ratio.set_ylabel("Var. / nom.", loc="center")
    ax.figure.align_ylabels([ax, ax_ratio])
    return StackArtists(samples, line, band, alone, varied, legend, ratio)


class _Content(NamedTuple):
    """What is drawn: finite edges, samples from the top, their sum, its variations."""

    edges: Edges
    samples: dict[str, Yields]
    total: Yields
    uncertainty: Yields
    varied: dict[str, tuple[Yields, Yields]]


def _content(
    histograms: Mapping[str, Histogram],
    signals: Collection[str],
    variations: Mapping[tuple[str, str], tuple[Histogram, Histogram]],
) -> _Content:
    names = sorted(histograms, key=lambda name: name not in signals)
    yields = {name: histograms[name].values() for name in names}
    return _Content(
        edges=histograms[names[0]].axes[0].edges,
        samples=yields,
        total=_sum(yields.values()),
        uncertainty=np.sqrt(_sum(h.variances() for h in histograms.values())),
        varied={
            systematic: _varied_totals(yields, variations, systematic)
            for systematic in dict.fromkeys(systematic for _, systematic in variations)
        },
    )


def _check(
    histograms: Mapping[str, Histogram],
    signals: Collection[str],
    variations: Mapping[tuple[str, str], tuple[Histogram, Histogram]],
) -> None:
    if not histograms:
        raise ValueError("there is no sample to draw")
    for name in (*signals, *(sample for sample, _ in variations)):
        if name not in histograms:
            raise ValueError(
                f"no sample {name!r}; there are {', '.join(map(repr, histograms))}"
            )
    first, nominal = next(iter(histograms.items()))
    named = {f"sample {name!r}": one for name, one in histograms.items()}
    for (name, systematic), (up, down) in variations.items():
        named[f"sample {name!r}, {systematic} up"] = up
        named[f"sample {name!r}, {systematic} down"] = down
    for name, histogram in named.items():
        if not np.array_equal(histogram.edges, nominal.edges):
            raise ValueError(f"{name}: its edges are not those of {first!r}")
        values, variances = histogram.values(), histogram.variances()
        bad = np.flatnonzero(~np.isfinite(values) | ~np.isfinite(variances))
        if len(bad):
            raise ValueError(
                f"{name}, bin {bad[0]}: yield {values[bad[0]]}, variance "
                f"{variances[bad[0]]}"
            )


def _sum(arrays: Iterable[Yields]) -> Yields:
    return np.sum(list(arrays), axis=0, dtype=float)


def _varied_totals(
    yields: Mapping[str, Yields],
    variations: Mapping[tuple[str, str], tuple[Histogram, Histogram]],
    systematic: str,
) -> tuple[Yields, Yields]:
    """Sum of all samples, those that `systematic` touches varied up and down."""
    touched = {
        sample: (up.values(), down.values())
        for (sample, name), (up, down) in variations.items()
        if name == systematic
    }
    pairs = [touched.get(name, (nominal, nominal)) for name, nominal in yields.items()]
    return _sum(up for up, _ in pairs), _sum(down for _, down in pairs)


def _ratio(values: Yields, nominal: Yields) -> Yields:
    """Quotient, nan where the nominal yield is not positive."""
    blank = np.full(len(nominal), np.nan)
    return np.divide(values, nominal, out=blank, where=nominal > 0)


def _stack(
    yields: Mapping[str, Yields], edges: Edges, colours: Mapping[str, str], ax: Axes
) -> dict[str, StepPatch]:
    upper = lower = np.zeros(len(edges) - 1)
    samples = {}
    for name in reversed(list(yields)):
        values = yields[name]
        base = np.where(values < 0, lower, upper)
        samples[name] = ax.stairs(
            base + values,
            edges,
            baseline=base,
            fill=True,
            fc=colours[name],
            lw=0,
        )
        upper, lower = upper + np.maximum(values, 0), lower + np.minimum(values, 0)
    return {name: samples[name] for name in yields}


def _steps(
    values: Yields, edges: Edges, colour: str, ax: Axes, linestyle: str = "-"
) -> StepPatch:
    return ax.stairs(values, edges, baseline=None, color=colour, ls=linestyle, lw=0.9)


def _band(centre: Yields, uncertainty: Yields, edges: Edges, ax: Axes) -> StepPatch:
    return ax.stairs(
        centre + uncertainty,
        edges,
        baseline=centre - uncertainty,
        fill=True,
        fc="none",
        ec="0.25",
        lw=0,
        hatch="//////",
    )


def _variations(
    varied: Mapping[str, tuple[Yields, Yields]],
    edges: Edges,
    colours: Mapping[str, str],
    ax: Axes,
) -> dict[str, VariationArtists]:
    return {
        systematic: VariationArtists(
            up=_steps(up, edges, colours[systematic], ax),
            down=_steps(down, edges, colours[systematic], ax, "--"),
        )
        for systematic, (up, down) in varied.items()
    }


def _draw_ratio(
    content: _Content, colours: Mapping[str, str], ax: Axes
) -> RatioArtists:
    edges, total = content.edges, content.total
    ones, uncertainty = _ratio(total, total), _ratio(content.uncertainty, total)
    ratios = {
        systematic: (_ratio(up, total), _ratio(down, total))
        for systematic, (up, down) in content.varied.items()
    }
    ax.axhline(1.0, color="black", lw=0.6, zorder=1)
    band = _band(ones, uncertainty, edges, ax)
    variations = _variations(ratios, edges, colours, ax)

    shifts = np.abs(
        [uncertainty, *(one - 1 for pair in ratios.values() for one in pair)]
    )
    largest = np.max(shifts, where=np.isfinite(shifts), initial=0.05)
    # A panel that reaches further would hide what happens around one.
    reach = min(1.25 * largest, 1.0)
    ax.set_ylim(1 - reach, 1 + reach)
    beyond = {
        systematic: (
            _arrows(np.fmax(*pair) > 1 + reach, "^", edges, colours[systematic], ax),
            _arrows(np.fmin(*pair) < 1 - reach, "v", edges, colours[systematic], ax),
        )
        for systematic, pair in ratios.items()
    }
    return RatioArtists(band, variations, beyond)


def _arrows(
    is_beyond: Bool[np.ndarray, " bin"],
    marker: Literal["^", "v"],
    edges: Edges,
    colour: str,
    ax: Axes,
) -> Line2D:
    """Triangles at the upper or lower end of `ax`, as their tip points."""
    centres = (edges[:-1] + edges[1:]) / 2
    height = 0.9 if marker == "^" else 0.1
    (arrows,) = ax.plot(
        centres[is_beyond],
        np.full(np.count_nonzero(is_beyond), height),
        transform=ax.get_xaxis_transform(),
        color=colour,
        ls="",
        marker=marker,
    )
    return arrows


def _legend(
    samples: Mapping[str, StepPatch],
    total: tuple[StepPatch, StepPatch],
    signals: Mapping[str, StepPatch],
    variations: Mapping[str, VariationArtists],
    ax: Axes,
) -> Legend:
    entries = dict[str, StepPatch | tuple[StepPatch, StepPatch]](samples)
    entries["sum, MC stat. unc."] = total
    for name, line in signals.items():
        entries[f"{name}, not stacked"] = line
    for systematic, (up, down) in variations.items():
        entries[f"{systematic}, up"] = up
        entries[f"{systematic}, down"] = down
    return ax.legend(entries.values(), entries.keys(), loc="upper right", ncols=2)


def _legend_height(legend: Legend, ax: Axes) -> float:
    """Height of a legend of two columns, relative to that of its axes."""
    rows = -(-len(legend.get_texts()) // 2)
    font_size = legend.prop.get_size_in_points()
    height = ax.bbox.height * 72 / ax.figure.get_dpi()
    return min((1.4 * rows + 1.2) * font_size / height, 0.6)


def _set_scale(
    content: _Content,
    visible: Float[np.ndarray, " value"],
    legend_height: float,
    ax: Axes,
) -> None:
    """Choose between a linear and a logarithmic axis, and its limits.

    Args:
        content: what is drawn.
        visible: yields that a reader has to be able to see.
        legend_height: part of the axes that is kept free at the top.
        ax: the axes.
    """
    stacked = np.array(list(content.samples.values()))
    lines = [one for pair in content.varied.values() for one in pair]
    highest = np.max([*lines, content.total + content.uncertainty, _top(stacked)])
    lowest = np.min([*lines, -_top(-stacked), np.zeros_like(content.total)])
    smallest = np.min(visible, where=visible > 0, initial=np.inf)
    free = 1 - legend_height
    if np.all(content.total >= 0) and np.max(visible) > _SPAN_OF_LINEAR_AXIS * smallest:
        low = 0.3 * smallest
        ax.set_yscale("log", nonpositive="clip")
        ax.set_ylim(low, low * (highest / low) ** (1 / free))
    elif highest > lowest:
        low = 1.1 * lowest
        ax.set_ylim(low, low + (highest - low) / free)
        if lowest < 0:
            ax.axhline(0, color="black", lw=0.6, zorder=1)


def _top(stacked: Float[np.ndarray, "sample bin"]) -> Yields:
    return np.sum(np.maximum(stacked, 0), axis=0)
