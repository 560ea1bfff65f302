"""One bin, whose background uncertainty grows with the separation of signal.

python -m experiments.one_bin.run --out runs/one_bin
"""

import argparse
import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffana.losses import P0
from experiments.claims import Study
from experiments.one_bin import figures
from experiments.one_bin.findings import claims
from experiments.one_bin.model import KINDS, LARGEST, built, filled, p0_of_pyhf


STARTS, UPDATES, RATE = (0.5, 2.0, 5.0, 8.0, 9.5), 120, 0.5


def log_p0_and_slope(model):
    """Function from configurations to ln p0 and its derivative, compiled."""
    loss = jax.value_and_grad(lambda phi: P0()(filled(model, phi)))
    return eqx.filter_jit(jax.vmap(loss))


def descents(log_p0):
    """Configurations on the way down from each of `STARTS`, kept within bounds."""
    optimiser = optax.sgd(RATE)
    path = [jnp.array(STARTS)]
    memory = optimiser.init(path[0])
    for _ in range(UPDATES):
        _, slope = log_p0(path[-1])
        update, memory = optimiser.update(slope, memory)
        path.append(jnp.clip(path[-1] + update, 0.0, LARGEST))
    return np.array(path)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer points of the scan")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("one_bin", options.out, quick=options.quick)
    # Blocks as long as the list of starts: the program is compiled once.
    blocks = np.linspace(0.0, LARGEST, 20 if options.quick else 200)
    blocks = blocks.reshape(-1, len(STARTS))
    models = {kind: built(kind) for kind in KINDS}
    log_p0 = {kind: log_p0_and_slope(model) for kind, model in models.items()}
    scans, paths, p0, by_pyhf = {}, {}, {}, {}
    for kind in KINDS:
        values = [log_p0[kind](jnp.array(block))[0] for block in blocks]
        scans[kind] = np.exp(np.concatenate(values))
        paths[kind] = descents(log_p0[kind])
    for kind, path in paths.items():
        # What was optimised without uncertainty is judged with it.
        judge = "shapesys" if kind == "none" else kind
        p0[kind] = float(np.exp(log_p0[judge](jnp.array(path[-1]))[0][0]))
        by_pyhf[kind] = p0_of_pyhf(filled(models[judge], path[-1, 0]))
    numbers = {"phi": blocks.ravel(), "p0": scans, "path": paths}
    plain = jax.tree.map(np.ndarray.tolist, numbers)
    (options.out / "numbers.json").write_text(json.dumps(plain) + "\n")
    figures.draw(options.out, blocks.ravel(), scans, paths, p0)
    settings = {"updates": UPDATES, "learning rate": RATE, "starts": STARTS}
    study.record(claims(scans, paths, p0, by_pyhf), **settings)


if __name__ == "__main__":
    main()
