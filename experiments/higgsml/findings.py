"""What losses lead to on the H → ττ sample, decided from the numbers of the study."""

import numpy as np

from experiments.claims import Claim, spread


SHOWN = {"cls": "CLs", "p0": "p0", "sigma_mu": "σ_μ"}
BASELINE = "bce_augmented"


def of(runs, metric):
    """Test value of each seed."""
    return np.array([run["test"][metric] for run in runs])


def report(found):
    """Table in Markdown."""
    lines = [
        f"| trained on | {' | '.join(SHOWN.values())} | refused |",
        "|---|---|---|---|---|",
    ]
    for loss, runs in found.items():
        cells = " | ".join(spread(of(runs, metric)) for metric in SHOWN)
        refused = sum(run["refused"] for run in runs)
        lines.append(f"| `{loss}` | {cells} | {refused} |")
    return "\n".join(lines) + "\n"


def claims(found):
    """Whether training on each metric beats the classifier in that metric."""
    made = []
    for metric, name in SHOWN.items():
        own, other = of(found[metric], metric), of(found[BASELINE], metric)
        # nan is never lower: undefined is a loss.
        wins, n_seeds = int(np.sum(own < other)), len(own)
        some = "differs" if 2 * wins > n_seeds else "not reproduced"
        made.append(
            Claim(
                claim=f"training on {name} beats the augmented classifier in {name}",
                source="goal of this study",
                expected="lower on every seed",
                measured=f"{wins} of {n_seeds} seeds; {spread(own)} against "
                f"{spread(other)}",
                verdict="reproduced" if wins == n_seeds else some,
            )
        )
    return made
