"""Cost of one training update per loss, relative to the first loss.

python benchmarks/update_cost.py configs/blobs.yaml

Every loss sees the same batches of the same events. Compilation is timed apart. The
updates of all losses take turns, so that a machine that slows down does so for all.
"""

import argparse
import os
import resource
import statistics
import time
from pathlib import Path

import jax
import yaml

from diffana import config as configuration
from diffana.data import batches
from diffana.workflow.prepared import prepare


# The first one is what the others are compared with.
LOSSES = (
    "bce_augmented",
    "bce",
    "cls",
    "p0",
    "significance",
    "sigma_mu",
    "fisher",
    "upper_limit",
    "interval_length",
    "gaussianity",
    "constraint",
    "pulls",
    "asimov_significance",
    "empty_bins",
)


def prepared_for(config, loss):
    document = yaml.safe_load(configuration.dump(config))
    document["Loss"] = [{"Type": loss}]
    return prepare(configuration.Config.model_validate(document))


def timed(step, state, batch):
    """One update: its state, wall seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    state, _ = jax.block_until_ready(step(state, batch))
    return state, time.perf_counter() - wall, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--losses", nargs="+", default=LOSSES, choices=LOSSES)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    config = configuration.load(options.config)

    runs, first = {}, {}
    refused = dict.fromkeys(options.losses, 0)
    for loss in options.losses:
        prepared = prepared_for(config, loss)
        deck = list(batches(prepared.train, prepared.n_batches, 0, 0))
        state = prepared.first.state
        state, wall, cpu = timed(prepared.trainer.step, state, deck[0])
        runs[loss], first[loss] = (prepared.trainer.step, state, deck), (wall, cpu)
    walls = {loss: [] for loss in runs}
    cpus = {loss: [] for loss in runs}
    for i in range(options.updates):
        for loss, (step, state, deck) in runs.items():
            state, wall, cpu = timed(step, state, deck[i % len(deck)])
            runs[loss] = step, state, deck
            refused[loss] += int(state.failed_steps > 0)
            walls[loss].append(wall)
            cpus[loss].append(cpu)

    print(
        f"{options.config}: median of {options.updates} updates, {os.cpu_count()} cores"
    )
    print(f"load averages over 1, 5 and 15 minutes: {os.getloadavg()}")
    print(
        f"{'loss':22}{'first call':>12}{'its CPU':>10}{'wall':>12}{'CPU':>12}"
        f"{'wall ratio':>12}{'CPU ratio':>12}{'refused':>9}"
    )
    base, cpu_base = (
        statistics.median(times[options.losses[0]]) for times in (walls, cpus)
    )
    for loss in runs:
        wall, cpu = statistics.median(walls[loss]), statistics.median(cpus[loss])
        print(
            f"{loss:22}{first[loss][0]:10.2f} s{first[loss][1]:8.2f} s"
            f"{1e3 * wall:9.1f} ms{1e3 * cpu:9.1f} ms"
            f"{wall / base:12.3f}{cpu / cpu_base:12.3f}{refused[loss]:9}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"peak memory of the process: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
