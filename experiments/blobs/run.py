"""Train every method on every part of the study, for several seeds, and report.

python -m experiments.blobs.run --out runs/blobs_study
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffana import config as configuration
from diffana.losses import P0, BinaryCrossEntropy, Cls, Constraint, SigmaMu
from diffana.workflow.history import follow
from experiments.blobs import figures, statements
from experiments.blobs.parts import PARTS, Part
from experiments.claims import Study


HERE = Path(__file__).parent
METRICS = {
    "cls": Cls(log=False),
    "p0": P0(log=False),
    "sigma_mu": SigmaMu(),
    "constraint": Constraint(parameters=("background_mean",)),
    "bce": BinaryCrossEntropy(),
}


def train(part: Part, method: str, seeds: range, file: Path, *, learned: Path):
    """Histories of one method, as numbers; those in `file` are not made again."""
    done = json.loads(file.read_text()) if file.exists() else []
    base = configuration.load(HERE / part.config)
    for seed in seeds[len(done) :]:
        settings = part.settings(method) | {"General.Seed": seed}
        config = configuration.changed(base, settings)
        history = follow(config, metrics=METRICS)
        kept = ("seed", "validation", "test", "refused", "seconds")
        done.append({name: getattr(history, name) for name in kept})
        if seed < 2:
            figures.save_learned(config, history, part, method, learned)
        text = json.dumps(done, default=listed)
        file.with_suffix(".part").write_text(text)
        file.with_suffix(".part").replace(file)
        final = {name: f"{history.final(name):.3g}" for name in ("cls", "p0")}
        print(f"{part.name:14} {method:14} seed {seed} {final}", flush=True)
    return json.loads(json.dumps(done, default=listed))


def listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else dict(value)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="3 seeds, fewer epochs")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("blobs", options.out, quick=options.quick)
    seeds = range(3 if options.quick else options.seeds)
    histories: dict[str, dict[str, list[dict]]] = {}
    for name in options.parts:
        part = PARTS[name]
        if options.quick:
            part = dataclasses.replace(part, epochs=min(part.epochs, 20))
        histories[name] = {
            method: train(
                part,
                method,
                seeds,
                options.out / f"{name}.{method}.json",
                learned=options.out / "figures",
            )
            for method in part.methods
        }
        figures.save_curves(part, histories[name], options.out / "figures")
    report = statements.report(histories)
    (options.out / "tables.md").write_text(report)
    print(report)
    study.record(statements.claims(histories), seeds=len(seeds))


if __name__ == "__main__":
    main()
