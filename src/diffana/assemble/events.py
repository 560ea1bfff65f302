"""Events of a configuration: tables of files or generators -> weighted populations."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from diffana.assemble.sources import (
    Member,
    Source,
    columns_in,
    feature_columns,
    sources,
)
from diffana.assemble.variations import transformed
from diffana.config import (
    AnalysisConfig,
    BlobsGenerator,
    InterferenceGenerator,
    SampleSection,
    SmearedGenerator,
    TransformSection,
)
from diffana.data.events import Events
from diffana.data.expressions import columns_of, evaluate
from diffana.data.readers import AbstractReader, open_reader
from diffana.data.table import Table
from diffana.data.toys import (
    BLOB_MEANS,
    gaussian_blobs,
    interference_tables,
    smeared_tables,
)
from diffana.data.variations import recomputed
from diffana.errors import DataError


def simulated_events(config: AnalysisConfig) -> tuple[Events, ...]:
    """The simulated events of all samples in all regions, with their variations.

    Raises:
        DataError: naming file, column and sample of what is wrong.
    """
    return _read(config, [one for one in sources(config) if not one.sample.data])


def observed_events(config: AnalysisConfig) -> tuple[Events, ...]:
    """The observed events, one population per region; none if there are no data."""
    return _read(config, [one for one in sources(config) if one.sample.data])


def populations(
    config: AnalysisConfig, source: Source, table: Table
) -> tuple[Events, ...]:
    """What the events of `table` become in all regions and under all variations.

    A function of each row: the populations of the chunks of a table, one after the
    other, are those of the table. Only the type of the features, float32 or float64,
    can differ between files.

    Args:
        config: the configuration.
        source: the source that the events belong to.
        table: some or all of them, with the columns of `source_columns`.

    Returns:
        One population for each member of the source, all with the same rows: those
        that any region wants under any variation, with weight 0 where a region rejects
        them. Weights do not have the Yield of the sample yet, see `scaled`. Nothing if
        no row is wanted.

    Raises:
        DataError: naming file, column and sample of what is wrong.
    """
    own = preselected(source.sample, table)
    if not len(own):
        return ()
    transforms = [one.transform for one in source.members if one.transform is not None]
    # The features of a file are rounded, those of a variation are not: the nominal ones
    # are recomputed too, so that both differ by the variation alone.
    tables: dict[TransformSection | None, Table] = {
        None: recomputed(own) if transforms else own
    }
    tables |= {one: transformed(own, one) for one in transforms}
    selected = {
        member: _selection(member, tables[member.transform])
        for member in source.members
    }
    used = np.any([*selected.values()], axis=0)
    if not used.any():
        return ()
    weights, features = {}, {}
    found = []
    for member, keep in selected.items():
        # Regions share features unless a variation has a variable of its own.
        look = member.transform, _own_variable(member)
        if look not in features:
            rows = tables[member.transform].rows(used)
            features[look] = _features(config, source, member, rows)
        if member.weight not in weights:
            # Those of the recorded events, whatever happens to their features.
            weights[member.weight] = _weights(member.weight, own.rows(used))
        found.append(
            Events(
                features=features[look],
                weight=np.where(keep[used], weights[member.weight], 0.0),
                columns=feature_columns(config),
                region=member.region.name,
                sample=source.sample.name,
                variation=member.variation,
                source=source.name,
            )
        )
    return tuple(found)


def sum_of_weights(source: Source, table: Table) -> float:
    """What the Yield of a sample is set against: a sum over the events of `table`.

    The sum over a source is that of the sums over its chunks.

    Raises:
        DataError: naming file, column and sample of what is wrong.
    """
    return float(_weights(source.weight, preselected(source.sample, table)).sum())


def yield_scale(source: Source, total: float) -> float:
    """The factor on weights that gives the sample its Yield; 1 if it has none.

    Args:
        source: where the events come from.
        total: sum of the weights of the whole source, see `sum_of_weights`.

    Raises:
        DataError: if the sum is not positive.
    """
    sample = source.sample
    if sample.yield_ is None:
        return 1.0
    if not total > 0:
        raise DataError(
            f"{', '.join(source.paths)}, sample {sample.name!r}: the weights add up to "
            f"{total:g}, which cannot be scaled to Yield {sample.yield_:g}"
        )
    return sample.yield_ / total


def scaled(
    source: Source, events: Sequence[Events], total: float
) -> tuple[Events, ...]:
    """`events`, populations of a source or of a part of it, with `yield_scale`."""
    scale = yield_scale(source, total)
    return tuple(dataclasses.replace(one, weight=scale * one.weight) for one in events)


def nothing_selected(source: Source) -> DataError:
    """The error that no region wants any event of `source`."""
    return DataError(
        f"{', '.join(source.paths)}, sample {source.sample.name!r}: no event passes "
        "the selection of any region"
    )


def source_columns(
    config: AnalysisConfig, source: Source, reader: AbstractReader
) -> tuple[str, ...] | None:
    """Columns of a file of `source` that its populations need.

    None for all columns, which transforms may need.

    Raises:
        DataError: if an expression does not parse.
    """
    if any(member.transform is not None for member in source.members):
        return None
    looked_at = frozenset().union(
        *(columns_in(config, member.region) for member in source.members)
    )
    variables = [member.variable for member in source.members if member.variable]
    wanted: list[str] = []
    for name in (*filter(looked_at.__contains__, feature_columns(config)), *variables):
        is_column = name.isidentifier() or name in reader.names()
        wanted += [name] if is_column else sorted(columns_of(name))
    expressions = [source.sample.preselection]
    for member in source.members:
        expressions += [member.filter, member.weight]
    for expression in dict.fromkeys(expressions):
        wanted += sorted(columns_of(expression)) if expression else []
    return tuple(dict.fromkeys(wanted))


def chunks(config: AnalysisConfig, source: Source, size: int) -> Iterator[Table]:
    """The events of `source`, in tables of 1 to `size` events, file by file.

    Raises:
        DataError: naming the file and what is wrong.
    """
    for path in source.paths:
        if config.generator is not None:
            yield from _pieces(_generated(config, path), size)
        else:
            reader = _reader(config, path, source.tree)
            columns = source_columns(config, source, reader)
            yield from reader.chunks(columns, size)


def _pieces(table: Table, size: int) -> Iterator[Table]:
    rows = np.arange(len(table))
    for start in range(0, len(table), size):
        yield table.rows((rows >= start) & (rows < start + size))


def _read(config: AnalysisConfig, wanted: Sequence[Source]) -> tuple[Events, ...]:
    tables = _Tables(config, wanted)
    return tuple(
        events for source in wanted for events in _whole(config, source, tables)
    )


def _whole(
    config: AnalysisConfig, source: Source, tables: "_Tables"
) -> tuple[Events, ...]:
    table = tables.joined(source)
    sample = source.sample
    found = populations(config, source, table)
    if not found:
        if not len(preselected(sample, table)):
            raise DataError(
                f"{table.origin}, sample {sample.name!r}: none of {len(table)} events "
                f"passes the Preselection {sample.preselection!r}"
            )
        raise nothing_selected(source)
    if sample.yield_ is None:
        return found
    return scaled(source, found, sum_of_weights(source, table))


class _Tables:
    """Tables that sources name; each file is read once."""

    def __init__(self, config: AnalysisConfig, wanted: Sequence[Source]):
        self._config = config
        self._sources = wanted
        self._read: dict[tuple[str, str | None], Table] = {}

    def joined(self, source: Source) -> Table:
        """The events of all paths of `source`, one after the other."""
        tables = [self._table(path, source.tree) for path in source.paths]
        if len(tables) == 1:
            return tables[0]
        names = dict.fromkeys(name for table in tables for name in table.names)
        withheld: dict[str, str] = {}
        for table in tables:
            absent = (name for name in names if name not in table)
            withheld |= {name: f"{table.origin} has none" for name in absent}
            withheld |= table.withheld
        return Table(
            {
                name: np.concatenate([table[name] for table in tables])
                for name in names
                if name not in withheld
            },
            origin=", ".join(table.origin for table in tables),
            withheld=withheld,
        )

    def _table(self, path: str, tree: str | None) -> Table:
        if (path, tree) not in self._read:
            self._read[path, tree] = self._load(path, tree)
        return self._read[path, tree]

    def _load(self, path: str, tree: str | None) -> Table:
        config = self._config
        if config.generator is not None:
            return _generated(config, path)
        reader = _reader(config, path, tree)
        columns: list[str] | None = []
        for source in self._sources:
            if path in source.paths and tree == source.tree:
                own = source_columns(config, source, reader)
                columns = None if own is None or columns is None else [*columns, *own]
        return reader.read(None if columns is None else tuple(dict.fromkeys(columns)))


def _generated(config: AnalysisConfig, population: str) -> Table:
    n_events, seed = 0, config.general.seed
    if config.generator is not None:
        n_events = config.generator.n_events
    match config.generator:
        case BlobsGenerator():
            means = {population: BLOB_MEANS[population]}
            tables = gaussian_blobs(means, n_events=n_events, seed=seed)
        case InterferenceGenerator():
            tables = interference_tables(n_events, seed, [population])
        case SmearedGenerator():
            tables = smeared_tables(n_events, seed, [population])
        case _:
            raise TypeError("the configuration has no Generator")
    return tables[population]


def _reader(config: AnalysisConfig, path: str, tree: str | None) -> AbstractReader:
    return open_reader(Path(path), tree, missing=config.input.missing_value)


def preselected(sample: SampleSection, table: Table) -> Table:
    """The events of `table` that belong to `sample`."""
    if sample.preselection is None:
        return table
    return table.rows(_mask(sample.preselection, table))


def _selection(member: Member, table: Table) -> Bool[np.ndarray, " event"]:
    """Events that the region selects, and that lie in one of its bins."""
    passed = _mask(member.filter, table)
    region = member.region
    if member.variable is None or region.flow or region.trainable_binning:
        return passed
    # Bins are half-open, and what is undefined is in none of them, as in cabinetry.
    values = _column(member.variable, table).astype(np.float64)
    return passed & (values >= region.binning[0]) & (values < region.binning[-1])


def _own_variable(member: Member) -> tuple[str, str] | None:
    """Column of the region that the variation replaces, and what it puts there."""
    if member.variable is None or member.variable == member.region.variable:
        return None
    return str(member.region.variable), member.variable


def _features(
    config: AnalysisConfig, source: Source, member: Member, table: Table
) -> Float[np.ndarray, "event feature"]:
    looked_at = frozenset().union(
        *(columns_in(config, one.region) for one in source.members)
    )
    replaced = dict([own]) if (own := _own_variable(member)) else {}
    # A column that no region of this source looks at need not be in its files.
    unused = np.zeros(len(table), np.float32)
    columns = {
        name: _column(replaced.get(name, name), table) if name in looked_at else unused
        for name in feature_columns(config)
    }
    view = dataclasses.replace(table, columns=columns)
    return view.matrix(feature_columns(config), fill=config.input.fill_value)


def _column(name: str, table: Table) -> np.ndarray:
    """A column of numbers, or the value of an expression."""
    if name.isidentifier() or name in table or name in table.withheld:
        return table.numbers(name)
    return np.asarray(evaluate(name, table), np.float64)


def _weights(expression: str | None, table: Table) -> Float[np.ndarray, " event"]:
    if expression is None:
        return np.ones(len(table))
    return np.asarray(evaluate(expression, table), np.float64)


def _mask(expression: str | None, table: Table) -> Bool[np.ndarray, " event"]:
    if expression is None:
        return np.ones(len(table), bool)
    return np.asarray(evaluate(expression, table), bool)
