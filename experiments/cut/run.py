"""Cuts by gradient descent: one, then four together, beside scans of hard cuts.

python -m experiments.cut.run --out runs/cut
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffana.histogram import Constant, Geometric
from diffana.losses import AsimovSignificance, Significance
from experiments.claims import Study
from experiments.cut import figures, search
from experiments.cut.findings import claims
from experiments.cut.model import likelihood, simulated


N_EVENTS, SLOPES = 20_000, (3.0, 10.0, 30.0, 100.0)
LOSSES = {"counting": AsimovSignificance(), "profiled": Significance()}
# Both ends of the mass window, the score, the isolation; where descents begin.
FOUR = (1.0, 3.0, 0.0, 2.0)
# Slopes from the first to the last update.
SCHEDULES = {"annealed": (4.0, 60.0), "soft": (4.0, 4.0), "steep": (60.0, 60.0)}


def one_cut(model, events, thresholds, start, n_updates):
    """Scans over one cut, hard and soft, and descents with each slope."""
    loss, c = LOSSES["counting"], jnp.array(thresholds)
    yields = search.hard_yields(model, c[:, None], events)
    hard = search.of_yields(loss, model, *yields)
    found = {"hard": hard, "exact gradient": search.truth(c)[1], "soft": {}}
    for slope in SLOPES:
        at = jnp.array(slope)
        path = search.descent(
            loss, model, (start,), Constant(at), events, rate=1e-3, n_updates=n_updates
        )
        value, gradient = search.soft_scan(loss, model, c, at, events)
        found["soft"][slope] = {
            "value": np.array(value),
            "gradient": np.array(gradient),
            "path": np.array(path[:, 0]),
            "noise": search.gradient_noise(loss, model, 1.0, at, n_events=500),
        }
    return found


def four_cuts(model, events, grids, n_updates):
    """Descents on four cuts together, and the best of a grid, for both losses."""
    found = {}
    yields = search.brute_force(events, grids)
    for name, loss in LOSSES.items():
        best, at = search.best_on_grid(loss, model, yields, grids)
        found[name] = {"grid": {"z": best, "at": at}}
        for kind, slopes in SCHEDULES.items():
            follow = Geometric(*slopes)
            path = search.descent(
                loss, model, FOUR, follow, events, rate=0.03, n_updates=n_updates
            )
            found[name][kind] = {"path": np.array(path), "at": np.array(path[-1])}
    for ends in found.values():
        for end in ends.values():
            for sample, seen in (("train", events), ("test", simulated(1, N_EVENTS))):
                kept = search.hard_yields(model, jnp.array([end["at"]]), seen)
                end[sample] = {
                    name: float(search.of_yields(loss, model, *kept)[0])
                    for name, loss in LOSSES.items()
                }
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="coarser and shorter")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("cut", options.out, quick=options.quick)
    start, n_updates = (1.4, 600) if options.quick else (1.0, 1500)
    model, events = likelihood(), simulated(0, N_EVENTS)
    thresholds = np.linspace(0.0, 3.0, 61 if options.quick else 121)
    step = 2 if options.quick else 1
    grids = [grid[::step] for grid in search.GRIDS]
    one = one_cut(model, events, thresholds, start, n_updates)
    four = four_cuts(model, events, grids, 300)
    numbers = {"thresholds": thresholds, "one": one, "four": four}
    plain = jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), numbers)
    (options.out / "numbers.json").write_text(json.dumps(plain) + "\n")
    figures.draw(options.out, events, thresholds, one, four)
    study.record(claims(thresholds, one, four), events=N_EVENTS, slopes=SLOPES)


if __name__ == "__main__":
    main()
