"""Wall time of a sweep with one and with two workers, and of a loop of trainings.

python benchmarks/sweep.py configs/blobs.yaml

Every worker and every training of the loop computes with one core. The sweep trains
some losses with some seeds; each time it starts in a new folder without any compiled
programs. The three take turns, so that a machine that slows down does so for all; what
is quoted are medians of the repetitions, and of the ratios within each of them.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

from diffana import config as configuration


MAIN = [sys.executable, "-m", "diffana"]
ONE_CORE = {**os.environ, "PJRT_NPROC": "1", "OMP_NUM_THREADS": "1"}


class Cost(NamedTuple):
    """Seconds that a command took."""

    wall: float
    cpu: float
    start: float = 0.0


def measured(*argv, env=None):
    """Cost of a command; `start` is the time to its first line."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    process = subprocess.Popen(
        [*MAIN, *map(str, argv)], env=env, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    start = time.perf_counter() - begin
    process.stdout.read()
    if process.wait():
        raise SystemExit(f"{argv} failed")
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, start)


def swept(document, folder, workers):
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(document))
    out = folder / f"with_{workers}"
    cost = measured("sweep", path, "--out", out, "--workers", workers)
    return cost, out


def looped(plan, folder):
    costs = []
    for run in plan.runs:
        path = folder / f"{run.name}.yaml"
        path.write_text(configuration.dump(run.config))
        costs.append(measured("train", path, "--out", folder / run.name, env=ONE_CORE))
    return Cost(sum(one.wall for one in costs), sum(one.cpu for one in costs))


def compiling(out):
    """Seconds by which the first epochs of the runs are longer than the others."""
    total = 0.0
    for path in out.glob("runs/*/timings.jsonl"):
        seconds = [json.loads(line)["seconds"] for line in path.open()]
        total += seconds[0] - statistics.median(seconds[1:])
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--losses", nargs="+", default=["cls", "p0", "sigma_mu", "bce"])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--loops", type=int, default=1, help="repetitions of the loop")
    options = parser.parse_args()
    document = {
        "Base": str(options.config.resolve()),
        "Seeds": options.seeds,
        "Settings": [
            {"Name": one, "Change": {"Loss": {"Type": one}}} for one in options.losses
        ],
        "Grid": {"Train.Epochs": [options.epochs]},
    }
    print(
        f"{options.config}: {len(options.losses)} losses x {options.seeds} seeds, "
        f"{options.epochs} epochs, {os.cpu_count()} cores"
    )
    costs = {name: [] for name in ("1 worker", "2 workers", "loop")}
    compilation = []
    for i in range(options.repeat):
        print(f"load averages over 1, 5 and 15 minutes: {os.getloadavg()}", flush=True)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for workers in (1, 2):
                cost, out = swept(document, folder, workers)
                unit = "worker" if workers == 1 else "workers"
                costs[f"{workers} {unit}"].append(cost)
                print(f"{workers} {unit}: {cost}", flush=True)
                if workers == 1:
                    compilation.append(compiling(out))
            if i < options.loops:
                plan = configuration.load_sweep(folder / "sweep.yaml")
                costs["loop"].append(looped(plan, folder))
                print(f"loop: {costs['loop'][-1]}", flush=True)
    print(f"{'':10}{'wall':>10}{'CPU':>10}{'start-up':>10}   walls")
    for name, found in costs.items():
        if found:
            wall, cpu, start = (
                statistics.median(column) for column in zip(*found, strict=True)
            )
            walls = " ".join(f"{one.wall:.1f}" for one in found)
            print(f"{name:10}{wall:8.1f} s{cpu:8.1f} s{start:8.1f} s   {walls}")
    one, two = costs["1 worker"], costs["2 workers"]
    ratios = [a.wall / b.wall for a, b in zip(one, two, strict=True)]
    print(f"2 workers are {statistics.median(ratios):.2f} times as fast as 1: ", end="")
    print(" ".join(f"{ratio:.2f}" for ratio in ratios))
    if costs["loop"]:
        loop = costs["loop"]
        ratios = [a.wall / b.wall for a, b in zip(loop, one, strict=False)]
        print(f"the loop takes {statistics.median(ratios):.2f} times as long as 1")
    share = statistics.median(compilation) / statistics.median([c.wall for c in one])
    print(f"compiling the training steps: {100 * share:.0f} % of the wall time with 1")
    print(f"load averages over 1, 5 and 15 minutes: {os.getloadavg()}")


if __name__ == "__main__":
    main()
