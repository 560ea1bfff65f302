"""Comma-separated values."""

import csv
import dataclasses
import gzip
import itertools
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO, final

import numpy as np

from diffana.data.readers.reader import AbstractReader, reading
from diffana.errors import DataError


@final
@dataclasses.dataclass(frozen=True)
class CsvReader(AbstractReader):
    """Comma-separated values under one line of names, plain or compressed by gzip.

    A column whose first entry is no number holds text. Numbers are read as float64,
    which is exact for integers up to 2**53. A plain file that was cut off within its
    last entry cannot be told from a complete one.
    """

    path: pathlib.Path
    missing: float | None = None

    def names(self) -> tuple[str, ...]:
        """The names in the first line."""
        return tuple(self._first_event())

    def withheld(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def load(self, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """The columns `names`; every line of the file is parsed and checked."""
        first = self._first_event()
        with reading(self.path, "CSV file"), self._open() as file:
            next(file)
            return _columns(file, first, names)

    def pieces(
        self, names: Sequence[str], size: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """The columns `names`; every line is parsed and checked when its turn comes."""
        first = self._first_event()
        with reading(self.path, "CSV file"), self._open() as file:
            next(file)
            lines = iter(file)
            while (line := next(filter(str.strip, lines), None)) is not None:
                events = itertools.chain([line], lines)
                yield _columns(events, first, names, size)

    def _first_event(self) -> dict[str, str]:
        """Column -> its first entry."""
        with reading(self.path, "CSV file"), self._open() as file:
            lines = csv.reader(file)
            names = [name.strip() for name in next(lines, ())]
            entries = next(lines, None)
        if not names:
            raise DataError(f"{self.path}: the file is empty")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(f"{self.path}: column {repeated[0]!r} appears twice")
        if entries is None:
            raise DataError(f"{self.path}: no events")
        if len(entries) != len(names):
            raise DataError(
                f"{self.path}: {len(names)} columns, but the first event has "
                f"{len(entries)} entries"
            )
        return dict(zip(names, entries, strict=True))

    def _open(self) -> TextIO:
        # Spreadsheets put a byte-order mark in front of the first name: "utf-8-sig".
        if self.path.suffix.lower() == ".gz":
            return gzip.open(self.path, "rt", encoding="utf-8-sig", newline="")
        return self.path.open(encoding="utf-8-sig", newline="")


def _columns(
    lines: Iterable[str],
    first: Mapping[str, str],
    names: Sequence[str],
    n_events: int | None = None,
) -> dict[str, np.ndarray]:
    """The columns `names` of the next `n_events` of `lines`, or of all of them."""
    # One character is kept of a column nobody asked for: parsed for the number of
    # entries per line, which tells a truncated file, and then dropped.
    kinds = [
        ("f8" if _is_number(entry) else "O") if name in names else "U1"
        for name, entry in first.items()
    ]
    with warnings.catch_warnings():
        # Empty lines do not count as events, which NumPy wants to be known.
        warnings.filterwarnings("ignore", "Input line .* contained no data")
        events = np.loadtxt(
            lines,
            dtype=[(f"f{i}", kind) for i, kind in enumerate(kinds)],
            comments=None,
            delimiter=",",
            quotechar='"',
            ndmin=1,
            max_rows=n_events,
        )
    field = {name: events[f"f{i}"] for i, name in enumerate(first)}
    return {
        name: field[name].astype(str)
        if field[name].dtype.kind == "O"
        else np.ascontiguousarray(field[name])
        for name in names
    }


def _is_number(entry: str) -> bool:
    try:
        float(entry)
    except ValueError:
        return False
    return True
