"""Time and memory of -2 ln L and its gradient for events that stay on the disk.

python benchmarks/unbinned_memory.py [--events 10000000] [--nuisances 100]
    [--folder FOLDER] [--repeat 3] [--output FILE]

Two processes, each with a polynomial-exponential shape uncertainty for every nuisance
parameter, stored in single precision: 8 bytes per event, process and parameter. The
shapes are normalised with reference events of their own, by default 100 000, in memory.
The events are read once per evaluation; reading all of them and doing nothing with them
is timed in the same process. Each number of events is a process of its own, whose peak
memory is that of the whole run, start-up and compilation included. The files are made
first, and removed at the end unless a folder is given.
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

import numpy as np


BLOCK = 100_000
REGION = "SR"


def make(folder, n_events, n_bank, n_nuisances):
    """The files of a likelihood with data, in blocks of events."""
    names = [f"alpha{i}" for i in range(n_nuisances)]
    shape = [{"kind": "polyexp", "parameters": names}]
    document = {
        "format": "diffana unbinned likelihood, version 1",
        "poi": "mu",
        "parameters": [
            {"name": "mu", "init": 1.0, "lower": 0.0, "upper": 10.0},
            *(
                {"name": n, "init": 0.0, "lower": -5.0, "upper": 5.0, "width": 1.0}
                for n in names
            ),
        ],
        "regions": [
            {
                "name": REGION,
                "coefficients": [{"kind": "products", "factors": [["mu"], []]}],
                "components": [
                    {"name": "signal", "expected": 0.05 * n_events, "shapes": shape},
                    {"name": "background", "expected": 0.95 * n_events,
                     "shapes": shape},
                ],
            }
        ],
        "data": {"auxdata": [0.0] * n_nuisances},
    }  # fmt: skip
    random = np.random.default_rng(0)
    for part, n_rows in (("rows", n_bank), ("data", n_events)):
        place = folder / part / REGION
        place.mkdir(parents=True)
        shapes = {
            "weight": ((), np.float64),
            "log_ratio": ((2,), np.float32),
            "shape_0_0": ((2, n_nuisances), np.float32),
            "shape_1_0": ((2, n_nuisances), np.float32),
        }
        files = {}
        for name, (shape_, dtype) in shapes.items():
            files[name] = (place / f"{name}.npy").open("wb")
            header = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
                "fortran_order": False,
                "shape": (n_rows, *shape_),
            }
            np.lib.format.write_array_header_1_0(files[name], header)
        for first in range(0, n_rows, BLOCK):
            size = min(BLOCK, n_rows - first)
            x = random.standard_normal(size, np.float32)
            files["weight"].write(np.ones(size).tobytes())
            log_ratio = np.stack([0.5 * x - 0.125, np.zeros_like(x)], 1)
            files["log_ratio"].write(log_ratio.tobytes())
            for name in ("shape_0_0", "shape_1_0"):
                # A percent of slope with the event and a percent of noise.
                slope = 0.01 * random.standard_normal(n_nuisances, np.float32)
                noise = 0.01 * random.standard_normal(
                    (size, 2, n_nuisances), np.float32
                )
                signs = np.array([1, -1], np.float32)[None, :, None]
                rows = signs * x[:, None, None] * slope[None, None] + noise
                files[name].write(rows.tobytes())
        for file in files.values():
            file.close()
    (folder / "likelihood.json").write_text(json.dumps(document))


def measure(folder, repeat):
    """Numbers of one process, as JSON."""
    import equinox as eqx
    import jax

    jax.config.update("jax_enable_x64", True)
    from diffana import stored

    measurement = stored.read(Path(folder))
    model, data = measurement.model, measurement.data
    n_events = int(np.count_nonzero(data.rows[0].weight))

    @eqx.filter_jit
    def value_and_gradient(params, model, data):
        expansion = model.expansion(params, data, exact=False)
        return expansion.value, expansion.gradient

    @eqx.filter_jit
    def value(params, model, data):
        return model.twice_nll(params, data)

    params = model.parameters.inits + 0.1
    results = {"events": n_events, "parameters": len(params)}
    for name, program in (("value", value), ("value and gradient", value_and_gradient)):
        begin = time.perf_counter()
        lowered = program.lower(params, model, data).compile()
        compiling = time.perf_counter() - begin
        runs = []
        for _ in range(repeat):
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(lowered(params, model, data))
            runs.append((time.perf_counter() - wall, time.process_time() - cpu))
        results[name] = {
            "compile_s": compiling,
            "wall_s": statistics.median(run[0] for run in runs),
            "cpu_s": statistics.median(run[1] for run in runs),
        }
    reads = []
    buffer = np.empty(2**24, np.uint8)
    for _ in range(repeat):
        begin = time.perf_counter()
        for path in sorted((Path(folder) / "data" / REGION).glob("*.npy")):
            with path.open("rb") as file:
                while file.readinto(buffer):
                    pass
        reads.append(time.perf_counter() - begin)
    files = (Path(folder) / "data" / REGION).glob("*.npy")
    results["read_once_wall_s"] = statistics.median(reads)
    results["data_gb"] = sum(path.stat().st_size for path in files) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results["peak_resident_gb"] = peak * 1024 / 1e9
    results["load"] = os.getloadavg()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, nargs="+", default=[10**7])
    parser.add_argument("--nuisances", type=int, default=100)
    parser.add_argument("--bank", type=int, default=10**5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.repeat)))
        return
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        base = options.folder or Path(temporary)
        for n_events in options.events:
            folder = base / f"{n_events}_{options.nuisances}"
            if not (folder / "likelihood.json").exists():
                make(folder, n_events, options.bank, options.nuisances)
            command = [sys.executable, __file__, "--measure", str(folder)]
            command += ["--repeat", str(options.repeat)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout))
            print(json.dumps(found[-1], indent=2), flush=True)
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
