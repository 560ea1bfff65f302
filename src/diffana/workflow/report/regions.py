"""The sections on the channels: learned observables, composition, simulated events."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from diffana import plot
from diffana.histfactory import Layout
from diffana.infer import Yields
from diffana.workflow.report.document import (
    Block,
    Heading,
    Missing,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    number,
)
from diffana.workflow.report.fits import Fits
from diffana.workflow.report.material import Material
from diffana.workflow.report.outcome import dataset
from diffana.workflow.report.pictures import picture


def regions(material: Material, fits: Fits) -> Section:
    """Every channel with its samples, its bands before and after the fit, and data."""
    layers = _layers(material, fits.prefit)
    blocks: list[Block] = [
        Text(
            "Yields of test events with sharp cuts and bins, scaled to the full "
            "luminosity. Hatched: uncertainty of the sum; before the fit that of all "
            "constrained parameters, after the fit that of its covariance."
        )
    ]
    blocks += [
        Text(
            f"Drawn together as “{name}”: {', '.join(samples)}. Tables list them one "
            "by one."
        )
        for name, samples in layers.merged.items()
    ]
    for index, channel in enumerate(material.channels):
        blocks.append(Heading(f"{channel}: {_observable(material, channel)}"))
        if channel not in material.observed and material.observed:
            blocks.append(Missing("No observed counts in this channel."))
        before = _drawn(material, channel, index, "Pre-fit", fits.prefit, layers)
        if isinstance(fits.postfit, Missing):
            blocks += [Pictures([before]), fits.postfit]
            continue
        after = _drawn(material, channel, index, "Post-fit", fits.postfit, layers)
        blocks.append(Pictures([before, after]))
    return Section("regions", "Observables in all regions", blocks)


def _observable(material: Material, channel: str) -> str:
    section = material.section(channel)
    if section is None:
        return "published channel"
    if section.observable:
        return f"learned observable {section.observable}"
    return f"variable {section.variable}"


def _layers(material: Material, yields: Yields) -> plot.Layers:
    """Samples by their yield in all channels, the largest first."""
    total: dict[str, float] = {}
    for row, value in zip(yields.layout.rows, np.asarray(yields.rows), strict=True):
        total[row.sample] = total.get(row.sample, 0.0) + float(value)
    names = sorted(total, key=lambda name: -total[name])
    signals = [name for name in names if name in material.signals]
    return plot.layers([name for name in names if name not in signals], signals)


def _drawn(
    material: Material,
    channel: str,
    index: int,
    stage: str,
    yields: Yields,
    layers: plot.Layers,
) -> Picture:
    axis, counts = material.axis(channel), material.counts(channel)
    bins = yields.layout.bins(channel)
    total = np.asarray(yields.bins)[bins]
    cells = {
        sample: np.asarray(yields.cells)[yields.layout.cells(channel, sample)]
        for sample in material.samples(channel)
    }
    samples = {
        name: np.sum(several, axis=0) for name, several in layers.collect(cells).items()
    }
    on = dataset(material)

    def draw(figure: Figure) -> None:
        axes = plot.ratio_axes(figure)
        plot.prediction(
            samples,
            np.asarray(yields.bins_uncertainty)[bins],
            edges=axis.edges,
            signals=layers.signals,
            colours=layers.colours,
            observable=plot.literal(axis.label),
            data=counts,
            ax=axes.main,
            ax_ratio=axes.ratio,
        )
        if axis.is_numbered:
            axes.ratio.set_xticks(np.arange(1, len(axis.bins) + 1))
            axes.ratio.minorticks_off()
        told = stage if material.on_data else f"{stage}, Asimov"
        plot.label(told, ax=axes.main)

    strength = f"{material.finished.poi} = 1"
    how = strength if stage == "Pre-fit" else f"best fit to {on}"
    seen = " Points: observed counts with 68 % intervals." if counts is not None else ""
    return picture(
        f"region-{index}-{stage.lower()}",
        draw,
        alternative=f"{stage} yields of channel {channel}, {axis.title}: "
        f"{', '.join(number(value, 3) for value in total)} events"
        + (
            ""
            if counts is None
            else f"; observed {', '.join(number(value, 5) for value in counts)}"
        )
        + ".",
        caption=f"{stage} ({how}): {channel}, {axis.title}.{seen}",
    )


def composition(material: Material) -> Section:
    """Yields bin by bin, and how well simulated events know them."""
    model = material.published.model
    nominal = np.asarray(model.templates.nominal)
    uncertainty = _simulated(model.layout, np.asarray(model.templates.staterror))
    blocks: list[Block] = [
        Text(
            "Templates of the exported workspace: test events scaled to the full "
            "luminosity, before any fit. The effective number of events is the yield "
            "squared over its variance by the finite simulation."
        )
    ]
    for channel in material.channels:
        blocks += _bins(material, channel, nominal, uncertainty)
    return Section("composition", "Composition and simulated statistics", blocks)


def _simulated(
    layout: Layout, staterror: Float[np.ndarray, " staterror"]
) -> Float[np.ndarray, " cell"]:
    """Statistical uncertainty of each cell; nan where the model has none."""
    found = np.full(np.size(layout.cell_bin), np.nan)
    found[np.asarray(layout.staterror_cell)] = staterror
    return found


def _bins(
    material: Material,
    channel: str,
    nominal: Float[np.ndarray, " cell"],
    uncertainty: Float[np.ndarray, " cell"],
) -> list[Block]:
    layout = material.published.model.layout
    samples, axis = material.samples(channel), material.axis(channel)
    cells = [layout.cells(channel, sample) for sample in samples]
    values = np.stack([nominal[one] for one in cells])
    errors = np.stack([uncertainty[one] for one in cells])
    total = values.sum(axis=0)
    known = ~np.all(np.isnan(errors), axis=0)
    error = np.where(known, np.sqrt(np.nansum(errors**2, axis=0)), np.nan)
    where = f"{channel}, {axis.title}"
    shares = [
        (name, *(_share(value, whole) for value in column), number(whole))
        for name, column, whole in zip(axis.bins, values.T, total, strict=True)
    ]
    quality = [
        (name, *map(_quality, column, spread), _quality(whole, error_of_sum))
        for name, column, spread, whole, error_of_sum in zip(
            axis.bins, values.T, errors.T, total, error, strict=True
        )
    ]
    headings = ("Bin", *samples, "sum")
    return [
        Heading(channel),
        Table(f"{where}: events, and their share of the bin", headings, shares),
        Table(
            f"{where}: relative uncertainty by the finite simulation, and effective "
            "number of events; – where the model has no such uncertainty",
            headings,
            quality,
        ),
    ]


def _share(value: float, total: float) -> str:
    if total <= 0:
        return number(value)
    return f"{number(value)} ({100 * value / total:.1f} %)".replace("(-", "(−")


def _quality(value: float, uncertainty: float) -> str:
    if np.isnan(uncertainty):
        return "–"
    if uncertainty == 0:
        return "empty" if value == 0 else "no uncertainty"
    if value <= 0:
        return "not positive"
    effective = (value / uncertainty) ** 2
    return f"{100 * uncertainty / value:.1f} % ({effective:.0f})"
