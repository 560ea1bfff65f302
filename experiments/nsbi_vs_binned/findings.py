"""What the study states, decided from its numbers."""

import numpy as np

from experiments.claims import Claim, spread
from experiments.nsbi_vs_binned.tables import chosen, length


OURS = "this study"


def claims(found, lost):
    """Every statement with its verdict, nuisance parameters profiled."""
    made = []
    for name, rows in found.items():
        exact = length(chosen(rows, "exact likelihood", fixed=False)[0]["measured"])

        def relative(method, rows=rows, exact=exact):
            own = chosen(rows, method, fixed=False)
            return np.array([length(row["measured"]) / exact for row in own])

        made += [
            _at_most(
                f"{name}: learned ratios without bins measure as exact densities do",
                relative("unbinned"),
                1.05,
            ),
            _at_most(
                f"{name}: a trained histogram measures nearly as well",
                relative("trained on σ"),
                1.10,
            ),
            _at_most(
                f"{name}: exact ratios in bins of moving observables lose nothing",
                relative("parametrised, exact ratios"),
                1.02,
            ),
        ]
    return made


def _at_most(claim, lengths, limit):
    off = np.abs(np.log(lengths)) > np.log(limit)
    return Claim(
        claim=claim,
        source=OURS,
        expected=f"68 % interval within {100 * (limit - 1):.0f} % of the exact length, "
        "every seed",
        measured=f"length over the exact one {spread(lengths)}",
        verdict="not reproduced" if np.any(off | np.isnan(lengths)) else "reproduced",
    )
