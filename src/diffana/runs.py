"""The run folder: what was run, with what, how it went, and where to go on.

A run folder holds

- `config.yaml`: the configuration with every default spelled out,
- `provenance.json`: versions, machine, seed, commit, command and input files,
- `metrics.jsonl`: one JSON object per line and step,
- `timings.jsonl`: how long each epoch took; not among the metrics, which are the same
  whenever a training is repeated,
- `last.eqx` and `best.eqx`: checkpoints,
- `events/`: events of a training in portions, until it has finished,
- `workspace.json`, `results.json`, `figures/`: final results on test events,
- `checks.json`, `report.html`: if somebody asked for them,
- `finished.json`: written last; a run without it can be resumed.

Each file but the metrics and timings appears complete or not at all, so a process may
be killed at any moment. These two may end in a torn line, which `Run.rewind` removes.

The process that writes into a folder holds a lock on the file `.lock` in it, see
`exclusive`. The file is left behind if the process is killed; the lock is not.
"""

import contextlib
import dataclasses
import datetime
import errno
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.tree_util as jtu
from jaxtyping import PyTree

from diffana.errors import CheckpointError, InUseError, RunError
from diffana.files import put_file, sync_folder


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

Tree = TypeVar("Tree", bound=PyTree)

_LOCK = ".lock"
_PACKAGES = ("diffana", "jax", "jaxlib", "equinox", "optax", "pyhf", "numpy", "scipy")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder; made by `create`, `reopen` or `open_finished`.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.folder / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, machine, seed, commit, command and input files."""
        return self.folder / "provenance.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per line and step."""
        return self.folder / "metrics.jsonl"

    @property
    def timings(self) -> Path:
        """Seconds of each epoch, one JSON object per line."""
        return self.folder / "timings.jsonl"

    @property
    def last(self) -> Path:
        """Checkpoint that training goes on from."""
        return self.folder / "last.eqx"

    @property
    def best(self) -> Path:
        """Checkpoint of the selected model."""
        return self.folder / "best.eqx"

    @property
    def finished(self) -> Path:
        """Marks a run that came to its end."""
        return self.folder / "finished.json"

    def write(self, name: str, content: bytes) -> None:
        """Put a result into the folder, in place of the one before, at once.

        Args:
            name: path below the folder; folders in it are created.
            content: of the file.
        """
        path = self.folder / name
        with _writing(path):
            path.parent.mkdir(exist_ok=True)
        _replace(path, content)

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        """As `write`; nan and infinities are written as text, as in `record`."""
        self.write(name, _json(_plain(document)))

    def read_provenance(self) -> dict[str, Any]:
        """What `describe` returned when the run was created.

        Raises:
            RunError: if the file is damaged.
        """
        try:
            found = json.loads(self.provenance.read_bytes())
        except OSError as error:
            reason = error.strerror
            raise RunError(f"{self.provenance} cannot be read: {reason}") from error
        except (ValueError, RecursionError) as error:
            raise RunError(f"{self.provenance} is damaged") from error
        match found:
            case {"inputs": [*inputs]} if all(map(_is_fingerprint, inputs)):
                return found
        raise RunError(f"{self.provenance} is damaged")

    def check_inputs(self, paths: Iterable[Path]) -> None:
        """Make sure that files are still those that the run was trained on.

        Raises:
            RunError: naming the first file that is not, or that cannot be read.
        """
        before = {
            file["path"]: file["sha256"] for file in self.read_provenance()["inputs"]
        }
        for path in paths:
            if before.get(str(path)) != _fingerprint(path)["sha256"]:
                raise RunError(
                    f"{path} is not the file that {self.folder} was trained on"
                )

    def record(self, step: int, values: Mapping[str, Any]) -> None:
        """Append a line to the metrics; it is on the disk when this returns.

        Args:
            step: updates made so far; never smaller than that of the line before.
            values: numbers, text or lists of them. JSON has no nan and no infinities:
                they are written as the text `"nan"`, `"inf"`, `"-inf"`.
        """
        _append(self.metrics, {"step": step, **_plain(values)})

    def record_time(self, step: int, seconds: float) -> None:
        """Append how long the updates since the line before took, validation included.

        Args:
            step: updates made so far; never smaller than that of the line before.
            seconds: wall time, compilation included where there was any.
        """
        _append(self.timings, {"step": step, "seconds": round(seconds, 6)})

    def read_metrics(self) -> list[dict[str, Any]]:
        """The complete lines of the metrics.

        Raises:
            RunError: if a line is not a JSON object with a step.
        """
        return [record for record, _ in _lines(self.metrics)]

    def read_timings(self) -> list[dict[str, Any]]:
        """The complete lines of the timings; none for a run that has not recorded any.

        Raises:
            RunError: if a line is not a JSON object with a step.
        """
        return [record for record, _ in _lines(self.timings)]

    def rewind(self, step: int) -> None:
        """Remove metrics and timings after `step`, so that steps made again count once.

        Args:
            step: updates made in the checkpoint that training goes on from; a negative
                number removes everything.
        """
        for path in (self.metrics, self.timings):
            kept = [line for record, line in _lines(path) if record["step"] <= step]
            _replace(path, b"".join(kept))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the run as finished.

        Args:
            summary: final results, as in `record`.
        """
        _replace(self.finished, _json({"finished": _now(), **_plain(summary)}))


def create(folder: Path, *, config: str, provenance: Mapping[str, Any]) -> Run:
    """A new run folder with its configuration and provenance.

    The folder appears with both files in it, or not at all.

    Args:
        folder: where; must not exist. Folders above it are created.
        config: resolved configuration, YAML.
        provenance: what `describe` returns.

    Raises:
        RunError: if the folder exists or cannot be made.
    """
    if folder.exists() or folder.is_symlink():
        raise RunError(f"{folder} exists; a run never overwrites anything")
    run = Run(folder)
    create_folder(
        folder,
        {run.config.name: config.encode(), run.provenance.name: _json(provenance)},
    )
    return run


def create_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """A new folder, which appears with all of its files or not at all.

    Args:
        folder: where; must not exist. Folders above it are created.
        files: name -> content, at least one.

    Raises:
        RunError: if the folder cannot be made.
    """
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        for name, content in files.items():
            put_file(draft / name, content)
        # Fails if another process has just put its own, non-empty folder there.
        draft.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise RunError(f"{folder} cannot be created: {error.strerror}") from error
    finally:
        _discard(draft)


@contextlib.contextmanager
def exclusive(folder: Path, *, warn: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from writing into a folder, inside a `with` block.

    The kernel frees the lock when the process that holds it ends, however it ends.

    Args:
        folder: a folder that exists.
        warn: called with one line if the file system has no locks, where nothing keeps
            others out.

    Raises:
        InUseError: naming the process that works in the folder.
        RunError: if the folder cannot be written.

    Example:
        >>> with exclusive(run.folder, warn=print):
        ...     run.write("results.json", content)
    """
    descriptor = _acquired(folder, warn)
    try:
        with _writing(folder / _LOCK):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} on {platform.node()}".encode(), 0)
        yield
    finally:
        (folder / _LOCK).unlink(missing_ok=True)
        os.close(descriptor)


def open_interrupted(folder: Path, *, config: str) -> Run:
    """The folder of an interrupted run, to look at; nothing is written.

    Args:
        folder: the run folder.
        config: resolved configuration; must be that of the run.

    Raises:
        RunError: if there is no such run, if it has finished, or if it has another
            configuration.
    """
    run = _open(folder)
    if run.finished.exists():
        raise RunError(f"{folder} has finished; there is nothing to resume")
    check_unchanged(run.config, config)
    return run


def check_unchanged(path: Path, text: str) -> None:
    """Make sure that a folder was made with the configuration that is given.

    Args:
        path: the configuration in the folder.
        text: the one that is given.

    Raises:
        RunError: naming the first line that differs.
    """
    try:
        before = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read") from error
    for number, lines in enumerate(_side_by_side(before, text.splitlines()), 1):
        if lines[0] != lines[1]:
            raise RunError(
                f"{path.parent} has another configuration; {path}, line {number}: "
                f"{lines[0].strip()!r} was run, {lines[1].strip()!r} is given"
            )


def reopen(folder: Path, *, config: str, provenance: Mapping[str, Any]) -> Run:
    """The folder of an interrupted run, to go on with.

    Args:
        folder: the run folder.
        config: resolved configuration; must be that of the run.
        provenance: what `describe` returns now; added to the file of the run.

    Raises:
        RunError: as `open_interrupted`.
    """
    run = open_interrupted(folder, config=config)
    history = run.read_provenance()
    before = history.get("resumed", [])
    if not isinstance(before, list):
        raise RunError(f"{run.provenance} is damaged")
    _replace(run.provenance, _json({**history, "resumed": [*before, provenance]}))
    return run


def open_finished(folder: Path) -> Run:
    """The folder of a run that came to its end, to evaluate.

    Raises:
        RunError: if there is no such run or it has not finished.
    """
    run = _open(folder)
    if not run.finished.exists():
        raise RunError(f"{folder} has not finished; resume its training first")
    return run


def describe(
    *, seed: int, inputs: Iterable[Path] = (), argv: Sequence[str] | None = None
) -> dict[str, Any]:
    """What a result depends on beside the configuration.

    Args:
        seed: seed of everything random.
        inputs: files that are read; their size in bytes and SHA-256 are noted.
        argv: the command; that of this process if None.

    Raises:
        RunError: if an input cannot be read.
    """
    device = jax.devices()[0]
    return {
        "started": _now(),
        "argv": list(sys.argv if argv is None else argv),
        "seed": seed,
        "versions": {"python": platform.python_version(), **_versions()},
        "platform": platform.platform(),
        "device": {"platform": device.platform, "kind": device.device_kind},
        "x64": bool(jax.config.read("jax_enable_x64")),
        "git": _git(Path.cwd()),
        "inputs": [_fingerprint(path) for path in inputs],
    }


def save_checkpoint(
    path: Path, tree: PyTree, meta: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint, which replaces the one before at once or not at all.

    A line of JSON names every leaf; the leaves follow.

    Args:
        path: the file.
        tree: arrays and Python numbers are saved, other leaves are not.
        meta: anything that JSON can express, for example the step.
    """
    leaves = io.BytesIO()
    eqx.tree_serialise_leaves(leaves, tree)
    content = leaves.getvalue()
    header = {
        "leaves": _signature(tree),
        "meta": {} if meta is None else _plain(meta),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    header["header_sha256"] = _digest(header)
    line = json.dumps(header, allow_nan=False).encode()
    _replace(path, line + b"\n" + content)


def load_checkpoint(path: Path, like: Tree) -> tuple[Tree, dict[str, Any]]:
    """Read a checkpoint.

    Args:
        path: the file.
        like: a tree with the leaves, shapes and types of the one that was saved; what
            is not saved is taken from it.

    Returns:
        The tree, and the `meta` it was saved with.

    Raises:
        CheckpointError: if there is no such file, it is damaged, or its leaves are not
            those of `like`.
    """
    try:
        line, _, content = path.read_bytes().partition(b"\n")
        header = json.loads(line)
        saved, meta, sha256 = (header[key] for key in ("leaves", "meta", "sha256"))
        stated = header.pop("header_sha256", _digest(header))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a checkpoint") from error
    if not (isinstance(saved, list) and isinstance(meta, dict)):
        raise CheckpointError(f"{path} is not a checkpoint")
    if hashlib.sha256(content).hexdigest() != sha256 or _digest(header) != stated:
        raise CheckpointError(f"{path} is damaged: its content has changed")
    for found, wanted in _side_by_side(saved, _signature(like)):
        if found != wanted:
            raise CheckpointError(
                f"{path} belongs to another model: it has {found or 'no leaf'} where "
                f"{wanted or 'no leaf'} is expected"
            )
    leaves = io.BytesIO(content)
    try:
        # Arrays of numbers alone: NumPy refuses objects, which it would unpickle.
        tree = eqx.tree_deserialise_leaves(leaves, like)
    except Exception as error:
        # Whatever a file may hold that somebody else has made.
        raise CheckpointError(f"{path} is damaged: not the leaves it names") from error
    if leaves.read(1):
        raise CheckpointError(f"{path} is damaged: more than the leaves it names")
    return tree, meta


def _digest(header: Mapping[str, Any]) -> str:
    """SHA-256 of what a checkpoint says about its content."""
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _acquired(folder: Path, warn: Callable[[str], None]) -> int:
    """The open lock file of a folder."""
    while True:
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error.strerror}") from error
        try:
            _lock(descriptor, folder, warn)
            # The holder before removes the file when it ends in an orderly way.
            if os.path.samestat(os.fstat(descriptor), (folder / _LOCK).stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, warn: Callable[[str], None]) -> None:
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace")
        process = f"process {holder}" if holder else "another process"
        raise InUseError(f"{folder} is in use by {process}") from error
    except OSError as error:
        warn(
            f"{folder}: no lock is to be had ({error.strerror}); make sure that no "
            "other process writes into it"
        )


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Complete lines of a file of records, parsed and as they are."""
    if not path.exists():
        return
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            return
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        match record:
            case {"step": int()}:
                yield record, line
            case _:
                raise RunError(f"{path}, line {number}: not a record with a step")


def _append(path: Path, record: Mapping[str, Any]) -> None:
    line = json.dumps(record, allow_nan=False)
    with _writing(path), path.open("ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _open(folder: Path) -> Run:
    run = Run(folder)
    if not (run.config.is_file() and run.provenance.is_file()):
        raise RunError(f"{folder} is not a run folder")
    return run


def _signature(tree: PyTree) -> list[str]:
    return [
        f"{jtu.keystr(path)} {leaf.dtype}{list(leaf.shape)}"
        if eqx.is_array_like(leaf) and hasattr(leaf, "dtype")
        else f"{jtu.keystr(path)} {type(leaf).__name__}"
        for path, leaf in jtu.tree_leaves_with_path(tree)
        if eqx.is_array_like(leaf)
    ]


def _side_by_side(
    first: Sequence[str], second: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for index in range(max(len(first), len(second))):
        yield (
            first[index] if index < len(first) else "",
            second[index] if index < len(second) else "",
        )


def _plain(value: Any) -> Any:
    """The value in types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2, allow_nan=False).encode() + b"\n"


def _replace(path: Path, content: bytes) -> None:
    with _writing(path):
        put_file(path, content)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """One error that names the file where the system refuses to write it."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from error


def _discard(draft: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in draft.iterdir():
            path.unlink()
        draft.rmdir()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in _PACKAGES}


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit of the working tree around `folder`, None if there is none."""

    def ask(*command: str) -> str:
        return subprocess.run(
            ["git", *command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.strip()

    try:
        return {
            "commit": ask("rev-parse", "HEAD"),
            "dirty": bool(ask("status", "--porcelain")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _is_fingerprint(entry: Any) -> bool:
    match entry:
        case {"path": str(), "sha256": str()}:
            return True
    return False


def _fingerprint(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    return {"path": str(path), "bytes": size, "sha256": sha256}
