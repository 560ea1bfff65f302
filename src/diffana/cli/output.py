"""Results on standard output: a table on a terminal, JSON everywhere else."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from diffana.cli.failures import BadInput
from diffana.files import put_file


if TYPE_CHECKING:
    from rich.console import RenderableType


class Report(NamedTuple):
    """Where a result goes.

    Attributes:
        as_json: whether to print JSON on a terminal, too.
        file: file for the JSON document instead of standard output.
    """

    as_json: bool
    file: Path | None

    def __call__(
        self,
        result: Mapping[str, Any],
        table: "Callable[[], RenderableType]",
    ) -> None:
        """Print or write `result`; `table` is what a terminal shows."""
        if self.file is not None:
            write(self.file, result)
        elif self.as_json or not sys.stdout.isatty():
            click.echo(dumps(result))
        else:
            from rich.console import Console

            Console(highlight=False).print(table())


def write(file: Path, result: Mapping[str, Any]) -> None:
    """Write `result` as JSON.

    Raises:
        BadInput: if the file cannot be written.
    """
    try:
        put_file(file, f"{dumps(result)}\n".encode())
    except OSError as error:
        raise BadInput(f"{file}: cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's standard error, nothing elsewhere.

    Yields:
        A function to call with the number that is done.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda n_done: bar.update(task, completed=n_done)


def dumps(value: Any, indent: str = "") -> str:
    """JSON with one line for each list of numbers; nan, which JSON lacks, is null."""
    inner = indent + "  "
    if isinstance(value, Mapping) and value:
        parts = [
            f"{json.dumps(key)}: {dumps(one, inner)}" for key, one in value.items()
        ]
        return _braced("{", parts, "}", indent, inner)
    if isinstance(value, list) and any(isinstance(one, list | dict) for one in value):
        return _braced("[", [dumps(one, inner) for one in value], "]", indent, inner)
    if isinstance(value, list):
        return "[" + ", ".join(dumps(one) for one in value) + "]"
    if isinstance(value, float) and value - value != 0:
        return "null"
    return json.dumps(value)


def _braced(
    opening: str, parts: list[str], closing: str, indent: str, inner: str
) -> str:
    separator = f",\n{inner}"
    return f"{opening}\n{inner}{separator.join(parts)}\n{indent}{closing}"


class Writable(click.ParamType):
    """A file that can be created, checked before anything is computed.

    Attributes:
        suffixes: endings it may have; any if there are none.
    """

    name = "file"

    def __init__(self, *suffixes: str):
        self.suffixes = suffixes

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        """The path."""
        path = Path(value)
        if self.suffixes and path.suffix.lower() not in self.suffixes:
            known = ", ".join(self.suffixes)
            raise BadInput(f"{path}: the name must end in one of {known}")
        if path.is_dir():
            raise BadInput(f"{path}: is a folder")
        if not path.parent.is_dir():
            raise BadInput(f"{path}: there is no folder {path.parent}")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise BadInput(f"{path}: cannot be written: permission denied")
        return path
