"""The figures of a run folder."""

import io
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from diffana import assemble, plot, runs
from diffana.analysis import NOMINAL, Analysis, Outputs, Region
from diffana.config import Config, RegionSection
from diffana.data.events import Events
from diffana.histogram import Histogram
from diffana.workflow.prepared import Prepared


N_SHOWN = 400
N_GRID = 150


def save_figures(
    run: runs.Run,
    config: Config,
    prepared: Prepared,
    analysis: Analysis,
    outputs: Outputs,
) -> None:
    """Draw the curves, the histograms and the observables of `run` into its folder.

    Args:
        run: the run.
        config: its configuration.
        prepared: its events.
        analysis: the selected one, with sharp cuts and bins.
        outputs: what it makes of the test events.
    """
    # Figure objects without pyplot leave the user's backend and figures alone.
    with plot.style():
        save(run, "training", lambda figure: draw_curves(figure, run))
        for region in analysis.regions:
            save(
                run,
                f"histogram_{region.name}",
                lambda figure, region=region: draw_histogram(
                    figure, config, prepared, region, outputs
                ),
            )
            if len(analysis.summaries[region.summary].columns) == 2:
                save(
                    run,
                    f"observable_{region.name}",
                    lambda figure, region=region: draw_observable(
                        figure, config, prepared, region, analysis
                    ),
                )


def save(run: runs.Run, name: str, draw: Callable[[Figure], None]) -> None:
    """Put a figure into a run folder, as PDF and PNG.

    Args:
        run: the run.
        name: of the files, without suffix.
        draw: draws on an empty figure, inside `plot.style()`.
    """
    figure = Figure(figsize=mpl.rcParams["figure.figsize"], layout="constrained")
    draw(figure)
    for suffix in ("pdf", "png"):
        file = io.BytesIO()
        figure.savefig(file, format=suffix, dpi=200)
        run.write(f"figures/{name}.{suffix}", file.getvalue())


def draw_curves(figure: Figure, run: runs.Run) -> None:
    """Draw loss and hard validation metrics of a training, one below the other.

    Args:
        figure: an empty figure, whose height is adapted.
        run: a run that has made an epoch at least.
    """
    records = run.read_metrics()
    names = ("cls", "p0", "sigma_mu")
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, 2.2 * height)
    axes = figure.subplots(len(names) + 1, 1)
    losses = np.concatenate([np.array(_floats(r["loss"])) for r in records])
    per_epoch = np.array([len(record["loss"]) for record in records])
    progress = np.concatenate(
        [i + (np.arange(n) + 0.5) / n for i, n in enumerate(per_epoch)]
    )
    plot.loss_curve(
        progress, losses, np.isnan(losses), progress_name="Epoch", ax=axes[0]
    )
    epoch = np.array([record["epoch"] for record in records])
    best = [record["epoch"] for record in records if record["best"]]
    plot.metric_curves(
        epoch,
        {
            name: np.array(_floats([r["validation"][name] for r in records]))
            for name in names
        },
        selected=best[-1],
        axes=list(axes[1:]),
    )
    for ax in axes:
        ax.set_xlim(0, epoch[-1] + 0.5)
    plot.label("Simulation", ax=axes[0])


def _floats(values: list[Any]) -> list[float]:
    return [float(value) for value in values]


def _by_name(
    prepared: Prepared, outputs: Outputs, region: Region
) -> dict[tuple[str, str], Histogram]:
    populations = prepared.parts["test"].populations
    return {
        (one.name.sample, one.name.variation): histogram
        for one, histogram in zip(populations, outputs.histograms, strict=True)
        if one.name.region == region.name
    }


def _layers(config: Config, found: dict[tuple[str, str], Histogram]) -> plot.Layers:
    """Samples, the largest first, and the variations that can be told apart."""
    yields = {
        sample: float(np.sum(histogram.values()))
        for (sample, variation), histogram in found.items()
        if variation == NOMINAL
    }
    samples = sorted(yields, key=lambda sample: -yields[sample])
    signals = [name for name in samples if name in assemble.signal_samples(config)]
    backgrounds = [name for name in samples if name not in signals]
    return plot.layers(backgrounds, signals, _systematics(found))


def _total(histograms: list[Histogram]) -> Histogram:
    return Histogram(
        histograms[0].edges,
        sum(one.sumw for one in histograms),
        sum(one.sumw2 for one in histograms),
    )


def _systematics(found: dict[tuple[str, str], Histogram]) -> list[str]:
    """The simulated systematics with the largest effect, at most three of them."""
    effect: dict[str, float] = {}
    for (sample, variation), histogram in found.items():
        if variation != NOMINAL:
            name = variation.split("/")[0]
            shift = histogram.values() - found[sample, NOMINAL].values()
            effect[name] = effect.get(name, 0.0) + float(np.sum(np.abs(shift)))
    return sorted(effect, key=lambda name: -effect[name])[:3]


def draw_histogram(
    figure: Figure,
    config: Config,
    prepared: Prepared,
    region: Region,
    outputs: Outputs,
) -> None:
    """Draw the yields of test events in a region, with the largest variations.

    Args:
        figure: an empty figure.
        config: the configuration.
        prepared: its events.
        region: the region, with sharp cuts and bins.
        outputs: what the analysis makes of the test events.
    """
    (section,) = (one for one in config.regions if one.name == region.name)
    edges = shown_edges(section, np.asarray(region.edges()))
    found = {
        name: Histogram(edges, one.sumw, one.sumw2)
        for name, one in _by_name(prepared, outputs, region).items()
    }
    layers = _layers(config, found)
    nominal = {
        sample: histogram
        for (sample, variation), histogram in found.items()
        if variation == NOMINAL
    }
    variations = {}
    for name in _systematics(found):
        touched = [sample for sample in nominal if (sample, f"{name}/up") in found]
        up = nominal | {sample: found[sample, f"{name}/up"] for sample in touched}
        down = nominal | {sample: _down(found, sample, name) for sample in touched}
        ups, downs = layers.collect(up), layers.collect(down)
        for layer in dict.fromkeys(layers.names[sample] for sample in touched):
            variations[layer, name] = _total(ups[layer]), _total(downs[layer])
    axes = plot.ratio_axes(figure)
    drawn = {name: _total(several) for name, several in layers.collect(nominal).items()}
    plot.stacked_histogram(
        drawn,
        signals=[name for name in layers.signals if name in drawn],
        variations=variations,
        colours=layers.colours,
        observable=region.summary,
        ax=axes.main,
        ax_ratio=axes.ratio,
    )
    plot.label("Simulation", ax=axes.main)


def shown_edges(
    section: RegionSection, edges: Float[np.ndarray, " edge"]
) -> Float[np.ndarray, " edge"]:
    """Bin edges of a region as they are drawn: open bins end where its Binning does."""
    shown = np.array(edges)
    for end in (0, -1):
        if not np.isfinite(shown[end]):
            shown[end] = section.binning[end]
    return shown


def _down(found: dict[tuple[str, str], Histogram], sample: str, name: str) -> Histogram:
    """The downward variation, mirrored from the upward one if it is symmetrised."""
    if (sample, f"{name}/down") in found:
        return found[sample, f"{name}/down"]
    up, nominal = found[sample, f"{name}/up"], found[sample, NOMINAL]
    return Histogram(up.edges, 2 * nominal.sumw - up.sumw, up.sumw2)


def draw_observable(
    figure: Figure,
    config: Config,
    prepared: Prepared,
    region: Region,
    analysis: Analysis,
) -> None:
    """Draw the observable of a region over its two inputs, with bins and test events.

    Args:
        figure: an empty figure.
        config: the configuration.
        prepared: its events.
        region: a region whose observable has two inputs.
        analysis: the analysis with that observable.
    """
    summary = analysis.summaries[region.summary]
    column_x, column_y = summary.columns
    # Those of the first portion are as good as any.
    events = [one for one in prepared.parts["test"][0] if one.region == region.name]
    names = [events[0].columns[column] for column in summary.columns]
    shown = _told_apart(config, events)
    points = {
        name: np.asarray(one.features)[np.flatnonzero(one.weight)[:N_SHOWN]][
            :, [column_x, column_y]
        ]
        for name, one in shown.items()
    }
    everything = np.concatenate(list(points.values()))
    low, high = np.percentile(everything, [0.5, 99.5], axis=0)
    margin = 0.05 * (high - low)
    x, y = np.linspace(low - margin, high + margin, N_GRID).T
    grid = np.zeros((N_GRID**2, len(events[0].columns)))
    grid[:, column_x], grid[:, column_y] = (a.ravel() for a in np.meshgrid(x, y))
    values = np.asarray(summary(jnp.asarray(grid)))
    if values.ndim > 1:
        values = np.argmax(values, axis=1)
    side = math.isqrt(len(values))
    signals = [
        name
        for name, one in shown.items()
        if one.variation == NOMINAL and one.sample in assemble.signal_samples(config)
    ]
    ax = figure.subplots()
    plot.observable_map(
        x,
        y,
        values.reshape(side, side),
        edges=np.asarray(region.edges()),
        events=points,
        colours=plot.palette([one for one in points if one not in signals], signals),
        observable=region.summary,
        x_name=names[0],
        y_name=names[1],
        ax=ax,
    )
    plot.label("Simulation", ax=ax)


def _told_apart(config: Config, events: list[Events]) -> dict[str, Events]:
    """Populations by name, as many as there are colours: nominal ones, largest first.

    What is left of the colours shows variations.
    """
    signals = assemble.signal_samples(config)
    ordered = sorted(
        events, key=lambda one: (one.variation != NOMINAL, -float(np.sum(one.weight)))
    )
    left = {True: plot.MOST_SIGNALS, False: plot.MOST_BACKGROUNDS}
    found: dict[str, Events] = {}
    for one in ordered:
        is_nominal = one.variation == NOMINAL
        is_signal = is_nominal and one.sample in signals
        if left[is_signal]:
            left[is_signal] -= 1
            name = one.sample if is_nominal else f"{one.sample}, {one.variation}"
            found[plot.literal(name)] = one
    return found
