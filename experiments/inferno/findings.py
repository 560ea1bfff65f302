"""What the study of INFERNO's benchmark states, decided from its numbers."""

import numpy as np

from experiments.claims import Claim
from experiments.inferno.benchmark import PUBLISHED


TABLE = "arXiv:1806.04743, table of expected uncertainties"
BEST = np.min([row for name, row in PUBLISHED.items() if "INFERNO" in name], axis=0)


def own(row, at):
    """Uncertainty of each seed in the benchmark it was trained for."""
    return np.array(row[at])[:, at]


def listed(values):
    return ", ".join(f"{value:.2f}" for value in values)


def spread(values):
    """Median and range."""
    return f"{np.median(values):.2f} [{values.min():.2f}, {values.max():.2f}]"


def compared(name, row, published, tolerance, reason):
    """A row beside the published one, each benchmark within a relative tolerance."""
    away = np.max(np.abs(np.array(row) / published - 1))
    return Claim(
        claim=name,
        source=TABLE,
        expected=f"{listed(published)} within {tolerance:.2g} relative: {reason}",
        measured=f"{listed(row)}, largest difference {away:.2g}",
        verdict="reproduced" if away <= tolerance else "differs",
    )


def surpassing(at, values, floor):
    """Whether ten learned bins measure s better than the best published ones."""
    worst, best = values.max(), BEST[at]
    if worst < best:
        verdict = "surpassed"
    else:
        verdict = "reproduced" if np.median(values) <= best else "not reproduced"
    above = np.median(values) / floor - 1
    return Claim(
        claim=f"Benchmark {at}: ten learned bins are as good as INFERNO's best row",
        source=TABLE,
        expected=f"at most {best:.2f} (median; surpassed if for every seed)",
        measured=f"{spread(values)}, {len(values)} seeds; {above:.1%} above the "
        f"unbinned likelihood's {floor:.2f}",
        verdict=verdict,
    )


def claims(rows, references, checks):
    """Reference rows, learned rows beside the published, and how σ was evaluated."""
    floor = references["analytical"]
    ours, wide, plain = rows["10 bins"], rows["30 bins"], rows["INFERNO"]
    found = [
        compared(
            "The unbinned likelihood, by quadrature",
            floor,
            PUBLISHED["Analytical likelihood"],
            2e-3,
            "the published row averages over simulated events",
        ),
        compared(
            "The optimal classifier in ten equal bins, by quadrature",
            references["optimal classifier"],
            PUBLISHED["Optimal classifier"],
            0.02,
            "100 000 events scatter by this much",
        ),
        compared(
            "A network trained on the cross-entropy, in ten equal bins",
            np.median(rows["classifier"][0], axis=0),
            PUBLISHED["NN classifier"],
            0.05,
            "scatter of events and of trainings",
        ),
    ]
    found += [surpassing(at, own(ours, at), floor[at]) for at in ours]
    style = {at: np.median(own(plain, at)) for at in plain}
    gain = {at: np.median(own(ours, at)) / style[at] - 1 for at in ours}
    finer = {at: np.median(own(wide, at)) / np.median(own(ours, at)) - 1 for at in ours}
    last = max(ours)
    blind = np.median(rows["classifier"][0], axis=0)[last]
    published = BEST[last] / PUBLISHED["NN classifier"][last]
    relative = {
        name: max(
            abs(check[name] / own(ours, at)[0] - 1) for at, check in checks.items()
        )
        for name in ("exact", "profile")
    }
    return [
        *found,
        Claim(
            claim="INFERNO's loss at a fixed temperature reaches its published row",
            source=TABLE,
            expected=f"medians at most {listed(BEST[at] for at in plain)}, plus 2 %",
            measured=f"{listed(style.values())} for benchmarks {listed_names(plain)}",
            verdict="reproduced"
            if all(value <= 1.02 * BEST[at] for at, value in style.items())
            else "not reproduced",
        ),
        Claim(
            claim="A cooling softmax, ln σ and a fading rate do better than that",
            source="this study",
            expected="lower median in every benchmark",
            measured=", ".join(f"{value:+.1%}" for value in gain.values()),
            verdict="reproduced" if max(gain.values()) < 0 else "not reproduced",
        ),
        Claim(
            claim="Thirty learned bins come closer to the unbinned likelihood than ten",
            source="this study",
            expected="lower median in every benchmark",
            measured=", ".join(f"{value:+.1%}" for value in finer.values())
            + "; medians "
            + listed(np.median(own(wide, at)) for at in wide),
            verdict="reproduced" if max(finer.values()) < 0 else "not reproduced",
        ),
        Claim(
            claim=f"With nuisance parameters (benchmark {last}) learned bins measure s "
            "better than a classifier",
            source="arXiv:1806.04743, section 5.1",
            expected=f"σ smaller by {1 - published:.0%} or more",
            measured=f"smaller by {1 - np.median(own(ours, last)) / blind:.0%}",
            verdict="reproduced"
            if np.median(own(ours, last)) / blind <= published
            else "differs",
        ),
        Claim(
            claim="Templates at ±0.2 and ±0.5 give the σ of the exact slopes",
            source="the published code's evaluation",
            expected="to 1 %",
            measured=f"largest difference {relative['exact']:.2%}",
            verdict="reproduced" if relative["exact"] < 0.01 else "differs",
        ),
        Claim(
            claim="σ from the Fisher information is half the profile interval's length",
            source="arXiv:1806.04743, section 3",
            expected="to 5 %: the likelihood is nearly parabolic",
            measured=f"largest difference {relative['profile']:.2%}",
            verdict="reproduced" if relative["profile"] < 0.05 else "differs",
        ),
    ]


def listed_names(row):
    return ", ".join(str(at) for at in row)
