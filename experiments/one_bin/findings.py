"""What the study of one bin states, decided from its numbers."""

import numpy as np

from experiments.claims import Claim
from experiments.one_bin.model import KINDS, LARGEST


# Configuration and p-value of the optimum, and the p-value at `LARGEST`: pyhf 0.7.6.
OPTIMUM = {"shapesys": (4.6352, 0.0030757), "histosys": (4.8406, 0.0029333)}
WORST = 0.04325
SOURCE = "thesis 7.1.1, 7.3; values of pyhf 0.7.6"


def near(value, wanted):
    """Whether the relative difference is below 1e-4."""
    return abs(value / wanted - 1) < 1e-4


def claims(scans, paths, p0, by_pyhf):
    """What the descents ended at, beside pyhf's numbers."""
    found = []
    for kind, (phi, known) in OPTIMUM.items():
        ends = paths[kind][-1]
        good = np.all(abs(ends - phi) < 1e-4) and near(p0[kind], known)
        good = good and near(by_pyhf[kind], known)
        found.append(
            Claim(
                claim=f"Descent on p0 with a {KINDS[kind]} ends at its minimum",
                source=SOURCE,
                expected=f"φ = {phi} ± 1e-4, p0 = {known} to 1e-4",
                measured=f"φ from {ends.min():.5f} to {ends.max():.5f} for "
                f"{len(ends)} starts, p0 = {p0[kind]:.7f} (pyhf {by_pyhf[kind]:.7f})",
                verdict="reproduced" if good else "differs",
            )
        )
    ends, worst, highest = paths["none"][-1], p0["none"], np.max(scans["shapesys"])
    good = np.all(ends == LARGEST) and near(worst, WORST)
    good = good and near(by_pyhf["none"], WORST)
    return [
        *found,
        Claim(
            claim="Without the uncertainty the optimum runs to the edge",
            source=SOURCE,
            expected=f"φ = {LARGEST:g}, where p0 with the uncertainty is {WORST}",
            measured=f"φ from {ends.min():.4f} to {ends.max():.4f}, p0 = {worst:.6f} "
            f"(pyhf {by_pyhf['none']:.6f})",
            verdict="reproduced" if good else "differs",
        ),
        Claim(
            claim="At that edge the analysis is the least sensitive of all",
            source="thesis 7.1.1",
            expected=f"no p0 of the scan above that of φ = {LARGEST:g}",
            measured=f"largest p0 of the scan {highest:.6f}",
            verdict="reproduced" if highest <= worst * (1 + 1e-9) else "not reproduced",
        ),
    ]
