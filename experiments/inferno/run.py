"""Learn the bins of a mixture's summary so that its yield is measured best.

python -m experiments.inferno.run --out runs/inferno
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np
import optax

from diffana.histogram import Constant, Geometric
from diffana.losses import SigmaMu
from experiments.claims import Study
from experiments.inferno import figures
from experiments.inferno.benchmark import (
    BENCHMARKS,
    NOMINAL,
    Counts,
    analytical_uncertainties,
    optimal_shapes,
    uncertainties,
)
from experiments.inferno.findings import claims
from experiments.inferno.training import (
    CrossEntropy,
    Expected,
    Training,
    network_shapes,
    other_uncertainties,
)


TEST_SEED = 10_000  # of events that no training has seen


def trainings(n_steps):
    """Training and number of seeds of each row."""
    fading = optax.adam(optax.cosine_decay_schedule(5e-3, n_steps, alpha=0.01))
    steady, cooling = optax.adam(2e-3), Geometric(3.0, 0.1)
    sigma, log_sigma = Expected(SigmaMu(NOMINAL[0])), SigmaMu(NOMINAL[0], log=True)
    return {
        "classifier": (Training(CrossEntropy(), cooling, fading, n_steps), 3),
        "INFERNO": (
            Training(sigma, Constant(0.1), steady, n_steps, keep_best=False),
            2,
        ),
        "10 bins": (Training(Expected(log_sigma), cooling, fading, n_steps), 5),
        "30 bins": (Training(Expected(log_sigma, 30), cooling, fading, n_steps), 1),
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="one seed, two benchmarks")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("inferno", options.out, quick=options.quick)
    n_steps, n_test = (200, 100_000) if options.quick else (500, 500_000)
    chosen = (2, 4) if options.quick else range(len(BENCHMARKS))
    rows, kept = {}, {}
    for name, (training, n_seeds) in trainings(n_steps).items():
        rows[name] = {}
        for at in chosen if name != "classifier" else [0]:
            found = []
            for seed in range(1 if options.quick else n_seeds):
                network, _ = training(Counts.of(None, BENCHMARKS[at]), seed)
                shapes = network_shapes(network, n_test, TEST_SEED)
                found.append(uncertainties(shapes).tolist())
                if seed == 0:
                    kept[name, at] = (network, shapes)
            rows[name][at] = found
            print(name, at, np.median(found, axis=0).round(3), flush=True)
    references = {
        "analytical": analytical_uncertainties().tolist(),
        "optimal classifier": uncertainties(optimal_shapes()).tolist(),
    }
    checks = {
        at: other_uncertainties(*kept["10 bins", at], at, n_test, TEST_SEED)
        for at in chosen
    }
    numbers = {"rows": rows, "references": references, "checks": checks}
    (options.out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    figures.draw(options.out, rows, references, kept)
    seeds = {name: len(next(iter(row.values()))) for name, row in rows.items()}
    found = claims(rows, references, checks)
    study.record(found, seeds=seeds, updates=n_steps, test_events=n_test)


if __name__ == "__main__":
    main()
