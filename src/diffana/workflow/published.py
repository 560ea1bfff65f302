"""Results of published workspaces, as the commands report them.

Each function returns what becomes the JSON document: numbers, and dictionaries by
parameter name, under the names of pyhf and cabinetry. There is no number that depends
on a fit without certificate: such a fit raises.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from diffana import infer
from diffana.errors import RESULTS, FitError, SpecificationError
from diffana.fit import Jaxopt, Minuit, Optimistix, fit_with
from diffana.published import Published
from diffana.workflow.checks import (
    check_fits,
    check_free,
    check_numbers,
    check_result,
    check_tested,
    check_value,
)
from diffana.workflow.farm import Farm
from diffana.workflow.toys import on_farm


if TYPE_CHECKING:
    from diffana.stored import Measurement


BANDS = ("-2σ", "-1σ", "median", "+1σ", "+2σ")
"""Names of the expected set."""

_N_BRAZIL = 41

_OUTSIDE = {"minuit": Minuit, "jaxopt": Jaxopt, "optimistix": Optimistix}


def fit(
    workspace: "Published | Measurement",
    *,
    fixed: Mapping[str, float] | None = None,
    minos: Sequence[str] = (),
    solver: Literal["newton", "minuit", "jaxopt", "optimistix"] = "newton",
) -> dict[str, Any]:
    """Maximum-likelihood fit.

    Args:
        workspace: the workspace.
        fixed: values at which to hold parameters, by name.
        minos: parameters whose interval is to come from the profile, too.
        solver: the built-in minimiser, or one of another package at its default
            settings.

    Raises:
        SpecificationError: if a name is unknown, or a value outside the bounds, or
            `minos` comes with the minimiser of another package: its minimum may be
            above that of the fits along the profile, which are built-in ones.
        PackageError: if that package is not installed.
        FitError: if a fit is not certified.
    """
    held = {name: jnp.asarray(value) for name, value in (fixed or {}).items()}
    for name, value in (fixed or {}).items():
        check_value(workspace, name, value)
    if minos and solver != "newton":
        raise SpecificationError(
            f"intervals from the profile need the solver newton, not {solver}"
        )
    for name in minos:
        check_free(workspace, name, held)
    model, data = workspace.model, workspace.data
    ended = None
    if solver != "newton":
        ended = fit_with(_OUTSIDE[solver](), model, data, fixed=held, throw=False)
    found = infer.estimate(model, data, fixed=held, fit=ended, throw=False)
    check_result("the fit", found.result)
    check_numbers({"the covariance": found.covariance})
    names, at_bound = model.parameters.names, np.asarray(found.fit.at_bound)
    document = {
        "solver": solver,
        "best_twice_nll": float(found.best_twice_nll),
        "bestfit": by_name(names, found.bestfit),
        "uncertainty": by_name(names, found.uncertainty),
        "at_bound": [name for name, at in zip(names, at_bound, strict=True) if at],
    }
    if workspace.squares:
        document["squares"] = {
            name: _squared(document, parameter)
            for name, parameter in workspace.squares.items()
        }
    if minos:
        document["minos"] = {
            name: _interval(workspace, name, held, found) for name in minos
        }
    if found.goodness is not None:
        document["goodness_of_fit"] = {
            "chi2": float(found.goodness.chi2),
            "ndf": int(found.goodness.ndf),
            "p_value": float(found.goodness.p_value),
        }
    document["labels"] = list(names)
    document["corr_mat"] = np.asarray(found.correlation).tolist()
    return document


def _squared(document: Mapping[str, Any], parameter: str) -> dict[str, float]:
    """Square of a parameter, with its uncertainty to first order."""
    best = document["bestfit"][parameter]
    uncertainty = 2 * abs(best) * document["uncertainty"][parameter]
    return {"bestfit": best**2, "uncertainty": uncertainty}


def _interval(
    workspace: "Published | Measurement",
    name: str,
    held: Mapping[str, ArrayLike],
    found: infer.Estimates,
) -> dict[str, Any]:
    interval = infer.profile_interval(
        workspace.model, workspace.data, name, fixed=held, fit=found.fit, throw=False
    )
    check_result(f"the interval of {name}", interval.result)
    check_numbers({f"the interval of {name}": (interval.lower, interval.upper)})
    return {
        "lower": float(interval.lower),
        "upper": float(interval.upper),
        "lower_at_bound": bool(interval.lower_at_bound),
        "upper_at_bound": bool(interval.upper_at_bound),
    }


def cls(
    workspace: "Published | Measurement", *, poi_test: float = 1.0, bounded: bool = True
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
    poi = workspace.poi
    test = infer.hypotest(
        workspace.model,
        workspace.data,
        jnp.asarray(poi_test, float),
        bounded=bounded,
        throw=False,
    )
    check_fits(
        {
            f"the fit with {poi} free": test.observed.free,
            f"the fit at {poi} = {poi_test:g}": test.observed.conditional,
            f"the fit at {poi} = 0": test.observed.background,
            f"the Asimov fit at {poi} = {poi_test:g}": test.asimov.fit,
        }
    )
    check_numbers({"CLs": test.CLs_obs, "the expected CLs": test.CLs_exp})
    return {
        "CLs_obs": float(test.CLs_obs),
        "CLs_exp": np.asarray(test.CLs_exp).tolist(),
    }


def toy_cls(
    workspace: "Published | Measurement",
    *,
    poi_test: float,
    bounded: bool,
    n_toys: int,
    seed: int,
    crew: Farm | None = None,
    on_chunk: Callable[[int], None] = lambda n_done: None,
) -> dict[str, Any]:
    """CLs of one signal strength from pseudo-experiments.

    Args:
        workspace: the workspace.
        poi_test: as in `cls`.
        bounded: as in `cls`.
        n_toys: pseudo-experiments under each of the two hypotheses.
        seed: of the pseudo-experiments.
        crew: processes that share the pseudo-experiments; this one does them all
            without. The result does not depend on how many there are.
        on_chunk: called with the number of pseudo-experiments done.

    Raises:
        SpecificationError: as `cls`.
        FitError: if a fit to the data, or more than 1 % of the fits to
            pseudo-experiments, are not certified, or processes fail.
    """
    check_tested(workspace, poi_test)
    _check_observed(workspace, poi_test)
    test = infer.toy_hypotest(
        workspace.model,
        workspace.data,
        poi_test,
        n_toys=n_toys,
        seed=seed,
        bounded=bounded,
        on_chunk=on_chunk,
        evaluate=_shared(crew, workspace, on_chunk),
    )
    return {
        "CLs_obs": test.CLs_obs.value,
        "CLs_exp": test.CLs_exp.tolist(),
        "CLs_obs_error": test.CLs_obs.error,
        "n_toys": n_toys,
        "n_failed": test.n_failed,
        "seed": seed,
    }


def toy_significance(
    workspace: "Published | Measurement",
    *,
    n_toys: int,
    seed: int,
    crew: Farm | None = None,
    on_chunk: Callable[[int], None] = lambda n_done: None,
) -> dict[str, Any]:
    """Discovery p-value and significance from pseudo-experiments, observed only.

    Arguments and errors are those of `toy_cls`.
    """
    check_value(workspace, workspace.poi, 0.0)
    _check_observed(workspace, 0.0)
    test = infer.toy_discovery(
        workspace.model,
        workspace.data,
        n_toys=n_toys,
        seed=seed,
        on_chunk=on_chunk,
        evaluate=_shared(crew, workspace, on_chunk),
    )
    p0 = test.p0.value
    return {
        "p0": p0,
        "significance": -NormalDist().inv_cdf(p0) if 0 < p0 < 1 else math.nan,
        "p0_error": test.p0.error,
        "n_toys": n_toys,
        "n_failed": test.n_failed,
        "seed": seed,
    }


def _shared(
    crew: Farm | None,
    workspace: "Published | Measurement",
    on_chunk: Callable[[int], None],
) -> Callable[[Sequence[infer.ToyBlock]], Iterable[Float[np.ndarray, " toy"]]] | None:
    """What computes blocks of pseudo-experiments; None for this process."""
    if crew is None:
        return None
    if not isinstance(workspace, Published):
        raise SpecificationError(
            f"{workspace.origin}: pseudo-experiments of an unbinned likelihood are "
            "made by one process: leave out --workers and --scheduler"
        )
    return on_farm(crew, workspace, on_chunk)


def _check_observed(workspace: "Published | Measurement", poi_test: float) -> None:
    """Refuse data whose fits cannot generate pseudo-experiments."""
    found = infer.profile(workspace.model, workspace.data, poi_test, throw=False)
    poi = workspace.poi
    check_fits(
        {
            f"the fit with {poi} free": found.free,
            f"the fit at {poi} = {poi_test:g}": found.conditional,
            f"the fit at {poi} = 0": found.background,
        }
    )


def significance(workspace: "Published | Measurement") -> dict[str, Any]:
    """Discovery p-value and significance, observed and expected at strength 1.

    Raises:
        SpecificationError: if there is no parameter of interest, or its bounds exclude
            0 or 1.
        FitError: if one of the fits is not certified.
    """
    poi = workspace.poi
    for value in (0.0, 1.0):
        check_value(workspace, poi, value)
    test = infer.discovery(workspace.model, workspace.data, throw=False)
    check_fits(
        {
            f"the fit with {poi} free": test.observed.free,
            f"the fit at {poi} = 1": test.observed.conditional,
            f"the fit at {poi} = 0": test.observed.background,
            f"the Asimov fit at {poi} = 0": test.asimov.fit,
        }
    )
    check_numbers({"p0": test.p0, "the expected p0": test.p0_exp})
    expected = float(infer.significance(test.q0_asimov))
    return {
        "p0": float(test.p0),
        "significance": float(test.significance),
        "p0_exp": np.asarray(test.p0_exp).tolist(),
        "significance_exp": [expected - band for band in infer.BANDS],
    }


def limit(
    workspace: "Published | Measurement", *, level: float = 0.05, bounded: bool = True
) -> dict[str, Any]:
    """Upper limits on the parameter of interest, observed and expected.

    A limit that does not lie within the bounds of the parameter is nan, and named with
    the reason under `failures`.

    Args:
        workspace: the workspace.
        level: one minus the confidence level.
        bounded: whether to use q~_mu rather than q_mu.

    Raises:
        SpecificationError: if there is no parameter of interest, or its bounds exclude
            0.
        FitError: if one of the fits to the data is not certified, or no limit exists.
    """
    check_value(workspace, workspace.poi, 0.0)
    found = infer.upper_limit(
        workspace.model, workspace.data, level=level, bounded=bounded, throw=False
    )
    check_fits(
        {
            f"the fit with {workspace.poi} free": found.free,
            f"the fit at {workspace.poi} = 0": found.background,
        }
    )
    names = ("the observed limit", *(f"the expected limit, {band}," for band in BANDS))
    failures = {
        name: f"{name} is not certified: {RESULTS[result]}"
        for name, result in zip(names, entries(found.results), strict=True)
        if bool(result != RESULTS.successful)
    }
    if len(failures) == len(names):
        raise FitError(next(iter(failures.values())))
    observed, expected = float(found.observed), np.asarray(found.expected)
    document = {
        "poi": workspace.poi,
        "confidence_level": 1 - level,
        "observed_limit": observed,
        "expected_limit": expected.tolist(),
        "failures": failures,
    }
    squares = [name for name, of in workspace.squares.items() if of == workspace.poi]
    if squares:
        document["squares"] = {
            name: {
                "observed_limit": observed**2,
                "expected_limit": (expected**2).tolist(),
            }
            for name in squares
        }
    return document


def brazil(
    workspace: "Published | Measurement",
    limits: Mapping[str, Any],
    *,
    bounded: bool = True,
) -> dict[str, Any]:
    """CLs around the limits: the points of a Brazil band.

    Args:
        workspace: the workspace.
        limits: what `limit` returned.
        bounded: as in `limit`.

    Returns:
        Values of the parameter of interest from 0 to beyond the largest limit, and CLs
        at each, nan where a fit is not certified.
    """
    parameters = workspace.model.parameters
    highest = np.nanmax([limits["observed_limit"], *limits["expected_limit"]])
    stop = min(1.2 * highest, float(parameters.upper[parameters.poi_index]))
    values = np.linspace(0.0, stop, _N_BRAZIL)
    tests = [_cls_or_nan(workspace, float(value), bounded) for value in values]
    return {
        "poi_values": values.tolist(),
        "CLs_obs": [test["CLs_obs"] for test in tests],
        "CLs_exp": [test["CLs_exp"] for test in tests],
    }


def _cls_or_nan(
    workspace: "Published | Measurement", poi_test: float, bounded: bool
) -> dict[str, Any]:
    try:
        return cls(workspace, poi_test=poi_test, bounded=bounded)
    except FitError:
        return {"CLs_obs": np.nan, "CLs_exp": [np.nan] * len(BANDS)}


def entries(results: RESULTS) -> list[RESULTS]:
    """The codes of an array, one by one."""
    flat = jax.tree.map(jnp.ravel, results)
    size = jax.tree.leaves(flat)[0].size
    return [jax.tree.map(lambda leaf, i=i: leaf[i], flat) for i in range(size)]


def by_name(names: Sequence[str], values: Float[ArrayLike, " par"]) -> dict[str, float]:
    """Values by parameter name."""
    return dict(zip(names, np.asarray(values).tolist(), strict=True))
