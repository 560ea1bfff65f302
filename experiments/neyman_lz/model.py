"""A search for dark matter that resembles LZ's, and tests of its signal strength."""

import json

from diffana.histfactory import from_workspace
from diffana.neyman import FTS, LRS, HalfNormal
from experiments.belts import known
from experiments.neyman_lz.templates import NUMBERS


# Chosen by hand, because their lengths resemble the published ones.
NARROW, WIDE = 2.0, 6.0
LEVELS = (0.6827, 0.9545)
# Medians for 68 % and 95 %, by what is measured and at which true value.
PUBLISHED = {
    ("length", 0): {
        "LRS": (5.99, 13.87),
        "wide": (4.68, 11.47),
        "narrow": (3.89, 11.29),
    },
    ("length", 1): {
        "LRS": (7.08, 15.18),
        "wide": (5.29, 12.82),
        "narrow": (4.68, 12.75),
    },
    ("lower", 10): {"LRS": (0.0, 0.0), "wide": (2.08, 0.0), "narrow": (1.60, 0.0)},
    ("upper", 0): {
        "LRS": (4.97, 12.59),
        "wide": (4.25, 10.98),
        "narrow": (2.73, 11.14),
    },
}
STEP, LARGEST = 0.1, 80.0


def histograms():
    """Numbers of all settings, from `templates`."""
    return json.loads(NUMBERS.read_text())


def likelihood(name):
    """Poisson counts in bins of log10(s/b), the signal strength is free."""
    numbers = histograms()[name]
    strength = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": numbers["signal"], "modifiers": [strength]},
        {"name": "background", "data": numbers["background"], "modifiers": []},
    ]
    parameter = {"name": "mu", "inits": [1.0], "bounds": [[0.0, 1000.0]]}
    config = {"poi": "mu", "parameters": [parameter]}
    workspace = {
        "version": "1.0.0",
        "channels": [{"name": "SR", "samples": samples}],
        "observations": [{"name": "SR", "data": numbers["background"]}],
        "measurements": [{"name": "m", "config": config}],
    }
    return from_workspace(workspace)[0]


def tests(model):
    """Feldman and Cousins', and two with half-normal focus functions at 0."""
    statistics = {
        "LRS": LRS(),
        "wide": FTS(HalfNormal(WIDE)),
        "narrow": FTS(HalfNormal(NARROW)),
    }
    return {
        name: known(model, statistic, STEP, 0.0, LARGEST)
        for name, statistic in statistics.items()
    }
