"""Fits of a likelihood: one at a time, or those of one test statistic together."""

from collections.abc import Mapping, Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit.locate import locate, take
from diffana.fit.minimum import minimum
from diffana.fit.problem import Problem
from diffana.fit.search import Minimiser
from diffana.likelihood import AbstractLikelihood, Parameters


@final
class FitResult(eqx.Module):
    """A certified minimum of twice_nll; every number is nan unless `result` is success.

    Attributes:
        bestfit: parameters at the minimum; held ones keep the value they were held at.
        best_twice_nll: twice_nll at the minimum.
        edm: estimated distance of best_twice_nll from the true minimum, as 2 ln L.
        free: parameters that are neither held nor at a bound. Only these react when the
            model changes.
        at_bound: parameters stopped by a bound that the likelihood pushes against.
        competing_gap: how much higher in twice_nll the next distinct certified minimum
            lies; inf if every start ended in the same one.
        n_steps: trial points used by the start that won.
        result: why the fit stopped.
    """

    bestfit: Float[Array, " par"]
    best_twice_nll: Scalar
    edm: Scalar
    free: Bool[Array, " par"]
    at_bound: Bool[Array, " par"]
    competing_gap: Scalar
    n_steps: Int[Array, ""]
    result: RESULTS


def fit(
    likelihood: AbstractLikelihood,
    data: PyTree,
    *,
    fixed: Mapping[str, ArrayLike] | None = None,
    partners: Float[Array, "partner par"] | None = None,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> FitResult:
    """Maximum-likelihood fit within the bounds, certified and differentiable.

    `bestfit` and `best_twice_nll` are differentiable functions of every array in
    `likelihood` and `data` and of the values in `fixed`.

    Args:
        likelihood: the statistical model.
        data: the data set, constraint measurements included.
        fixed: parameters to hold in this fit, by name, and the values to hold them at.
            They come on top of those that the model itself holds.
        partners: further starts, such as the optima of related fits.
        minimiser: settings of the search.
        throw: whether a fit that is not certified raises. Otherwise `result` tells, and
            the parameters and the minimum of the result are nan.

    Returns:
        The lowest minimum found, if it is certified.

    Raises:
        ValueError: if a name in `fixed` is unknown, or JAX runs in single precision.
        EquinoxRuntimeError: if `throw` and the fit is not certified.

    Example:
        >>> model, data = from_workspace(workspace)
        >>> fit(model, data, fixed={"mu": 1.0}).best_twice_nll
    """
    settings = Minimiser() if minimiser is None else minimiser
    parameters = likelihood.parameters
    held, is_held = _hold(parameters, fixed or {})
    none = jnp.zeros((0, len(parameters)))
    fits = _fit_all(
        likelihood,
        data,
        held[None],
        is_held[None],
        none if partners is None else partners,
        settings,
        (None,),
    )
    return certified(take(fits, 0), throw=throw)


def fit_together(
    likelihood: AbstractLikelihood,
    data: PyTree,
    fixed: Sequence[Mapping[str, ArrayLike]],
    *,
    asimov_of: Sequence[int | None] | None = None,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> FitResult:
    """Several fits in one go, each started again from the others' optima.

    The fits of one test statistic belong together: a free fit can then never end above
    a conditional one, and a conditional fit sees the minimum that the free one found.

    Args:
        likelihood: the statistical model.
        data: the data set, constraint measurements included.
        fixed: for every fit the parameters it holds and their values, as in `fit`.
        asimov_of: for every fit None, if it is one to `data`, or which of those fits
            provides the parameters whose Asimov data it is made to. All are fits to
            `data` by default; the first one has to be.
        minimiser: settings of the search.
        throw: as in `fit`.

    Returns:
        The results, with one entry per fit along the leading axis of every field.

    Raises:
        ValueError: as in `fit`, or if `asimov_of` does not name a fit to `data`.
        EquinoxRuntimeError: if `throw` and any of the fits is not certified.

    Example:
        >>> held = [{}, {"mu": 0.0}, {"mu": 1.0}]
        >>> fit_together(model, data, held, asimov_of=[None, None, 1])
    """
    sources = (None,) * len(fixed) if asimov_of is None else tuple(asimov_of)
    if len(sources) != len(fixed) or sources[0] is not None:
        raise ValueError("asimov_of needs one entry per fit, the first one None")
    for source in sources:
        if source is not None and sources[source] is not None:
            raise ValueError(f"asimov_of: fit {source} is not a fit to the data")
    settings = Minimiser() if minimiser is None else minimiser
    parameters = likelihood.parameters
    holds = [_hold(parameters, names) for names in fixed]
    fits = _fit_all(
        likelihood,
        data,
        jnp.stack([held for held, _ in holds]),
        jnp.stack([is_held for _, is_held in holds]),
        jnp.zeros((0, len(parameters))),
        settings,
        sources,
    )
    return certified(fits, throw=throw)


# Compiled as a unit, the search is traced once however often it is transformed.
_locate = eqx.filter_jit(locate)


@eqx.filter_jit
def _fit_all(
    likelihood: AbstractLikelihood,
    data: PyTree,
    held: Float[Array, "fit par"],
    is_held: Bool[Array, "fit par"],
    partners: Float[Array, "partner par"],
    minimiser: Minimiser,
    asimov_of: tuple[int | None, ...],
) -> FitResult:
    likelihood = likelihood.settled()
    frozen = jax.lax.stop_gradient((likelihood, data, held, is_held))
    places = _locate(*frozen, asimov_of, jax.lax.stop_gradient(partners), minimiser)
    failed = places.result != RESULTS.successful
    params = jnp.where(failed[:, None], jnp.nan, places.params)
    values = jnp.where(failed, jnp.nan, places.value)
    parameters = likelihood.parameters

    def differentiable(fit: int, of_fit: PyTree) -> tuple[Array, Array]:
        bounds = parameters.lower, parameters.upper
        problem = Problem(likelihood, of_fit, *bounds, held[fit], is_held[fit])
        located = (params[fit], values[fit], places.free[fit])
        return minimum(problem, located=located)

    found = {}
    for fit in sorted(
        range(len(asimov_of)), key=lambda fit: asimov_of[fit] is not None
    ):
        source = asimov_of[fit]
        asimov = None if source is None else likelihood.expected_data(found[source][0])
        found[fit] = differentiable(fit, data if source is None else asimov)
    bestfit, best_twice_nll = (
        jnp.stack([found[fit][i] for fit in range(len(asimov_of))]) for i in range(2)
    )
    return FitResult(
        bestfit=bestfit,
        best_twice_nll=best_twice_nll,
        edm=places.edm,
        free=places.free,
        at_bound=places.at_bound,
        competing_gap=places.next_value - places.value,
        n_steps=places.n_steps,
        result=places.result,
    )


def certified(fit: FitResult, *, throw: bool) -> FitResult:
    """`fit` itself; where any of its fits failed and `throw`, an error instead.

    Raises:
        EquinoxRuntimeError: if `throw` and a fit is not certified.
    """
    if not throw:
        return fit
    failed = fit.result != RESULTS.successful
    return first_failure(fit.result).error_if(fit, jnp.any(failed))


def first_failure(results: RESULTS) -> RESULTS:
    """The first code along the leading axes that is not success, else success."""
    flat = jax.tree.map(jnp.ravel, results)
    return take(flat, jnp.argmax(flat != RESULTS.successful))


def _hold(
    parameters: Parameters, fixed: Mapping[str, ArrayLike]
) -> tuple[Float[Array, " par"], Bool[Array, " par"]]:
    """Values of all parameters where held, and which ones are."""
    if parameters.inits.dtype != jnp.float64:
        raise ValueError(
            "fits need double precision: call jax.config.update('jax_enable_x64', "
            "True) before building the model"
        )
    held, is_held = parameters.inits, parameters.fixed
    for name, value in fixed.items():
        index = parameters.index(name)
        held = held.at[index].set(value)
        is_held = is_held.at[index].set(True)
    return held, is_held
