"""Counting experiments, and belts of them by enumeration of all counts.

Every count has a probability, so that the quantile of a statistic is a sum of
probabilities in its order and needs no toys.
"""

from typing import Any

import numpy as np
from scipy import stats

from diffana.histfactory import HistFactory, from_workspace


def _normfactor(name: str) -> dict[str, Any]:
    return {"type": "normfactor", "name": name, "data": None}


def _channel(name: str, samples: dict[str, tuple[float, list[str]]]) -> dict[str, Any]:
    return {
        "name": name,
        "samples": [
            {
                "name": sample,
                "data": [value],
                "modifiers": [_normfactor(one) for one in names],
            }
            for sample, (value, names) in samples.items()
        ],
    }


def _model(channels: list[dict[str, Any]], *parameters: str) -> HistFactory:
    config = {
        "poi": "mu",
        "parameters": [
            {"name": name, "inits": [1.0], "bounds": [[0.0, 1000.0]]}
            for name in parameters
        ],
    }
    workspace = {
        "version": "1.0.0",
        "channels": channels,
        "observations": [{"name": c["name"], "data": [1.0]} for c in channels],
        "measurements": [{"name": "m", "config": config}],
    }
    return from_workspace(workspace)[0]


def one_count(background: float) -> HistFactory:
    """n ~ Poisson(mu + background)."""
    samples = {"signal": (1.0, ["mu"]), "background": (background, [])}
    return _model([_channel("SR", samples)], "mu")


def on_off(tau: float) -> HistFactory:
    """n ~ Poisson(mu + nu) and m ~ Poisson(tau nu); data are m, n."""
    off = _channel("CR", {"background": (tau, ["nu"])})
    on = _channel("SR", {"signal": (1.0, ["mu"]), "background": (1.0, ["nu"])})
    return _model([off, on], "mu", "nu")


def critical_values(
    statistic: np.ndarray, probability: np.ndarray, level: float
) -> np.ndarray:
    """Smallest value of the statistic whose distribution function reaches a level.

    Args:
        statistic: [count, tested]
        probability: of each count at each tested value, [count, tested].
        level: confidence level.
    """
    order = np.argsort(statistic, axis=0, kind="stable")
    ordered = np.take_along_axis(statistic, order, 0)
    total = np.cumsum(np.take_along_axis(probability, order, 0), axis=0)
    # Rounding of a sum of a hundred terms must not move the quantile.
    at = np.argmax(total >= level - 1e-12, axis=0)
    return np.take_along_axis(ordered, at[None], 0)[0]


def poisson_critical(
    statistic: np.ndarray, mu: np.ndarray, background: float, level: float
) -> np.ndarray:
    """Critical values of a statistic of n = 0, 1, ...: [tested]."""
    n = np.arange(len(statistic))[:, None]
    return critical_values(statistic, stats.poisson.pmf(n, mu + background), level)
