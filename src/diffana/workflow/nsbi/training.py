"""`diffana nsbi train`: density ratios, then the likelihood that is made of them."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from rich.console import Console

from diffana import config as configuration, nsbi, runs, stored
from diffana.assemble import nsbi as assembly
from diffana.config import NsbiConfig
from diffana.errors import DataError, RunError
from diffana.workflow.nsbi import tables
from diffana.workflow.nsbi.checkpoints import Saved
from diffana.workflow.nsbi.learning import learn
from diffana.workflow.nsbi.prepared import Prepared, prepare
from diffana.workflow.nsbi.reporting import reporting


def train(config: NsbiConfig, folder: Path, *, resume: bool, console: Console) -> None:
    """Learn the density ratios that `config` describes, and write the likelihood.

    Args:
        config: the configuration.
        folder: run folder; must not exist, or hold an interrupted run to resume.
        resume: whether to go on with the run in `folder`.
        console: where to report.

    Raises:
        DiffanaError: if the input cannot be used, the run folder is in the way, or a
            ratio cannot be learned.
    """
    with contextlib.ExitStack() as held:
        text = configuration.dump(config)
        inputs = assembly.input_files(config)
        if resume:
            interrupted = runs.open_interrupted(folder, config=text)
            held.enter_context(runs.exclusive(folder, warn=console.print))
            interrupted.check_inputs(inputs)
        elif folder.exists():
            raise RunError(f"{folder} exists; a run never overwrites anything")
        prepared = prepare(config)
        provenance = runs.describe(seed=config.general.seed, inputs=inputs)
        if resume:
            run = runs.reopen(folder, config=text, provenance=provenance)
        else:
            run = runs.create(folder, config=text, provenance=provenance)
            held.enter_context(runs.exclusive(folder, warn=console.print))
        console.print(tables.plan(prepared, folder))
        with reporting(console, prepared) as reporter:
            ratios = learn(run, prepared, reporter)
        built = build(prepared, {name: one.ratio for name, one in ratios.items()})
        write(run, config, built)
        summary = _summary(prepared, ratios, built)
        console.print(tables.results(summary, folder))
        run.finish(summary)


class Built(NamedTuple):
    """The likelihood of a run.

    Attributes:
        model: the likelihood.
        data: the observed events; None if there are none.
        n_lifted: for each component and parameter the number of reference events at
            which the interpolation was lifted to stay positive.
    """

    model: nsbi.Unbinned
    data: nsbi.UnbinnedData | None
    n_lifted: Mapping[tuple[str, str], int]


def build(prepared: Prepared, ratios: Mapping[str, assembly.Learned]) -> Built:
    """The likelihood that learned ratios make, on the test events.

    Raises:
        DataError: naming the ratio that is not finite and the event, or the event whose
            total intensity is not positive.
    """
    config, simulated, plan = prepared
    bank = prepared.bank
    found = assembly.evaluated(plan, ratios, bank.features)
    rows = assembly.rows(bank, found.terms)
    model = assembly.likelihood(config, plan, simulated, rows)
    observed = assembly.observed(config)
    data = None
    if observed is not None:
        terms = assembly.evaluated(plan, ratios, observed.features).terms
        data = assembly.observed_data(model, assembly.rows(observed, terms))
        _check(model, data, "the observed events")
    _check(model, _expected(model), "the reference events")
    return Built(model, data, found.n_lifted)


def write(run: runs.Run, config: NsbiConfig, built: Built) -> None:
    """Write the likelihood into the folder of a run.

    Raises:
        RunError: if it cannot be written.
    """
    try:
        stored.store(run.folder, built.model, built.data, squares=config.squares)
    except OSError as error:
        where = error.filename or run.folder
        raise RunError(f"{where} cannot be written: {error.strerror}") from error


@eqx.filter_jit
def _expected(model: nsbi.Unbinned) -> nsbi.UnbinnedData:
    return model.expected_data(model.parameters.inits)


def _check(model: nsbi.Unbinned, data: nsbi.UnbinnedData, what: str) -> None:
    try:
        nsbi.check(model, data)
    except DataError as error:
        raise DataError(f"{what}: {error}") from error


def _summary(
    prepared: Prepared, ratios: Mapping[str, Saved], built: Built
) -> dict[str, Any]:
    """What a run leaves behind about itself."""
    (channel,) = built.model.channels
    yields = {one.name: float(one.expected) for one in channel.components}
    events = {
        "reference": len(prepared.bank.weight),
        "observed": None
        if built.data is None
        else int(np.count_nonzero(built.data.rows[0].weight)),
    }
    lifted = [
        {"component": component, "parameter": parameter, "events": number}
        for (component, parameter), number in built.n_lifted.items()
        if number
    ]
    return {
        "poi": built.model.parameters.poi,
        "parameters": list(built.model.parameters.names),
        "yields": yields,
        "events": events,
        "ratios": {name: one.facts for name, one in ratios.items()},
        "lifted": lifted,
    }
