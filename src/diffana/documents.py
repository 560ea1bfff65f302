"""JSON documents, read with one clear error.

Imports nothing heavy, so that a file that is missing is told at once.
"""

import json
from pathlib import Path
from typing import Any


class DocumentError(Exception):
    """A JSON document that cannot be read, and why."""


def read(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        DocumentError: naming the file and the place in it.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path}: not a JSON file: it is not text") from error
    return parse(text, str(path))


def parse(text: str, origin: str) -> Any:
    """What a JSON text holds.

    Args:
        text: the document.
        origin: where it came from, for messages.

    Raises:
        DocumentError: naming the place.
    """
    if not text.strip():
        raise DocumentError(f"{origin}: is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DocumentError(f"{origin}: not JSON: {place}: {error.msg}") from error
    except RecursionError as error:
        raise DocumentError(f"{origin}: not a workspace: nested too deeply") from error


def file_and_name(argument: str) -> tuple[str, str | None]:
    """File and name of `FILE:NAME`; no name if `argument` is a file.

    Example:
        >>> file_and_name("patchset.json:C1N2_400_200")
        ('patchset.json', 'C1N2_400_200')
    """
    file, colon, name = argument.rpartition(":")
    if colon and not Path(argument).exists():
        return file, name
    return argument, None
