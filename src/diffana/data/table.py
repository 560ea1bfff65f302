"""A table of named columns, one row per event, as a file holds it."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from diffana.errors import DataError


_NUMBER_OR_TEXT = "biufU"


def close_matches(name: str, known: Iterable[str]) -> str:
    """Words for an error message: the known names that look like `name`.

    Example:
        >>> close_matches("PRI_tau_p", ["PRI_tau_pt", "Weight"])
        'close: PRI_tau_pt'
    """
    known = tuple(known)
    close = difflib.get_close_matches(name, known, n=3)
    if close:
        return f"close: {', '.join(close)}"
    return f"there are: {', '.join(known) or 'none'}"


@final
@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length, in whatever units their source states.

    Undefined numbers are NaN; they stay until a caller says which number a network
    shall see instead.

    Attributes:
        columns: one-dimensional arrays of numbers or text, one entry per event.
        origin: the file or generator, named by every error message.
        withheld: columns that the table cannot offer, and why.

    Example:
        >>> table = Table({"pt": [25.0, 40.0], "label": ["s", "b"]})
        >>> len(table), table.names
        (2, ('pt', 'label'))
        >>> table.rows(table["label"] == "s")["pt"]
        array([25.])
    """

    columns: Mapping[str, np.ndarray]
    origin: str = "table"
    withheld: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        columns = {name: np.asarray(column) for name, column in self.columns.items()}
        object.__setattr__(self, "columns", columns)
        if not columns:
            raise DataError(f"{self.origin}: no columns")
        lengths = {}
        for name, column in columns.items():
            if column.ndim != 1:
                raise DataError(
                    f"{self.origin}: column {name!r} has shape {column.shape}; "
                    "a column has one entry per event"
                )
            if column.dtype.kind not in _NUMBER_OR_TEXT:
                raise DataError(
                    f"{self.origin}: column {name!r} holds {column.dtype}, neither "
                    "numbers nor text"
                )
            lengths[name] = len(column)
        if len(set(lengths.values())) > 1:
            raise DataError(f"{self.origin}: columns differ in length: {lengths}")

    def __len__(self) -> int:
        """Number of events."""
        return len(next(iter(self.columns.values())))

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> np.ndarray:
        """The column `name`.

        Raises:
            DataError: if there is no such column, or it is withheld and why.
        """
        if name in self.columns:
            return self.columns[name]
        if name in self.withheld:
            raise DataError(f"{self.origin}: no column {name!r}: {self.withheld[name]}")
        raise DataError(
            f"{self.origin}: no column {name!r}; {close_matches(name, self.names)}"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order of the file."""
        return tuple(self.columns)

    def numbers(self, name: str) -> np.ndarray:
        """The column `name`, which has to hold numbers; NaN where undefined."""
        column = self[name]
        if column.dtype.kind == "U":
            raise DataError(f"{self.origin}: column {name!r} holds text, not numbers")
        return column

    def rows(self, selected: Bool[np.ndarray, " event"]) -> "Table":
        """The events for which `selected` is true."""
        columns = {name: column[selected] for name, column in self.columns.items()}
        return dataclasses.replace(self, columns=columns)

    def replaced(self, columns: Mapping[str, np.ndarray]) -> "Table":
        """The table with `columns` added or put in the place of their namesakes."""
        return dataclasses.replace(self, columns={**self.columns, **columns})

    def without(self, name: str, why: str) -> "Table":
        """The table with the column `name` withheld; asking for it says `why`."""
        columns = {key: value for key, value in self.columns.items() if key != name}
        return dataclasses.replace(
            self, columns=columns, withheld={**self.withheld, name: why}
        )

    def matrix(
        self, names: Sequence[str], fill: float | None = None
    ) -> Float[np.ndarray, "event feature"]:
        """The columns `names` side by side, finite, as a network needs them.

        Args:
            names: columns of numbers; the result keeps their order, and float32 if
                all of them are.
            fill: number that takes the place of NaN, in the unit of the column; None
                where every entry has to be defined.

        Raises:
            DataError: if a column holds NaN and `fill` is None, or holds infinity.

        Example:
            >>> table = Table({"pt": [25.0, 40.0], "mjj": [float("nan"), 400.0]})
            >>> table.matrix(["pt", "mjj"], fill=0.0)
            array([[ 25.,   0.],
                   [ 40., 400.]])
        """
        columns = [self._finite(name, fill) for name in names]
        if not columns:
            raise DataError(f"{self.origin}: no columns asked for")
        matrix = np.column_stack(columns)
        return matrix if matrix.dtype.kind == "f" else matrix.astype(np.float64)

    def _finite(self, name: str, fill: float | None) -> np.ndarray:
        column = self.numbers(name)
        undefined = np.isnan(column)
        if undefined.any():
            if fill is None:
                raise DataError(
                    f"{self.origin}: column {name!r} is undefined (NaN) for "
                    f"{undefined.sum()} of {len(self)} events; state the number that "
                    "shall fill them"
                )
            column = np.where(undefined, fill, column)
        infinite = ~np.isfinite(column)
        if infinite.any():
            raise DataError(
                f"{self.origin}: column {name!r} is not finite for "
                f"{infinite.sum()} of {len(self)} events"
            )
        return column
