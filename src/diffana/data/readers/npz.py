"""NumPy archives."""

import contextlib
import dataclasses
import pathlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, NamedTuple, final

import numpy as np

from diffana.data.readers.reader import AbstractReader, reading
from diffana.errors import DataError


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

    def withheld(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def load(self, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """The arrays `names`."""
        with self._archive() as archive:
            return {name: archive[name] for name in names}

    def pieces(
        self, names: Sequence[str], size: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """The arrays `names`, whose members of the archive are unpacked in step."""
        with self._archive() as archive, contextlib.ExitStack() as stack:
            members = {name: self._member(archive, name, stack) for name in names}
            lengths = {name: member.length for name, member in members.items()}
            if len(set(lengths.values())) > 1:
                raise DataError(f"{self.path}: columns differ in length: {lengths}")
            n_events = next(iter(lengths.values()), 0)
            for start in range(0, n_events, size):
                length = min(size, n_events - start)
                yield {name: one.read(length) for name, one in members.items()}
            for member in members.values():
                # The checksum is compared at the end of a member.
                member.stream.read(1)

    def _member(
        self, archive: np.lib.npyio.NpzFile, name: str, stack: contextlib.ExitStack
    ) -> "_Member":
        packed = archive.zip
        if packed is None:
            raise ValueError("the archive is closed")
        file = name if name in packed.namelist() else f"{name}.npy"
        stream = stack.enter_context(packed.open(file))
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded")
        if len(shape) != 1:
            raise DataError(
                f"{self.path}: column {name!r} has shape {shape}; a column has one "
                "entry per event"
            )
        return _Member(stream, dtype, shape[0])

    @contextlib.contextmanager
    def _archive(self) -> Iterator[np.lib.npyio.NpzFile]:
        with reading(self.path, "npz archive"), self.path.open("rb") as file:
            # Otherwise `load` takes the file for a bare array or for a pickle.
            if not zipfile.is_zipfile(file):
                raise DataError(f"{self.path}: not an npz archive, or a truncated one")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive


class _Member(NamedTuple):
    """An array of an archive that is being unpacked.

    Attributes:
        stream: the entries to come.
        dtype: type of an entry.
        length: number of all entries.
    """

    stream: IO[bytes]
    dtype: np.dtype
    length: int

    def read(self, length: int) -> np.ndarray:
        """The next `length` entries."""
        content = self.stream.read(length * self.dtype.itemsize)
        if len(content) != length * self.dtype.itemsize:
            raise EOFError("an array ends before its last entry")
        return np.frombuffer(content, self.dtype)
