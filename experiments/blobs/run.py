"""Train every method on every part of the study, for several seeds, and report.

python -m experiments.blobs.run --out runs/blobs_study
"""

import argparse
import dataclasses
from pathlib import Path

import jax

from experiments.blobs import figures, statements
from experiments.blobs.parts import PARTS
from experiments.blobs.training import train
from experiments.claims import Study


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="3 seeds, fewer epochs")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--published", type=Path, help="folder with published curves")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("blobs", options.out, quick=options.quick)
    seeds = 3 if options.quick else options.seeds
    histories: dict[str, dict[str, list[dict]]] = {}
    for name in options.parts:
        part = PARTS[name]
        if options.quick:
            part = dataclasses.replace(part, epochs=min(part.epochs, 20))
        histories[name] = {
            method: train(
                part,
                method,
                range(min(seeds, part.seeds)),
                options.out / f"{name}.{method}.json",
                learned=options.out / "figures",
            )
            for method in part.methods
        }
        table = (
            options.published and part.published and options.published / part.published
        )
        figures.save_curves(part, histories[name], options.out / "figures", table)
    report = statements.report(histories)
    (options.out / "tables.md").write_text(report)
    print(report)
    # A study that was interrupted has not spent all its time in this process.
    trained = [
        one for part in histories.values() for found in part.values() for one in found
    ]
    study.record(
        statements.claims(histories),
        seconds=sum(one["seconds"] for one in trained),
        seeds=seeds,
    )


if __name__ == "__main__":
    main()
