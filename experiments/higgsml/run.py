"""Train the search for H → ττ on several losses and compare their hard test metrics.

python -m experiments.higgsml.run --out runs/higgsml
"""

import argparse
import json
import math
from pathlib import Path

import jax
import numpy as np

from diffana import config as configuration
from diffana.losses import P0, Cls, SigmaMu
from diffana.workflow.history import follow
from experiments.claims import Study
from experiments.higgsml.findings import BASELINE, claims, report


CONFIG = Path(__file__).parents[2] / "configs" / "higgsml.yaml"
METRICS = {"cls": Cls(log=False), "p0": P0(log=False), "sigma_mu": SigmaMu()}


def terms(config, loss):
    """The loss as sections; penalties stay where a histogram is seen."""
    kept = [
        term for term in config.loss if isinstance(term, configuration.EmptyBinsLoss)
    ]
    penalties = [term.model_dump(mode="json", by_alias=True) for term in kept]
    return [{"Type": loss}, *([] if loss == BASELINE else penalties)]


def tested(history, metric):
    """Test value where `metric` is best on validation events; nan if undefined."""
    if np.isnan(history.validation[metric]).all():
        return math.nan
    return history.final(metric)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="2 seeds, 20 epochs")
    parser.add_argument("--input", help="read this file instead of the published one")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    config, found = configuration.load(CONFIG), {}
    seeds, common = range(5), {}
    if options.quick:
        seeds, common = range(2), {"Train.Epochs": 20}
    if options.input:
        for sample in ("signal", "background"):
            common[f"Samples.{sample}.SamplePath"] = options.input
    files = [options.input] if options.input else config.samples[0].sample_path
    for file in files or ():
        if not Path(file).is_file():
            parser.error(f"{file}: no such file; the README says where it comes from")
    study = Study("higgsml", options.out, quick=options.quick)
    for loss in (BASELINE, *METRICS):
        found[loss] = []
        for seed in seeds:
            changes = {"General.Seed": seed, "Loss": terms(config, loss), **common}
            history = follow(configuration.changed(config, changes), metrics=METRICS)
            test = {metric: tested(history, metric) for metric in METRICS}
            refused, seconds = history.refused, history.seconds
            found[loss].append({"test": test, "refused": refused, "seconds": seconds})
            print(loss, seed, found[loss][-1], flush=True)
            (options.out / "numbers.json").write_text(json.dumps(found, indent=1))
    (options.out / "table.md").write_text(report(found))
    print(report(found))
    study.record(claims(found), seeds=len(seeds))


if __name__ == "__main__":
    main()
