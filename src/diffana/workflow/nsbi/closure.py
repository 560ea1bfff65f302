"""A learned likelihood beside the exact one, where densities are known."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffana import infer, nsbi, stored
from diffana.assemble import nsbi as assembly
from diffana.errors import RESULTS, FitError
from diffana.fit import Minimiser
from diffana.nsbi.diagnostics import Gate, asimov_gate
from diffana.workflow.nsbi.prepared import Prepared


NAME = "Asimov closure"

# So many standard deviations on either side are scanned, since there may be another
# minimum.
_REACH = 12.0


class Closure(NamedTuple):
    """Two scans of the same exact Asimov data.

    Attributes:
        poi: name of the parameter that is scanned.
        points: its values.
        learned: -2 Δ ln L with learned ratios; nan where the fit failed.
        exact: the same with exact ratios.
        shift: best fit with learned ratios minus that with exact ones, in standard
            deviations of the latter.
    """

    poi: str
    points: Float[np.ndarray, " point"]
    learned: Float[np.ndarray, " point"]
    exact: Float[np.ndarray, " point"]
    shift: float


def closure(
    prepared: Prepared,
    ratios: dict[str, assembly.Learned],
    measurement: stored.Measurement,
) -> Closure:
    """Both scans, with all other parameters profiled.

    Args:
        prepared: events, and what was learned from them.
        ratios: by name.
        measurement: the learned likelihood.

    Raises:
        Unknown: if the exact densities are not known, or there is no parameter to scan.
        FitError: if a fit with exact ratios is not certified.
    """
    config, simulated, plan = prepared
    poi = measurement.parameters.poi
    if poi is None:
        raise assembly.Unknown("there is no parameter of interest")
    truth = assembly.exact(config, plan, simulated, measurement.model)
    data = truth.model.expected_data(truth.model.parameters.inits)
    terms = assembly.evaluated(plan, ratios, truth.features).terms
    weight = np.ravel(data.rows[0].weight)[: len(truth.features)]
    events = assembly.rows(assembly.Weighted(truth.features, weight), terms)
    minimiser = Minimiser(max_steps=config.fit.max_steps)
    found = infer.estimate(truth.model, data, minimiser=minimiser, throw=False)
    _certified(found.result)
    index = measurement.parameters.index(poi)
    sigma = float(found.uncertainty[index])
    values = _values(measurement, index, sigma, config.diagnostics.asimov_points)
    exactly = infer.scan(
        truth.model, data, {poi: values}, minimiser=minimiser, throw=False
    )
    for one in np.asarray(exactly.result == RESULTS.successful).tolist():
        if not one:
            raise FitError("a fit with exact ratios is not certified")
    learned = infer.scan(
        measurement.model,
        nsbi.UnbinnedData((events,), data.auxdata),
        {poi: values},
        minimiser=minimiser,
        throw=False,
    )
    return Closure(
        poi,
        np.asarray(values),
        np.asarray(learned.delta_twice_nll),
        np.asarray(exactly.delta_twice_nll),
        float(learned.free.bestfit[index] - found.bestfit[index]) / sigma,
    )


def gate(prepared: Prepared, found: Closure) -> Gate:
    """Whether both agree where a measurement would look."""
    section = prepared.config.diagnostics
    near = found.exact <= section.asimov_reach
    judged = asimov_gate(
        found.points[near],
        found.learned[near],
        found.exact[near],
        threshold=section.asimov_difference,
    )
    return judged._replace(
        numbers={
            **judged.numbers,
            "shift": found.shift,
            "points": found.points.tolist(),
            "all_learned": found.learned.tolist(),
            "all_exact": found.exact.tolist(),
        },
        summary=f"{judged.summary}; the best fit is off by {found.shift:.2g} σ",
    )


def _certified(result: RESULTS) -> None:
    if bool(result != RESULTS.successful):
        raise FitError(f"the fit with exact ratios is not certified: {RESULTS[result]}")


def _values(
    measurement: stored.Measurement, index: int, sigma: float, n_points: int
) -> Float[np.ndarray, " point"]:
    """Values of the parameter around the truth, within its bounds."""
    parameters = measurement.parameters
    centre = float(parameters.inits[index])
    low = max(float(parameters.lower[index]), centre - _REACH * sigma)
    high = min(float(parameters.upper[index]), centre + _REACH * sigma)
    return jnp.linspace(low, high, n_points)  # pyright: ignore[reportReturnType]
