"""Events of a configuration that stream: files -> portions on the disk."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from diffana.assemble.events import chunks, populations, scaled, sum_of_weights
from diffana.assemble.sources import Source, sources
from diffana.config import AnalysisConfig
from diffana.data.dealing import Dealing
from diffana.data.events import Events
from diffana.data.layout import Layout
from diffana.data.writer import Ingredient, Writer
from diffana.errors import DataError


OBSERVED = "observed"


def ingest(
    config: AnalysisConfig,
    folder: Path,
    *,
    fractions: Mapping[str, float],
    parts: Sequence[str],
    chunk_size: int,
    fingerprint: str,
) -> None:
    """Deal the events of `config` into portions, reading every file twice.

    The first time counts the events, the second one writes them. Both have no more than
    a chunk in memory.

    Args:
        config: the configuration.
        folder: exists, and becomes a `Store`.
        fractions: share of each part of the simulated events, adding up to 1.
        parts: those that are needed. Observed events are one more, "observed".
        chunk_size: events in memory at a time, those of all populations together.
        fingerprint: of the store.

    Raises:
        DataError: naming file, column and sample of what is wrong, or the folder if it
            cannot be written.
    """
    found = [_counted(config, source, chunk_size) for source in sources(config)]
    simulated = [one for one in found if not one.source.sample.data]
    observed = [one for one in found if one.source.sample.data]
    writer = Writer(
        folder,
        [
            *_dealt(config, simulated, fractions, parts, chunk_size),
            *_dealt(config, observed, {OBSERVED: 1.0}, [OBSERVED], chunk_size),
        ],
    )
    for one in found:
        for events in _events(config, one.source, chunk_size):
            writer.add(scaled(one.source, events, one.total))
    writer.finish(fingerprint)


class _Counted(NamedTuple):
    """A source that was read once.

    Attributes:
        source: the source.
        n_events: events that some region wants.
        total: what its Yield is set against; 0 without one.
        layout: how its events are written.
    """

    source: Source
    n_events: int
    total: float
    layout: Layout


def _counted(config: AnalysisConfig, source: Source, chunk_size: int) -> _Counted:
    n_events, total, layout = 0, 0.0, None
    has_yield = source.sample.yield_ is not None
    for table in chunks(config, source, _rows(source, chunk_size)):
        if has_yield:
            total += sum_of_weights(source, table)
        if events := populations(config, source, table):
            n_events += len(events[0])
            layout = Layout.of(events) | (layout or Layout.of(events))
    if layout is None:
        raise DataError(
            f"{', '.join(source.paths)}, sample {source.sample.name!r}: no event "
            "passes the selection of any region"
        )
    return _Counted(source, n_events, total, layout)


def _events(
    config: AnalysisConfig, source: Source, chunk_size: int
) -> Iterator[tuple[Events, ...]]:
    for table in chunks(config, source, _rows(source, chunk_size)):
        if events := populations(config, source, table):
            yield events


def _rows(source: Source, chunk_size: int) -> int:
    """Events to read at a time: each becomes one in every population."""
    return max(1, chunk_size // len(source.members))


def _dealt(
    config: AnalysisConfig,
    found: Sequence[_Counted],
    fractions: Mapping[str, float],
    parts: Sequence[str],
    chunk_size: int,
) -> Iterator[Ingredient]:
    total = sum(one.n_events * len(one.source.members) for one in found)
    n_portions = {
        part: max(1, math.ceil(total * fractions[part] / chunk_size)) for part in parts
    }
    for one in found:
        dealing = Dealing(
            one.source.name,
            one.n_events,
            fractions,
            n_portions,
            config.general.seed,
        )
        yield Ingredient(dealing, one.layout)
