"""The analysis of a configuration: observables, regions, variations."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Array

from diffana.analysis import NOMINAL, Analysis, Region, Shape, Summary
from diffana.assemble.model import applies, structure
from diffana.assemble.sources import feature_columns, regions_of, shape_systematics
from diffana.config import (
    AnalysisConfig,
    BkdeHistogram,
    CutSection,
    ExponentialSchedule,
    LinearSchedule,
    MlpObservable,
    RegionSection,
    Symmetrized,
)
from diffana.data.events import Events
from diffana.data.portions import Portions, in_portions
from diffana.errors import SpecificationError
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
from diffana.observable import MLP, Moments, Standardisation, Variable
from diffana.trainable import trainable


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jax.numpy.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
}


def analysis(config: AnalysisConfig, events: Portions | Sequence[Events]) -> Analysis:
    """The untrained analysis.

    Args:
        config: the configuration.
        events: training events, whose features fix the scale of the networks' inputs;
            in memory or in portions.

    Raises:
        SpecificationError: if nothing in it can be trained.
    """
    built = fixed_analysis(config, events)
    if not any(jax.tree.leaves(trainable(built))):
        raise SpecificationError(
            "nothing to train: the configuration has no region with an Observable, "
            "with TrainableBinning or with a trainable cut"
        )
    return built


def fixed_analysis(
    config: AnalysisConfig, events: Portions | Sequence[Events]
) -> Analysis:
    """The analysis as it is before any training, which it need not offer.

    Args:
        config: the configuration.
        events: as for `analysis`; none are needed without an Observable.
    """
    return Analysis(
        summaries=_summaries(config, in_portions(events)),
        regions=tuple(_region(config, region) for region in config.regions),
        model=structure(config).model,
        shapes=_shapes(config),
    )


def _shapes(config: AnalysisConfig) -> tuple[Shape, ...]:
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
        if applies(systematic.regions, region.name)
    )


def _summaries(config: AnalysisConfig, events: Portions) -> dict[str, Summary]:
    columns = feature_columns(config)
    used = [
        observable
        for observable in config.observables or ()
        if any(region.observable == observable.name for region in config.regions)
    ]
    scales = _standardisations(config, used, events)
    found = {
        observable.name: Summary(
            _network(config, observable, scales.get(observable.name)),
            tuple(columns.index(name) for name in observable.inputs),
        )
        for observable in used
    }
    for region in config.regions:
        if region.variable is not None:
            column = columns.index(region.variable)
            found[region.variable] = Summary(Variable(0), (column,))
    return found


def _network(
    config: AnalysisConfig,
    observable: MlpObservable,
    standardisation: Standardisation | None,
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
        key=network_key(config.general.seed, observable.name),
        hidden=observable.hidden,
        n_outputs=n_bins.pop() if is_softmax else None,
        standardisation=standardisation,
        activation=ACTIVATIONS[observable.activation],
        dtype=observable.precision,
    )


def network_key(seed: int, name: str) -> Array:
    """Randomness of one network, whatever other networks there are."""
    digest = hashlib.sha256(name.encode()).digest()
    return jax.random.fold_in(jax.random.key(seed), int.from_bytes(digest[:4], "big"))


def _standardisations(
    config: AnalysisConfig, observables: Sequence[MlpObservable], events: Portions
) -> dict[str, Standardisation]:
    """Of those observables that have one, each portion being read once."""
    wanted = [observable for observable in observables if observable.standardize]
    found: dict[str, Moments] = {}
    for portion in events if wanted else ():
        for observable in wanted:
            before = found.get(observable.name)
            moments = _moments(config, observable, portion)
            found[observable.name] = moments if before is None else before + moments
    return {
        observable.name: found[observable.name].standardisation(observable.inputs)
        for observable in wanted
    }


def _moments(
    config: AnalysisConfig, observable: MlpObservable, events: Sequence[Events]
) -> Moments:
    regions = {r.name for r in config.regions if r.observable == observable.name}
    seen = [e for e in events if e.region in regions and e.variation == NOMINAL]
    columns = feature_columns(config)
    inputs = [columns.index(name) for name in observable.inputs]
    return Moments.of(
        np.concatenate([np.asarray(one.features)[:, inputs] for one in seen]),
        np.concatenate([np.asarray(one.weight) for one in seen]),
        observable.inputs,
    )


def _region(config: AnalysisConfig, region: RegionSection) -> Region:
    columns = feature_columns(config)
    return Region(
        edges=_edges(config, region),
        histogrammer=_histogrammer(config, region),
        cuts=Selection(tuple(_cut(cut, columns) for cut in region.cuts or ())),
        name=region.name,
        summary=region.observable or region.variable or "",
    )


def _edges(config: AnalysisConfig, region: RegionSection) -> AbstractEdges:
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


def _histogrammer(
    config: AnalysisConfig, region: RegionSection
) -> AbstractHistogrammer:
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
