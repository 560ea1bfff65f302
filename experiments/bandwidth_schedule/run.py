"""Trainings with fixed and annealed bandwidths and slopes, judged by hard metrics.

python -m experiments.bandwidth_schedule.run --out runs/bandwidth_schedule
"""

import argparse
import json
import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp

from diffana import config as configuration
from diffana.errors import TrainingError
from diffana.losses import P0, Cls, SigmaMu, evaluate_all
from diffana.workflow.history import follow
from experiments.bandwidth_schedule import figures
from experiments.bandwidth_schedule.findings import claims, report
from experiments.bandwidth_schedule.parts import PARTS
from experiments.claims import Study


METRICS = {"cls": Cls(log=False), "p0": P0(log=False), "sigma_mu": SigmaMu()}


@eqx.filter_jit
def values(analysis, events):
    """All metrics on `events`, soft or hard as the analysis is."""
    return evaluate_all(METRICS, analysis.forward(events).likelihood)


def trained(config, metric):
    """Numbers of the epoch with the best validation value of `metric`."""
    try:
        history = follow(config, metrics=METRICS)
    except TrainingError as error:
        # Of the updates before, the error does not tell.
        refused = config.train.max_failed_steps + 1
        undefined = {"hard": math.nan, "soft": math.nan, "epoch": 0}
        return undefined | {"refused": refused, "stopped": str(error)}
    best, prepared = history.best(metric), history.prepared
    # As the last update of that epoch saw it.
    step = (best + 1) * prepared.n_batches - 1
    soft = prepared.trainer.annealed(history.chosen[metric], step)
    found = values(soft, jax.tree.map(jnp.asarray, prepared.test))[metric]
    return {
        "hard": history.final(metric),
        "soft": float(found.value),
        "epoch": best + 1,
        "refused": history.refused,
        "stopped": "",
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="2 seeds, 10 epochs")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("bandwidth_schedule", options.out, quick=options.quick)
    seeds, epochs = (range(2), 10) if options.quick else (range(5), 40)
    found = {}
    for name, part in PARTS.items():
        base, found[name] = configuration.load(part.file), {}
        for metric in part.losses:
            runs = found[name][metric] = {}
            common = {"Loss": [{"Type": metric}], "Train.Epochs": epochs}
            for width in part.widths:
                settings = common | part.settings(width)
                configs = [
                    configuration.changed(base, settings | {"General.Seed": seed})
                    for seed in seeds
                ]
                runs[width] = [trained(config, metric) for config in configs]
                hard = [run["hard"] for run in runs[width]]
                print(name, metric, width, hard, flush=True)
                text = json.dumps(found, ensure_ascii=False, indent=1)
                (options.out / "numbers.json").write_text(text + "\n")
    (options.out / "tables.md").write_text(report(found))
    print(report(found))
    figures.draw(options.out, found["bandwidth"])
    study.record(claims(found), seeds=len(seeds), epochs=epochs)


if __name__ == "__main__":
    main()
