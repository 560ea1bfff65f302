"""How the events of a source are dealt out to portions, a block of them at a time."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Int

from diffana.data.splitting import check_dealt, dealt_rows


# Up to so many events of a source, the parts are those of `split`. A larger source is
# split in blocks, so that no list of all its events is ever in memory.
BLOCK = 2**20
UNUSED = -1


class Slots(NamedTuple):
    """Where some events of a source go.

    Attributes:
        part: number of the part of each event; `UNUSED` for one that is in none.
        portion: number of the portion of that part.
    """

    part: Int[np.ndarray, " event"]
    portion: Int[np.ndarray, " event"]


@final
@dataclasses.dataclass(frozen=True)
class Dealing:
    """Which events of a source go into which portion of which part.

    That follows from the seed, the name of the source, the number of its events and the
    position of an event among them, not from how many are looked at together. Portions
    of a part get equal numbers of events, or one less.

    Attributes:
        source: name of the source.
        n_events: number of its events.
        fractions: share of each part, adding up to 1.
        n_portions: number of portions of each part; the other parts go unused.
        seed: any integer.

    Example:
        >>> halves = {"train": 0.5, "test": 0.5}
        >>> dealing = Dealing("signal", 8, halves, {"train": 2, "test": 1}, seed=7)
        >>> dealing.slots(0, 8).part.tolist()
        [1, 0, 1, 0, 0, 0, 1, 1]
        >>> dealing.count("train"), dealing.rows("train"), dealing.rows("test")
        (4, 2, 4)
    """

    source: str
    n_events: int
    fractions: Mapping[str, float]
    n_portions: Mapping[str, int]
    seed: int

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts by their numbers."""
        return tuple(self.n_portions)

    def slots(self, start: int, stop: int) -> Slots:
        """Of the events from position `start` to before `stop`."""
        blocks = range(start // BLOCK, math.ceil(stop / BLOCK))
        cut = []
        for block in blocks:
            first = block * BLOCK
            rows = slice(max(start - first, 0), stop - first)
            cut.append([values[rows] for values in self._block(block)])
        return Slots(*(np.concatenate(values) for values in zip(*cut, strict=True)))

    def count(self, part: str) -> int:
        """Number of events of a part."""
        full, rest = divmod(self.n_events, BLOCK)
        return full * self._count(BLOCK, part) + self._count(rest, part)

    def rows(self, part: str) -> int:
        """Events of each portion of a part, those that fill it up included; > 0."""
        return max(1, math.ceil(self.count(part) / self.n_portions[part]))

    def check(self) -> None:
        """Refuse parts without events.

        Raises:
            DataError: naming source and part.
        """
        counts = {part: range(self.count(part)) for part in self.parts}
        check_dealt(f"source {self.source!r}", self.n_events, self.fractions, counts)

    def _count(self, n_events: int, part: str) -> int:
        ends = np.rint(np.cumsum([*self.fractions.values()]) * n_events).astype(int)
        counts = np.diff(ends, prepend=0)
        return int(counts[[*self.fractions].index(part)])

    def _block(self, block: int) -> Slots:
        n_events = min(BLOCK, self.n_events - block * BLOCK)
        # The first block is dealt as `split` deals a source of that size.
        key = (self.seed, self.source, block) if block else (self.seed, self.source)
        portions = tuple(
            (part, n_portions, block * self._count(BLOCK, part))
            for part, n_portions in self.n_portions.items()
        )
        return _dealt(n_events, key, tuple(self.fractions.items()), portions)


# The chunks that a block is looked at in come one after the other.
@functools.lru_cache(maxsize=1)
def _dealt(
    n_events: int,
    key: tuple[int | str, ...],
    fractions: tuple[tuple[str, float], ...],
    portions: tuple[tuple[str, int, int], ...],
) -> Slots:
    """Slots of a block.

    Args:
        n_events: its size.
        key: decides which event goes where.
        fractions: share of each part.
        portions: for each part that is used the number of its portions, and how many of
            its events come in earlier blocks.
    """
    dealt = dealt_rows(n_events, dict(fractions), key)
    slots = Slots(np.full(n_events, UNUSED, np.int8), np.zeros(n_events, np.int32))
    for number, (part, n_portions, before) in enumerate(portions):
        rows = dealt[part]
        slots.part[rows] = number
        slots.portion[rows] = (before + np.arange(len(rows))) % n_portions
    return slots
