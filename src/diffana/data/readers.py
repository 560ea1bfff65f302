"""Files of events -> tables of columns."""

import abc
import contextlib
import csv
import dataclasses
import gzip
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO, final

import numpy as np

from diffana.data.table import Table, close_matches
from diffana.errors import DataError


# What numpy, gzip, zipfile, csv and pyarrow raise on a damaged file
# (UnicodeDecodeError is a ValueError, BadGzipFile an OSError).
_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    NotImplementedError,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
)


class AbstractReader(abc.ABC):
    """One file of events.

    A format supplies the names and the raw columns; `read` is the same for all.

    Attributes:
        path: the file, named by every error message.
        missing: number that stands for "undefined" in the file, such as -999; it
            becomes NaN in every column of numbers. None where there is no such code.
    """

    path: pathlib.Path
    missing: float | None

    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """The columns that the file offers, in its order."""

    @abc.abstractmethod
    def load(self, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """The columns `names`, all of which exist, as the file holds them."""

    def read(self, columns: Sequence[str] | None = None) -> Table:
        """The columns `columns`, or all of them, with undefined numbers as NaN.

        Raises:
            DataError: if the file is absent, damaged or without events, or has no
                such column; the message names the file.
        """
        known = self.names()
        for name in columns or ():
            if name not in known:
                raise DataError(
                    f"{self.path}: no column {name!r}; {close_matches(name, known)}"
                )
        loaded = self.load(known if columns is None else tuple(columns))
        table = Table(
            {name: _undefined(column, self.missing) for name, column in loaded.items()},
            origin=str(self.path),
        )
        if not len(table):
            raise DataError(f"{self.path}: no events")
        return table


def _undefined(column: np.ndarray, missing: float | None) -> np.ndarray:
    if missing is None or column.dtype.kind not in "iuf":
        return column
    coded = column == missing
    return np.where(coded, np.nan, column) if coded.any() else column


@contextlib.contextmanager
def _reading(path: pathlib.Path, kind: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except _DAMAGE as error:
        raise DataError(f"{path}: not a readable {kind}: {error}") from error


@final
@dataclasses.dataclass(frozen=True)
class NpzReader(AbstractReader):
    """A NumPy archive with one one-dimensional array per column."""

    path: pathlib.Path
    missing: float | None = None

    def names(self) -> tuple[str, ...]:
        """The arrays of the archive."""
        with self._archive() as archive:
            return tuple(archive.files)

    def load(self, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """The arrays `names`."""
        with self._archive() as archive:
            return {name: archive[name] for name in names}

    @contextlib.contextmanager
    def _archive(self) -> Iterator[np.lib.npyio.NpzFile]:
        with _reading(self.path, "npz archive"), self.path.open("rb") as file:
            # Otherwise `load` takes the file for a bare array or for a pickle.
            if not zipfile.is_zipfile(file):
                raise DataError(f"{self.path}: not an npz archive, or a truncated one")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive


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

    def load(self, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """The columns `names`; every line of the file is parsed and checked."""
        first = self._first_event()
        # One character is kept of a column nobody asked for: parsed for the number of
        # entries per line, which tells a truncated file, and then dropped.
        kinds = [
            ("f8" if _is_number(entry) else "O") if name in names else "U1"
            for name, entry in first.items()
        ]
        with _reading(self.path, "CSV file"), self._open() as file:
            events = np.loadtxt(
                file,
                dtype=[(f"f{i}", kind) for i, kind in enumerate(kinds)],
                comments=None,
                delimiter=",",
                quotechar='"',
                skiprows=1,
                ndmin=1,
            )
        field = {name: events[f"f{i}"] for i, name in enumerate(first)}
        return {
            name: field[name].astype(str)
            if field[name].dtype.kind == "O"
            else np.ascontiguousarray(field[name])
            for name in names
        }

    def _first_event(self) -> dict[str, str]:
        """Column -> its first entry."""
        with _reading(self.path, "CSV file"), self._open() as file:
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


def _is_number(entry: str) -> bool:
    try:
        float(entry)
    except ValueError:
        return False
    return True


@final
@dataclasses.dataclass(frozen=True)
class ParquetReader(AbstractReader):
    """An Apache Parquet file; needs the extra `parquet`. Null numbers become NaN."""

    path: pathlib.Path
    missing: float | None = None

    def names(self) -> tuple[str, ...]:
        """The columns of the schema."""
        parquet = self._library()
        with _reading(self.path, "Parquet file"):
            return tuple(parquet.read_schema(self.path).names)

    def load(self, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """The columns `names`; no other column is read."""
        parquet = self._library()
        with _reading(self.path, "Parquet file"):
            with parquet.ParquetFile(self.path) as file:
                table = file.read(columns=list(names))
            return {name: self._array(name, table[name]) for name in names}

    def _array(self, name: str, column) -> np.ndarray:
        array = column.to_numpy()
        if array.dtype.kind != "O":
            return array
        if column.null_count:
            raise DataError(
                f"{self.path}: column {name!r} has {column.null_count} entries without "
                "a value, which only columns of numbers can have"
            )
        if not all(isinstance(entry, str) for entry in array):
            raise DataError(
                f"{self.path}: column {name!r} holds {column.type}, neither numbers "
                "nor text"
            )
        return array.astype(str)

    def _library(self):
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise DataError(
                f"{self.path}: Parquet files need pyarrow: "
                "pip install 'diffana[parquet]'"
            ) from error
        return pyarrow.parquet


_READERS: Mapping[str, type[NpzReader | CsvReader | ParquetReader]] = {
    ".npz": NpzReader,
    ".csv": CsvReader,
    ".csv.gz": CsvReader,
    ".parquet": ParquetReader,
}


def open_reader(
    path: str | pathlib.Path, tree: str | None = None, *, missing: float | None = None
) -> AbstractReader:
    """The reader for `path`, chosen by the end of its name.

    Args:
        path: a file ending in .npz, .csv, .csv.gz or .parquet.
        tree: the tree to read in a file that holds several; None for the formats
            above, which hold one table.
        missing: number that stands for "undefined" in the file, or None.

    Raises:
        DataError: if no reader knows the end of the name, or the format has no trees.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/events.npz", pt=[25.0, -999.0], label=["s", "b"])
        ...     table = open_reader(f"{folder}/events.npz", missing=-999.0).read()
        >>> table["pt"]
        array([25., nan])
    """
    path = pathlib.Path(path)
    for suffix, reader in _READERS.items():
        if path.name.lower().endswith(suffix):
            if tree is not None:
                raise DataError(
                    f"{path}: tree {tree!r} asked for, but a {suffix} file holds one "
                    "table and no trees"
                )
            return reader(path, missing)
    raise DataError(
        f"{path}: no reader for files of this name; there are readers for "
        f"{', '.join(_READERS)}"
    )
