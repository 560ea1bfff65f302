"""What a check says, and how it is stored."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from diffana import runs
from diffana.errors import RunError


Verdict = Literal["pass", "warn", "not checked"]
FILE = "checks.json"


class Check(NamedTuple):
    """One question that an analyser asks before trusting a learned observable.

    Attributes:
        name: what was looked at.
        verdict: `pass`, `warn`, or `not checked` where the question cannot be asked.
        summary: the answer with its numbers, or why there is none.
        numbers: everything behind it in types that JSON has, with the threshold of the
            verdict; nan and infinities among them are written as text.
    """

    name: str
    verdict: Verdict
    summary: str
    numbers: Mapping[str, Any]


def document(checks: Iterable[Check]) -> dict[str, Any]:
    """The checks in types that JSON has."""
    return {"checks": [check._asdict() for check in checks]}


def read_checks(folder: Path) -> tuple[Check, ...] | None:
    """The checks stored in a run folder; None if it was never checked.

    Raises:
        RunError: if the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_bytes())["checks"]
        return tuple(Check(**one) for one in stored)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is damaged") from error


def store(run: runs.Run, checks: Iterable[Check]) -> None:
    """Put the checks into the run folder, in place of those before."""
    run.write_json(FILE, document(checks))
