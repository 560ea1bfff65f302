"""Time of a confidence belt, beside the pseudo-experiments of pyhf.

python benchmarks/neyman_belt.py [--toys 100000] [--repeat 3] [--pyhf-toys 50]
    [--statistic fts lrs] [--output FILE]

A workspace of one channel with 30 bins, without nuisance parameters and with ten (half
`normsys`, half `histosys`). Each measurement is a process of its own. A belt of two
levels is made from the given number of toys at 51 values: the first time with
compilation, and again in the same process with other seeds, which compiles nothing. CPU
seconds are those of all threads, memory is the peak of the process.

pyhf has no belts. Its toy calculator (q~ at mu = 1, signal and background toys, the
NumPy backend with scipy) makes two fits per toy on the same workspace, as a toy of the
likelihood-ratio statistic needs; the time of a belt with as many toys is extrapolated
from its rate.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


N_BINS = 30


def workspace(n_nuisances):
    """A signal peak on two falling backgrounds."""
    x = np.linspace(0.0, 1.0, N_BINS)
    samples = {
        "signal": 20 * np.exp(-0.5 * ((x - 0.6) / 0.1) ** 2),
        "background": 100 * np.exp(-2 * x) + 20,
        "other": 50 * np.exp(-x) + 10,
    }
    # Which uncertainties each sample has.
    shares = {
        "signal": range(min(4, n_nuisances)),
        "background": range(min(8, n_nuisances)),
        "other": range(n_nuisances // 2, n_nuisances),
    }

    def modifier(k, nominal):
        name = f"alpha{k}"
        if k % 2 == 0:
            size = 0.01 * (k + 1)
            data = {"hi": 1 + size, "lo": 1 - size}
            return {"name": name, "type": "normsys", "data": data}
        tilt = 0.05 * np.sin(3 * x + k)
        data = {
            "hi_data": (nominal * (1 + tilt)).tolist(),
            "lo_data": (nominal * (1 - tilt)).tolist(),
        }
        return {"name": name, "type": "histosys", "data": data}

    mu = {"name": "mu", "type": "normfactor", "data": None}
    channel = {
        "name": "SR",
        "samples": [
            {
                "name": name,
                "data": nominal.tolist(),
                "modifiers": [modifier(k, nominal) for k in shares[name]]
                + ([mu] if name == "signal" else []),
            }
            for name, nominal in samples.items()
        ],
    }
    expected = sum(samples.values())
    observed = np.random.default_rng(0).poisson(expected).tolist()
    poi = {"name": "mu", "bounds": [[0.0, 10.0]], "inits": [1.0]}
    return {
        "version": "1.0.0",
        "channels": [channel],
        "observations": [{"name": "SR", "data": observed}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": [poi]}}],
    }


def belt(n_nuisances, statistic, n_toys, repeat):
    """Seconds of a belt, first and again."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from diffana.assemble.neyman import Description, construct
    from diffana.histfactory import from_workspace
    from diffana.neyman import Settings, calibrate

    focus = "normal(1,1)" if statistic == "fts" else None
    runs = []
    for seed in range(repeat + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        model, data = from_workspace(workspace(n_nuisances))
        made = construct(model, data, Description(statistic=statistic, focus=focus))
        found = calibrate(
            made.construction,
            made.scheme,
            made.tested,
            Settings(n_toys=n_toys, seed=seed),
        )
        (interval, _) = found.belt.invert(data)
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    again = runs[1:]
    return {
        "failed_toys": found.n_failed,
        "interval": interval.segments,
        "first_wall_s": runs[0][0],
        "first_cpu_s": runs[0][1],
        "wall_s": statistics.median(run[0] for run in again),
        "cpu_s": statistics.median(run[1] for run in again),
        "range_wall_s": [min(run[0] for run in again), max(run[0] for run in again)],
    }


def peer(n_nuisances, n_toys, repeat):
    """Seconds per toy of pyhf's toy calculator."""
    import contextlib
    import io

    import pyhf

    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer())
    read = pyhf.Workspace(workspace(n_nuisances))
    model = read.model()
    calculator = pyhf.infer.calculators.ToyCalculator(
        read.data(model), model, ntoys=n_toys, track_progress=False
    )
    calculator.distributions(1.0)
    seconds = []
    for _ in range(repeat):
        begin = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):
            calculator.distributions(1.0)
        seconds.append((time.perf_counter() - begin) / (2 * n_toys))
    return {"seconds_per_toy": statistics.median(seconds)}


def measure(options):
    """Numbers of one process."""
    if options.measure == "pyhf":
        found = peer(options.nuisances, options.pyhf_toys, options.repeat)
    else:
        found = belt(options.nuisances, options.measure, options.toys, options.repeat)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found | {"peak_resident_gb": peak * 1024 / 1e9, "load": os.getloadavg()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toys", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pyhf-toys", type=int, default=50)
    parser.add_argument("--statistic", nargs="+", default=["fts", "lrs"])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--nuisances", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    found = []
    for n_nuisances in (0, 10):
        for what in (*options.statistic, "pyhf"):
            command = [sys.executable, __file__, "--measure", what]
            command += ["--nuisances", str(n_nuisances), "--toys", str(options.toys)]
            command += ["--repeat", str(options.repeat)]
            command += ["--pyhf-toys", str(options.pyhf_toys)]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True
            )
            row = {"nuisances": n_nuisances, "what": what}
            row |= json.loads(done.stdout.splitlines()[-1])
            if what == "pyhf":
                row["extrapolated_belt_s"] = row["seconds_per_toy"] * options.toys
            found.append(row)
            print(json.dumps(row), flush=True)
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
