"""Events of a configuration: files or generators, selections, weights, variations."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from diffana.assemble.joining import workspace_files
from diffana.config import (
    Config,
    JetEnergyScale,
    NormPlusShapeSystematic,
    OtherFeatures,
    OtherSample,
    OtherWeight,
    RegionSection,
    SampleSection,
    SoftMet,
    Symmetrized,
    TauEnergyScale,
    TransformSection,
)
from diffana.data.events import Events
from diffana.data.expressions import columns_of, evaluate
from diffana.data.readers import open_reader
from diffana.data.table import Table
from diffana.data.toys import BLOB_MEANS, gaussian_blobs
from diffana.data.variations import (
    jet_energy_scale,
    recomputed,
    soft_met,
    tau_energy_scale,
)
from diffana.errors import DataError


def feature_columns(config: Config) -> tuple[str, ...]:
    """Columns that observables, binned variables and cuts look at, in a fixed order."""
    wanted: list[str] = []
    for observable in config.observables or ():
        wanted += observable.inputs
    for region in config.regions:
        wanted += [region.variable] if region.variable else []
        wanted += [cut.variable for cut in region.cuts or ()]
    return tuple(dict.fromkeys(wanted))


def input_files(config: Config) -> tuple[Path, ...]:
    """Files that the configuration reads, each once."""
    return (*workspace_files(config), *_event_files(config))


def _event_files(config: Config) -> tuple[Path, ...]:
    if config.general.input_path is None:
        return ()
    paths = [
        path
        for sample in config.samples
        for path in (
            *_paths(sample),
            *(
                path
                for systematic in shape_systematics(config, sample)
                for variation in (systematic.up, systematic.down)
                if isinstance(variation, OtherSample)
                for path in variation.sample_path
            ),
        )
    ]
    return tuple(_file(config, path) for path in dict.fromkeys(paths))


def simulated_events(config: Config) -> tuple[Events, ...]:
    """The simulated events of all samples in all regions, with their variations.

    Raises:
        DataError: naming file, column and sample of what is wrong.
    """
    tables = _Tables(config)
    return tuple(
        events
        for sample in config.samples
        if not sample.data
        for events in _sample_events(config, tables, sample)
    )


def observed_events(config: Config) -> tuple[Events, ...]:
    """The observed events, one population per region; none if there are no data."""
    tables = _Tables(config)
    return tuple(
        events
        for sample in config.samples
        if sample.data
        for events in _sample_events(config, tables, sample)
    )


def regions_of(config: Config, sample: SampleSection) -> tuple[RegionSection, ...]:
    """Regions in which `sample` appears."""
    return tuple(
        region
        for region in config.regions
        if sample.regions is None or region.name in sample.regions
    )


def shape_systematics(
    config: Config, sample: SampleSection
) -> tuple[NormPlusShapeSystematic, ...]:
    """Systematics on the shape of `sample`."""
    return tuple(
        systematic
        for systematic in config.systematics or ()
        if isinstance(systematic, NormPlusShapeSystematic)
        and not sample.data
        and (systematic.samples is None or sample.name in systematic.samples)
    )


def _paths(sample: SampleSection) -> tuple[str, ...]:
    return sample.sample_path or (sample.name,)


def _file(config: Config, sample_path: str) -> Path:
    template = config.general.input_path or ""
    return Path(template.replace("{SamplePath}", sample_path))


def _needed_columns(config: Config, path: str) -> tuple[str, ...] | None:
    """Columns to read from a file; None for all, which recomputed features may need.

    A sample's own expressions concern its own files only: observed data, for one, have
    no column of weights.
    """
    expressions = [region.filter for region in config.regions]
    for sample in config.samples:
        variations = [
            variation
            for systematic in shape_systematics(config, sample)
            for variation in (systematic.up, systematic.down)
        ]
        simulated = [v for v in variations if isinstance(v, OtherSample)]
        if path in _paths(sample):
            if any(isinstance(variation, OtherFeatures) for variation in variations):
                return None
            expressions += [v.weight for v in variations if isinstance(v, OtherWeight)]
        elif not any(path in variation.sample_path for variation in simulated):
            continue
        expressions += [sample.filter, sample.weight]
    columns = list(feature_columns(config))
    for expression in expressions:
        columns += sorted(columns_of(expression)) if expression else []
    return tuple(dict.fromkeys(columns))


class _Tables:
    """Tables that a configuration names; each file is read once."""

    def __init__(self, config: Config):
        self._config = config
        self._read: dict[tuple[str, str | None], Table] = {}

    def joined(self, paths: Sequence[str], tree: str | None) -> Table:
        """The events of all `paths`, one after the other."""
        tables = [self._table(path, tree) for path in paths]
        if len(tables) == 1:
            return tables[0]
        return Table(
            {
                name: np.concatenate([table[name] for table in tables])
                for name in tables[0].names
            },
            origin=", ".join(table.origin for table in tables),
        )

    def _table(self, path: str, tree: str | None) -> Table:
        if (path, tree) not in self._read:
            self._read[path, tree] = self._load(path, tree)
        return self._read[path, tree]

    def _load(self, path: str, tree: str | None) -> Table:
        config = self._config
        if config.generator is not None:
            blobs = gaussian_blobs(
                {path: BLOB_MEANS[path]},
                n_events=config.generator.events_per_blob,
                seed=config.general.seed,
            )
            return blobs[path]
        reader = open_reader(
            _file(config, path), tree, missing=config.input.missing_value
        )
        return reader.read(_needed_columns(config, path))


class _Population(NamedTuple):
    """Simulated events of a sample under one variation, before any region.

    Attributes:
        variation: "nominal", "<systematic>/up" or "<systematic>/down".
        source: as in `Events`.
        table: columns of the events.
        weight: events at the target luminosity per simulated event.
    """

    variation: str
    source: str
    table: Table
    weight: Float[np.ndarray, " event"]


def _sample_events(
    config: Config, tables: _Tables, sample: SampleSection
) -> Iterator[Events]:
    populations = list(_populations(config, tables, sample))
    regions = regions_of(config, sample)
    columns = feature_columns(config)
    for source in dict.fromkeys(population.source for population in populations):
        aligned = [one for one in populations if one.source == source]
        selected = {
            (one.variation, region.name): _mask(region.filter, one.table)
            for one in aligned
            for region in regions
            if _affects(config, one.variation, region)
        }
        if not selected:
            continue
        # Rows that no region wants under any variation are dropped; the others stay
        # aligned, with weight 0 where a region rejects them.
        used = np.any([*selected.values()], axis=0)
        if not used.any():
            raise DataError(
                f"{aligned[0].table.origin}, sample {sample.name!r}: no event passes "
                "the selection of any region"
            )
        for one in aligned:
            features = one.table.rows(used).matrix(
                columns, fill=config.input.fill_value
            )
            for region in regions:
                if (one.variation, region.name) not in selected:
                    continue
                keep = selected[one.variation, region.name][used]
                yield Events(
                    features=features,
                    weight=np.where(keep, one.weight[used], 0.0),
                    columns=columns,
                    region=region.name,
                    sample=sample.name,
                    variation=one.variation,
                    source=one.source,
                )


def _affects(config: Config, variation: str, region: RegionSection) -> bool:
    name = variation.split("/")[0]
    return not any(
        systematic.name == name
        and systematic.regions is not None
        and region.name not in systematic.regions
        for systematic in config.systematics or ()
    )


def _populations(
    config: Config, tables: _Tables, sample: SampleSection
) -> Iterator[_Population]:
    """The nominal events of a sample and those of each of its shape variations."""
    systematics = shape_systematics(config, sample)
    variations = [
        (f"{systematic.name}/{direction}", variation)
        for systematic in systematics
        for direction, variation in (("up", systematic.up), ("down", systematic.down))
        if not isinstance(variation, Symmetrized)
    ]
    raw = _own_events(sample, tables.joined(_paths(sample), sample.tree))
    source = f"{sample.name}/nominal"
    if any(isinstance(variation, OtherFeatures) for _, variation in variations):
        # The features of a file are rounded, recomputed ones are not: the nominal ones
        # are recomputed too, so that both differ by the variation alone.
        nominal = recomputed(raw)
    else:
        nominal = raw
    weight, scale = _weights(sample, nominal)
    yield _Population("nominal", source, nominal, weight)
    for name, variation in variations:
        match variation:
            case OtherFeatures():
                table = _transformed(raw, variation.transform)
                yield _Population(name, source, table, weight)
            case OtherWeight():
                varied = scale * _numbers(variation.weight, nominal)
                yield _Population(name, source, nominal, varied)
            case OtherSample():
                tree = variation.tree or sample.tree
                table = _own_events(sample, tables.joined(variation.sample_path, tree))
                other, _ = _weights(sample, table)
                yield _Population(name, f"{sample.name}/{name}", table, other)


def _transformed(table: Table, transform: TransformSection) -> Table:
    match transform:
        case TauEnergyScale(factor=factor):
            return tau_energy_scale(table, factor)
        case JetEnergyScale(factor=factor):
            return jet_energy_scale(table, factor)
        case SoftMet(sigma=sigma):
            return soft_met(table, sigma)


def _own_events(sample: SampleSection, table: Table) -> Table:
    """The events of `table` that belong to `sample`."""
    own = table.rows(_mask(sample.filter, table))
    if not len(own):
        raise DataError(
            f"{table.origin}, sample {sample.name!r}: none of {len(table)} events "
            f"passes the Filter {sample.filter!r}"
        )
    return own


def _weights(
    sample: SampleSection, table: Table
) -> tuple[Float[np.ndarray, " event"], float]:
    """Weights at the target luminosity, and the factor that took them there."""
    raw = (
        np.ones(len(table)) if sample.weight is None else _numbers(sample.weight, table)
    )
    if sample.yield_ is None:
        return raw, 1.0
    total = raw.sum()
    if not total > 0:
        raise DataError(
            f"{table.origin}, sample {sample.name!r}: the weights of {len(raw)} events "
            f"add up to {total:g}, which cannot be scaled to Yield {sample.yield_:g}"
        )
    scale = sample.yield_ / total
    return scale * raw, scale


def _numbers(expression: str, table: Table) -> Float[np.ndarray, " event"]:
    return np.asarray(evaluate(expression, table), np.float64)


def _mask(expression: str | None, table: Table) -> Bool[np.ndarray, " event"]:
    if expression is None:
        return np.ones(len(table), bool)
    return np.asarray(evaluate(expression, table), bool)
