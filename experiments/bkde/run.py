"""Binned kernel density estimates: yields, gradients, and which bandwidth to take.

python -m experiments.bkde.run --out runs/bkde
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments.bkde import errors, figures, law
from experiments.bkde.densities import FITTED, JUMP, OUTPUTS, TESTED
from experiments.bkde.findings import claims
from experiments.claims import Study


BIN = np.array([-0.5, 0.5])
MEANS = np.linspace(-2.0, 2.0, 500)
SHOWN = [(n, h) for n in (20, 100, 5000) for h in (0.05, 0.5, 0.8)]


def single_bin(n_events, bandwidth, seed=0):
    """Height and gradient of the central bin of a normal sample against its mean."""
    x = jnp.array(np.random.default_rng(seed).normal(size=n_events))
    found = errors.central_bin(x, jnp.array(BIN), bandwidth, jnp.array(MEANS))
    hard, soft, slope = map(np.array, found)
    lower, upper = BIN[:, None] - MEANS
    true = stats.norm.cdf(upper) - stats.norm.cdf(lower)
    height = {"mu": MEANS, "hard": hard, "soft": soft, "true": true}
    gradient = {"mu": MEANS, "hard": np.gradient(hard, MEANS), "soft": slope}
    gradient["true"] = -(stats.norm.pdf(upper) - stats.norm.pdf(lower))
    return height, gradient


def shape(folder):
    """Draw histograms of a bimodal sample for bandwidths relative to the bins."""
    density, edges = FITTED["bimodal"], np.linspace(-3.5, 3.5, 15)
    events = density.sample(np.random.default_rng(0), (200,))
    bandwidths = 0.5 * np.array([0.1, 0.5, 1.5])
    soft = [np.array(errors.shares(jnp.array(events), edges, h, 0)) for h in bandwidths]
    fine = np.linspace(-3.5, 3.5, 14 * 50 + 1)
    truth = density.pdf((fine[1:] + fine[:-1]) / 2).reshape(14, 50).mean(axis=1) * 0.5
    figures.shape(folder / "shape.png", events, edges, bandwidths, soft, truth)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and events")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("bkde", options.out, quick=options.quick)
    if options.quick:
        budget, sizes, fit_sizes = 2000, np.array([20, 100, 500]), (100, 1000)
    else:
        budget, sizes = 10_000, np.geomspace(20, 20_000, 13).astype(int)
        fit_sizes = (50, 200, 1000, 5000, 20_000)
    n = 12 if options.quick else 18
    bandwidths = np.geomspace(0.04, 1.6, n)
    bins = {shown: single_bin(*shown) for shown in SHOWN}
    trials = [single_bin(100, 0.5, seed)[1] for seed in range(20)]
    # Means between -2 and 2 whose true gradient is not zero, and a bin of unit width.
    case = (FITTED["normal"], np.linspace(-2.51, 2.51, 252), sizes, bandwidths, (50,))
    rms, relative = errors.table(*case, budget=budget, seed=2, fewest=10)
    grid, widths = np.arange(-5.05, 5.06, 0.1), (2, 5, 10, 20)
    search = np.geomspace(0.02, 2.0, n)
    groups = {"fitted": FITTED, "tested": TESTED}
    cells = {
        name: law.measured(densities, grid, fit_sizes, search, widths, budget)
        for name, densities in groups.items()
    }
    search = np.geomspace(0.003, 0.6, n)
    cells["jump"] = law.measured(JUMP, grid, fit_sizes, search, widths, budget)
    # Three, five, ten and twenty bins on [0, 1].
    grid, widths = np.linspace(0, 1, 61), (20, 12, 6, 3)
    cells["outputs"] = law.measured(OUTPUTS, grid, fit_sizes, search, widths, budget)
    numbers = {"sizes": sizes, "bandwidths": bandwidths}
    numbers |= {"rms": rms[0], "relative": relative[0]}
    numbers["cells"] = {k: [c._asdict() for c in v] for k, v in cells.items()}
    text = json.dumps(numbers, default=lambda value: value.tolist())
    (options.out / "numbers.json").write_text(text + "\n")
    for index, name, span in ((0, "Share", 1.6), (1, "Gradient", 2.5)):
        shown = {key: found[index] for key, found in bins.items()}
        path, title = options.out / f"{name.lower()}.png", f"{name} of the central bin"
        figures.curves(path, shown, name=title, span=span)
    shape(options.out)
    rule = law.rule(sizes, 1.0, 1.0)
    figures.error_map(options.out / "map.png", sizes, bandwidths, relative[0], rule)
    figures.law(options.out / "law.png", cells)
    found = claims(trials, sizes, bandwidths, relative[0], rms[0], cells)
    study.record(found, **{"events per size": f"at least {budget}"})


if __name__ == "__main__":
    main()
