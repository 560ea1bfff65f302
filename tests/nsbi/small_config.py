"""Unbinned measurements so small that a test can afford to train them."""

import copy

import numpy as np
import yaml

from diffana import config as configuration


_DOCUMENT = {
    "General": {"Measurement": "small", "POI": "sqrt_mu", "Seed": 1},
    "Generator": {"Type": "interference", "EventsPerSample": 600},
    "Split": {"Train": 0.5, "Validation": 0.25, "Test": 0.25},
    "Features": ["x", "y", "z"],
    "Region": {"Name": "plane"},
    "Samples": [
        {
            "Name": "S",
            "SamplePath": "pool",
            "Weight": "weight_S",
            "Yield": 20,
            "Through": "B",
        },
        {
            "Name": "SBI",
            "SamplePath": "pool",
            "Weight": "weight_SBI",
            "Yield": 90,
            "Through": "B",
        },
        {"Name": "B", "SamplePath": "pool", "Weight": "weight_B", "Yield": 80},
        {"Name": "NI", "SamplePath": "NI", "Yield": 50},
    ],
    "Reference": ["NI", "B"],
    "Interference": {"Signal": "S", "Total": "SBI", "Background": "B"},
    "Systematics": [
        {
            "Name": "shift",
            "Type": "NormPlusShape",
            "Samples": "NI",
            "Up": {"SamplePath": "NI_up"},
            "Down": {"SamplePath": "NI_down"},
        }
    ],
    "Ratios": {
        "Hidden": [6],
        "Members": 2,
        "Epochs": 2,
        "BatchSize": 20,
        "Optimizer": {"Type": "adam", "LearningRate": 0.02},
    },
}


def document(**sections):
    """A valid configuration as it stands in a file, with `sections` in place."""
    found = copy.deepcopy(_DOCUMENT) | copy.deepcopy(sections)
    return {key: value for key, value in found.items() if value is not None}


def parsed(content):
    return configuration.parse_nsbi(yaml.safe_dump(content, sort_keys=False))


def written(content, path):
    """The configuration as a file."""
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


class Files:
    """A valid measurement of three CSV files; a test changes what it is about.

    The signal is a bump at x = 1 beside a background that falls from x = 0 on.
    """

    def __init__(self, folder, n_events=400):
        self.folder = folder
        self.n_events = n_events
        self.config = {
            "General": {
                "Measurement": "files",
                "POI": "mu",
                "InputPath": f"{folder}/{{SamplePath}}.csv",
            },
            "Features": ["x", "y"],
            "Region": {"Name": "SR"},
            "Samples": [
                {"Name": "signal", "SamplePath": "signal", "Weight": "w", "Yield": 30},
                {"Name": "background", "SamplePath": "background", "Weight": "w"},
            ],
            "Reference": ["background"],
            "NormFactors": [{"Name": "mu", "Samples": "signal"}],
            "Ratios": {
                "Hidden": [6],
                "Members": 1,
                "Epochs": 2,
                "BatchSize": 10,
                "Optimizer": {"Type": "adam", "LearningRate": 0.03},
                "Calibration": None,
            },
        }
        self.write("signal", self.columns(0, mean=1.0))
        self.write("background", self.columns(1))

    def columns(self, seed, mean=0.0, **changed):
        random = np.random.default_rng(seed)
        n_events = self.n_events
        return {
            "x": mean + random.normal(size=n_events),
            "y": random.normal(size=n_events),
            "w": np.full(n_events, 0.5),
        } | changed

    def write(self, name, columns):
        rows = zip(*columns.values(), strict=True)
        lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
        (self.folder / f"{name}.csv").write_text("\n".join(lines) + "\n")

    def shape(self, name="scale", **changed):
        """A systematic on the background, with files for both variations."""
        self.write("up", self.columns(2, mean=0.3))
        self.write("down", self.columns(3, mean=-0.3))
        systematic = {
            "Name": name,
            "Type": "NormPlusShape",
            "Samples": "background",
            "Up": {"SamplePath": "up"},
            "Down": {"SamplePath": "down"},
        }
        self.config.setdefault("Systematics", []).append(systematic | changed)

    def parsed(self):
        return parsed(self.config)
