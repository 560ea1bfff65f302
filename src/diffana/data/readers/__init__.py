"""Files of events -> tables of columns."""

import pathlib
from collections.abc import Mapping

from diffana.data.readers.binned import (
    Binned as Binned,
    read_histogram as read_histogram,
)
from diffana.data.readers.npz import NpzReader as NpzReader
from diffana.data.readers.parquet import ParquetReader as ParquetReader
from diffana.data.readers.reader import AbstractReader as AbstractReader
from diffana.data.readers.root import RootReader as RootReader
from diffana.data.readers.text import CsvReader as CsvReader
from diffana.errors import DataError


_OF_ONE_TABLE: Mapping[str, type[NpzReader | CsvReader | ParquetReader]] = {
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
        path: a file ending in .npz, .csv, .csv.gz, .parquet or .root.
        tree: the tree to read in a ROOT file, see `RootReader`; None for the other
            formats, which hold one table.
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
    name = path.name.lower()
    if name.endswith(".root"):
        return RootReader(path, missing, tree)
    for suffix, reader in _OF_ONE_TABLE.items():
        if name.endswith(suffix):
            if tree is not None:
                raise DataError(
                    f"{path}: tree {tree!r} asked for, but a {suffix} file holds one "
                    "table and no trees"
                )
            return reader(path, missing)
    raise DataError(
        f"{path}: no reader for files of this name; there are readers for "
        f"{', '.join([*_OF_ONE_TABLE, '.root'])}"
    )
