"""How many events each step of the selection leaves."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffana.analysis import NOMINAL, Analysis, Region
from diffana.assemble.events import (
    chunks,
    populations,
    preselected,
    sum_of_weights,
)
from diffana.assemble.sources import Source, feature_columns, sources
from diffana.config import AnalysisConfig
from diffana.data.table import Table
from diffana.errors import DataError
from diffana.histogram import AbstractCut, HeldCut, KeepAbove, KeepBelow


_CHUNK = 100_000


class Step(NamedTuple):
    """What is left after a step of the selection.

    Attributes:
        name: of the step.
        n_events: events in the files; from the filter of the region on, those of
            non-zero weight.
        sumw: their expected number at the target luminosity.
    """

    name: str
    n_events: int
    sumw: float


class Cutflow(NamedTuple):
    """The selection of a sample in a region, nominal events only.

    Attributes:
        region: name of the region.
        sample: name of the sample.
        steps: all events, those of the sample, those of the region, then one step for
            each cut.
    """

    region: str
    sample: str
    steps: tuple[Step, ...]


def cutflows(config: AnalysisConfig, analysis: Analysis) -> tuple[Cutflow, ...]:
    """Events left after each step, by region and sample, observed data included.

    The files are read in pieces, so that memory does not grow with them.

    Args:
        config: the configuration.
        analysis: the analysis whose cuts count, which are taken as sharp.

    Raises:
        DataError: naming file, column and sample of what is wrong.
    """
    regions = {region.name: region.hard for region in analysis.regions}
    found = [
        one
        for source in sources(config)
        if any(member.variation == NOMINAL for member in source.members)
        for one in _of_source(config, source, regions)
    ]
    order = [region.name for region in config.regions]
    return tuple(sorted(found, key=lambda one: order.index(one.region)))


def _of_source(
    config: AnalysisConfig, source: Source, regions: dict[str, Region]
) -> Iterator[Cutflow]:
    everything = source._replace(
        sample=source.sample.model_copy(update={"preselection": None})
    )
    before, total = np.zeros((2, 2)), 0.0
    after: dict[str, np.ndarray] = {}
    for table in chunks(config, source, _CHUNK):
        own = preselected(source.sample, table)
        total += (sumw := sum_of_weights(source, table))
        before += [[len(table), sum_of_weights(everything, table)], [len(own), sumw]]
        for name, counts in _in_regions(config, source, table, regions):
            after[name] = after.get(name, 0.0) + counts
    scale = 1.0
    if source.sample.yield_ is not None:
        if not total > 0:
            raise DataError(
                f"sample {source.sample.name!r}: its weights add up to {total:g}"
            )
        scale = source.sample.yield_ / total
    for member in source.members:
        if member.variation != NOMINAL:
            continue
        region = regions[member.region.name]
        cuts = [_described(config, cut) for cut in region.cuts.cuts]
        names = ["all events", "preselection", "filter of the region", *cuts]
        left = after.get(region.name, np.zeros((len(cuts) + 1, 2)))
        yield Cutflow(
            region.name,
            source.sample.name,
            tuple(
                Step(name, int(n_events), scale * sumw)
                for name, (n_events, sumw) in zip(names, [*before, *left], strict=True)
            ),
        )


def _in_regions(
    config: AnalysisConfig, source: Source, table: Table, regions: dict[str, Region]
) -> Iterator[tuple[str, np.ndarray]]:
    """Name of each region, and events and weights left after filter and cuts."""
    for events in populations(config, source, table):
        if events.variation != NOMINAL:
            continue
        features, weight = jnp.asarray(events.features), np.asarray(events.weight)
        counts = [(np.count_nonzero(weight), weight.sum())]
        for cut in regions[events.region].cuts.cuts:
            weight = np.where(jax.vmap(cut.hard)(features), weight, 0.0)
            counts.append((np.count_nonzero(weight), weight.sum()))
        yield events.region, np.array(counts, float)


def _described(config: AnalysisConfig, cut: AbstractCut) -> str:
    match cut.cut if isinstance(cut, HeldCut) else cut:
        case KeepAbove(threshold=threshold, column=column):
            sign = "≥"
        case KeepBelow(threshold=threshold, column=column):
            sign = "<"
        case other:
            return type(other).__name__
    return f"{feature_columns(config)[column]} {sign} {float(threshold):.4g}"
