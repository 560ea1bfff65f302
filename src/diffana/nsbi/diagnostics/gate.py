"""What a gate says about a density ratio."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


Verdict = Literal["pass", "fail", "not checked"]


class Gate(NamedTuple):
    """One condition that a density ratio has to meet before it is used.

    Attributes:
        name: what was looked at.
        verdict: `pass`, `fail`, or `not checked` where the events do not suffice for
            an answer.
        summary: the answer with its numbers, or why there is none, in one line.
        numbers: everything behind it in types that JSON has, but for nan.
        threshold: what the deciding number was compared with, in its unit.
    """

    name: str
    verdict: Verdict
    summary: str
    numbers: Mapping[str, Any]
    threshold: float


def verdict(passed: bool) -> Verdict:
    """The verdict of a question that could be answered."""
    return "pass" if passed else "fail"
