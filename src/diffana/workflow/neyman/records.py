"""Folders of belts: what they hold, and how a belt is made from it again."""

import functools
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from jaxtyping import Float, Int

from diffana import runs
from diffana.assemble.neyman import Constructed, Description, construct
from diffana.errors import RunError
from diffana.neyman import Belt, Empirical, Settings
from diffana.published import Published, publish


if TYPE_CHECKING:
    from diffana.stored import Measurement


SETTINGS, WORKSPACE, BELT, TOYS = (
    "settings.json",
    "workspace.json",
    "belt.json",
    "toys.npz",
)


@final
class Source(NamedTuple):
    """Where a likelihood comes from, in a form that can be sent to other processes.

    Attributes:
        workspace: compressed JSON of a workspace; empty for an unbinned likelihood.
        measurement: name of its measurement; else the path of the likelihood.
        digest: SHA-256 of the document.
    """

    workspace: bytes
    measurement: str
    digest: str


@final
class Record(NamedTuple):
    """A finished belt.

    Attributes:
        folder: where it is.
        document: the content of belt.json.
        source: its likelihood.
        description: the construction.
        settings: how critical values were obtained.
    """

    folder: Path
    document: Mapping[str, Any]
    source: Source
    description: Description
    settings: Settings

    def toys(self) -> tuple[Int[np.ndarray, " toy"], Float[np.ndarray, " toy"]]:
        """Tested value, as a position on the grid, and statistic of each toy.

        Raises:
            RunError: if the file is damaged.
        """
        path = self.folder / TOYS
        try:
            with np.load(path) as found:
                return found["at"], found["statistic"]
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{path} is damaged") from error

    def belt(self) -> Belt:
        """The belt, for inference."""
        made = constructed(self.source, self.description)
        document = self.document
        critical = Empirical(
            np.array(document["mu"]),
            np.array(
                [
                    [np.inf if c is None else c for c in row]
                    for row in document["critical"]
                ]
            ),
            np.array(document["levels"]),
        )
        return Belt(made.construction, critical, *made.tested, document["guarantee"])


def source_of(workspace: "Published | Measurement") -> Source:
    """Where a likelihood comes from."""
    if isinstance(workspace, Published):
        content = json.dumps(workspace.specification).encode()
        digest = hashlib.sha256(content).hexdigest()
        return Source(zlib.compress(content), workspace.measurement, digest)
    path = Path(workspace.origin).resolve()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(b"", str(path), digest)


@functools.lru_cache(maxsize=2)
def opened(source: Source) -> "Published | Measurement":
    """The likelihood and its data.

    Raises:
        RunError: if the file of an unbinned likelihood is not the one it was.
    """
    if source.workspace:
        content = json.loads(zlib.decompress(source.workspace))
        return publish(content, origin=WORKSPACE, measurement=source.measurement)
    from diffana import stored

    path = Path(source.measurement)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != source.digest:
        raise RunError(f"{path} is not the likelihood that the belt was made for")
    return stored.read(path)


@functools.lru_cache(maxsize=2)
def constructed(source: Source, description: Description) -> Constructed:
    """The construction for a likelihood."""
    workspace = opened(source)
    return construct(workspace.model, workspace.data, description)


def files(
    source: Source, description: Description, settings: Settings
) -> dict[str, bytes]:
    """What a folder holds from the start, by name."""
    document = {
        "format": "diffana belt settings 1",
        "construction": description._asdict(),
        "calibration": settings._asdict(),
        "measurement": source.measurement,
        "digest": source.digest,
    }
    found = {SETTINGS: f"{json.dumps(document, indent=2)}\n".encode()}
    if source.workspace:
        found[WORKSPACE] = zlib.decompress(source.workspace)
    return found


def read(folder: Path) -> Record:
    """A finished belt.

    Raises:
        RunError: if the folder holds none, or a damaged one.
    """
    document = _document(folder, BELT, "holds no finished belt")
    settings = _document(folder, SETTINGS, "holds no belt")
    try:
        workspace = b""
        if (folder / WORKSPACE).is_file():
            workspace = zlib.compress((folder / WORKSPACE).read_bytes())
        calibration = dict(settings["calibration"])
        calibration["levels"] = tuple(calibration["levels"])
        record = Record(
            folder,
            document,
            Source(workspace, settings["measurement"], settings["digest"]),
            Description(**settings["construction"]),
            Settings(**calibration),
        )
        shape = np.array(document["critical"], float).shape
        if shape != (len(document["levels"]), len(document["mu"])):
            raise ValueError(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder / SETTINGS} or {BELT} is damaged") from error
    return record


def check_same(folder: Path, content: Mapping[str, bytes]) -> None:
    """Make sure that a folder was made with the same settings.

    Raises:
        RunError: naming what differs.
    """
    runs.check_unchanged(folder / SETTINGS, content[SETTINGS].decode())


def _document(folder: Path, name: str, otherwise: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise RunError(f"{folder} {otherwise}")
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged")
    return found
