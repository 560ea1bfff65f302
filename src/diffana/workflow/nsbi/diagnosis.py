"""`diffana nsbi diagnose`: whether a learned likelihood can be trusted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from diffana import nsbi, runs, stored
from diffana.assemble import nsbi as assembly
from diffana.config import DiagnosticsSection
from diffana.errors import FitError
from diffana.nsbi import diagnostics
from diffana.nsbi.diagnostics import Gate
from diffana.workflow.nsbi import checkpoints, closure, figures
from diffana.workflow.nsbi.prepared import Prepared, config_of, prepare
from diffana.workflow.nsbi.tested import Tested, tested


FILE = "diagnostics.json"
# Values of the parameter of interest at which intensities have to be positive.
_N_STRENGTHS = 21


class Judged(NamedTuple):
    """A gate and what it is about.

    Attributes:
        subject: a ratio, a component of the likelihood, or the likelihood.
        gate: what it says.
    """

    subject: str
    gate: Gate


def diagnose(
    folder: Path,
    *,
    warn: Callable[[str], None] = lambda line: None,
    on_ratio: Callable[[int, int], None] = lambda number, total: None,
) -> tuple[Judged, ...]:
    """Ask whether the likelihood in a run folder can be trusted.

    The answers and their figures are put into the folder.

    Args:
        folder: a finished run.
        warn: called with one line where something is amiss with the folder.
        on_ratio: called with the number of ratios that were looked at, and of all.

    Raises:
        DiffanaError: if the folder is no such run, it is damaged, or its input has
            changed.
    """
    config = config_of(folder)
    run = runs.open_finished(folder)
    run.check_inputs(assembly.input_files(config))
    with runs.exclusive(folder, warn=warn):
        prepared = prepare(config)
        saved = checkpoints.load_all(run, config, prepared.plan)
        ratios = {name: one.ratio for name, one in saved.items()}
        measurement = stored.read(folder)
        judged = []
        with figures.drawing(run) as draw:
            draw.training(prepared)
            for number, one in enumerate(tested(prepared, ratios), start=1):
                judged += [
                    Judged(one.name, gate)
                    for gate in gates(one, config.diagnostics, _count(prepared))
                ]
                draw.ratio(prepared, one)
                on_ratio(number, _count(prepared))
            judged += _of_components(prepared, measurement.model)
            judged += _of_likelihood(prepared, measurement)
            try:
                found = closure.closure(prepared, ratios, measurement)
                judged.append(Judged("likelihood", closure.gate(prepared, found)))
                draw.closure(prepared, found)
            except (assembly.Unknown, FitError) as error:
                threshold = config.diagnostics.asimov_difference
                missing = Gate(closure.NAME, "not checked", str(error), {}, threshold)
                judged.append(Judged("likelihood", missing))
            draw.norms(judged)
        run.write_json(FILE, document(judged))
    return tuple(judged)


def document(judged: tuple[Judged, ...] | list[Judged]) -> dict[str, Any]:
    """The gates in types that JSON has."""
    return {"gates": [{"of": one.subject, **one.gate._asdict()} for one in judged]}


def _count(prepared: Prepared) -> int:
    """Number of ratios that are tested."""
    return sum(len(job.classes) - 1 for job in prepared.plan.jobs)


def gates(one: Tested, section: DiagnosticsSection, n_tests: int) -> Iterator[Gate]:
    """Every gate of a ratio, one of `n_tests`."""
    numerator, denominator = one.numerator, one.denominator
    pull = harder_pull(section.pull, n_tests)
    yield diagnostics.normalisation_gate(
        denominator.log_ratio, denominator.events.weight, threshold=pull
    )
    yield diagnostics.effective_size_gate(
        denominator.log_ratio,
        denominator.events.weight,
        fraction=section.effective_size,
    )
    logs = np.concatenate([numerator.log_ratio, denominator.log_ratio])
    shares = [part.events.weight / part.events.weight.sum() for part in one[1:3]]
    yield diagnostics.saturation_gate(
        logs, np.concatenate(shares), threshold=section.saturation
    )
    yield diagnostics.calibration_gate(
        numerator.log_ratio,
        numerator.events.weight,
        denominator.log_ratio,
        denominator.events.weight,
        threshold=pull,
    )
    samples = (*numerator.events, *denominator.events, denominator.log_ratio)
    yield diagnostics.feature_closure_gate(
        *samples, threshold=section.feature_closure / n_tests
    )
    yield diagnostics.classifier_gate(
        *samples, threshold=section.classifier_closure / n_tests
    )
    if one.members is not None:
        yield diagnostics.spread_gate(
            one.members, denominator.events.weight, threshold=section.spread
        )


def harder_pull(pull: float, n_tests: int) -> float:
    """The pull that the largest of several exceeds as rarely as a single one `pull`."""
    normal = NormalDist()
    return -normal.inv_cdf(normal.cdf(-pull) / n_tests)


def _of_components(prepared: Prepared, model: nsbi.Unbinned) -> list[Judged]:
    """Whether the reference events stand for every component."""
    section = prepared.config.diagnostics
    (channel,) = model.channels
    weight, logs = _bank(channel.bank)
    pull = harder_pull(section.pull, len(channel.components))
    judged = []
    for column, component in enumerate(channel.components):
        subject = f"component {component.name}"
        gates = (
            diagnostics.normalisation_gate(logs[:, column], weight, threshold=pull),
            diagnostics.effective_size_gate(
                logs[:, column], weight, fraction=section.effective_size
            ),
        )
        judged += [Judged(subject, gate) for gate in gates]
    return judged


def _bank(
    bank: nsbi.Rows,
) -> tuple[Float[np.ndarray, " event"], Float[np.ndarray, "event component"]]:
    """Weights and log ratios of the reference events in memory."""
    if not isinstance(bank.source, nsbi.HeldTerms):
        raise TypeError("the reference events are not in memory")
    weight, logs = np.ravel(bank.weight), np.asarray(bank.source.terms.log_ratio)
    logs = logs.reshape(len(weight), -1)
    return weight[weight != 0], logs[weight != 0]


def _of_likelihood(prepared: Prepared, measurement: stored.Measurement) -> list[Judged]:
    model = measurement.model
    return [
        Judged("likelihood", gate)
        for gate in (_statistics(prepared, model), positive(model))
    ]


def _statistics(prepared: Prepared, model: nsbi.Unbinned) -> Gate:
    """Whether there are many more simulated events than expected ones."""
    threshold = prepared.config.diagnostics.statistics
    weight = prepared.bank.weight
    size = float(weight.sum() ** 2 / np.sum(weight**2))
    expected = float(model.expected_yield(model.parameters.inits))
    found = size / expected
    return Gate(
        "simulated statistics",
        "pass" if found >= threshold else "fail",
        f"{size:.4g} effective reference events for {expected:.4g} expected ones: "
        f"{found:.3g} for each, at least {threshold:g} needed",
        {"size": size, "expected": expected, "per_event": found},
        threshold,
    )


def positive(model: nsbi.Unbinned) -> Gate:
    """Whether the total intensity is positive wherever a fit may look."""
    parameters = model.parameters
    values = np.asarray(parameters.inits)[None]
    if parameters.poi is not None:
        index = parameters.poi_index
        lower, upper = float(parameters.lower[index]), float(parameters.upper[index])
        values = np.repeat(values, _N_STRENGTHS, axis=0)
        values[:, index] = np.linspace(lower, upper, _N_STRENGTHS)
    shares = [float(_negative_share(model, row)) for row in values]
    worst = int(np.argmax(shares))
    where = ", ".join(
        f"{name} = {value:.3g}"
        for name, value in zip(parameters.names, values[worst], strict=True)
    )
    n_bad = int(np.count_nonzero(shares))
    summary = (
        f"positive at all reference events for {len(values)} values of the parameter "
        "of interest within its bounds"
        if not n_bad
        else f"not positive at {100 * shares[worst]:.2g} % of the reference events at "
        f"{where}, and for {n_bad} of {len(values)} values of the parameter of interest"
    )
    return Gate(
        "positive intensity",
        "fail" if n_bad else "pass",
        summary,
        {"largest_share": shares[worst], "values": n_bad},
        0.0,
    )


@eqx.filter_jit
def _negative_share(model: nsbi.Unbinned, params: Float[Array, " par"]) -> Array:
    """Share of the reference events whose intensity is not positive."""
    (rows,) = model.expected_data(params).rows
    (channel,) = model.channels
    used = channel.bank.weight != 0
    return ((rows.weight <= 0) & used).sum() / used.sum()
