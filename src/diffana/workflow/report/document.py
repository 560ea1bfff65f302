"""What a report is made of: sections of text, tables and figures, before any HTML."""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar


UNDEFINED = "undefined"


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: plain text.
    """

    kind: ClassVar[str] = "text"
    text: str


@dataclasses.dataclass(frozen=True)
class Missing:
    """Why there is nothing where something could be.

    Attributes:
        reason: one sentence.
    """

    kind: ClassVar[str] = "missing"
    reason: str


@dataclasses.dataclass(frozen=True)
class Warned:
    """What a reader must not overlook.

    Attributes:
        text: one sentence or two.
    """

    kind: ClassVar[str] = "warned"
    text: str


@dataclasses.dataclass(frozen=True)
class Noted:
    """What a reader has to know to read the rest.

    Attributes:
        text: one sentence or two.
    """

    kind: ClassVar[str] = "noted"
    text: str


@dataclasses.dataclass(frozen=True)
class Heading:
    """Title of a part of a section.

    Attributes:
        text: the title.
    """

    kind: ClassVar[str] = "heading"
    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text, the first column left-aligned and heading its row.

    Attributes:
        caption: what it shows, with units and on which data; may be empty.
        headings: of all columns; all empty for pairs of name and value.
        rows: as many cells as headings.
        sums: positions of the rows that are sums of others.
        left: columns that hold words; the others hold numbers.
        marked: positions of rows to draw attention to, with `pass` or `warn`.
    """

    kind: ClassVar[str] = "table"
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    sums: frozenset[int] = frozenset()
    left: int = 1
    marked: tuple[tuple[int, str], ...] = ()

    def mark(self, row: int) -> str:
        """Style of a row; nothing for most."""
        return dict(self.marked).get(row, "sum" if row in self.sums else "")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        markup: HTML, `<svg>` or `<img>` with its text alternative.
        caption: what it shows, and on which data.
    """

    markup: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Figures that stand side by side where there is room.

    Attributes:
        pictures: one or more.
    """

    kind: ClassVar[str] = "pictures"
    pictures: Sequence[Picture]


@dataclasses.dataclass(frozen=True)
class Source:
    """Text whose line breaks and spaces count.

    Attributes:
        text: for example a command or a file.
    """

    kind: ClassVar[str] = "source"
    text: str


@dataclasses.dataclass(frozen=True)
class Folded:
    """Details that a reader opens.

    Attributes:
        summary: what is inside.
        blocks: the details.
    """

    kind: ClassVar[str] = "folded"
    summary: str
    blocks: "Sequence[Block]"


Block = Text | Missing | Warned | Noted | Heading | Table | Pictures | Source | Folded


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the report with an entry in the table of contents.

    Attributes:
        id: identifier of its element; no spaces.
        title: its heading.
        blocks: its content, not empty.
    """

    id: str
    title: str
    blocks: Sequence[Block]


@dataclasses.dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: name of the measurement.
        subtitle: which run, and on which data.
        notices: what concerns all of it.
        sections: in the order of reading.
    """

    title: str
    subtitle: str
    notices: Sequence[Warned | Noted]
    sections: Sequence[Section]


def number(value: float, digits: int = 4) -> str:
    """A number as text, and a word for one that is not defined."""
    if math.isnan(value):
        return UNDEFINED
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}".replace("-", "−")


def measured(value: float, uncertainty: float) -> str:
    """Value and uncertainty, both to two significant digits of the uncertainty."""
    if not (math.isfinite(value) and math.isfinite(uncertainty)) or uncertainty <= 0:
        return number(value)
    decimals = max(1 - math.floor(math.log10(uncertainty)), 0)
    if decimals > 8:
        return f"{number(value)} ± {number(uncertainty, 2)}"
    text = f"{value:.{decimals}f} ± {uncertainty:.{decimals}f}"
    return text.replace("-", "−")


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names with commas, the last of many left out."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def counted(count: int, noun: str) -> str:
    """A number with its noun in singular or plural."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
