"""Chunks of events -> portions on the disk, see `diffana.data.store`."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float

from diffana.data.dealing import UNUSED, Dealing
from diffana.data.events import Events
from diffana.data.layout import Layout, Stretch
from diffana.data.store import MANIFEST, digest, file_of
from diffana.data.yields import Yield, named
from diffana.errors import DataError


class Ingredient(NamedTuple):
    """What has to be known of a source before its events are written.

    Attributes:
        dealing: where its events go.
        layout: how they are written.
    """

    dealing: Dealing
    layout: Layout


@final
class Writer:
    """Deals the events of a data set, a chunk at a time, into the files of portions.

    The portions of a part have equal shapes: events of weight 0 fill up the shorter
    ones. Weights of a part are scaled as in `split`.
    """

    def __init__(self, folder: Path, sources: Sequence[Ingredient]):
        """Create the files.

        Args:
            folder: exists, and holds no store.
            sources: everything that will be written, in any order.

        Raises:
            DataError: if a part of a source has no events, or the folder cannot be
                written.
        """
        self._folder = folder
        self._sources = {source.dealing.source: source for source in sources}
        self._progress = {name: _Progress() for name in self._sources}
        self._stretches: dict[str, dict[str, Stretch]] = {}
        self._n_portions: dict[str, int] = {}
        for name, (dealing, layout) in self._sources.items():
            dealing.check()
            for part, n_portions in dealing.n_portions.items():
                before = self._stretches.setdefault(part, {})
                offset = max((one.end for one in before.values()), default=0)
                before[name] = Stretch(layout, offset, dealing.rows(part))
                self._n_portions[part] = n_portions
        with self._writing():
            for part, n_portions in self._n_portions.items():
                size = max(one.end for one in self._stretches[part].values())
                for portion in range(n_portions):
                    with self._path(part, portion).open("xb") as file:
                        file.truncate(size)

    def add(self, events: Sequence[Events]) -> None:
        """Write the next events of one source.

        Args:
            events: one for each population of the source, with the same rows.

        Raises:
            DataError: if there are more of them than were counted, or the folder
                cannot be written.
        """
        name, n_events = events[0].source, len(events[0])
        dealing, layout = self._sources[name]
        progress = self._progress[name]
        start = progress.n_events
        progress.n_events += n_events
        fits = layout.holds(Layout.of(events))
        if progress.n_events > dealing.n_events or not fits:
            raise self._changed(name)
        arrays = layout.arrays(events)
        if not progress.filler:
            progress.filler = [array[:1] for array in arrays]
        slots = dealing.slots(start, progress.n_events)
        for rows in _groups(slots.part, slots.portion):
            number, portion = int(slots.part[rows[0]]), int(slots.portion[rows[0]])
            taken = [array[rows] for array in arrays]
            progress.count(dealing.parts, number, taken[-1][:, layout.nominal])
            if number != UNUSED:
                self._write(dealing.parts[number], portion, name, taken)

    def finish(self, fingerprint: str) -> None:
        """Describe the portions; only now are they a store.

        Args:
            fingerprint: what the content follows from, see `Store.is_of`.

        Raises:
            DataError: if there were fewer events than were counted, a part has no
                positive yield, or the folder cannot be written.
        """
        for name, progress in self._progress.items():
            if progress.n_events != self._sources[name].dealing.n_events:
                raise self._changed(name)
        parts = {}
        for part, n_portions in self._n_portions.items():
            stretches = [self._scaled(part, name) for name in self._stretches[part]]
            for portion in range(n_portions):
                self._fill_up(part, portion)
            parts[part] = {
                "files": [
                    digest(self._path(part, portion)) for portion in range(n_portions)
                ],
                "stretches": [dataclasses.asdict(stretch) for stretch in stretches],
            }
        manifest = {"fingerprint": fingerprint, "parts": parts}
        draft = self._folder / f"{MANIFEST}.draft"
        with self._writing():
            draft.write_text(json.dumps(manifest))
            draft.replace(self._folder / MANIFEST)

    def _scaled(self, part: str, name: str) -> Stretch:
        progress, dealing = self._progress[name], self._sources[name].dealing
        factor = progress.whole.factor(
            progress.taken[part],
            dealing.count(part),
            named(f"part {part!r}", (name, self._sources[name].layout.sample)),
        )
        return dataclasses.replace(self._stretches[part][name], factor=factor)

    def _write(
        self, part: str, portion: int, name: str, arrays: Sequence[np.ndarray]
    ) -> None:
        stretch, written = self._stretches[part][name], self._progress[name].written
        begin = written.get((part, portion), 0)
        written[part, portion] = begin + len(arrays[0])
        with self._writing(), self._path(part, portion).open("r+b") as file:
            places = zip(stretch.places(), arrays, strict=True)
            for (offset, dtype, n_columns), array in places:
                file.seek(offset + begin * n_columns * dtype.itemsize)
                file.write(np.ascontiguousarray(array).data)

    def _fill_up(self, part: str, portion: int) -> None:
        for name, stretch in self._stretches[part].items():
            progress = self._progress[name]
            lacking = stretch.rows - progress.written.get((part, portion), 0)
            if lacking:
                *features, weight = progress.filler
                arrays = [*features, np.zeros_like(weight)]
                repeated = [np.repeat(array, lacking, axis=0) for array in arrays]
                self._write(part, portion, name, repeated)

    def _path(self, part: str, portion: int) -> Path:
        return file_of(self._folder, part, portion)

    def _changed(self, name: str) -> DataError:
        return DataError(f"source {name!r}: the files changed while they were read")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self._folder} cannot be written: {error.strerror}"
            ) from error


@final
@dataclasses.dataclass
class _Progress:
    """How far the events of a source are written, and what they add up to.

    Attributes:
        n_events: how many there were so far.
        filler: arrays of one of them, to fill up portions.
        written: (part, portion) -> events in its file.
        whole: yield of all events, those that no part uses included.
        taken: yield of those of each part.
    """

    n_events: int = 0
    filler: list[np.ndarray] = dataclasses.field(default_factory=list)
    written: dict[tuple[str, int], int] = dataclasses.field(default_factory=dict)
    whole: Yield = dataclasses.field(default_factory=Yield)
    taken: dict[str, Yield] = dataclasses.field(default_factory=dict)

    def count(
        self, parts: Sequence[str], number: int, weight: Float[np.ndarray, "event _"]
    ) -> None:
        found = Yield(float(weight.sum()), float((weight**2).sum()))
        self.whole += found
        if number != UNUSED:
            part = parts[number]
            self.taken[part] = self.taken.get(part, Yield()) + found


def _groups(*keys: np.ndarray) -> Iterator[np.ndarray]:
    """Rows that agree in all keys, in their order."""
    order = np.lexsort(keys[::-1])
    changes = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    yield from np.split(order, np.flatnonzero(changes) + 1)
