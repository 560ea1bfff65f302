"""How much memory a training needs; measured in processes of their own."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tiny


N_FEATURES = 40
CHUNK = 20_000
ROWS = 10_000
EVENT_BYTES = 4 * N_FEATURES + 8
# Follows a training, with its evaluations, and tells its largest resident size.
SCRIPT = """
import json, pathlib, sys
import jax
jax.config.update("jax_enable_x64", True)
from diffana import config
from diffana.losses import AsimovSignificance
from diffana.workflow.history import follow
history = follow(config.load(sys.argv[1]), metrics={"z": AsimovSignificance()})
assert history.test["z"][0] < 0
status = pathlib.Path("/proc/self/status").read_text().splitlines()
peak, = (int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
print(json.dumps(1024 * peak))
"""


def write(folder, n_events):
    names = [f"x{i}" for i in range(N_FEATURES)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    random = np.random.default_rng(0)
    for sample, mean in (("signal", 0.2), ("background", 0.0)):
        with pq.ParquetWriter(folder / f"{sample}.parquet", schema) as writer:
            for _ in range(0, n_events // 2, ROWS):
                block = random.normal(mean, 1.0, (N_FEATURES, ROWS)).astype(np.float32)
                arrays = dict(zip(names, block, strict=True))
                writer.write_table(pa.table(arrays, schema=schema))


def peak(folder, chunk_size):
    document = tiny.document(
        Observables=[
            {
                "Name": "summary",
                "Type": "MLP",
                "Inputs": [f"x{i}" for i in range(N_FEATURES)],
                "Hidden": [8],
            }
        ],
        Systematics=None,
        Loss={"Type": "bce"},
        Train={
            "Epochs": 1,
            "BatchSize": 5000,
            "Optimizer": {"Type": "adam", "LearningRate": 0.01},
        },
    )
    del document["Generator"]
    document["General"]["InputPath"] = f"{folder}/{{SamplePath}}.parquet"
    if chunk_size is not None:
        document["Input"] = {"ChunkSize": chunk_size}
    config = tiny.written(document, folder / "config.yaml")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, config],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(
    not pathlib.Path("/proc/self/status").exists(), reason="tells memory on Linux only"
)
def test_memory_is_set_by_the_chunk_and_not_by_the_sample(tmp_path):
    """Ten times the sample takes no more, though it takes more than that in memory."""
    n_events = {"small": 5 * CHUNK, "large": 50 * CHUNK}
    found = {}
    for name, number in n_events.items():
        folder = tmp_path / name
        folder.mkdir()
        write(folder, number)
        found[name] = peak(folder, CHUNK)
    in_memory = peak(tmp_path / "large", None)
    more = (n_events["large"] - n_events["small"]) * EVENT_BYTES
    # Of 144 MiB of events. Allowed is what dealing a source of half a million events
    # takes, some 20 bytes for each event of a block of up to a million, and as much
    # again for what the allocator of the process keeps.
    assert found["large"] - found["small"] < 0.2 * more
    assert in_memory - found["small"] > more
