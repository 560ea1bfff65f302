"""The fits behind a report: each one certified, or a sentence that says why not."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from diffana import infer
from diffana.errors import FitError
from diffana.infer import Yields
from diffana.workflow import profiles, published as results
from diffana.workflow.report.document import Missing
from diffana.workflow.report.material import Material


Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True, eq=False)
class Fits:
    """Results of the exported workspace, on observed data or on Asimov data.

    Attributes:
        estimates: what `published.fit` returns; on the Asimov data of strength 1
            without observed data.
        ranked: what `profiles.ranking` returns, of the same fit.
        prefit: yields at strength 1, with the widths of the constraints.
        postfit: yields at the best fit, with its covariance.
        tested: what `published.cls` returns of the tested strength; without observed
            data there is none beyond the results of the run.
        limits: what `published.limit` returns; on the Asimov data without signal if
            there are no observed data.
        band: what `published.brazil` returns.
        significance: what `published.significance` returns.
        failures: why results are missing, each once.
    """

    estimates: Mapping[str, Any] | Missing
    ranked: Mapping[str, Any] | Missing
    prefit: Yields
    postfit: Yields | Missing
    tested: Mapping[str, Any] | Missing
    limits: Mapping[str, Any] | Missing
    band: Mapping[str, Any] | Missing
    significance: Mapping[str, Any] | Missing
    failures: tuple[str, ...]


def fitted(material: Material) -> Fits:
    """Fit the exported workspace."""
    model = material.published.model
    nominal = infer.nominal(model, 1.0)
    with_signal, without = material.published, material.published
    if not material.on_data:
        with_signal = with_signal._replace(data=model.expected_data(nominal))
        asimov = model.expected_data(infer.nominal(model, 0.0))
        without = without._replace(data=asimov)
    failures: list[str] = []

    def attempt(step: Callable[[], Value]) -> Value | Missing:
        try:
            return step()
        except FitError as error:
            failures.append(str(error))
            return Missing(f"There is no number: {error}")

    estimates = attempt(lambda: results.fit(with_signal))
    limits = attempt(lambda: results.limit(without))
    return Fits(
        estimates=estimates,
        ranked=attempt(lambda: profiles.ranking(with_signal)),
        prefit=infer.yields(model, nominal, infer.prefit_covariance(model)),
        postfit=estimates
        if isinstance(estimates, Missing)
        else _postfit(material, estimates),
        tested=attempt(
            lambda: results.cls(material.published, poi_test=material.finished.poi_test)
        )
        if material.on_data
        else Missing("There are no observed data to test."),
        limits=limits,
        band=limits
        if isinstance(limits, Missing)
        else attempt(lambda: results.brazil(without, limits)),
        significance=attempt(lambda: results.significance(with_signal)),
        failures=tuple(dict.fromkeys(failures)),
    )


def _postfit(material: Material, estimates: Mapping[str, Any]) -> Yields:
    bestfit, sigma = (
        np.array(list(estimates[key].values())) for key in ("bestfit", "uncertainty")
    )
    covariance = np.array(estimates["corr_mat"]) * np.outer(sigma, sigma)
    return infer.yields(
        material.published.model, jnp.asarray(bestfit), jnp.asarray(covariance)
    )
