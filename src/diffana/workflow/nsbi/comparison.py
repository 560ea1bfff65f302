"""The unbinned result of a run beside binned ones, on the same expected events."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from diffana import infer, nsbi, plot, runs, stored
from diffana.assemble import nsbi as assembly
from diffana.errors import RESULTS, DataError
from diffana.likelihood import AbstractLikelihood
from diffana.nsbi.binned_mixture import BinnedMixture
from diffana.nsbi.bins import HardBins, least_loss_edges
from diffana.nsbi.optimal_observables import profiled_score
from diffana.nsbi.parametrised import binned_with, parametrised_scan, ratio_to
from diffana.workflow.checks import check_result
from diffana.workflow.figures import save
from diffana.workflow.nsbi.prepared import config_of, prepare
from diffana.workflow.published import entries


FILE = "comparison.json"
_LEVELS = {"68": 1.0, "95": 3.841458820694124}


class Row(NamedTuple):
    """A method.

    Attributes:
        name: of the method.
        t: test statistic at the tested values; nan where a fit is not certified.
        uncertainty: of the parameter of interest, from the second derivative; nan where
            there is no single likelihood.
        limit: expected upper limit at 95 % confidence level under background only; nan
            where there is none.
        seconds: CPU time of fits and scan, compilation included.
    """

    name: str
    t: Float[np.ndarray, " point"]
    uncertainty: float
    limit: float
    seconds: float


def compare(
    folder: Path,
    *,
    bins: Sequence[int],
    n_points: int,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Test the parameter of interest without bins and with, and store the answers.

    All methods see the expected events of the run's own likelihood at its starting
    values, except the exact likelihood, which sees those of the exact densities.

    Args:
        folder: a finished run of `diffana nsbi train`.
        bins: numbers of bins of the optimal observables.
        n_points: tested values.
        warn: called with one line if nothing keeps other processes out of the folder.

    Raises:
        DiffanaError: if the run cannot be used.
        FitError: if the unbinned fit is not certified.
    """
    config = config_of(folder)
    run = runs.open_finished(folder)
    with runs.exclusive(folder, warn=warn):
        measurement = stored.read(folder)
        prepared = prepare(config)
        model = measurement.model
        truth = model.parameters.inits
        data = eqx.filter_jit(nsbi.Unbinned.expected_data)(model, truth)
        values = _tested(model, data, n_points)
        rows = [_row("unbinned", model, data, values)]
        score = profiled_score(model, truth)
        for number in bins:
            binned, counts = binned_with(model, data, score, number)
            name = f"optimal observable, {number} bins"
            rows.append(_row(name, binned, counts, values))
        for number in bins:
            rows.append(_moving(model, data, values, number))
        rows += [
            _row(f"histogram of {name}, {max(bins)} bins", *pair, values)
            for name, pair in _histograms(
                model, data, prepared, config.features, max(bins)
            )
        ]
        try:
            exact = assembly.exact(config, prepared.plan, prepared.simulated, model)
        except assembly.Unknown:
            pass
        else:
            expected = eqx.filter_jit(nsbi.Unbinned.expected_data)(exact.model, truth)
            rows.insert(0, _row("exact densities", exact.model, expected, values))
        document = _document(measurement, values, rows)
        run.write_json(FILE, document)
        with plot.style():
            save(run, "comparison", lambda figure: draw(figure, document))
    return document


def _tested(
    model: nsbi.Unbinned, data: nsbi.UnbinnedData, n_points: int
) -> Float[np.ndarray, " point"]:
    """Four standard deviations on either side, within the bounds."""
    found = infer.estimate(model, data, throw=False)
    check_result("the unbinned fit", found.result)
    index = model.parameters.poi_index
    best, sigma = float(found.bestfit[index]), float(found.uncertainty[index])
    low = max(float(model.parameters.lower[index]), best - 4 * sigma)
    high = min(float(model.parameters.upper[index]), best + 4 * sigma)
    return np.linspace(low, high, n_points)


def _row(
    name: str,
    model: AbstractLikelihood,
    data: Any,
    values: Float[np.ndarray, " point"],
) -> Row:
    parameters = model.parameters
    begin = time.process_time()
    scanned = infer.scan(
        model, data, {parameters.names[parameters.poi_index]: values}, throw=False
    )
    estimates = infer.estimate(model, data, fit=scanned.free, throw=False)
    limit = infer.expected_upper_limit(model, throw=False)
    seconds = time.process_time() - begin
    certified = bool(estimates.result == RESULTS.successful)
    sigma = float(estimates.uncertainty[parameters.poi_index])
    return Row(
        name,
        _certified(scanned.delta_twice_nll, scanned.result),
        sigma if certified else np.nan,
        float(limit.median) if bool(limit.result == RESULTS.successful) else np.nan,
        seconds,
    )


def _moving(
    model: nsbi.Unbinned,
    data: nsbi.UnbinnedData,
    values: Float[np.ndarray, " point"],
    n_bins: int,
) -> Row:
    begin = time.process_time()
    choice = ratio_to(model.parameters.inits, profiled=True)
    found = parametrised_scan(model, data, values, choice, n_bins, throw=False)
    seconds = time.process_time() - begin
    t = _certified(found.delta_twice_nll, found.result)
    return Row(f"own observable per value, {n_bins} bins", t, np.nan, np.nan, seconds)


def _histograms(model, data, prepared, columns, n_bins):
    """Likelihoods of the histograms of single features of the reference events."""
    (channel,) = model.channels
    features = np.asarray(prepared.bank.features)
    shape = channel.bank.weight.shape
    for name, column in zip(columns, features.T, strict=True):
        filled = np.zeros(shape).ravel()
        filled[: len(column)] = column
        value = jnp.asarray(filled.reshape(shape))
        try:
            edges = least_loss_edges(value, data.rows[0].weight, n_bins)
        except DataError:
            # A feature of few different values has no such bins.
            continue
        binned = BinnedMixture.of(model, [HardBins.between(value, edges)])
        yield name, (binned, binned.binned(data))


def _certified(t: Any, results: RESULTS) -> Float[np.ndarray, " point"]:
    good = [bool(one == RESULTS.successful) for one in entries(results)]
    return np.where(good, np.asarray(t), np.nan)


def _document(
    measurement: stored.Measurement,
    values: Float[np.ndarray, " point"],
    rows: Sequence[Row],
) -> dict[str, Any]:
    poi = measurement.poi
    squares = [name for name, of in measurement.squares.items() if of == poi]
    shown = values**2 if squares else values
    best = float(measurement.parameters.inits[measurement.parameters.poi_index])
    return {
        "poi": squares[0] if squares else poi,
        "values": shown.tolist(),
        "methods": [
            {
                "name": row.name,
                "uncertainty": row.uncertainty * (2 * abs(best) if squares else 1.0),
                "expected_limit": row.limit**2 if squares else row.limit,
                "intervals": {
                    level: segments(shown, row.t, height)
                    for level, height in _LEVELS.items()
                },
                "t": row.t.tolist(),
                "cpu_seconds": row.seconds,
            }
            for row in rows
        ],
    }


def segments(
    values: Float[np.ndarray, " point"], t: Float[np.ndarray, " point"], height: float
) -> list[tuple[float, float]]:
    """Where a statistic is below a level, by linear interpolation between points.

    Args:
        values: tested values, increasing.
        t: the statistic; a point that is nan is left out.
        height: the level.

    Returns:
        Lower and upper end of every segment; more than one where the likelihood has
        several minima. A segment that begins or ends with the tested values goes on.

    Example:
        >>> segments(np.arange(5.0), np.array([0.0, 2.0, 4.0, 2.0, 0.0]), 1.0)
        [(0.0, 0.5), (3.5, 4.0)]
    """
    finite = np.isfinite(t)
    x, above = values[finite], t[finite] - height
    found: list[tuple[float, float]] = []
    begin = float(x[0]) if len(x) and above[0] <= 0 else None
    for i in range(len(x) - 1):
        if (above[i] <= 0) == (above[i + 1] <= 0):
            continue
        share = above[i] / (above[i] - above[i + 1])
        at = float(x[i] + share * (x[i + 1] - x[i]))
        if begin is None:
            begin = at
        else:
            found.append((begin, at))
            begin = None
    if begin is not None:
        found.append((begin, float(x[-1])))
    return found


def draw(figure: Figure, document: Mapping[str, Any]) -> None:
    """Draw the statistics of all methods.

    Args:
        figure: an empty one, inside `plot.style()`.
        document: what `compare` returned.
    """
    figure.set_size_inches(5.0, 4.6)
    plot.statistics(
        document["values"],
        {one["name"]: one["t"] for one in document["methods"]},
        poi_name=plot.literal(document["poi"]),
        ax=figure.add_subplot(),
    )
