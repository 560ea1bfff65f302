"""Train one analysis on several losses and compare their hard test metrics.

python experiments/losses/run.py configs/blobs.yaml --out runs/losses_blobs
"""

import argparse
import json
import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import yaml

from diffana import assemble, config as configuration
from diffana.train import first_epoch, train
from diffana.workflow.prepared import prepare


METRICS = ("cls", "p0", "sigma_mu")
LOSSES = ("bce", "bce_augmented", "cls", "p0", "sigma_mu")


def with_loss(config, loss, seed):
    document = yaml.safe_load(configuration.dump(config))
    # Penalties of the configuration go with the losses that see the histogram.
    penalties = [term for term in document["Loss"] if term["Type"] == "empty_bins"]
    kept = [] if loss.startswith("bce") else penalties
    document["Loss"] = [{"Type": loss}, *kept]
    document["General"]["Seed"] = seed
    return configuration.Config.model_validate(document)


def trained(config, trainer=None):
    """Test metrics of the epochs that each validation metric selects."""
    prepared = prepare(config)
    # One trainer for all seeds of a loss, so that its step is compiled once.
    trainer = trainer or prepared.trainer
    metrics = assemble.hard_metrics(config)
    best = {name: (math.inf, prepared.analysis, 0) for name in METRICS}
    start = time.perf_counter()
    for epoch in train(
        trainer,
        first_epoch(trainer, prepared.analysis),
        prepared.train,
        prepared.validation,
        n_epochs=config.train.epochs,
        n_batches=prepared.n_batches,
        seed=config.general.seed,
        metrics=metrics,
        selection="loss",
        max_failed_steps=config.train.max_failed_steps,
    ):
        for name in METRICS:
            if epoch.metrics[name] < best[name][0]:
                chosen = (epoch.metrics[name], epoch.state.analysis, epoch.epoch)
                best[name] = chosen
    seconds = time.perf_counter() - start
    test = jax.tree.map(jnp.asarray, prepared.test)
    found = {
        name: float(trainer.hard_metrics(metrics, analysis, test)[name].value)
        for name, (_, analysis, _) in best.items()
    }
    epochs = {name: epoch for name, (_, _, epoch) in best.items()}
    return trainer, {"test": found, "epoch": epochs, "seconds": seconds}


def table(results, seeds):
    """Median and range per loss, and how often each beats the baselines."""
    lines = [f"{'trained on':15}" + "".join(f"{name:>32}" for name in METRICS)]
    values = {
        loss: {
            name: np.array([results[loss][str(s)]["test"][name] for s in seeds])
            for name in METRICS
        }
        for loss in results
    }
    for loss, found in values.items():
        cells = (
            f"{np.median(v):10.3g} [{v.min():8.3g}, {v.max():8.3g}]"
            for v in found.values()
        )
        lines.append(f"{loss:15}" + "".join(f"{cell:>32}" for cell in cells))
    for baseline in {"bce", "bce_augmented"} & values.keys():
        for name in METRICS:
            if name in values:
                wins = np.sum(values[name][name] < values[baseline][name])
                lines.append(
                    f"{name} below {baseline} in its own metric: {wins} of {len(seeds)}"
                )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--losses", nargs="+", default=LOSSES)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    config, seeds = configuration.load(options.config), range(options.seeds)
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for loss in options.losses:
        trainer, results[loss] = None, {}
        for seed in seeds:
            settings = with_loss(config, loss, seed)
            trainer, results[loss][str(seed)] = trained(settings, trainer)
            print(loss, seed, results[loss][str(seed)], flush=True)
            text = json.dumps(results, indent=1)
            (options.out / "results.json").write_text(text)
    report = table(results, seeds)
    (options.out / "table.txt").write_text(report + "\n")
    print(report)


if __name__ == "__main__":
    main()
