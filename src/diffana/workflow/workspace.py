"""`diffana workspace`: the likelihood of an analysis that needs no training."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from diffana import assemble
from diffana.analysis import Analysis
from diffana.config import AnalysisConfig, HistogramConfig, NormPlusShapeSystematic
from diffana.data.events import Events, PopulationName
from diffana.errors import SpecificationError
from diffana.histfactory import HistFactory, to_workspace
from diffana.histogram import Histogram
from diffana.infer import nominal


# Events in memory at a time.
_CHUNK = 1_000_000


class Workspace(NamedTuple):
    """A pyhf workspace, and what a reader should know of it.

    Attributes:
        document: the workspace in pyhf's form.
        remarks: sentences on what is not in the configuration.
    """

    document: dict[str, Any]
    remarks: tuple[str, ...]


def build_workspace(config: AnalysisConfig | HistogramConfig) -> Workspace:
    """The workspace of a configuration whose regions bin fixed variables.

    Templates are hard histograms of all events, a part of which is in memory at a time,
    or histograms that are read. Observed counts are those of the Data sample; a region
    without one has the counts expected of the background, or of everything if there is
    no parameter of interest.

    From a configuration of cabinetry comes the workspace that cabinetry builds, with
    these differences in writing: initial values and bounds of norm factors are spelled
    out where they are defaults; the modifiers of a sample come in another order; a
    space in the name of a region stays a space in the name of its `staterror`; and the
    Value of a fixed parameter holds beside the Nominal of a norm factor and for the
    ModifierName of a systematic, by which parameters are named. A variation without any
    yield, or of a template without any, is refused: the change of shape is undefined.

    Raises:
        SpecificationError: if a region needs training, or the model cannot be built.
        DataError: naming file, column and sample of what is wrong.
    """
    if isinstance(config, HistogramConfig):
        config, histograms, observed = assemble.templates(config)
        analysis = assemble.fixed_analysis(config, ())
    else:
        _refuse_trained(config)
        analysis = assemble.fixed_analysis(config, ()).hard
        histograms, observed = _histograms(config, analysis)
    likelihood = analysis.likelihood(histograms)
    counts, remarks = _counts(config, likelihood, observed)
    document = to_workspace(likelihood, counts, config.general.measurement)
    document = _as_written(config, document)
    return Workspace(document, (*remarks, *_without_yield(document)))


def _refuse_trained(config: AnalysisConfig) -> None:
    for region in config.regions:
        trained = [cut.variable for cut in region.cuts or () if cut.trainable]
        if region.observable is not None:
            what = f"bins the Observable {region.observable!r}"
        elif region.trainable_binning:
            what = "has TrainableBinning"
        elif trained:
            what = f"has a trainable cut on {trained[0]!r}"
        else:
            continue
        raise SpecificationError(
            f"region {region.name!r} {what}, which has to be trained first: "
            "`diffana train` leaves a workspace.json in its run folder"
        )


def _histograms(
    config: AnalysisConfig, analysis: Analysis
) -> tuple[dict[PopulationName, Histogram], dict[str, Histogram]]:
    """Templates of all simulated events, and observed ones by region."""
    templates: dict[PopulationName, Histogram] = {}
    observed: dict[str, Histogram] = {}
    for source in assemble.sources(config):
        summed = _summed(config, analysis, source)
        if source.sample.data:
            observed |= {name.region: one for name, one in summed.items()}
        else:
            templates |= summed
    return templates, observed


def _summed(
    config: AnalysisConfig, analysis: Analysis, source: assemble.Source
) -> dict[PopulationName, Histogram]:
    """Histograms of the events of a source, with the Yield of the sample."""
    found: dict[PopulationName, Histogram] = {}
    total = 0.0
    for table in assemble.chunks(config, source, _CHUNK):
        if source.sample.yield_ is not None:
            total += assemble.sum_of_weights(source, table)
        for one in assemble.populations(config, source, table):
            (part,) = analysis.histograms((_padded(one),))
            found[one.name] = found[one.name] + part if one.name in found else part
    if not found:
        raise assemble.nothing_selected(source)
    scale = assemble.yield_scale(source, total)
    return {
        name: Histogram(one.edges, scale * one.sumw, scale**2 * one.sumw2)
        for name, one in found.items()
    }


def _padded(events: Events) -> Events:
    """The events, and enough of weight 0 for their number to be a power of two.

    Histograms of populations of many different lengths would take long to compile.
    """
    missing = (1 << (len(events) - 1).bit_length()) - len(events)
    return dataclasses.replace(
        events,
        features=np.pad(events.features, ((0, missing), (0, 0))),
        weight=np.pad(events.weight, (0, missing)),
    )


def _counts(
    config: AnalysisConfig, likelihood: HistFactory, observed: Mapping[str, Histogram]
) -> tuple[Float[np.ndarray, " data"], tuple[str, ...]]:
    """Observed counts and auxiliary measurements, and where they do not come from data.

    Auxiliary measurements are those of the likelihood.
    """
    layout = likelihood.layout
    counts, remarks = np.zeros(layout.n_bins), ()
    without = [one.name for one in config.regions if one.name not in observed]
    if without:
        poi = likelihood.parameters.poi
        truth = likelihood.parameters.inits if poi is None else nominal(likelihood, 0.0)
        counts = np.array(
            eqx.filter_jit(HistFactory.expected_actualdata)(likelihood, truth)
        )
        expected = "everything" if poi is None else f"{poi} = 0"
        remarks = (
            f"no Data sample in {', '.join(without)}: the observed counts there are "
            f"those expected for {expected}",
        )
    if config.workspace is not None:
        structure = assemble.structure(config)
        for channel in structure.published_channels:
            counts[layout.bins(channel)] = structure.data[layout.bins(channel)]
    for region, histogram in observed.items():
        counts[layout.bins(region)] = histogram.sumw
    return np.concatenate([counts, likelihood.auxdata]), remarks


def _without_yield(document: Mapping[str, Any]) -> Iterator[str]:
    """Variations that leave nothing of a yield, where no likelihood is defined."""
    for channel in document["channels"]:
        for sample in channel["samples"]:
            for modifier in sample["modifiers"]:
                if modifier["type"] != "normsys":
                    continue
                lowest = min(modifier["data"].values())
                if lowest <= 0:
                    yield (
                        f"region {channel['name']!r}, sample {sample['name']!r}: "
                        f"{modifier['name']!r} scales the yield by {lowest:.3g}, which "
                        "no likelihood can use"
                    )


def _as_written(config: AnalysisConfig, document: dict[str, Any]) -> dict[str, Any]:
    """The workspace in the order of the configuration, without shapes of one bin."""
    regions = [region.name for region in config.regions]
    samples = [sample.name for sample in config.samples]
    shapes = {
        systematic.parameter
        for systematic in config.systematics or ()
        if isinstance(systematic, NormPlusShapeSystematic)
    }

    def place(names: list[str]) -> Callable[[Mapping[str, Any]], int]:
        # What is published comes first, in its own order.
        return lambda one: names.index(one["name"]) if one["name"] in names else -1

    def modifiers(sample: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [
            one
            for one in sample["modifiers"]
            if not (one["type"] == "histosys" and one["name"] in shapes)
        ]

    channels = [
        {
            "name": channel["name"],
            "samples": [
                {**sample, "modifiers": modifiers(sample)}
                if channel["name"] in regions and len(sample["data"]) == 1
                else sample
                for sample in sorted(channel["samples"], key=place(samples))
            ],
        }
        for channel in sorted(document["channels"], key=place(regions))
    ]
    observations = sorted(document["observations"], key=place(regions))
    return {**document, "channels": channels, "observations": observations}
