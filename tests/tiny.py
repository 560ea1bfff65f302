"""Configurations and analyses so small that a test can afford to train them."""

import copy

import jax
import numpy as np
import yaml

from diffana import config as configuration
from diffana.analysis import Analysis, Region, Shape, Summary
from diffana.data.events import Events
from diffana.histfactory import from_workspace
from diffana.histogram import BinnedKDE, KeepAbove, Selection, TrainableEdges
from diffana.observable import MLP


_DOCUMENT = {
    "General": {"Measurement": "tiny", "POI": "mu", "Seed": 3},
    "Generator": {"Type": "blobs", "EventsPerBlob": 400},
    "Observables": [
        {
            "Name": "summary",
            "Type": "MLP",
            "Inputs": ["x", "y"],
            "Hidden": [8],
            "Activation": "tanh",
        }
    ],
    "Regions": [{"Name": "SR", "Observable": "summary", "Binning": [0.0, 0.5, 1.0]}],
    "Samples": [
        {"Name": "signal", "SamplePath": "signal", "Yield": 20},
        {"Name": "background", "SamplePath": "background", "Yield": 100},
    ],
    "NormFactors": [{"Name": "mu", "Samples": "signal"}],
    "Systematics": [
        {
            "Name": "mean",
            "Type": "NormPlusShape",
            "Samples": "background",
            "Up": {"SamplePath": "background_up"},
            "Down": {"SamplePath": "background_down"},
        }
    ],
    "Histogram": {"Type": "bKDE", "Bandwidth": 0.1},
    "Loss": {"Type": "cls"},
    "Train": {
        "Epochs": 2,
        "BatchSize": 400,
        "Optimizer": {"Type": "adam", "LearningRate": 0.01},
    },
}


def document(**sections):
    """A valid configuration as it stands in a file, with `sections` in place."""
    return copy.deepcopy(_DOCUMENT) | sections


def written(document, path):
    """The configuration as a file."""
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def parsed(document):
    return configuration.parse(yaml.safe_dump(document))


def populations(regions=("SR",), *, n_events=40, seed=0, weight=None):
    """Signal, background and its two variations as each of `regions` sees them."""
    random = np.random.default_rng(seed)
    means = {
        ("signal", "nominal"): (-1.0, 1.0),
        ("background", "nominal"): (1.0, -1.0),
        ("background", "shape/up"): (1.4, -0.8),
        ("background", "shape/down"): (0.7, -1.1),
    }
    yields = {"signal": 20.0, "background": 100.0}
    scale = {"shape/up": 1.1, "shape/down": 0.95}
    found = []
    for (sample, variation), mean in means.items():
        features = random.normal(size=(n_events, 2)) + mean
        size = (
            np.full(n_events, yields[sample] / n_events) if weight is None else weight
        )
        found += [
            Events(
                features=features,
                weight=size * scale.get(variation, 1.0) * (1 + 0.5 * index),
                columns=("x", "y"),
                region=region,
                sample=sample,
                variation=variation,
            )
            for index, region in enumerate(regions)
        ]
    return tuple(found)


def workspace(bins=None, *, staterror=True):
    """Signal, and background with one shape and one yield uncertainty, per region."""
    channels = []
    for name, n_bins in (bins or {"SR": 2}).items():
        ones = [1.0] * n_bins
        stat = {"name": f"staterror_{name}", "type": "staterror", "data": ones}
        channels.append(
            {
                "name": name,
                "samples": [
                    {
                        "name": "signal",
                        "data": ones,
                        "modifiers": [
                            {"name": "mu", "type": "normfactor", "data": None},
                            *([stat] if staterror else []),
                        ],
                    },
                    {
                        "name": "background",
                        "data": ones,
                        "modifiers": [
                            {
                                "name": "rate",
                                "type": "normsys",
                                "data": {"hi": 1.1, "lo": 0.92},
                            },
                            {
                                "name": "shape",
                                "type": "normsys",
                                "data": {"hi": 1.0, "lo": 1.0},
                            },
                            {
                                "name": "shape",
                                "type": "histosys",
                                "data": {"hi_data": ones, "lo_data": ones},
                            },
                            *([stat] if staterror else []),
                        ],
                    },
                ],
            }
        )
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": [
            {"name": channel["name"], "data": channel["samples"][0]["data"]}
            for channel in channels
        ],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }


def analysis(dtype="float64"):
    """A smooth network, trainable edges and a trainable cut; nothing has a kink."""
    network = MLP(
        2, key=jax.random.key(1), hidden=(4,), activation=jax.numpy.tanh, dtype=dtype
    )
    region = Region(
        edges=TrainableEdges.from_edges(
            [-np.inf, 0.45, np.inf], low=0.0, high=1.0, minimum_width=0.01
        ),
        histogrammer=BinnedKDE(0.15),
        cuts=Selection((KeepAbove(threshold=-1.2, slope=2.0, column=1),)),
        name="SR",
        summary="summary",
    )
    model, _ = from_workspace(workspace())
    return Analysis(
        summaries={"summary": Summary(network, (0, 1))},
        regions=(region,),
        model=model,
        shapes=(Shape("SR", "background", "shape", "shape"),),
    )
