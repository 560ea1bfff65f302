"""Histograms of the Higgs challenge and the tests of the signal strength."""

import numpy as np

from diffana.histfactory import from_workspace
from diffana.neyman import FTS, LRS, Normal
from experiments.belts import known


# Expected events for 20.3/fb: the first 22 889 rows of the ATLAS simulation for the
# Higgs boson machine learning challenge (CERN Open Data record 328), with weights
# rescaled so that they add up to `TOTALS` over these rows.
TOTALS = {"s": 691.989, "b": 410999.85}
COLUMNS = {"mass": "DER_mass_MMC", "visible mass": "DER_mass_vis"}
EDGES = {"mass": np.linspace(50, 200, 16), "visible mass": np.linspace(30, 130, 21)}
# fmt: off
SIGNAL = {
    "mass": (
        0.34, 1.87, 16.52, 33.22, 74.61, 102.48, 114.82, 119.55, 99.46, 60.79, 33.87,
        15.32, 4.97, 1.91, 1.61,
    ),
    "visible mass": (
        0.6, 1.39, 3.37, 8.98, 16.45, 30.61, 46.77, 65.89, 78.14, 80.73, 74.99, 68.14,
        66.25, 54.65, 39.1, 28.44, 13.71, 6.1, 4.46, 0.85,
    ),
}
BACKGROUND = {
    "mass": (
        9040, 14356, 20885, 29243, 31193, 29013, 23188, 19532, 15871, 13787, 11911,
        8555, 8052, 6173, 4407,
    ),
    "visible mass": (
        8215, 9704, 13256, 17875, 24582, 27985, 31326, 32967, 29438, 27268, 21193,
        18852, 15874, 13317, 12297, 11356, 7816, 8377, 6493, 5451,
    ),
}
# fmt: on

# Fitted to the published table in a normal approximation, before this study was run.
LUMINOSITY, NARROW, WIDE = 1.2, 1.0, 1.5

# Median length of the set at a signal strength of 1, for 68 % and 95 %.
LEVELS = (0.6827, 0.9545)
PUBLISHED = {
    "mass": {"LRS": (1.08, 2.01), "wide": (0.94, 1.89), "narrow": (0.85, 1.79)},
    "visible mass": {
        "LRS": (1.26, 2.31),
        "wide": (1.10, 2.17),
        "narrow": (0.98, 2.08),
    },
}

STEP, LARGEST, MARGIN = 0.02, 5.0, 3.0
# In units of the width of a focus: 6e-7 of it is beyond.
_REACH = 5.0


def likelihood(observable, luminosity):
    """Poisson counts in bins of an observable, the signal strength is free."""
    signal = [luminosity * one for one in SIGNAL[observable]]
    background = [luminosity * one for one in BACKGROUND[observable]]
    strength = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": signal, "modifiers": [strength]},
        {"name": "background", "data": background, "modifiers": []},
    ]
    parameter = {"name": "mu", "inits": [1.0], "bounds": [[-10.0, 20.0]]}
    config = {"poi": "mu", "parameters": [parameter]}
    workspace = {
        "version": "1.0.0",
        "channels": [{"name": "SR", "samples": samples}],
        "observations": [{"name": "SR", "data": background}],
        "measurements": [{"name": "m", "config": config}],
    }
    return from_workspace(workspace)[0]


def tests(model):
    """All tests of one model: Feldman and Cousins', and four with a focus at 1.

    The supremum of the likelihood is over non-negative signal strengths. A focus that
    is not truncated needs a grid of negative ones, too; they are not tested.
    """
    most = LARGEST + MARGIN
    found = {"LRS": known(model, LRS(), STEP, 0.0, most)}
    for name, width in (("wide", WIDE), ("narrow", NARROW)):
        reach = _REACH * width
        upper = max(most, 1 + reach)
        whole, cut = Normal(1.0, width), Normal(1.0, width, lower=0.0)
        found[name] = known(model, FTS(whole), STEP, 1 - reach, upper)
        found[name + ", truncated"] = known(model, FTS(cut), STEP, 0.0, upper)
    return found
