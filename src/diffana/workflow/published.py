"""Results of published workspaces, as the commands report them.

Each function returns what becomes the JSON document: numbers, and dictionaries by
parameter name, under the names of pyhf and cabinetry. There is no number that depends
on a fit without certificate: such a fit raises.
"""

import difflib
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from diffana import infer
from diffana.errors import RESULTS, FitError, SpecificationError
from diffana.fit import FitResult, fit as minimise
from diffana.histfactory import HistFactory
from diffana.workflow.workspaces import Published


def fit(
    workspace: Published, *, fixed: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Maximum-likelihood fit.

    Args:
        workspace: the workspace.
        fixed: values at which to hold parameters, by name.

    Raises:
        SpecificationError: if a name is unknown, or a value outside the bounds.
        FitError: if the fit is not certified.
    """
    for name, value in (fixed or {}).items():
        check_value(workspace, name, value)
    held = {name: jnp.asarray(value) for name, value in (fixed or {}).items()}
    result, covariance = _estimate(workspace.model, workspace.data, held)
    check_fits({"the fit": result})
    check_numbers({"the covariance": covariance})
    names = workspace.model.parameters.names
    at_bound = np.asarray(result.at_bound)
    return {
        "best_twice_nll": float(result.best_twice_nll),
        "bestfit": by_name(names, result.bestfit),
        "uncertainty": by_name(names, infer.uncertainty(covariance)),
        "at_bound": [name for name, at in zip(names, at_bound, strict=True) if at],
        "labels": list(names),
        "corr_mat": np.asarray(infer.correlation(covariance)).tolist(),
    }


@eqx.filter_jit
def _estimate(
    model: HistFactory, data: Float[Array, " data"], fixed: dict[str, Array]
) -> tuple[FitResult, Float[Array, "par par"]]:
    result = minimise(model, data, fixed=fixed, throw=False)
    information = infer.fisher_information(model, result.bestfit, data)
    return result, infer.covariance(information, result.free)


def cls(
    workspace: Published, *, poi_test: float = 1.0, bounded: bool = True
) -> dict[str, Any]:
    """CLs of one signal strength, observed and expected.

    Args:
        workspace: the workspace.
        poi_test: tested value of the parameter of interest.
        bounded: whether to use q~_mu rather than q_mu.

    Raises:
        SpecificationError: if there is no parameter of interest, or `poi_test` is
            negative or outside its bounds.
        FitError: if one of the fits is not certified.
    """
    check_tested(workspace, poi_test)
    test = hypotest(workspace, poi_test, bounded=bounded)
    return {
        "CLs_obs": float(test.CLs_obs),
        "CLs_exp": np.asarray(test.CLs_exp).tolist(),
    }


def hypotest(
    workspace: Published, poi_test: float, *, bounded: bool
) -> infer.HypoTestResult:
    """The certified test behind `cls`; compiled once for all values of `poi_test`."""
    test = _hypotest(workspace.model, workspace.data, jnp.asarray(poi_test), bounded)
    check_fits(
        {
            f"the fit with {workspace.poi} free": test.observed.free,
            f"the fit at {workspace.poi} = {poi_test:g}": test.observed.conditional,
            f"the fit at {workspace.poi} = 0": test.observed.background,
            f"the Asimov fit at {workspace.poi} = {poi_test:g}": test.asimov.fit,
        }
    )
    check_numbers({"CLs": test.CLs_obs, "the expected CLs": test.CLs_exp})
    return test


@eqx.filter_jit
def _hypotest(
    model: HistFactory, data: Float[Array, " data"], poi_test: ArrayLike, bounded: bool
) -> infer.HypoTestResult:
    return infer.hypotest(model, data, poi_test, bounded=bounded, throw=False)


def significance(workspace: Published) -> dict[str, Any]:
    """Discovery p-value and significance, observed and expected at strength 1.

    Raises:
        SpecificationError: if there is no parameter of interest, or its bounds exclude
            0 or 1.
        FitError: if one of the fits is not certified.
    """
    for poi in (0.0, 1.0):
        check_value(workspace, workspace.poi, poi)
    test = _discovery(workspace.model, workspace.data)
    check_fits(
        {
            f"the fit with {workspace.poi} free": test.observed.free,
            f"the fit at {workspace.poi} = 1": test.observed.conditional,
            f"the fit at {workspace.poi} = 0": test.observed.background,
            f"the Asimov fit at {workspace.poi} = 0": test.asimov.fit,
        }
    )
    check_numbers({"p0": test.p0, "the expected p0": test.p0_exp})
    expected = infer.significance(test.q0_asimov)
    return {
        "p0": float(test.p0),
        "significance": float(test.significance),
        "p0_exp": np.asarray(test.p0_exp).tolist(),
        "significance_exp": [float(expected) - band for band in infer.BANDS],
    }


@eqx.filter_jit
def _discovery(
    model: HistFactory, data: Float[Array, " data"]
) -> infer.DiscoveryResult:
    return infer.discovery(model, data, throw=False)


def check_value(workspace: Published, name: str, value: float) -> None:
    """Refuse a parameter that does not exist, or a value outside its bounds.

    Raises:
        SpecificationError: naming the parameter.
    """
    index = position(workspace, name)
    parameters = workspace.model.parameters
    lower, upper = float(parameters.lower[index]), float(parameters.upper[index])
    if not lower <= value <= upper:
        raise SpecificationError(
            f"{workspace.origin}: parameter {name!r}: {value:g} is outside its bounds "
            f"{lower:g} and {upper:g}"
        )


def check_tested(workspace: Published, poi_test: float) -> None:
    """Refuse a signal strength for which there is no upper-limit test.

    Raises:
        SpecificationError: if there is no parameter of interest, or `poi_test` is
            negative or outside its bounds.
    """
    check_value(workspace, workspace.poi, poi_test)
    if poi_test < 0:
        raise SpecificationError(
            f"the tested {workspace.poi} = {poi_test:g} is negative"
        )
    check_value(workspace, workspace.poi, 0.0)


def position(workspace: Published, name: str) -> int:
    """Position of the parameter `name`.

    Raises:
        SpecificationError: if there is none, with names that resemble it.
    """
    names = workspace.model.parameters.names
    if name in names:
        return names.index(name)
    components = [one for one in names if one.startswith(f"{name}[")]
    similar = components or difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(similar[:3])}?" if similar else ""
    raise SpecificationError(f"{workspace.origin}: no parameter {name!r}{hint}")


def check_fits(fits: Mapping[str, FitResult]) -> None:
    """Refuse fits that are not certified.

    Raises:
        FitError: naming the first of them, and why.
    """
    for name, result in fits.items():
        if bool(result.result != RESULTS.successful):
            raise FitError(f"{name} is not certified: {RESULTS[result.result]}")


def check_numbers(values: Mapping[str, PyTree]) -> None:
    """Refuse results of certified fits that are not numbers all the same.

    Raises:
        FitError: naming the first of them.
    """
    for name, value in values.items():
        if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(value)):
            raise FitError(f"{name} is not a finite number although the fits succeeded")


def by_name(
    names: tuple[str, ...], values: Float[ArrayLike, " par"]
) -> dict[str, float]:
    """Values by parameter name."""
    return dict(zip(names, np.asarray(values).tolist(), strict=True))
