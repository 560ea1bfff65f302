"""Files of events, and a configuration that trains on them in chunks."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot

import tiny


MEANS = {
    "signal": (-0.6, 0.8, 20.0),
    "background": (0.9, -0.5, 120.0),
    "shifted": (1.1, -0.4, 126.0),
}


def columns(name, n_events, seed=0):
    """Two features and a weight, which is negative for every tenth event."""
    random = np.random.default_rng((seed, len(name)))
    mean_x, mean_y, total = MEANS[name]
    weight = np.where(np.arange(n_events) % 10 == 3, -0.4, 1.0)
    return {
        "x": (random.normal(size=n_events) + mean_x).astype(np.float32),
        "y": (random.normal(size=n_events) + mean_y).astype(np.float32),
        "w": weight * total / weight.sum(),
    }


def write_parquet(path, table, rows=64):
    pq.write_table(pa.table(table), path, row_group_size=rows)


def write_root(path, table):
    with uproot.recreate(path) as file:
        file.mktree("events", {name: column.dtype for name, column in table.items()})
        for start in range(0, len(table["x"]), 100):
            file["events"].extend({k: v[start : start + 100] for k, v in table.items()})


WRITERS = {"parquet": write_parquet, "root": write_root}


def write(folder, suffix, n_events=600):
    """Simulated events of three populations, and observed ones."""
    for name in MEANS:
        table = columns(name, n_events)
        half = {key: column[: n_events // 2] for key, column in table.items()}
        rest = {key: column[n_events // 2 :] for key, column in table.items()}
        WRITERS[suffix](folder / f"{name}_1.{suffix}", half)
        WRITERS[suffix](folder / f"{name}_2.{suffix}", rest)
    observed = columns("background", 130, seed=1)
    WRITERS[suffix](folder / f"data_1.{suffix}", observed)


def document(folder, suffix, chunk_size=None, **sections):
    """Two regions that share events, weights and files as variations, and data."""
    general = {
        "Measurement": "streamed",
        "POI": "mu",
        "Seed": 3,
        "InputPath": f"{folder}/{{SamplePath}}_*.{suffix}",
    }
    changes = {
        "General": general,
        "Input": {} if chunk_size is None else {"ChunkSize": chunk_size},
        "Regions": [
            {
                "Name": "SR",
                "Observable": "summary",
                "Binning": [0.0, 0.5, 1.0],
                "TrainableBinning": True,
                "Filter": "x < 1.5",
                "Cuts": [{"Variable": "y", "Above": -2.5, "Slope": 4.0}],
            },
            {
                "Name": "CR",
                "Variable": "y",
                "Binning": [-5.0, -0.5, 5.0],
                "Filter": "x > 0.5",
            },
        ],
        "Samples": [
            {"Name": "signal", "SamplePath": "signal", "Weight": "w", "Yield": 30},
            {"Name": "background", "SamplePath": "background", "Weight": "w"},
            {"Name": "data", "SamplePath": "data", "Data": True},
        ],
        "Systematics": [
            {
                "Name": "tilt",
                "Type": "NormPlusShape",
                "Samples": "background",
                "Up": {"Weight": "w * (1 + 0.05 * x)"},
                "Down": {"Symmetrize": True},
            },
            {
                "Name": "shift",
                "Type": "NormPlusShape",
                "Samples": "background",
                "Up": {"SamplePath": "shifted"},
                "Down": {"Symmetrize": True},
            },
        ],
        "Loss": {"Type": "sigma_mu"},
        "Train": {
            "Epochs": 3,
            "BatchSize": 500,
            "Optimizer": {"Type": "adam", "LearningRate": 0.02},
        },
    }
    made = tiny.document(**(changes | sections))
    del made["Generator"]
    return made
