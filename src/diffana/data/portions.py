"""Data sets in portions, of which one is in memory at a time."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Protocol, final

import numpy as np

from diffana.data._random import named_generator
from diffana.data.batches import deal
from diffana.data.events import Events, Population, check_data_set
from diffana.data.yields import Family, Yield, yields
from diffana.errors import DataError


DataSet = tuple[Events, ...]


class DataSets(Protocol):
    """Data sets by number, such as a list of them, or a reader of files."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int, /) -> Sequence[Events]:
        """One of them."""
        ...


@final
class Portions:
    """A data set that comes in portions, each a small data set of the same populations.

    Weights and their squares add up to those of the whole over all portions. Events
    in memory are one portion. Whatever is a sum over events, such as a histogram, is
    found by adding what it is for each portion.

    Attributes:
        populations: what the whole holds, in the order of the events of a portion.

    Example:
        >>> signal = Events(
        ...     features=np.arange(5.0)[:, None],
        ...     weight=np.ones(5),
        ...     columns=["mass"],
        ...     region="SR",
        ...     sample="signal",
        ... )
        >>> both = Portions([(signal,), (signal,)])
        >>> len(both), both.populations[0].sumw
        (2, 10.0)
        >>> for (batch,) in both.batches(n_batches=4, seed=1, epoch=0):
        ...     print(len(batch), float(batch.weight.sum()))
        3 10.0
        3 10.0
        3 10.0
        3 10.0
    """

    populations: tuple[Population, ...]

    def __init__(self, data_sets: DataSets):
        """Count the events of every portion, each of which is read once.

        Args:
            data_sets: the portions, at least one; may read each when it is asked for.

        Raises:
            DataError: if the populations of two portions differ.
        """
        self._data_sets = data_sets
        populations: list[Population] = []
        whole: dict[Family, Yield] = {}
        self._shapes: set[tuple] = set()
        for data_set in self:
            found = [Population.of(one) for one in data_set]
            if populations and len(found) != len(populations):
                raise DataError(
                    f"a portion holds {len(found)} populations, another one "
                    f"{len(populations)}"
                )
            populations = (
                [sum_ + one for sum_, one in zip(populations, found, strict=True)]
                if populations
                else found
            )
            for family, taken in yields(data_set).items():
                whole[family] = whole.get(family, Yield()) + taken
            self._shapes.add(tuple(one.features.shape for one in data_set))
        self.populations = tuple(populations)
        self._whole = whole

    def __len__(self) -> int:
        """Number of portions."""
        return len(self._data_sets)

    def __getitem__(self, index: int) -> DataSet:
        """A portion, in memory as long as the caller keeps it."""
        return tuple(self._data_sets[index])

    def __iter__(self) -> Iterator[DataSet]:
        """The portions, one at a time."""
        return (self[index] for index in range(len(self)))

    def whole(self) -> DataSet:
        """All events, where they are in memory.

        Raises:
            DataError: if there are several portions.
        """
        if len(self) != 1:
            raise DataError(
                f"the events are read in {len(self)} portions and are never in memory "
                "together, as this needs them to be; leave out Input.ChunkSize"
            )
        return self[0]

    def batches(self, n_batches: int, seed: int, epoch: int) -> Iterator[DataSet]:
        """The batches of one epoch: each a small data set with the yields of the whole.

        As `diffana.data.batches`, of one portion after the other. Their order follows
        from (seed, epoch), the rows of a batch from the position of the portion, too.

        Args:
            n_batches: number of batches, a multiple of the number of portions.
            seed: any integer.
            epoch: number of the epoch; each one deals anew.

        Returns:
            An iterator over data sets, on NumPy arrays. The batches of a portion are
            checked before its first one is handed out.

        Raises:
            ValueError: if `n_batches` is not a multiple, or the portions have unequal
                shapes.
            DataError: as `diffana.data.batches`.
        """
        if n_batches < 1 or n_batches % len(self):
            raise ValueError(
                f"{n_batches} batches cannot be dealt from {len(self)} portions"
            )
        if len(self._shapes) > 1:
            raise ValueError("the portions have unequal shapes, and so would batches")
        check_data_set(self.populations)
        if len(self) == 1:
            return self._dealt(0, n_batches, seed, epoch)
        order = named_generator("portions", seed, epoch).permutation(len(self))
        return (
            batch
            for index in order.tolist()
            for batch in self._dealt(index, n_batches // len(self), seed, epoch)
        )

    def check_batches(self, n_batches: int, seed: int, epoch: int) -> None:
        """Refuse what `batches` refuses, for all portions.

        Raises:
            ValueError, DataError: as `batches`.
        """
        self.batches(n_batches, seed, epoch)
        for index in range(len(self)):
            self._dealt(index, n_batches // len(self), seed, epoch)

    def _dealt(
        self, index: int, n_batches: int, seed: int, epoch: int
    ) -> Iterator[DataSet]:
        # The first portion is dealt as events in memory are.
        key = (seed, epoch, index) if index else (seed, epoch)
        return deal(self[index], n_batches, key, self._whole)


def in_portions(events: Portions | Sequence[Events]) -> Portions:
    """Events in memory as a single portion; portions as they are."""
    return events if isinstance(events, Portions) else Portions((tuple(events),))


def pieces(events: Sequence[Events], size: int) -> Iterator[DataSet]:
    """A data set cut into data sets of about equal, and of equal shapes.

    Rows keep their order. What the last piece lacks is filled up with events of weight
    0. Sums over all events are thus sums over those of the pieces.

    Args:
        events: one data set.
        size: events per piece at most, those of all populations together, unless there
            are more populations.

    Example:
        >>> signal = Events(
        ...     features=np.arange(5.0)[:, None],
        ...     weight=np.ones(5),
        ...     columns=["mass"],
        ...     region="SR",
        ...     sample="signal",
        ... )
        >>> [piece[0].weight.tolist() for piece in pieces((signal,), size=3)]
        [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]
    """
    n_pieces = max(1, math.ceil(sum(len(one) for one in events) / size))
    if n_pieces == 1:
        yield tuple(events)
        return
    for index in range(n_pieces):
        yield tuple(_rows(one, index, n_pieces) for one in events)


def _rows(one: Events, index: int, n_pieces: int) -> Events:
    size = math.ceil(len(one) / n_pieces)
    rows = slice(index * size, (index + 1) * size)
    features, weight = one.features[rows], one.weight[rows]
    lacking = size - len(weight)
    if lacking:
        repeated = np.repeat(np.asarray(one.features[-1:]), lacking, axis=0)
        features = np.concatenate([np.asarray(features), repeated])
        weight = np.concatenate(
            [np.asarray(weight), np.zeros(lacking, one.weight.dtype)]
        )
    return dataclasses.replace(one, features=features, weight=weight)
