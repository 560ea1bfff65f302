"""What the study of exact problems states, decided from its numbers."""

import numpy as np

from experiments.claims import Claim
from experiments.neyman_exact.belts import LEVELS


PERCENT = ("68 %", "95 %")
NAMES = {
    "gaussian": "Gaussian",
    "bounded": "bounded Gaussian",
    "poisson": "Poisson",
    "on_off": "on/off",
}
# Table IV of Feldman and Cousins for b = 3 and 90 %, n = 1 to 10.
PUBLISHED = [
    (0.00, 1.88),
    (0.00, 3.04),
    (0.00, 4.42),
    (0.00, 5.60),
    (0.00, 6.99),
    (0.15, 8.47),
    (0.89, 9.53),
    (1.51, 10.99),
    (1.88, 12.30),
    (2.63, 13.50),
]
# Critical values for tau = 1 and nu = 3 at mu = 0, 2, 5, from another enumeration.
ON_OFF = {
    ("LRS", 0): (0.2014, 1.0797, 1.0426),
    ("LRS", 1): (2.9419, 3.3128, 4.1189),
    ("focus", 0): (-0.0528, 0.0591, 0.0387),
    ("focus", 1): (2.0074, 0.8608, 2.3542),
}
# Of the largest ratio of expected lengths on 0 <= mu <= 8, by multiplicative weights.
ACHIEVABLE = (0.9733, 0.9944)


def claims(found, checks):
    """The checks against closed forms and published numbers, then gain and price."""
    return [
        toy_coverage(checks),
        toy_lengths(checks),
        bounded_values(checks),
        feldman_cousins(checks),
        on_off_values(found),
        profile(checks),
        coverage(found),
        insurance_of_bounded(found),
        best_achievable(found),
        *(trade(found, level) for level in range(2)),
        insurance(found),
        learned(found),
    ]


def ratios(found, name, belt, level):
    """Expected lengths over those of LRS at the true values."""
    row = found[name]["belts"][LEVELS[level]]
    return np.asarray(row[belt]["length"]) / np.asarray(row["LRS"]["length"])


def toy_coverage(checks):
    """Critical values from toys, judged by the closed form."""
    told, good = [], True
    for row, level in enumerate(LEVELS):
        error = np.asarray(checks["toys"]["covered"])[row] - level
        expected = np.sqrt(level * (1 - level) / checks["n toys"])
        found = np.sqrt(np.mean(error**2))
        # 241 values: the root mean square is known to 5 %.
        good = good and abs(found / expected - 1) < 0.15
        told.append(f"{PERCENT[row]}: {found:.4f} of {expected:.4f}")
    return Claim(
        claim="Gaussian: coverage of critical values from toys scatters as it must",
        source="closed form, Pratt, J. Am. Stat. Assoc. 56 (1961) 549",
        expected="root mean square error sqrt(CL(1 - CL)/N) within 15 %",
        measured="; ".join(told),
        verdict="reproduced" if good else "differs",
    )


def toy_lengths(checks):
    """Median lengths of sets of toys."""
    toys = checks["toys"]
    off = np.asarray(toys["median"]) / np.asarray(toys["closed median"]) - 1
    limit = 0.02 * np.sqrt(5000 / checks["n toys"])
    worst = float(np.abs(off).max())
    return Claim(
        claim="Gaussian: median lengths of toys at μ = 0, 1, 2, 3, 5 are those of the "
        "closed form",
        source="closed form, Pratt, J. Am. Stat. Assoc. 56 (1961) 549",
        expected=f"to {limit:.1%}, the scatter of critical values and of lengths",
        measured=f"largest difference {worst:.1%}",
        verdict="reproduced" if worst < limit else "differs",
    )


def bounded_values(checks):
    """Critical values of cells."""
    # The focused statistic changes by 7 per unit of the measurement at most.
    limit = 7 * checks["cell"]
    return Claim(
        claim="Bounded Gaussian: critical values of LRS and of a half-normal focus are "
        "those of the closed form",
        source="Feldman, Cousins, Phys. Rev. D 57 (1998) 3873, section IV.B, and "
        "closed form",
        expected=f"to {limit:g}, from the width of cells",
        measured=f"largest difference {checks['bounded']:.4f}",
        verdict="reproduced" if checks["bounded"] < limit else "differs",
    )


def feldman_cousins(checks):
    """The published table."""
    off = np.abs(np.asarray(checks["feldman cousins"]) - np.array(PUBLISHED)).max()
    return Claim(
        claim="Poisson, b = 3: intervals of LRS at 90 % for n = 1 to 10 are those of "
        "Feldman and Cousins",
        source="Feldman, Cousins, Phys. Rev. D 57 (1998) 3873, table IV",
        expected="to 0.015, rounding and one step",
        measured=f"largest difference {off:.4f}",
        verdict="reproduced" if off <= 0.015 else "differs",
    )


def on_off_values(found):
    """Critical values with a nuisance parameter."""
    one, worst = found["on_off"], 0.0
    for (belt, level), wanted in ON_OFF.items():
        row = np.asarray(one["belts"][LEVELS[level]][belt]["critical"])
        places = [int(np.argmin(np.abs(one["tested"] - mu))) for mu in (0, 2, 5)]
        worst = max(worst, float(np.abs(row[places] - wanted).max()))
    return Claim(
        claim="On/off, τ = 1, ν = 3: critical values of LRS and FTS at μ = 0, 2, 5 are "
        "those of another enumeration",
        source="enumeration with 2001 nodes, independent of this package",
        expected="to 1e-3",
        measured=f"largest difference {worst:.1e}",
        verdict="reproduced" if worst < 1e-3 else "differs",
    )


def profile(checks):
    """Fits at nodes and interpolation."""
    anywhere, near, n_failed = checks["profile"]["usual"]
    anywhere_25, near_25, _ = checks["profile"]["fine"]
    return Claim(
        claim="On/off: the focused statistic from fits at nodes is that of the closed "
        "profile near critical values",
        source="closed form of the conditional fit",
        expected="to 0.02 where it is at most 1 from a critical value, and all fits "
        "certified",
        measured=f"largest difference {near:.4f} ({anywhere:.3f} below 15), "
        f"{n_failed} not certified; with 25 nodes up to nine standard deviations "
        f"{near_25:.4f} ({anywhere_25:.3f})",
        verdict="reproduced" if near < 0.02 and not n_failed else "differs",
    )


def coverage(found):
    """All belts of all problems."""
    lowest, highest = [1.0, 1.0], [0.0, 0.0]
    for one in found.values():
        for row, level in enumerate(LEVELS):
            for belt in one["belts"][level].values():
                cover = np.asarray(belt["coverage"])
                lowest[row] = min(lowest[row], cover.min() - level)
                highest[row] = max(highest[row], cover.max())
    return Claim(
        claim="No belt of any problem covers less than it should at any true value",
        source="definition of a confidence set; exact sums",
        expected="lowest coverage minus level at least -1e-9",
        measured="; ".join(
            f"{percent}: {low:.1e}, highest coverage {high:.3f}"
            for percent, low, high in zip(PERCENT, lowest, highest, strict=True)
        ),
        verdict="reproduced" if min(lowest) > -1e-9 else "not reproduced",
    )


def insurance_of_bounded(found):
    """Numbers of an independent calculation."""
    wanted = {
        "focus": ((0.840, 3.15), (0.863, 2.07)),
        "insured": ((0.855, 1.49), (0.872, 1.22)),
    }
    told, good = [], True
    for belt, rows in wanted.items():
        for level, (at_zero, worst) in enumerate(rows):
            ratio = ratios(found, "bounded", belt, level)
            good = good and abs(ratio[0] - at_zero) < 0.01
            good = good and abs(ratio.max() / worst - 1) < 0.01
            told.append(f"{belt} {PERCENT[level]} {ratio[0]:.3f}, {ratio.max():.2f}")
    return Claim(
        claim="Bounded Gaussian: a half-normal focus, and one with 10 % insurance, "
        "cost what a separate calculation says",
        source="quadrature independent of this package, 0 ≤ μ ≤ 10",
        expected="ratio to LRS at μ = 0, worst up to 8: focus 68 % 0.840, 3.15; 95 % "
        "0.863, 2.07; insured 0.855, 1.49; 0.872, 1.22, to 0.01",
        measured="; ".join(told),
        verdict="reproduced" if good else "differs",
    )


def best_achievable(found):
    """The learned focus against what is possible at all."""
    worst = [ratios(found, "bounded", "learned", level).max() for level in range(2)]
    off = [one - best for one, best in zip(worst, ACHIEVABLE, strict=True)]
    return Claim(
        claim="Bounded Gaussian: the focus learned for the worst regret is as good as "
        "any test can be",
        source="primal-dual bracket by multiplicative weights, independent of this "
        "package",
        expected="largest ratio on 0 ≤ μ ≤ 8 at most 0.9733 (68 %) and 0.9944 (95 %), "
        "to 0.01",
        measured=f"{worst[0]:.4f} and {worst[1]:.4f}",
        verdict="reproduced" if max(off) < 0.01 else "differs",
    )


def trade(found, level):
    """Gain at the focus, loss elsewhere."""
    told, good = [], True
    for name in found:
        ratio = ratios(found, name, "focus", level)
        mu = np.asarray(found[name]["mu"])
        at_focus = ratio[np.argmin(np.abs(mu))]
        good = good and at_focus < 1 < ratio.max()
        told.append(f"{NAMES[name]} {at_focus:.3f}, worst {ratio.max():.2f}")
    return Claim(
        claim=f"A focus at μ = 0 is a trade in all four problems, {PERCENT[level]}",
        source="this study",
        expected="expected length over that of LRS below 1 at μ = 0, above 1 elsewhere",
        measured="; ".join(told),
        verdict="reproduced" if good else "differs",
    )


def insurance(found):
    """What a tenth of the probability spread evenly is worth."""
    told, good = [], True
    for name in found:
        for level in range(2):
            focus, safe = (
                ratios(found, name, belt, level) for belt in ("focus", "insured")
            )
            centre = int(np.argmin(np.abs(np.asarray(found[name]["mu"]))))
            removed = 1 - (safe.max() - 1) / (focus.max() - 1)
            lost = safe[centre] - focus[centre]
            good = good and removed > 0.5 and lost < 0.03
            told.append(f"{NAMES[name]} {PERCENT[level]} {removed:.0%} for {lost:.3f}")
    return Claim(
        claim="Ten per cent of insurance remove most of the worst excess for little",
        source="this study",
        expected="at least half of the excess of the worst ratio removed, less than "
        "0.03 lost at the focus",
        measured="; ".join(told),
        verdict="reproduced" if good else "differs",
    )


def learned(found):
    """The learned focus in every problem."""
    told, good = [], True
    for name in found:
        worst = [ratios(found, name, "learned", level).max() for level in range(2)]
        good = good and max(worst) < 1
        told.append(f"{NAMES[name]} {worst[0]:.3f} ({worst[1]:.3f})")
    return Claim(
        claim="A focus learned for the worst regret beats LRS at every true value that "
        "it was learned for",
        source="this study",
        expected="largest ratio of expected lengths below 1, 68 % (95 %); larger true "
        "values, which are not counted, pay for it",
        measured="; ".join(told),
        verdict="reproduced" if good else "differs",
    )
