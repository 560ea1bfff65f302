"""What fixed and annealed widths lead to, decided from the numbers of the study."""

import numpy as np

from experiments.claims import Claim


SHOWN = {"cls": "CLs", "p0": "p0", "sigma_mu": "σ_μ"}
# Bandwidth of the published studies, of bins of width 0.2.
PUBLISHED = "0.09"
GOAL = "goal of this study"


def hard(runs):
    """Hard test value of each seed; an undefined one counts as the worst."""
    numbers = np.array([run["hard"] for run in runs], float)
    return np.where(np.isnan(numbers), np.inf, numbers)


def ratio(runs):
    """Soft over hard test value of each seed that has both."""
    numbers = np.array([run["soft"] / run["hard"] for run in runs], float)
    return numbers[~np.isnan(numbers)]


def gap(runs):
    """Median of |ln(soft / hard)|; nan if no seed has both."""
    numbers = abs(np.log(ratio(runs)))
    return float(np.median(numbers)) if len(numbers) else np.nan


def n_stopped(runs):
    """Trainings that ended early because their updates were refused."""
    return sum(bool(run["stopped"]) for run in runs)


def is_fixed(name):
    return "→" not in name


def medians(settings, *, fixed):
    """Median hard value of each fixed width, or of each schedule."""
    chosen = [name for name in settings if is_fixed(name) == fixed]
    return {name: float(np.median(hard(settings[name]))) for name in chosen}


def listed(numbers):
    return ", ".join(f"{name}: {value:.4g}" for name, value in numbers.items())


def report(found):
    """Tables in Markdown: hard metrics with their range, gaps, refused updates."""
    lines = []
    for part, metrics in found.items():
        for metric, settings in metrics.items():
            columns = (part, "hard", "soft / hard", "best epoch", "refused", "stopped")
            lines += [f"## {part}, trained on and judged by {SHOWN[metric]}", ""]
            lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
            for name, runs in settings.items():
                values, ratios = hard(runs), ratio(runs)
                both = f"{np.median(ratios):.4g}" if len(ratios) else ""
                epochs = [run["epoch"] for run in runs if not run["stopped"]]
                epoch = f"{np.median(epochs):.0f}" if epochs else ""
                lines.append(
                    f"| {name} | {np.median(values):.4g} [{values.min():.4g}, "
                    f"{values.max():.4g}] | {both} | {epoch} "
                    f"| {sum(run['refused'] for run in runs)} | {n_stopped(runs)} |"
                )
            lines.append("")
    return "\n".join(lines)


def claims(found):
    """Every statement of the study."""
    bandwidth, slope = found["bandwidth"], found["slope"]["p0"]
    made = []
    for metric, settings in bandwidth.items():
        what = f"bandwidth, {SHOWN[metric]}"
        made += [
            _optimum(settings, what, "thesis 7.2.3, figures 7.14 and 7.15"),
            _never_worse(settings, what, GOAL),
            _no_tuning(settings, what),
        ]
    made += [
        _optimum(slope, "slope of two cuts, p0", "thesis 7.2.1"),
        _never_worse(slope, "slope of two cuts, p0", "thesis 7.2.1, as an outlook"),
    ]
    return [*made, _gap_of_fixed(bandwidth), _gap_of_annealed(bandwidth), _none(found)]


def _optimum(settings, what, source):
    fixed = medians(settings, fixed=True)
    best = min(fixed, key=fixed.__getitem__)
    first, *_, last = fixed
    wins = [
        int(np.sum(hard(settings[best]) < hard(settings[end]))) for end in (first, last)
    ]
    n_seeds = len(settings[best])
    if best in (first, last):
        verdict = "not reproduced"
    else:
        verdict = "reproduced" if min(wins) >= n_seeds - 1 else "differs"
    return Claim(
        claim=f"{what}: a fixed one has its optimum between {first} and {last}",
        source=source,
        expected="best median at neither end, and both ends worse on all seeds but one "
        "at most",
        measured=f"best {best}, better than the ends on {wins[0]} and {wins[1]} of "
        f"{n_seeds} seeds; medians {listed(fixed)}",
        verdict=verdict,
    )


def _never_worse(settings, what, source):
    fixed = medians(settings, fixed=True)
    best = min(fixed, key=fixed.__getitem__)
    annealed = medians(settings, fixed=False)
    wins = {
        name: int(np.sum(hard(settings[name]) <= hard(settings[best])))
        for name in annealed
    }
    good = [value <= fixed[best] for value in annealed.values()]
    some = "differs" if any(good) else "not reproduced"
    return Claim(
        claim=f"{what}: an annealed one is never worse than the best fixed one",
        source=source,
        expected=f"medians at most that of the best, {best}: {fixed[best]:.4g}",
        measured="; ".join(
            f"{name}: {value:.4g}, better on {wins[name]} of {len(settings[best])}"
            for name, value in annealed.items()
        ),
        verdict="reproduced" if all(good) else some,
    )


def _no_tuning(settings, what):
    fixed, annealed = (medians(settings, fixed=kind) for kind in (True, False))
    of_fixed, of_annealed = (
        max(values.values()) / min(values.values()) for values in (fixed, annealed)
    )
    worst, second = max(annealed.values()), sorted(fixed.values())[1]
    good = [of_annealed < of_fixed, worst <= second]
    some = "differs" if any(good) else "not reproduced"
    return Claim(
        claim=f"{what}: annealing needs no tuning",
        source=GOAL,
        expected="largest over smallest median closer to 1 for schedules than for "
        "fixed ones, and the worst schedule at or below all fixed ones but the best",
        measured=f"{of_annealed:.4g} against {of_fixed:.4g}; worst schedule "
        f"{worst:.4g}, second best fixed one {second:.4g}",
        verdict="reproduced" if all(good) else some,
    )


def _gap_of_fixed(bandwidth):
    gaps = {
        metric: {name: gap(runs) for name, runs in settings.items() if is_fixed(name)}
        for metric, settings in bandwidth.items()
    }
    gaps = {
        metric: {name: value for name, value in of.items() if not np.isnan(value)}
        for metric, of in gaps.items()
    }
    good = [np.all(np.diff(list(of.values())) > 0) for of in gaps.values()]
    some = "differs" if any(good) else "not reproduced"
    return Claim(
        claim="the wider a fixed bandwidth, the further is the soft metric from the "
        "hard one",
        source="thesis 7.2.3, figure 7.12",
        expected="median of |ln(soft / hard)| increasing with the bandwidth",
        measured="; ".join(f"{SHOWN[m]} {listed(of)}" for m, of in gaps.items()),
        verdict="reproduced" if all(good) else some,
    )


def _gap_of_annealed(bandwidth):
    pairs = {
        metric: (
            max(gap(runs) for name, runs in settings.items() if not is_fixed(name)),
            gap(settings[PUBLISHED]),
        )
        for metric, settings in bandwidth.items()
    }
    good = [annealed < fixed for annealed, fixed in pairs.values()]
    some = "differs" if any(good) else "not reproduced"
    return Claim(
        claim="annealing brings the soft metric nearer to the hard one than the "
        f"published bandwidth, {PUBLISHED}",
        source=GOAL,
        expected="median of |ln(soft / hard)| lower for all schedules",
        measured="; ".join(
            f"{SHOWN[m]} at most {annealed:.4g} against {fixed:.4g}"
            for m, (annealed, fixed) in pairs.items()
        ),
        verdict="reproduced" if all(good) else some,
    )


def _none(found):
    settings = {
        f"{part} {name}, {SHOWN[metric]}": runs
        for part, metrics in found.items()
        for metric, widths in metrics.items()
        for name, runs in widths.items()
    }
    refused = {
        name: f"{sum(run['refused'] for run in runs)} refused, {n_stopped(runs)} of "
        f"{len(runs)} trainings stopped"
        for name, runs in settings.items()
        if any(run["refused"] for run in runs)
    }
    return Claim(
        claim="no width makes fits fail: no update is refused",
        source=GOAL,
        expected="none in all trainings",
        measured="; ".join(f"{name}: {what}" for name, what in refused.items())
        or f"none in {len(settings)} settings",
        verdict="differs" if refused else "reproduced",
    )
