"""Events per second and peak memory, from ten thousand to ten million events.

taskset -c 0 python benchmarks/throughput.py [--sizes 10000 100000] [--output FILE]

Every row is a process of its own on generated files, which are read in chunks
("stream") or into memory ("memory"). It tells the rate at which events are read, that
of the updates of one epoch including the reading of portions, that of one update alone,
and that of an evaluation of all hard metrics on the validation events. Compilation is
timed apart. "CPU" is the time of all threads of the process.

Peak memory is given twice: all pages of the process, among which are those of files
that are mapped into memory, such as libraries, and which the kernel can drop when it
needs to; and anonymous pages, which it cannot drop. The latter is what a limit has to
provide for. Pages that the kernel keeps of files read with `read` belong to no process
and are in neither number.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import yaml


FEATURES = [f"x{i}" for i in range(10)]
MEANS = {
    "signal": 0.4,
    "background": 0.0,
    "up": 0.05,
    "down": -0.05,
}
SIZES = [10**4, 10**5, 10**6, 10**7]
BLOCK = 50_000
CHUNK = 200_000
BATCH = 10_000


def document(folder, suffix, chunk_size):
    """A network on ten features, a variation by other files, CLs as loss."""
    return {
        "General": {
            "Measurement": "throughput",
            "POI": "mu",
            "InputPath": f"{folder}/{{SamplePath}}.{suffix}",
        },
        "Input": {"ChunkSize": chunk_size},
        "Observables": [
            {"Name": "nn", "Type": "MLP", "Inputs": FEATURES, "Hidden": [128, 128]}
        ],
        "Regions": [
            {"Name": "SR", "Observable": "nn", "Binning": [0, 0.2, 0.4, 0.6, 0.8, 1]}
        ],
        "Samples": [
            {"Name": "signal", "SamplePath": "signal", "Weight": "w", "Yield": 50},
            {"Name": "background", "SamplePath": "background", "Weight": "w",
             "Yield": 1000},
        ],
        "NormFactors": [{"Name": "mu", "Samples": "signal"}],
        "Systematics": [
            {
                "Name": "shift",
                "Type": "NormPlusShape",
                "Samples": "background",
                "Up": {"SamplePath": "up"},
                "Down": {"SamplePath": "down"},
            }
        ],
        "Histogram": {"Type": "bKDE", "Bandwidth": 0.1},
        "Loss": {"Type": "cls"},
        "Train": {
            "Epochs": 1,
            "BatchSize": BATCH,
            "Optimizer": {"Type": "adam", "LearningRate": 0.001},
        },
    }  # fmt: skip


def blocks(name, n_events):
    """The events of a population, a block at a time."""
    random = np.random.default_rng(list(MEANS).index(name))
    for start in range(0, n_events, BLOCK):
        size = min(BLOCK, n_events - start)
        features = random.normal(MEANS[name], 1.0, (len(FEATURES), size))
        columns = dict(zip(FEATURES, features.astype(np.float32), strict=True))
        yield columns | {"w": random.choice([1.0, -0.2], p=[0.95, 0.05], size=size)}


def generate(folder, suffix, n_events):
    """One file per population, a quarter of the events each."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import uproot

    for name in MEANS:
        path = folder / f"{name}.{suffix}"
        if suffix == "root":
            with uproot.recreate(path) as file:
                types = dict.fromkeys(FEATURES, np.float32) | {"w": np.float64}
                file.mktree("events", types)
                for block in blocks(name, n_events // 4):
                    file["events"].extend(block)
            continue
        schema = pa.schema(
            [*((x, pa.float32()) for x in FEATURES), ("w", pa.float64())]
        )
        with pq.ParquetWriter(path, schema) as writer:
            for block in blocks(name, n_events // 4):
                writer.write_table(pa.table(block, schema=schema))


class Memory:
    """Largest number of anonymous pages since the last time it was asked, in MiB."""

    def __init__(self):
        self._highest = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while True:
            self._highest = max(self._highest, status("RssAnon"))
            time.sleep(0.005)

    def peak(self):
        """In MiB."""
        highest, self._highest = max(self._highest, status("RssAnon")), 0.0
        return round(highest)


def status(key):
    """An entry of the process's status, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


class Timed:
    """Wall and CPU seconds of a block."""

    def __enter__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall = time.perf_counter() - self.wall
        self.cpu = time.process_time() - self.cpu


def medians(timed):
    """Median wall and CPU seconds; nothing of nothing."""
    return {
        kind: statistics.median(getattr(one, kind) for one in timed)
        for kind in ("wall", "cpu")
        if timed
    }


def measured(config_path, n_runs, max_updates):
    """All numbers of one process."""
    import jax

    from diffana import assemble, config as configuration
    from diffana.workflow.prepared import prepare

    jax.config.update("jax_enable_x64", True)
    config = configuration.load(config_path)
    memory = Memory()
    with Timed() as reading:
        prepared = prepare(config)
    found = {
        "portions": len(prepared.parts["train"]),
        "read": vars(reading),
        "anonymous": {"reading": memory.peak()},
    }

    state, updates, n_events = prepared.first.state, [], 0
    batches = prepared.parts["train"].batches(prepared.n_batches, 0, 0)
    first = next(batches)
    with Timed() as compiling:
        state, _ = jax.block_until_ready(prepared.trainer.step(state, first))
    with Timed() as epoch:
        for batch in itertools.islice(batches, max_updates):
            with Timed() as update:
                state, _ = jax.block_until_ready(prepared.trainer.step(state, batch))
            updates.append(update)
            n_events += sum(len(one) for one in batch)
    found["updates"] = {
        "n": len(updates),
        "compile": compiling.wall,
        "events": n_events,
        "epoch": vars(epoch),
        "batch": sum(len(one) for one in first),
        **medians(updates),
    }
    found["anonymous"]["updates"] = memory.peak()

    metrics, runs = assemble.hard_metrics(config), []
    validation = prepared.parts["validation"]
    for _ in range(n_runs + 1):
        with Timed() as run:
            jax.block_until_ready(
                prepared.trainer.hard_metrics(metrics, state.analysis, validation)
            )
        runs.append(run)
    later = runs[1:]
    found["evaluation"] = {
        "n": len(later),
        "compile": runs[0].wall,
        "events": sum(one.n_events for one in validation.populations),
        **medians(later),
    }
    found["anonymous"]["evaluation"] = memory.peak()
    found["total_peak"] = round(status("VmHWM"))
    return found


def child(*arguments):
    """The JSON that this script prints in a process of its own."""
    return subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    ).stdout


HEADINGS = (
    ("events", 9), ("files", 8), ("mode", 7), ("portions", 9), ("read/s", 9),
    ("CPU", 9), ("epoch/s", 9), ("CPU", 9), ("update", 8), ("/s", 9), ("evaluate", 9),
    ("/s", 9), ("CPU", 9), ("compile", 13), ("anonymous MiB", 15), ("total", 6),
)  # fmt: skip


def row(n_events, suffix, mode, found):
    """A line of the table.

    Rates are events per second of wall time, then of CPU time; anonymous memory is that
    of reading, updates and evaluation.
    """
    update, evaluation = found["updates"], found["evaluation"]
    anonymous = found["anonymous"]
    alone = epoch = "-", "-"
    if update["n"]:
        epoch = [
            f"{update['events'] / update['epoch'][kind]:.3g}"
            for kind in ("wall", "cpu")
        ]
        rate = update["batch"] / update["wall"]
        alone = f"{1e3 * update['wall']:.0f} ms", f"{rate:.3g}"
    cells = (
        n_events,
        suffix,
        mode,
        found["portions"],
        f"{n_events / found['read']['wall']:.3g}",
        f"{n_events / found['read']['cpu']:.3g}",
        *epoch,
        *alone,
        f"{1e3 * evaluation['wall']:.0f} ms",
        f"{evaluation['events'] / evaluation['wall']:.3g}",
        f"{evaluation['events'] / evaluation['cpu']:.3g}",
        f"{update['compile']:.1f}, {evaluation['compile']:.1f} s",
        f"{anonymous['reading']}/{anonymous['updates']}/{anonymous['evaluation']}",
        found["total_peak"],
    )
    return "".join(
        f"{cell!s:>{width}}" for cell, (_, width) in zip(cells, HEADINGS, strict=True)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[10**n for n in (4, 5, 6, 7)]
    )
    parser.add_argument("--root-size", type=int, default=10**6, help="0 for none")
    parser.add_argument("--modes", nargs="+", default=["stream", "memory"])
    parser.add_argument("--chunk", type=int, default=CHUNK)
    parser.add_argument("--runs", type=int, default=3, help="of the evaluation")
    parser.add_argument("--updates", type=int, default=1000, help="at most")
    parser.add_argument("--output", type=Path, help="all numbers as JSON")
    parser.add_argument("--generate", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        folder, suffix, n_events = options.generate
        generate(Path(folder), suffix, int(n_events))
        return
    if options.measure:
        print(json.dumps(measured(options.measure, options.runs, options.updates)))
        return
    print(f"cores {sorted(os.sched_getaffinity(0))}, load averages {os.getloadavg()}")
    print("".join(f"{heading:>{width}}" for heading, width in HEADINGS))
    cases = [(size, "parquet") for size in options.sizes]
    cases += [(options.root_size, "root")] if options.root_size else []
    records = []
    for n_events, suffix in cases:
        with tempfile.TemporaryDirectory() as folder:
            child("--generate", folder, suffix, n_events)
            for mode in options.modes:
                chunk = options.chunk if mode == "stream" else None
                config = Path(folder) / f"{mode}.yaml"
                config.write_text(yaml.safe_dump(document(folder, suffix, chunk)))
                settings = "--runs", options.runs, "--updates", options.updates
                found = json.loads(child("--measure", config, *settings))
                records.append(
                    {"events": n_events, "files": suffix, "mode": mode} | found
                )
                print(row(n_events, suffix, mode, found), flush=True)
    print(f"load averages {os.getloadavg()}")
    if options.output:
        options.output.write_text(json.dumps(records, indent=2))


if __name__ == "__main__":
    main()
