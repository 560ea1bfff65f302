"""Trees and RNTuples of ROOT files."""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from diffana.data.readers.reader import AbstractReader, reading
from diffana.data.table import close_matches
from diffana.errors import DataError


# A damaged byte can lead uproot, which interprets it, to any exception at all.
_DAMAGE = (Exception,)

_IS_TREE = re.compile(r"TTree|TNtuple(D)?|TChain|ROOT::(Experimental::)?RNTuple")
_FLAT_FIELD = re.compile(r"bool|char|float|double|(std::)?(u?int\d+_t|string|byte)")


@final
@dataclasses.dataclass(frozen=True)
class RootReader(AbstractReader):
    """A tree (TTree or RNTuple) of a ROOT file; needs the extra `root`.

    Columns are the branches that hold one number or text per event. Others, such as
    lists of varying length, are withheld. Bytes of an uncompressed branch that were
    changed cannot be noticed: ROOT keeps no checksum of them.

    Attributes:
        path: the file.
        missing: as in `AbstractReader`.
        tree: name of the tree, with its folders and, if not the latest, its cycle:
            `nominal`, `folder/nominal`, `nominal;1`. None where the file has only one.
    """

    path: pathlib.Path
    missing: float | None = None
    tree: str | None = None

    def names(self) -> tuple[str, ...]:
        """The branches with one number or text per event."""
        with self._opened() as tree:
            return tuple(_branches(tree)[0])

    def withheld(self) -> Mapping[str, str]:
        """The other branches, and what they hold."""
        with self._opened() as tree:
            return _branches(tree)[1]

    def load(self, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        """The branches `names`; no other branch is read."""
        with self._opened() as tree:
            return {name: _entries(tree, name, 0, tree.num_entries) for name in names}

    def pieces(
        self, names: Sequence[str], size: int
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """The branches `names`, with the baskets of one piece in memory."""
        with self._opened() as tree:
            for start in range(0, tree.num_entries, size):
                stop = min(start + size, tree.num_entries)
                yield {name: _entries(tree, name, start, stop) for name in names}

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        """The tree."""
        with opened(self.path) as file:
            yield self._tree(file)

    def _tree(self, file) -> Any:
        classes = file.classnames(recursive=True, cycle=True)
        known = {key: kind for key, kind in classes.items() if _IS_TREE.fullmatch(kind)}
        names = tuple(dict.fromkeys(key.split(";")[0] for key in known))
        listed = f"trees are: {', '.join(names) or 'none'}"
        if self.tree is None:
            if len(names) != 1:
                raise DataError(f"{self.path}: the tree has to be named; {listed}")
            return file[names[0]]
        wanted = self.tree.strip("/")
        if wanted in known or wanted in names:
            return file[wanted]
        for key, kind in classes.items():
            if wanted in (key, key.split(";")[0]):
                raise DataError(
                    f"{self.path}: {self.tree!r} is a {kind} and no tree; {listed}"
                )
        cycles = [key for key in known if key.split(";")[0] == wanted.split(";")[0]]
        hint = f"cycles are: {', '.join(cycles)}" if cycles else None
        raise DataError(
            f"{self.path}: no tree {self.tree!r}; "
            f"{hint or (close_matches(wanted, names) if names else listed)}"
        )


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Any]:
    """A ROOT file, and `DataError` in place of all that uproot raises."""
    try:
        import uproot
    except ImportError as error:
        raise DataError(
            f"{path}: ROOT files need uproot: pip install 'diffana[root]'"
        ) from error
    with reading(path, "ROOT file", _DAMAGE):
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        # A path that is no text may contain a colon.
        directory: Any = uproot.open(path)
        with directory as file:
            size, whole = path.stat().st_size, file.file.fEND
            if size < whole:
                raise EOFError(f"truncated, with {size} of {whole} bytes")
            yield file


def _branches(tree) -> tuple[dict[str, Any], dict[str, str]]:
    """Branches with one number or text per event, and why others are no columns."""
    flat: dict[str, Any] = {}
    others: dict[str, str] = {}
    for name in tree.keys():  # noqa: SIM118 (a tree is no mapping)
        branch = tree[name]
        if _is_flat(branch):
            flat[name] = branch
        else:
            others[name] = (
                f"the branch holds {_content(branch)}, not one number or text per event"
            )
    return flat, others


def _is_flat(branch) -> bool:
    interpretation: Any = getattr(branch, "interpretation", None)
    match type(interpretation).__name__:
        case "NoneType":
            return _FLAT_FIELD.fullmatch(branch.typename) is not None
        case "AsDtype":
            entry = interpretation.to_dtype
            return entry.shape == () and entry.names is None
        case "AsStrings":
            return True
        case _:
            return False


def _content(branch) -> str:
    return branch.typename or "what uproot cannot interpret"


def _entries(tree, name: str, start: int, stop: int) -> np.ndarray:
    # Not `tree.arrays`, which takes a name for an expression.
    entries = tree[name].array(entry_start=start, entry_stop=stop, library="np")
    if len(entries) != stop - start:
        raise EOFError(f"a branch has {len(entries)} of {stop - start} entries")
    return entries.astype(str) if entries.dtype.kind == "O" else entries
