"""What a study claims and what its run measured: the record behind the table."""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np


Verdict = Literal["reproduced", "surpassed", "differs", "not reproduced"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement that can turn out false, with the number that decided it.

    Attributes:
        claim: the statement, in one sentence.
        source: where it was made: a section, figure or table.
        expected: the number or the relation it states, with its tolerance.
        measured: what this run found, with the spread over seeds where there are any.
        verdict: the outcome, decided by the run and never typed in.
    """

    claim: str
    source: str
    expected: str
    measured: str
    verdict: Verdict


class Study:
    """A running study: holds its folder and its clock."""

    def __init__(self, name: str, folder: Path, *, quick: bool = False):
        self.name, self.folder, self.quick = name, folder, quick
        self._start = time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)

    def record(
        self, claims: list[Claim], *, seconds: float | None = None, **settings: Any
    ) -> None:
        """Write `claims.json`, with the time the study took, and print the claims.

        Args:
            claims: everything the study states.
            seconds: wall time of the study; that of this process without it.
            settings: what the reader has to know to repeat it, such as seeds.
        """
        document = {
            "study": self.name,
            "quick": self.quick,
            "settings": settings,
            "seconds": round(seconds or time.perf_counter() - self._start),
            "cores": os.cpu_count(),
            "claims": [dataclasses.asdict(claim) for claim in claims],
        }
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        (self.folder / "claims.json").write_text(text)
        for claim in claims:
            print(f"{claim.verdict:15} {claim.claim}")
            print(f"{'':15} expected {claim.expected}; measured {claim.measured}")


def spread(values: np.ndarray) -> str:
    """Median and range over seeds, smaller being better; undefined is worst."""
    values = np.where(np.isnan(values), np.inf, values)
    return f"{told(np.median(values))} [{told(values.min())}, {told(values.max())}]"


def told(number: float) -> str:
    """A number with three digits; infinity stands for an undefined one."""
    return f"{number:.3g}" if np.isfinite(number) else "undefined"
