"""What the commands read: JSON files, or standard input."""

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click

from diffana import documents
from diffana.cli.failures import BadInput


class Source(NamedTuple):
    """A JSON document.

    Attributes:
        origin: the file it came from, for messages.
        content: what it holds.
    """

    origin: str
    content: Any


class Patch(NamedTuple):
    """A JSON patch, or one entry of a patch set.

    Attributes:
        origin: the argument, for messages.
        content: the patch or the patch set.
        name: which patch of the set; None for a patch.
    """

    origin: str
    content: Any
    name: str | None


class JsonFile(click.ParamType):
    """A JSON file, `-` for standard input, or a run folder with a likelihood."""

    name = "file"

    def convert(self, value: Any, param: Any, ctx: Any) -> Source:
        """The parsed document."""
        if isinstance(value, Source):
            return value
        if Path(value).is_dir():
            value = _likelihood_of(Path(value))
        return Source("standard input" if value == "-" else value, _parsed(value))


class PatchFile(click.ParamType):
    """A JSON patch file, or `FILE:NAME` for one patch of a patch set."""

    name = "file[:name]"

    def convert(self, value: Any, param: Any, ctx: Any) -> Patch:
        """The parsed document and the name."""
        if isinstance(value, Patch):
            return value
        path, name = documents.file_and_name(value)
        return Patch(value, _parsed(path), name)


class Assignment(click.ParamType):
    """`NAME=NUMBER`."""

    name = "name=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        """The name and the number."""
        if isinstance(value, tuple):
            return value
        name, equals, text = value.rpartition("=")
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (name and equals and math.isfinite(number)):
            raise BadInput(f"{value!r} is not of the form NAME=NUMBER")
        return name, number


def _likelihood_of(folder: Path) -> str:
    """The document in a run folder that describes its likelihood."""
    for name in ("likelihood.json", "workspace.json"):
        if (folder / name).is_file():
            return str(folder / name)
    raise BadInput(
        f"{folder}: a folder without likelihood.json or workspace.json; only runs that "
        "have finished have one"
    )


def _parsed(path: str) -> Any:
    if path == "-" and sys.stdin.isatty():
        raise BadInput("no workspace: name a file, or pipe one into the command")
    try:
        if path == "-":
            return documents.parse(_standard_input(), "standard input")
        return documents.read(path)
    except documents.DocumentError as error:
        raise BadInput(str(error)) from error


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise BadInput("standard input: not a JSON file: it is not text") from error
