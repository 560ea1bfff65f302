"""Apache Parquet files."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import numpy as np

from diffana.data.readers.reader import AbstractReader, reading
from diffana.errors import DataError


@final
@dataclasses.dataclass(frozen=True)
class ParquetReader(AbstractReader):
    """An Apache Parquet file; needs the extra `parquet`. Null numbers become NaN."""

    path: pathlib.Path
    missing: float | None = None

    def names(self) -> tuple[str, ...]:
        """The columns of the schema."""
        parquet = self._library()
        with reading(self.path, "Parquet file"):
            return tuple(parquet.read_schema(self.path).names)

    def withheld(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def load(self, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """The columns `names`; no other column is read."""
        parquet = self._library()
        with reading(self.path, "Parquet file"):
            with parquet.ParquetFile(self.path) as file:
                table = file.read(columns=list(names))
            return {name: self._array(name, table[name]) for name in names}

    def pieces(
        self, names: Sequence[str], size: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """The columns `names`; integers are float64 wherever the file has nulls."""
        parquet = self._library()
        with (
            reading(self.path, "Parquet file"),
            # Otherwise pyarrow fetches all row groups, the whole file, at the start.
            parquet.ParquetFile(self.path, pre_buffer=False) as file,
        ):
            nulls = _columns_with_nulls(file.metadata)
            for batch in file.iter_batches(batch_size=size, columns=list(names)):
                if not batch.num_rows:
                    continue
                piece = {name: self._array(name, batch[name]) for name in names}
                yield {
                    name: array.astype(np.float64)
                    if name in nulls and array.dtype.kind in "iu"
                    else array
                    for name, array in piece.items()
                }

    def _array(self, name: str, column) -> np.ndarray:
        array = column.to_numpy(zero_copy_only=False)
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


def _columns_with_nulls(metadata) -> set[str]:
    """Columns of which some part has nulls, or does not say that it has none."""
    found = set()
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            counted = column.statistics
            if counted is None or not counted.has_null_count or counted.null_count:
                found.add(column.path_in_schema.split(".")[0])
    return found
