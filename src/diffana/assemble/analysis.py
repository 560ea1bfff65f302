"""The analysis of a configuration: likelihood, observables, regions."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from diffana.analysis import NOMINAL, Analysis, Region, Shape, Summary
from diffana.assemble.events import feature_columns, regions_of, shape_systematics
from diffana.config import (
    BkdeHistogram,
    Config,
    CutSection,
    ExponentialSchedule,
    LinearSchedule,
    MlpObservable,
    NormalizationSystematic,
    RegionSection,
    SampleSection,
    Symmetrized,
)
from diffana.data.events import Events
from diffana.errors import SpecificationError
from diffana.histfactory import HistFactory, from_workspace
from diffana.histogram import (
    AbstractCut,
    AbstractEdges,
    AbstractHistogrammer,
    AbstractSchedule,
    BinnedKDE,
    Constant,
    FixedEdges,
    Geometric,
    HardHistogram,
    HeldCut,
    KeepAbove,
    KeepBelow,
    Linear,
    Selection,
    SoftmaxHistogram,
    TrainableEdges,
)
from diffana.observable import MLP, Standardisation, Variable, fit_standardisation
from diffana.trainable import trainable


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jax.numpy.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
}


def analysis(config: Config, events: Sequence[Events]) -> Analysis:
    """The untrained analysis.

    Args:
        config: the configuration.
        events: training events, whose features fix the scale of the networks' inputs.

    Raises:
        SpecificationError: if nothing in it can be trained.
    """
    regions = tuple(_region(config, region) for region in config.regions)
    built = Analysis(
        summaries=_summaries(config, events),
        regions=regions,
        model=structure(config),
        shapes=_shapes(config),
    )
    if not any(jax.tree.leaves(trainable(built))):
        raise SpecificationError(
            "nothing to train: the configuration has no region with an Observable, "
            "with TrainableBinning or with a trainable cut"
        )
    return built


def structure(config: Config) -> HistFactory:
    """The likelihood with templates still to be filled."""
    codes = config.fit.interpolation
    model, _ = from_workspace(
        specification(config),
        modifier_settings={
            "histosys": {"interpcode": codes.histo_sys},
            "normsys": {"interpcode": codes.norm_sys},
        },
    )
    return model


def specification(config: Config) -> dict[str, Any]:
    """A pyhf workspace with the structure of the likelihood and dummy templates."""
    simulated = [sample for sample in config.samples if not sample.data]
    channels = []
    for region in config.regions:
        n_bins = len(region.binning) - 1
        samples = [
            {
                "name": sample.name,
                "data": [1.0] * n_bins,
                "modifiers": _modifiers(config, region, sample),
            }
            for sample in simulated
            if region in regions_of(config, sample)
        ]
        if not samples:
            raise SpecificationError(f"region {region.name!r}: no sample appears in it")
        channels.append({"name": region.name, "samples": samples})
    (poi,) = (f for f in config.norm_factors if f.name == config.general.poi)
    lower, upper = poi.bounds
    if not lower <= 0 < 1 <= upper:
        raise SpecificationError(
            f"norm factor {poi.name!r}: Bounds [{lower:g}, {upper:g}] of the parameter "
            "of interest have to contain 0 and 1, which expected results compare"
        )
    parameters: list[dict[str, Any]] = [
        {
            "name": factor.name,
            "inits": [factor.nominal],
            "bounds": [list(factor.bounds)],
        }
        for factor in config.norm_factors
    ]
    for held in config.general.fixed or ():
        known = [p for p in parameters if p["name"] == held.name]
        target = known[0] if known else {"name": held.name}
        target |= {"inits": [held.value], "fixed": True}
        parameters += [] if known else [target]
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": [
            {"name": region.name, "data": [0.0] * (len(region.binning) - 1)}
            for region in config.regions
        ],
        "measurements": [
            {
                "name": config.general.measurement,
                "config": {"poi": config.general.poi, "parameters": parameters},
            }
        ],
    }


def _modifiers(
    config: Config, region: RegionSection, sample: SampleSection
) -> list[dict[str, Any]]:
    n_bins = len(region.binning) - 1
    found: list[dict[str, Any]] = [
        {"name": factor.name, "type": "normfactor", "data": None}
        for factor in config.norm_factors
        if _applies(factor.samples, sample.name)
        and _applies(factor.regions, region.name)
    ]
    acting = [
        systematic
        for systematic in config.systematics or ()
        if _applies(systematic.samples, sample.name)
        and _applies(systematic.regions, region.name)
    ]
    by_parameter: dict[str, str] = {}
    for systematic in acting:
        other = by_parameter.setdefault(systematic.parameter, systematic.name)
        if other != systematic.name:
            raise SpecificationError(
                f"region {region.name!r}, sample {sample.name!r}: the systematics "
                f"{other!r} and {systematic.name!r} change it by the same parameter "
                f"{systematic.parameter!r}; give one of them another ModifierName"
            )
    for systematic in acting:
        if isinstance(systematic, NormalizationSystematic):
            hi, lo = systematic.up.normalization, systematic.down.normalization
            norm, shape = {"hi": 1 + hi, "lo": 1 + lo}, None
        else:
            flat = [1.0] * n_bins
            norm, shape = {"hi": 1.0, "lo": 1.0}, {"hi_data": flat, "lo_data": flat}
        name = systematic.parameter
        found.append({"name": name, "type": "normsys", "data": norm})
        if shape is not None:
            found.append({"name": name, "type": "histosys", "data": shape})
    if not sample.disable_staterror:
        found.append(
            {
                "name": f"staterror_{region.name}",
                "type": "staterror",
                "data": [0.1] * n_bins,
            }
        )
    return found


def _applies(wanted: tuple[str, ...] | None, name: str) -> bool:
    return wanted is None or name in wanted


def _shapes(config: Config) -> tuple[Shape, ...]:
    return tuple(
        Shape(
            region=region.name,
            sample=sample.name,
            systematic=systematic.name,
            parameter=systematic.parameter,
            symmetrize=isinstance(systematic.down, Symmetrized),
        )
        for sample in config.samples
        for systematic in shape_systematics(config, sample)
        for region in regions_of(config, sample)
        if _applies(systematic.regions, region.name)
    )


def _summaries(config: Config, events: Sequence[Events]) -> dict[str, Summary]:
    columns = feature_columns(config)
    found = {
        observable.name: Summary(
            _network(config, observable, events),
            tuple(columns.index(name) for name in observable.inputs),
        )
        for observable in config.observables or ()
        if any(region.observable == observable.name for region in config.regions)
    }
    for region in config.regions:
        if region.variable is not None:
            column = columns.index(region.variable)
            found[region.variable] = Summary(Variable(0), (column,))
    return found


def _network(
    config: Config, observable: MlpObservable, events: Sequence[Events]
) -> MLP:
    regions = {r.name: r for r in config.regions if r.observable == observable.name}
    n_bins = {len(region.binning) - 1 for region in regions.values()}
    is_softmax = not isinstance(config.histogram, BkdeHistogram)
    if is_softmax and len(n_bins) != 1:
        raise SpecificationError(
            f"observable {observable.name!r}: a softmax histogram has one output per "
            "bin, so its regions need the same number of bins"
        )
    return MLP(
        len(observable.inputs),
        key=_key(config.general.seed, observable.name),
        hidden=observable.hidden,
        n_outputs=n_bins.pop() if is_softmax else None,
        standardisation=_standardisation(config, observable, events, set(regions)),
        activation=ACTIVATIONS[observable.activation],
        dtype=observable.precision,
    )


def _key(seed: int, name: str) -> Array:
    """Randomness of one network, whatever other networks there are."""
    digest = hashlib.sha256(name.encode()).digest()
    return jax.random.fold_in(jax.random.key(seed), int.from_bytes(digest[:4], "big"))


def _standardisation(
    config: Config,
    observable: MlpObservable,
    events: Sequence[Events],
    regions: set[str],
) -> Standardisation | None:
    if not observable.standardize:
        return None
    seen = [e for e in events if e.region in regions and e.variation == NOMINAL]
    columns = feature_columns(config)
    inputs = [columns.index(name) for name in observable.inputs]
    return fit_standardisation(
        np.concatenate([np.asarray(one.features)[:, inputs] for one in seen]),
        np.concatenate([np.asarray(one.weight) for one in seen]),
        observable.inputs,
    )


def _region(config: Config, region: RegionSection) -> Region:
    columns = feature_columns(config)
    return Region(
        edges=_edges(config, region),
        histogrammer=_histogrammer(config, region),
        cuts=Selection(tuple(_cut(cut, columns) for cut in region.cuts or ())),
        name=region.name,
        summary=region.observable or region.variable or "",
    )


def _edges(config: Config, region: RegionSection) -> AbstractEdges:
    edges = np.array(region.binning)
    is_softmax = region.observable and not isinstance(config.histogram, BkdeHistogram)
    low, high = edges[0], edges[-1]
    if region.flow and not is_softmax:
        edges[[0, -1]] = -np.inf, np.inf
    if not region.trainable_binning:
        return FixedEdges(edges)
    is_open = region.flow and not is_softmax
    return TrainableEdges.from_edges(
        edges, low=low if is_open else None, high=high if is_open else None
    )


def _histogrammer(config: Config, region: RegionSection) -> AbstractHistogrammer:
    section = config.histogram
    if region.variable is not None and not region.trainable_binning:
        # Neither the values nor the edges move: the exact histogram has all gradients
        # there are, those with respect to the weights of soft cuts.
        return HardHistogram()
    if isinstance(section, BkdeHistogram):
        return BinnedKDE(schedule(section.bandwidth)(0.0), chunk=section.chunk_size)
    if region.variable is not None:
        raise SpecificationError(
            f"region {region.name!r}: a softmax histogram needs a network, but the "
            f"region bins the column {region.variable!r}"
        )
    return SoftmaxHistogram(
        schedule(section.temperature)(0.0), chunk=section.chunk_size
    )


def _cut(cut: CutSection, columns: Sequence[str]) -> AbstractCut:
    column, slope = columns.index(cut.variable), schedule(cut.slope)(0.0)
    match cut:
        case CutSection(above=float(above)):
            built = KeepAbove(threshold=above, slope=slope, column=column)
        case CutSection(below=float(below)):
            built = KeepBelow(threshold=below, slope=slope, column=column)
        case _:
            raise TypeError(f"the cut on {cut.variable!r} has no threshold")
    return built if cut.trainable else HeldCut(built)


def schedule(
    value: float | ExponentialSchedule | LinearSchedule,
) -> AbstractSchedule:
    """The schedule that a number or a schedule section describes."""
    match value:
        case ExponentialSchedule(start=start, end=end):
            return Geometric(start, end)
        case LinearSchedule(start=start, end=end):
            return Linear(start, end)
        case _:
            return Constant(value)
