"""`diffana evaluate`: results of the selected model on test events."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from rich.console import Console

from diffana import assemble, runs
from diffana.analysis import Analysis, Outputs
from diffana.config import Config
from diffana.data.events import PopulationName
from diffana.data.portions import Portions
from diffana.errors import RESULTS
from diffana.histfactory import HistFactory, modifier_settings, to_workspace
from diffana.histfactory.judge import judge
from diffana.histogram import Histogram
from diffana.infer import (
    AsimovTest,
    asimov_test,
    expected_log_CLs,
    log_p0,
    nominal,
    sigma_mu,
)
from diffana.train import sums
from diffana.workflow import streaming
from diffana.workflow.figures import save_figures
from diffana.workflow.prepared import Prepared, prepare
from diffana.workflow.resolved import resolved_config
from diffana.workflow.tables import results


def evaluate(folder: Path, *, console: Console) -> None:
    """Compute the final results of a run again, and replace its results and figures.

    Args:
        folder: a run folder whose training has come to its end.
        console: where to report.

    Raises:
        DiffanaError: if the run cannot be evaluated, or its input files have changed.
    """
    run = runs.open_finished(folder)
    with runs.exclusive(folder, warn=console.print):
        config = resolved_config(run)
        run.check_inputs(assemble.input_files(config))
        try:
            prepared = prepare(config, streaming.inside(run))
            evaluate_run(run, config, prepared, console)
        finally:
            streaming.discard(run)


def evaluate_run(
    run: runs.Run, config: Config, prepared: Prepared, console: Console
) -> dict[str, Any]:
    """Results, workspace and figures of the selected model of `run`."""
    analysis, meta = runs.load_checkpoint(run.best, prepared.analysis)
    hard = jax.tree.map(jnp.asarray, analysis).hard
    outputs = outputs_of(hard, prepared.parts["test"])
    likelihood = outputs.likelihood
    poi_test = assemble.tested_strength(config)
    limit, discovery = _expected(likelihood, poi_test)
    structure = assemble.structure(config)
    observed = sums(hard, prepared.parts.get("observed", ()))
    data = _observations(likelihood, observed.histograms, structure)
    workspace = to_workspace(likelihood, data, config.general.measurement)
    verdict = judge(
        workspace,
        modifier_settings=modifier_settings(likelihood),
        poi_test=poi_test,
        starts=_starts({"CLs": limit, "p0": discovery}, likelihood),
    )
    summary = {
        "epoch": meta["epoch"],
        "seed": config.general.seed,
        "poi": config.general.poi,
        "poi_test": poi_test,
        "diffana": {
            "CLs_exp": np.exp(expected_log_CLs(limit.q)),
            "p0": float(np.exp(log_p0(discovery.q))),
            "sigma_mu": float(sigma_mu(likelihood)),
            "fits": {
                "CLs": RESULTS[limit.fit.result] or "certified",
                "p0": RESULTS[discovery.fit.result] or "certified",
            },
        },
        "pyhf": {
            "CLs_exp": list(verdict.CLs_exp),
            "p0": verdict.p0,
            "sigma_mu": verdict.sigma_mu,
        },
        "failures": dict(verdict.failures),
    }
    run.write_json("workspace.json", workspace)
    run.write_json("results.json", summary)
    save_figures(run, config, prepared, hard, outputs)
    console.print(results(summary, run.folder))
    return summary


def outputs_of(analysis: Analysis, portions: Portions) -> Outputs:
    """What an analysis makes of a data set, a piece of which is in memory at a time.

    Args:
        analysis: with hard or soft histograms.
        portions: the data set.

    Returns:
        Likelihood and histograms, the latter in the order of `portions.populations`;
        the outputs of single events are not kept.
    """
    histograms = sums(analysis, portions).histograms
    return Outputs(
        likelihood=_likelihood(analysis, histograms),
        logits=(None,) * len(histograms),
        histograms=tuple(histograms[one.name] for one in portions.populations),
    )


@eqx.filter_jit
def _likelihood(
    analysis: Analysis, histograms: Mapping[PopulationName, Histogram]
) -> HistFactory:
    return analysis.likelihood(histograms)


@eqx.filter_jit
def _expected(
    likelihood: HistFactory, poi_tested: float
) -> tuple[AsimovTest, AsimovTest]:
    def test(poi_true, poi_test):
        params = nominal(likelihood, poi_true)
        return asimov_test(likelihood, params, poi_test, throw=False)

    both = jax.vmap(test)(jnp.array([0.0, 1.0]), jnp.array([poi_tested, 0.0]))
    first, second = (jax.tree.map(lambda leaf, i=i: leaf[i], both) for i in range(2))
    return first, second


def _starts(
    tests: Mapping[str, AsimovTest], likelihood: HistFactory
) -> dict[str, list[float]]:
    """Certified best fits for pyhf to begin with."""
    # pyhf refuses a start outside its bounds, be it by rounding.
    lower, upper = likelihood.parameters.lower, likelihood.parameters.upper
    return {
        name: np.clip(test.fit.bestfit, lower, upper).tolist()
        for name, test in tests.items()
        if test.fit.result == RESULTS.successful
    }


def _observations(
    likelihood: HistFactory,
    observed: Mapping[PopulationName, Histogram],
    structure: assemble.Structure,
) -> Float[Array, " data"]:
    """Counts observed by events or published, else background-only Asimov data."""
    data = likelihood.expected_data(nominal(likelihood, 0.0))
    layout = likelihood.layout
    if structure.published_channels:
        data = data.at[layout.n_bins :].set(likelihood.auxdata)
    for channel in structure.published_channels:
        bins = layout.bins(channel)
        data = data.at[bins].set(structure.data[bins])
    if not observed:
        return data
    for name, histogram in observed.items():
        data = data.at[layout.bins(name.region)].set(histogram.sumw)
    return data
