"""A search for dark matter with a focus at no signal.

python -m experiments.neyman_lz.run --out runs/neyman_lz
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from diffana.neyman import Settings
from diffana.neyman.regret import regret
from experiments.belts import covered, halved, sets_of
from experiments.claims import Study
from experiments.neyman_lz import figures
from experiments.neyman_lz.findings import claims
from experiments.neyman_lz.model import LARGEST, LEVELS, PUBLISHED, likelihood, tests
from experiments.neyman_lz.templates import SETTINGS


HIGHEST_TRUE = 30.0


def middle(values):
    """Median of each level; empty sets, which have no edges, are left out."""
    return np.nanmedian(values, axis=1)


def measured(name, sizes):
    """Medians, coverage and regret of all tests with one histogram.

    Every belt is judged on the same toys.
    """
    model = likelihood(name)
    settings = Settings(LEVELS, n_toys=sizes["belt"], n_points=sizes["points"])
    mu = np.linspace(0, HIGHEST_TRUE, sizes["true"])
    found, lengths = {}, {}
    for test_name, test in tests(model).items():
        belt = halved(test, 0.0, LARGEST, settings)
        rows = {}
        for quantity, true in PUBLISHED:
            sets = sets_of([belt.belt, *belt.halves], float(true), sizes["at rows"])
            values = np.array([middle(getattr(one, quantity)) for one in sets])
            rows[f"{quantity} {true}"] = {
                "median": values[0].tolist(),
                # Of the toys behind the belt.
                "error": (0.5 * np.abs(values[1] - values[2])).tolist(),
                "empty": np.isnan(sets[0].lower).mean(1).tolist(),
            }
        sets = [sets_of([belt.belt], one, sizes["elsewhere"])[0] for one in mu]
        coverage = [
            {
                "value": one.coverage.tolist(),
                "lower": one.simultaneous.lower.tolist(),
                "upper": one.simultaneous.upper.tolist(),
                "p below": one.p_below.tolist(),
            }
            for one in covered(sets, LEVELS)
        ]
        lengths[test_name] = np.stack([one.length for one in sets], axis=1)
        found[test_name] = {
            "rows": rows,
            "coverage": coverage,
            "critical": belt.belt.critical_values.tolist(),
            "tested": belt.belt.tested.tolist(),
        }
    for test_name, own in lengths.items():
        ratios = [
            regret(mu, one, reference).mean
            for one, reference in zip(own, lengths["LRS"], strict=True)
        ]
        found[test_name]["regret"] = [one.value.tolist() for one in ratios]
        found[test_name]["regret error"] = [one.error.tolist() for one in ratios]
        found[test_name]["mean length"] = own.mean(2).tolist()
    return {"mu": mu.tolist(), "tests": found}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer toys")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("neyman_lz", options.out, quick=options.quick)
    sizes = {
        "belt": 644_000,
        "points": 161,
        "at rows": 20_000,
        "true": 21,
        "elsewhere": 10_000,
    }
    if options.quick:
        sizes = {"belt": 40_000, "points": 20, "at rows": 2000, "true": 3}
        sizes["elsewhere"] = 2000
    found = {name: measured(name, sizes) for name in SETTINGS}
    (options.out / "numbers.json").write_text(json.dumps(found) + "\n")
    figures.draw(options.out, found)
    study.record(claims(found), **{"toys per belt": sizes["belt"], "seed": 0})


if __name__ == "__main__":
    main()
