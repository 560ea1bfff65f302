"""Confidence sets of learned observables and learned likelihoods.

python -m experiments.neyman_learned.run --out runs/neyman_learned
"""

import argparse
import json
from pathlib import Path

import jax

from experiments.claims import Study
from experiments.neyman_learned import observable, unbinned
from experiments.neyman_learned.findings import claims


FULL = unbinned.Size(2**14, 50_000, 10, 126, 26, 1000)
QUICK = unbinned.Size(2**12, 20_000, 8, 26, 6, 100)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="few events and toys")
    parser.add_argument("--epochs", type=int, help="of the observables")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("neyman_learned", options.out, quick=options.quick)
    epochs = options.epochs or (1 if options.quick else 15)
    n_toys = 3100 if options.quick else 62_000
    of_blobs = observable.rows(options.out, epochs, n_toys, seed=1)
    of_interference = unbinned.rows(QUICK if options.quick else FULL, seed=1)
    document = {
        "observable": [row._asdict() for row in of_blobs],
        "unbinned": [row._asdict() for row in of_interference],
    }
    (options.out / "rows.json").write_text(json.dumps(document, indent=1))
    study.record(claims(of_interference, of_blobs), seeds=1, toys=n_toys, epochs=epochs)


if __name__ == "__main__":
    main()
