"""What the readers of all formats have in common."""

import abc
import contextlib
import csv
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from diffana.data.table import Table, close_matches
from diffana.errors import DataError


# What numpy, gzip, zipfile, csv and pyarrow raise on a damaged file
# (UnicodeDecodeError is a ValueError, BadGzipFile an OSError).
DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    EOFError,
    NotImplementedError,
    csv.Error,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class AbstractReader(abc.ABC):
    """One file of events.

    A format supplies the names and the raw columns; `read` and `chunks` are the same
    for all.

    Attributes:
        path: the file, named by every error message.
        missing: number that stands for "undefined" in the file, such as -999; it
            becomes NaN in every column of numbers, integers becoming float64. None
            where there is no such code.
    """

    path: pathlib.Path
    missing: float | None

    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """The columns that the file offers, in its order."""

    @abc.abstractmethod
    def withheld(self) -> Mapping[str, str]:
        """What the file holds besides, and why it is no column."""

    @abc.abstractmethod
    def load(self, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """The columns `names`, all of which exist, as the file holds them."""

    @abc.abstractmethod
    def pieces(
        self, names: Sequence[str], size: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """What `load` returns, in pieces of 1 to `size` events, in order."""

    def read(self, columns: Sequence[str] | None = None) -> Table:
        """The columns `columns`, or all of them, with undefined numbers as NaN.

        Raises:
            DataError: if the file is absent, damaged or without events, or has no
                such column; the message names the file.
        """
        names, withheld = self._wanted(columns)
        table = self._table(self.load(names), withheld)
        if not len(table):
            raise DataError(f"{self.path}: no events")
        return table

    def chunks(self, columns: Sequence[str] | None, size: int) -> Iterator[Table]:
        """What `read` returns, in tables of 1 to `size` events, in order.

        Memory is bounded by the chunk and by the unit in which the format is stored: a
        basket of ROOT, a row group of Parquet. A damaged part of the file is noticed
        when its turn comes.

        Raises:
            ValueError: if `size` is not positive.
            DataError: as `read` does.
        """
        if size < 1:
            raise ValueError(f"a chunk has to hold at least 1 event, not {size}")
        names, withheld = self._wanted(columns)
        is_empty = True
        for piece in self.pieces(names, size):
            is_empty = False
            yield self._table(piece, withheld)
        if is_empty:
            raise DataError(f"{self.path}: no events")

    def _wanted(
        self, columns: Sequence[str] | None
    ) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Names of the columns to load, and what cannot be."""
        known, withheld = self.names(), self.withheld()
        for name in columns or ():
            if name in withheld:
                raise DataError(f"{self.path}: no column {name!r}: {withheld[name]}")
            if name not in known:
                raise DataError(
                    f"{self.path}: no column {name!r}; {close_matches(name, known)}"
                )
        return known if columns is None else tuple(columns), withheld

    def _table(
        self, columns: Mapping[str, np.ndarray], withheld: Mapping[str, str]
    ) -> Table:
        return Table(
            {
                name: _undefined(column, self.missing)
                for name, column in columns.items()
            },
            origin=str(self.path),
            withheld=withheld,
        )


def _undefined(column: np.ndarray, missing: float | None) -> np.ndarray:
    if missing is None or column.dtype.kind not in "iuf":
        return column
    # The type does not depend on the entries: chunks of a column have one type.
    return np.where(column == missing, np.nan, column)


@contextlib.contextmanager
def reading(
    path: pathlib.Path, kind: str, damage: tuple[type[Exception], ...] = DAMAGE
) -> Iterator[None]:
    """`DataError` that names the file in place of what libraries raise.

    Args:
        path: the file.
        kind: what it should be.
        damage: what a damaged file leads to.
    """
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except damage as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable {kind}: {reason}") from error
