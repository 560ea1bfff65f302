"""How the events of a source lie in a file: arrays of features, then their weights."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, final

import numpy as np

from diffana.data.events import Events


_WEIGHT = np.dtype(np.float64)


@final
@dataclasses.dataclass(frozen=True)
class Layout:
    """How the events of one source lie in a file: arrays of features, then weights.

    Populations that differ in their weights alone share an array of features.

    Attributes:
        source: name of the source.
        sample: the sample that all its populations belong to.
        populations: region and variation of each column of the weights.
        features_of: number of the array of features of each population.
        columns: name of each feature.
        dtype: floating-point type of the features.
    """

    source: str
    sample: str
    populations: tuple[tuple[str, str], ...]
    features_of: tuple[int, ...]
    columns: tuple[str, ...]
    dtype: str

    @classmethod
    def of(cls, events: Sequence[Events]) -> Self:
        """That of some events of one source, one `Events` for each population."""
        arrays = list(dict.fromkeys(id(one.features) for one in events))
        return cls(
            source=events[0].source,
            sample=events[0].sample,
            populations=tuple((one.region, one.variation) for one in events),
            features_of=tuple(arrays.index(id(one.features)) for one in events),
            columns=events[0].columns,
            dtype=str(np.result_type(*(one.features.dtype for one in events))),
        )

    def __or__(self, other: "Layout") -> "Layout":
        """This one, with a type that holds the features of both."""
        return dataclasses.replace(
            self, dtype=str(np.result_type(self.dtype, other.dtype))
        )

    def holds(self, other: "Layout") -> bool:
        """Whether events of the other layout can be written in this one exactly."""
        return (self | other) == self == dataclasses.replace(other, dtype=self.dtype)

    @property
    def shapes(self) -> Iterator[tuple[np.dtype, int]]:
        """Type and number of columns of each array."""
        for _ in range(max(self.features_of) + 1):
            yield np.dtype(self.dtype), len(self.columns)
        yield _WEIGHT, len(self.populations)

    @property
    def event_bytes(self) -> int:
        """Size of one event in all arrays."""
        return sum(dtype.itemsize * n_columns for dtype, n_columns in self.shapes)

    @property
    def nominal(self) -> list[int]:
        """Columns of the weights that set the scale of the sample, as in `split`."""
        every = range(len(self.populations))
        found = [i for i in every if self.populations[i][1] == "nominal"]
        return found or [*every]

    def arrays(self, events: Sequence[Events]) -> list[np.ndarray]:
        """What is written of some events."""
        features = {
            number: np.asarray(one.features, self.dtype)
            for number, one in zip(self.features_of, events, strict=True)
        }
        weights = np.stack([np.asarray(one.weight, _WEIGHT) for one in events], axis=1)
        return [*(features[number] for number in sorted(features)), weights]

    def events(self, arrays: Sequence[np.ndarray], factor: float) -> Iterator[Events]:
        """The events that were written, with scaled weights."""
        weights = arrays[-1] * factor
        named = zip(self.populations, self.features_of, strict=True)
        for column, ((region, variation), number) in enumerate(named):
            yield Events(
                features=arrays[number],
                weight=weights[:, column],
                columns=self.columns,
                region=region,
                sample=self.sample,
                variation=variation,
                source=self.source,
            )


@final
@dataclasses.dataclass(frozen=True)
class Stretch:
    """The events of one source in the files of one part.

    Attributes:
        layout: of the source.
        offset: where they begin, in bytes.
        rows: how many there are in each file.
        factor: what scales their weights to the yield of the whole sample.
    """

    layout: Layout
    offset: int
    rows: int
    factor: float = 1.0

    def places(self) -> Iterator[tuple[int, np.dtype, int]]:
        """Offset, type and number of columns of each array."""
        offset = self.offset
        for dtype, n_columns in self.layout.shapes:
            yield offset, dtype, n_columns
            offset += self.rows * n_columns * dtype.itemsize

    @property
    def end(self) -> int:
        """Where the next stretch begins, in bytes."""
        return self.offset + self.rows * self.layout.event_bytes

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """From what `dataclasses.asdict` made of it, and JSON of that.

        Raises:
            KeyError, TypeError, ValueError: if it is none.
        """
        layout = document["layout"]
        return cls(
            layout=Layout(
                source=layout["source"],
                sample=layout["sample"],
                populations=tuple(map(tuple, layout["populations"])),
                features_of=tuple(layout["features_of"]),
                columns=tuple(layout["columns"]),
                dtype=layout["dtype"],
            ),
            offset=document["offset"],
            rows=document["rows"],
            factor=document["factor"],
        )
