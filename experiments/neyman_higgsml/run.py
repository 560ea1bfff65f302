"""Signal strength in the Higgs challenge, with a focus at the standard model's.

python -m experiments.neyman_higgsml.run --out runs/neyman_higgsml
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from diffana.neyman import Settings
from diffana.neyman.regret import regret, set_lengths
from experiments.belts import covered, halved, sets_of
from experiments.claims import Study
from experiments.neyman_higgsml import figures
from experiments.neyman_higgsml.findings import claims
from experiments.neyman_higgsml.model import (
    COLUMNS,
    LARGEST,
    LEVELS,
    LUMINOSITY,
    MARGIN,
    likelihood,
    tests,
)


def measured(observable, luminosity, sizes, chosen):
    """Lengths, coverage and regret of all tests of one histogram.

    Every belt is judged on the same toys.
    """
    model = likelihood(observable, luminosity)
    settings = Settings(LEVELS, n_toys=sizes["belt"], n_points=sizes["points"])
    mu = np.linspace(0, LARGEST, sizes["true"])
    found, lengths = {}, {}
    for name, test in tests(model).items():
        if name not in chosen:
            continue
        belt = halved(test, 0.0, LARGEST + MARGIN, settings)
        whole, *halves = sets_of([belt.belt, *belt.halves], 1.0, sizes["at one"])
        at_one = [set_lengths(np.array([1.0]), row[None]) for row in whole.length]
        medians = np.array([np.median(one.length, axis=1) for one in halves])
        found[name] = {
            "median": [float(one.median[0]) for one in at_one],
            # Of the toys that are inverted, and of those behind the belt.
            "error": [
                float(np.hypot(one.median_error[0], 0.5 * abs(difference)))
                for one, difference in zip(
                    at_one, *np.diff(medians, axis=0), strict=True
                )
            ],
            "mean": [float(one.mean[0]) for one in at_one],
            "excess over the bound": belt.excess,
        }
        found[name]["critical"] = belt.belt.critical_values.tolist()
        found[name]["tested"] = belt.belt.tested.tolist()
        sets = [sets_of([belt.belt], one, sizes["elsewhere"])[0] for one in mu]
        found[name]["coverage"] = [
            {
                "value": one.coverage.tolist(),
                "lower": one.simultaneous.lower.tolist(),
                "upper": one.simultaneous.upper.tolist(),
                "covers": one.covers,
                "deviation": one.largest.value,
            }
            for one in covered(sets, LEVELS)
        ]
        lengths[name] = np.stack([one.length for one in sets], axis=1)
    for name, found_here in found.items():
        ratios = [
            regret(mu, own, reference).mean
            for own, reference in zip(lengths[name], lengths["LRS"], strict=True)
        ]
        found_here["regret"] = [one.value.tolist() for one in ratios]
        found_here["regret error"] = [one.error.tolist() for one in ratios]
        found_here["mean length"] = lengths[name].mean(2).tolist()
    return {"mu": mu.tolist(), "tests": found}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer toys")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("neyman_higgsml", options.out, quick=options.quick)
    sizes = {
        "belt": 162_000,
        "points": 81,
        "at one": 20_000,
        "true": 21,
        "elsewhere": 4000,
    }
    if options.quick:
        sizes = {**sizes, "belt": 8000, "points": 16, "at one": 2000, "true": 3}
        sizes["elsewhere"] = 2000
    published = ("LRS", "wide", "narrow")
    every = (*published, "wide, truncated", "narrow, truncated")
    rows = {}
    for luminosity, chosen in ((LUMINOSITY, every), (1.0, published)):
        rows[f"{luminosity:g}"] = {
            one: measured(one, luminosity, sizes, chosen) for one in COLUMNS
        }
    (options.out / "numbers.json").write_text(json.dumps(rows) + "\n")
    figures.draw(options.out, rows)
    study.record(claims(rows), **{"toys per belt": sizes["belt"], "seed": 0})


if __name__ == "__main__":
    main()
