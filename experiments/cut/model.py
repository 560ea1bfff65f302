"""A signal peak on a falling background, and the analysis that cuts on it."""

import jax.numpy as jnp
import numpy as np

from diffana.analysis import Analysis, Region, Summary
from diffana.data import Events
from diffana.histfactory import from_workspace
from diffana.histogram import (
    FixedEdges,
    HardHistogram,
    KeepAbove,
    KeepBelow,
    Selection,
)
from diffana.observable import Variable


# Mass: a peak on an exponential of unit mean. Score and isolation: two more variables,
# of which signal is larger in the first and smaller in the second.
COLUMNS = ("mass", "score", "isolation")
PEAK, WIDTH = 2.0, 0.25
YIELDS = {"signal": 30.0, "background": 1000.0}
UNCERTAINTY = 0.2


def simulated(seed, n_events):
    """Signal and background, `n_events` each, at the yields of `YIELDS`."""
    random = np.random.default_rng(seed)
    columns = {
        "signal": (
            random.normal(PEAK, WIDTH, n_events),
            random.normal(1.0, 1.0, n_events),
            random.exponential(0.5, n_events),
        ),
        "background": (
            random.exponential(1.0, n_events),
            random.normal(0.0, 1.0, n_events),
            random.exponential(1.0, n_events),
        ),
    }
    return tuple(
        Events(
            features=jnp.array(values).T,
            weight=jnp.full(n_events, YIELDS[sample] / n_events),
            columns=COLUMNS,
            region="SR",
            sample=sample,
        )
        for sample, values in columns.items()
    )


def likelihood():
    """One bin; the background has a relative uncertainty of `UNCERTAINTY`."""
    effect = {"hi": 1 + UNCERTAINTY, "lo": 1 - UNCERTAINTY}
    modifiers = {
        "signal": {"name": "mu", "type": "normfactor", "data": None},
        "background": {"name": "background", "type": "normsys", "data": effect},
    }
    samples = [
        {"name": sample, "data": [1.0], "modifiers": [modifier]}
        for sample, modifier in modifiers.items()
    ]
    measurement = {"name": "m", "config": {"poi": "mu", "parameters": []}}
    model, _ = from_workspace(
        {
            "version": "1.0.0",
            "channels": [{"name": "SR", "samples": samples}],
            "observations": [{"name": "SR", "data": [1.0]}],
            "measurements": [measurement],
        }
    )
    return model


def analysis(model, thresholds, slope):
    """The analysis that counts the events which pass all cuts.

    Args:
        model: what `likelihood` returned.
        thresholds: lower mass and, if there are four, upper mass, lower score, upper
            isolation.
        slope: of every soft cut.
    """
    cuts = [KeepAbove(thresholds[0], slope, column=0)]
    if len(thresholds) == 4:
        cuts += [
            KeepBelow(thresholds[1], slope, column=0),
            KeepAbove(thresholds[2], slope, column=1),
            KeepBelow(thresholds[3], slope, column=2),
        ]
    region = Region(
        edges=FixedEdges([-np.inf, np.inf]),
        histogrammer=HardHistogram(),
        cuts=Selection(tuple(cuts)),
        name="SR",
        summary="mass",
    )
    return Analysis({"mass": Summary(Variable(0), (0,))}, (region,), model)
