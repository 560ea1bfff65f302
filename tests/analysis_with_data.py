"""An analysis with three regions, five samples, 20+ nuisance parameters and data.

Its events are drawn here. Names in it hold what HTML would take for markup.
"""

import numpy as np


MEANS = {
    "signal": (1.2, 1.0),
    "ttbar": (-0.6, 0.3),
    "wjets": (0.2, -0.8),
    "zjets": (-0.2, -0.5),
    "fakes": (0.0, 0.0),
}
YIELDS = {"signal": 60, "ttbar": 900, "wjets": 500, "zjets": 200, "fakes": 80}
NAMES = {name: name for name in MEANS} | {"wjets": 'W+jets <b> &amp; "$x$"'}


def _drawn(random, name, n_events, shift=(0.0, 0.0)):
    x, y = random.normal(size=(2, n_events)) + np.array(MEANS[name])[:, None]
    return {
        "x": x + shift[0],
        "y": y + shift[1],
        "pt": random.exponential(50.0, n_events),
        "weight": np.full(n_events, YIELDS[name] / n_events),
    }


def write_events(folder, *, n_events=2400, seed=4):
    """Files of all samples and variations, and of pseudo-data with signal."""
    random = np.random.default_rng(seed)
    for name in MEANS:
        nominal = _drawn(random, name, n_events)
        np.savez(folder / f"{name}.npz", **nominal)
        for systematic, shift in {"jes": (0.15, 0.0), "jer": (0.0, 0.1)}.items():
            for direction, sign in (("up", 1), ("down", -1)):
                varied = dict(nominal)
                varied["x"] = nominal["x"] + sign * shift[0]
                varied["y"] = nominal["y"] + sign * shift[1]
                np.savez(folder / f"{name}_{systematic}_{direction}.npz", **varied)
    observed = [
        _drawn(random, name, random.poisson(1.05 * YIELDS[name])) for name in MEANS
    ]
    np.savez(
        folder / "data.npz",
        **{
            column: np.concatenate([one[column] for one in observed])
            for column in ("x", "y", "pt")
        },
    )


def document(folder, *, with_data=True, seed=7, loss="sigma_mu"):
    """The configuration as it stands in a file."""
    samples = [
        {"Name": NAMES[name], "SamplePath": name, "Weight": "weight"} for name in MEANS
    ]
    if with_data:
        samples.append({"Name": "data", "SamplePath": "data", "Data": True})
    rates = [
        {
            "Name": f"rate_{name}",
            "Type": "Normalization",
            "Samples": NAMES[name],
            "Up": {"Normalization": size},
            "Down": {"Normalization": -size},
        }
        for name, size in (
            ("ttbar", 0.06),
            ("wjets", 0.1),
            ("zjets", 0.15),
            ("fakes", 0.4),
            ("signal", 0.08),
        )
    ]
    shapes = [
        {
            "Name": f"{systematic}_{name}",
            "ModifierName": systematic,
            "Type": "NormPlusShape",
            "Samples": NAMES[name],
            "Up": {"SamplePath": f"{name}_{systematic}_up"},
            "Down": {"SamplePath": f"{name}_{systematic}_down"},
        }
        for systematic in ("jes", "jer")
        for name in ("ttbar", "wjets")
    ]
    lumi = {
        "Name": "lumi",
        "Type": "Normalization",
        "Up": {"Normalization": 0.02},
        "Down": {"Normalization": -0.02},
    }
    return {
        "General": {
            "Measurement": 'Search <img src=x onerror=alert(1)> & "more"',
            "POI": "mu",
            "Seed": seed,
            "InputPath": f"{folder}/{{SamplePath}}.npz",
        },
        "Observables": [
            {
                "Name": "summary",
                "Type": "MLP",
                "Inputs": ["x", "y"],
                "Hidden": [8],
                "Activation": "tanh",
            }
        ],
        "Regions": [
            {
                "Name": "SR <high pt>",
                "Observable": "summary",
                "Binning": [0.0, 0.25, 0.5, 0.75, 1.0],
                "Filter": "pt > 40",
                "TrainableBinning": True,
                "Cuts": [{"Variable": "y", "Above": -2.5, "Slope": 4.0}],
            },
            {
                "Name": "SR_low",
                "Observable": "summary",
                "Binning": [0.0, 0.3, 0.6, 1.0],
                "Filter": "pt <= 40 and x > 0",
            },
            {
                "Name": "CR",
                "Variable": "pt",
                "Binning": [0, 8, 16, 24, 32, 40],
                "Filter": "pt <= 40 and x <= 0",
            },
        ],
        "Samples": samples,
        "NormFactors": [{"Name": "mu", "Samples": NAMES["signal"]}],
        "Systematics": [*rates, *shapes, lumi],
        "Histogram": {"Type": "bKDE", "Bandwidth": 0.1},
        "Loss": {"Type": loss},
        "Train": {
            "Epochs": 3,
            "BatchSize": 20_000,
            "Optimizer": {"Type": "adam", "LearningRate": 0.02},
        },
    }
