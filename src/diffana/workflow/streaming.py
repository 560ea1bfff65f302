"""Where events that stream are kept while they are needed."""

import contextlib
import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from diffana import __version__, assemble, config as configuration, runs
from diffana.config import Config
from diffana.data.store import Store
from diffana.errors import RunError


def inside(run: runs.Run) -> Path:
    """Where a run keeps its events; its lock protects them."""
    return run.folder / "events"


def left_behind(run: runs.Run) -> Path:
    """`inside`, with what a killed process may not have put there yet."""
    folder, early = inside(run), _beside(run.folder)
    if early.exists():
        shutil.rmtree(folder, ignore_errors=True)
        early.rename(folder)
    return folder


def discard(run: runs.Run) -> None:
    """Remove the events of a run that needs them no more."""
    shutil.rmtree(inside(run), ignore_errors=True)


def _beside(run_folder: Path) -> Path:
    return run_folder.with_name(f".{run_folder.name}.events")


@contextlib.contextmanager
def beside(run_folder: Path, *, warn: Callable[[str], None]) -> Iterator[Path]:
    """A folder for the events of a run that has no folder yet; gone at the end.

    What a killed process left in it is found by the next one that trains the same run.

    Args:
        run_folder: where the run will be.
        warn: as of `runs.exclusive`.

    Raises:
        RunError: if it cannot be made.
        InUseError: if another process is about to train the same run.
    """
    folder = _beside(run_folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be created: {error.strerror}") from error
    with runs.exclusive(folder, warn=warn):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def stored(
    config: Config,
    folder: Path | None,
    *,
    fractions: Mapping[str, float],
    parts: Sequence[str],
    chunk_size: int,
) -> Store:
    """The portions of the events of `config` on the disk.

    Those that are there already are taken if they follow from the same configuration
    and the same files; anything else in the folder is removed.

    Args:
        config: the configuration.
        folder: where they are or will be; nobody else writes there. None for a
            temporary folder, which goes when the store does.
        fractions: share of each part of the simulated events, adding up to 1.
        parts: those that are needed.
        chunk_size: events in memory at a time.

    Raises:
        DataError: naming file, column and sample of what is wrong, or a file of the
            store if it is damaged.
    """
    fingerprint = _fingerprint(config)

    def ingested(folder: Path) -> Store:
        assemble.ingest(
            config,
            folder,
            fractions=fractions,
            parts=parts,
            chunk_size=chunk_size,
            fingerprint=fingerprint,
        )
        return Store.read(folder)

    if folder is None:
        with contextlib.ExitStack() as failing:
            temporary = Path(tempfile.mkdtemp(prefix="diffana-"))
            failing.callback(shutil.rmtree, temporary)
            store = ingested(temporary)
            failing.pop_all()
        weakref.finalize(store, shutil.rmtree, temporary, ignore_errors=True)
        return store
    if Store.is_of(folder, fingerprint):
        return Store.read(folder)
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        # The lock is hidden.
        if not path.name.startswith("."):
            path.unlink()
    return ingested(folder)


def _fingerprint(config: Config) -> str:
    """Of everything that the portions follow from, bit for bit."""
    states = [
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for path in assemble.input_files(config)
        if path.exists()
    ]
    content = [configuration.dump(config), states, __version__, np.__version__]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
