"""The expected result as a sensitivity, and its spread over drawings of events."""

from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array
from scipy.special import ndtri_exp

from diffana import assemble
from diffana.analysis import Analysis
from diffana.config import Config
from diffana.data.events import PopulationName
from diffana.fit import FitResult, Minimiser
from diffana.histogram import Histogram
from diffana.losses import P0, Cls, SigmaMu, gather
from diffana.workflow.safety.drawing import Drawn


FITTED = ("cls", "p0")
METRICS = (*FITTED, "sigma_mu")


class Expected(NamedTuple):
    """Expected results of one likelihood.

    Attributes:
        quoted: CLs, p0 and σ_μ by name, as in `results.json`; nan without certificate.
        sensitivity: the same as `sensitivity` has them.
        fits: the fits behind CLs and p0.
    """

    quoted: dict[str, float]
    sensitivity: dict[str, float]
    fits: dict[str, FitResult]


def sensitivity(metric: str, log_value: float) -> float:
    """A result on a scale that grows with the sensitivity and has symmetric errors.

    Args:
        metric: `cls`, `p0` or `sigma_mu`.
        log_value: natural logarithm of its value.

    Returns:
        Standard deviations of a p-value, or 1/σ_μ.

    Example:
        >>> sensitivity("sigma_mu", np.log(0.25)), sensitivity("p0", np.log(0.5))
        (4.0, -0.0)
    """
    if metric == "sigma_mu":
        return float(np.exp(-log_value))
    return float(-ndtri_exp(log_value))


def expected(config: Config, analysis: Analysis, draws: Drawn) -> list[Expected]:
    """Expected results of each drawing."""
    poi_test = assemble.tested_strength(config)
    minimiser = Minimiser(max_steps=config.fit.max_steps)
    found = []
    for draw in range(draws.n_draws):
        histograms = draws.histograms(draw)
        values, fits = _expected(analysis, histograms, poi_test, minimiser)
        logs = {name: float(value) for name, value in values.items()}
        found.append(
            Expected(
                quoted={name: float(np.exp(value)) for name, value in logs.items()},
                sensitivity={name: sensitivity(name, logs[name]) for name in METRICS},
                fits=fits,
            )
        )
    return found


@eqx.filter_jit
def _expected(
    analysis: Analysis,
    histograms: dict[PopulationName, Histogram],
    poi_test: float,
    minimiser: Minimiser,
) -> tuple[dict[str, Array], dict[str, FitResult]]:
    likelihood = analysis.likelihood(histograms)
    losses = {"cls": Cls(poi_test), "p0": P0(), "sigma_mu": SigmaMu(log=True)}
    needs = losses["cls"].needs | losses["p0"].needs | losses["sigma_mu"].needs
    found = gather(likelihood, needs, minimiser)
    values = {
        name: one.judge(likelihood, (), found).value for name, one in losses.items()
    }
    fits = {name: found.tests[losses[name].needs.tests[0]].fit for name in FITTED}
    return values, fits
