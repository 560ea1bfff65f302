"""How far the result depends on the seed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffana import config as configuration, runs
from diffana.config import Config
from diffana.errors import RunError
from diffana.workflow.comparison import METRICS, compare, spread
from diffana.workflow.safety.check import Check
from diffana.workflow.safety.sensitivity import sensitivity


LARGEST_SPREAD = 0.05
FEWEST_RUNS = 3
_NAME = "dependence on the seed"


def siblings_of(run: runs.Run, config: Config) -> tuple[Path, ...]:
    """Finished runs beside a run whose configurations differ in the seed alone."""
    own = run.folder.resolve()
    return tuple(
        folder
        for folder in sorted(own.parent.iterdir())
        if folder != own and _differs_in_the_seed(runs.Run(folder), config)
    )


def check_seeds(
    run: runs.Run,
    config: Config,
    siblings: Sequence[Path],
    *,
    largest: float = LARGEST_SPREAD,
) -> Check:
    """Spread of the results on test events over runs that differ only in the seed.

    Args:
        run: the run.
        config: its configuration.
        siblings: finished runs of the same configuration with other seeds.
        largest: relative standard deviation of the sensitivity (standard deviations of
            CLs and p0, 1/σ_μ) above which the check warns. It is a threshold, not a
            test: the gain of a learned observable is often no larger.
    """
    if len(siblings) + 1 < FEWEST_RUNS:
        return Check(
            _NAME,
            "not checked",
            f"a spread needs {FEWEST_RUNS} runs that differ only in the seed, and "
            f"there are {len(siblings) + 1}; train some with other values of "
            "General.Seed beside this one",
            {"fewest_runs": FEWEST_RUNS, "runs": [str(run.folder)]},
        )
    try:
        group, *others = compare([run.folder, *siblings]).groups
    except RunError as error:
        return Check(_NAME, "not checked", str(error), {"runs": []})
    if others:
        return Check(
            _NAME,
            "not checked",
            f"the runs differ in more than the seed: {others[0].name}",
            {"runs": []},
        )
    rows, summaries = {}, []
    for metric in METRICS:
        values = group.test(metric)
        with np.errstate(divide="ignore"):
            powers = np.array([sensitivity(metric, log) for log in np.log(values)])
        relative = float(np.std(powers, ddof=1) / np.mean(powers))
        around = spread(values)
        rows[metric] = {
            "values": values.tolist(),
            "median": around.median,
            "low": around.low,
            "high": around.high,
            "relative": relative,
        }
        summaries.append(
            f"{metric} {around.median:.3g} [{around.low:.3g}, {around.high:.3g}], "
            f"sensitivity ±{100 * relative:.1f} %"
        )
    numbers = {
        "largest": largest,
        "seeds": [one.seed for one in group.runs],
        "runs": [str(one.folder) for one in group.runs],
        "this_seed": config.general.seed,
        "metrics": rows,
    }
    # A result that is not defined for some seed has no spread, and is not below.
    stable = all(row["relative"] <= largest for row in rows.values())
    summary = (
        f"median and range of {len(group.runs)} seeds: {'; '.join(summaries)}; warns "
        f"above {100 * largest:g} %"
    )
    return Check(_NAME, "pass" if stable else "warn", summary, numbers)


def _differs_in_the_seed(other: runs.Run, config: Config) -> bool:
    if not (other.finished.is_file() and other.config.is_file()):
        return False
    try:
        found = configuration.load(other.config)
    except configuration.ConfigError:
        return False
    seed = {"General.Seed": config.general.seed}
    return configuration.changed(found, seed) == config
