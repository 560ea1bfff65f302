"""Portions of a data set on the disk, of which one is read at a time.

A store is a folder with one file for each portion and `manifest.json`, which describes
them. It is written last: a folder without it is no store.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, final

import numpy as np

from diffana.data.layout import Stretch
from diffana.data.portions import DataSet, Portions
from diffana.errors import DataError


MANIFEST = "manifest.json"


@final
class Store:
    """The portions of every part of a data set, in a folder.

    Attributes:
        folder: where they are.
    """

    folder: Path

    def __init__(self, folder: Path, parts: Mapping[str, "_Part"]):
        self.folder = folder
        self._parts = parts

    @classmethod
    def is_of(cls, folder: Path, fingerprint: str) -> bool:
        """Whether there is a store in a folder, and one that follows from this.

        Args:
            folder: may be absent.
            fingerprint: what the content has to follow from.

        Raises:
            DataError: if the manifest is damaged.
        """
        if not (folder / MANIFEST).exists():
            return False
        return _manifest(folder).fingerprint == fingerprint

    @classmethod
    def read(cls, folder: Path) -> "Store":
        """The store in a folder. Every file is compared with what was written.

        Raises:
            DataError: naming a file that is missing or damaged.
        """
        manifest = _manifest(folder)
        for name, part in manifest.parts.items():
            for portion, written in enumerate(part.sha256):
                file = file_of(folder, name, portion)
                if digest(file) != written:
                    raise _unusable(file, "is damaged")
        return cls(folder, manifest.parts)

    def move(self, folder: Path) -> None:
        """Put the store elsewhere on the same disk, in place of what is there.

        Raises:
            DataError: if that cannot be done.
        """
        try:
            shutil.rmtree(folder, ignore_errors=True)
            self.folder.rename(folder)
        except OSError as error:
            raise DataError(
                f"{self.folder} cannot be moved to {folder}: {error.strerror}"
            ) from error
        self.folder = folder

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts."""
        return tuple(self._parts)

    def portions(self, part: str) -> Portions:
        """The portions of a part, each of which is read when it is asked for."""
        return Portions(_Files(self, part))

    def portion(self, part: str, portion: int) -> DataSet:
        """One portion, in memory.

        Raises:
            DataError: if its file is missing or too short.
        """
        path = file_of(self.folder, part, portion)
        stretches = self._parts[part].stretches
        with _reading(path), path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != max(one.end for one in stretches):
                raise _unusable(path, "is damaged")
            return tuple(
                events
                for stretch in stretches
                for events in stretch.layout.events(
                    [
                        np.fromfile(file, dtype, stretch.rows * n_columns).reshape(
                            stretch.rows, n_columns
                        )
                        for _, dtype, n_columns in stretch.places()
                    ],
                    stretch.factor,
                )
            )

    def n_portions(self, part: str) -> int:
        """Number of portions of a part."""
        return len(self._parts[part].sha256)


class _Part(NamedTuple):
    """Digests of the files of a part, and what lies in each of them, in order."""

    sha256: tuple[str, ...]
    stretches: tuple[Stretch, ...]


@final
@dataclasses.dataclass(frozen=True)
class _Files:
    """Data sets of a part by number, each read when it is asked for."""

    store: Store
    part: str

    def __len__(self) -> int:
        return self.store.n_portions(self.part)

    def __getitem__(self, index: int) -> DataSet:
        return self.store.portion(self.part, index)


class _Manifest(NamedTuple):
    fingerprint: str
    parts: Mapping[str, _Part]


def _manifest(folder: Path) -> _Manifest:
    path = folder / MANIFEST
    with _reading(path):
        content = path.read_bytes()
    try:
        document = json.loads(content)
        parts = {
            name: _Part(
                sha256=tuple(part["files"]),
                stretches=tuple(map(Stretch.parse, part["stretches"])),
            )
            for name, part in document["parts"].items()
        }
        return _Manifest(document["fingerprint"], parts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(path, "is damaged") from error


def _unusable(path: Path, what: str) -> DataError:
    return DataError(
        f"{path} {what}; remove the folder {path.parent}, and the events are read again"
    )


def file_of(folder: Path, part: str, portion: int) -> Path:
    """The file of a portion."""
    return folder / f"{part}-{portion:05}.events"


def digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        DataError: if it is missing or cannot be read.
    """
    with _reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise _unusable(path, "is missing") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
