"""Histograms of a configuration that reads them from files."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from diffana.assemble.model import applies
from diffana.config import (
    AnalysisConfig,
    HistogramConfig,
    HistogramRegion,
    NormPlusShapeSystematic,
    SampleSection,
    Variation,
)
from diffana.data.events import PopulationName
from diffana.data.readers import read_histogram
from diffana.errors import DataError
from diffana.histogram import Histogram


class Templates(NamedTuple):
    """Histograms of an analysis.

    Attributes:
        config: the analysis, with the bin edges that the histograms have.
        simulated: template of each region, sample and variation.
        observed: observed counts by region.
    """

    config: AnalysisConfig
    simulated: dict[PopulationName, Histogram]
    observed: dict[str, Histogram]


def templates(config: HistogramConfig) -> Templates:
    """The histograms that a configuration names.

    Raises:
        DataError: naming a file or histogram that is not there, or has other bins than
            the others of its region.
    """
    first: dict[str, tuple[str, Histogram]] = {}
    simulated: dict[PopulationName, Histogram] = {}
    observed: dict[str, Histogram] = {}
    for region, sample, name, variation in _wanted(config):
        place = _place(config, region, sample, variation)
        file, _, inside = place.rpartition(".root:")
        histogram = Histogram(*read_histogram(f"{file}.root", inside))
        reference, expected = first.setdefault(region.name, (place, histogram))
        if not np.array_equal(histogram.edges, expected.edges):
            raise DataError(
                f"region {region.name!r}: {place} has bin edges "
                f"{_listed(histogram)}, but {reference} has {_listed(expected)}"
            )
        if sample.data:
            observed[region.name] = histogram
        else:
            simulated[PopulationName(region.name, sample.name, name)] = histogram
    edges = {name: one.edges.tolist() for name, (_, one) in first.items()}
    for region in config.regions:
        if region.name not in edges:
            raise DataError(f"region {region.name!r}: no sample appears in it")
    return Templates(config.binned(edges), simulated, observed)


def _listed(histogram: Histogram) -> str:
    return ", ".join(f"{edge:g}" for edge in histogram.edges.tolist())


_AS_IT_IS = Variation()


def _wanted(
    config: HistogramConfig,
) -> Iterator[tuple[HistogramRegion, SampleSection, str, Variation]]:
    """Region, sample and variation of each histogram."""
    for region in config.regions:
        for sample in config.samples:
            if not applies(sample.regions, region.name):
                continue
            yield region, sample, "nominal", _AS_IT_IS
            for systematic in config.systematics or ():
                if (
                    sample.data
                    or not isinstance(systematic, NormPlusShapeSystematic)
                    or not applies(systematic.samples, sample.name)
                    or not applies(systematic.regions, region.name)
                ):
                    continue
                for side, variation in (
                    ("up", systematic.up),
                    ("down", systematic.down),
                ):
                    if isinstance(variation, Variation):
                        yield region, sample, f"{systematic.name}/{side}", variation


def _place(
    config: HistogramConfig,
    region: HistogramRegion,
    sample: SampleSection,
    variation: Variation,
) -> str:
    """File and, after a colon, histogram."""
    (sample_path,) = variation.sample_path or sample.sample_path or ("",)
    varied = variation.variation_path or config.general.variation_path or ""
    return (
        (config.general.input_path or "")
        .replace("{RegionPath}", region.region_path or "")
        .replace("{SamplePath}", sample_path)
        .replace("{VariationPath}", varied)
    )
