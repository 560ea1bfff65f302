"""A workspace of thirty bins with ten nuisance parameters of every usual kind."""

from typing import Any

import numpy as np

from diffana.histfactory import from_workspace


N_BINS = 30


def _modifier(kind: str, name: str, data: Any = None) -> dict[str, Any]:
    return {"type": kind, "name": name, "data": data}


def workspace(lowest: float = -5.0) -> dict[str, Any]:
    """One peak on two backgrounds, and a control region of three bins.

    The second background has bins with a negative sum of weights, and the last two bins
    of the signal region are as good as empty.

    Args:
        lowest: lower bound of the signal strength.
    """
    x = np.linspace(0, 1, N_BINS)
    signal = 12 * np.exp(-0.5 * ((x - 0.45) / 0.12) ** 2) + 1e-3
    background = 60 * np.exp(-2.2 * x)
    other = 3.0 * np.sin(9 * x)  # negative in ten bins
    background[-2:], other[-2:], signal[-2:] = 0.02, 0.0, 1e-3
    tilt = 0.06 * (x - 0.5)
    control, fakes = np.array([35.0, 20.0, 8.0]), np.array([4.0, 6.0, 5.0])

    def shifted(kind: str, name: str, nominal: np.ndarray, change: np.ndarray):
        up, down = nominal * (1 + change), nominal * (1 - 0.8 * change)
        return _modifier(kind, name, {"hi_data": list(up), "lo_data": list(down)})

    def sample(name: str, nominal: np.ndarray, *modifiers: dict[str, Any]):
        return {"name": name, "data": list(nominal), "modifiers": list(modifiers)}

    rate = _modifier("normsys", "rate", {"hi": 1.08, "lo": 0.93})
    cross_section = _modifier("normsys", "cross section", {"hi": 1.2, "lo": 0.85})
    channels = [
        {
            "name": "SR",
            "samples": [
                sample(
                    "signal",
                    signal,
                    _modifier("normfactor", "mu"),
                    _modifier("normsys", "efficiency", {"hi": 1.05, "lo": 0.96}),
                ),
                sample(
                    "background",
                    background,
                    rate,
                    shifted("histosys", "slope", background, tilt),
                    shifted("histosys", "bump", background, 0.05 * np.sin(5 * x)),
                ),
                sample("other", other, cross_section),
            ],
        },
        {
            "name": "CR",
            "samples": [
                sample(
                    "background",
                    control,
                    rate,
                    _modifier("staterror", "size", [1.5, 1.2, 0.9]),
                ),
                sample("fakes", fakes, _modifier("shapesys", "fake", [1.0, 2.5, 0.0])),
            ],
        },
    ]
    expected = [
        np.sum([one["data"] for one in channel["samples"]], axis=0)
        for channel in channels
    ]
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": [
            {"name": channel["name"], "data": list(np.maximum(data.round(), 0.0))}
            for channel, data in zip(channels, expected, strict=True)
        ],
        "measurements": [
            {
                "name": "measurement",
                "config": {
                    "poi": "mu",
                    "parameters": [
                        {"name": "mu", "inits": [1.0], "bounds": [[lowest, 10.0]]}
                    ],
                },
            }
        ],
    }


def thirty_bins(lowest: float = -5.0):
    """Likelihood and observed data of the workspace."""
    return from_workspace(workspace(lowest))
