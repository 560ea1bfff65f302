"""Fits of a likelihood: one at a time, or those of one test statistic together."""

from collections.abc import Mapping, Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit.minimum import solve, take
from diffana.fit.problem import Problem
from diffana.fit.search import Minimiser, starting_points
from diffana.likelihood import AbstractLikelihood


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
    problem = _hold(likelihood, data, fixed or {})
    others = jnp.zeros((0, len(problem.held))) if partners is None else partners
    return certified(_fit_one(problem, others, settings), throw=throw)


@eqx.filter_jit
def _fit_one(
    problem: Problem, partners: Float[Array, "partner par"], minimiser: Minimiser
) -> FitResult:
    frozen, others = jax.lax.stop_gradient((problem, partners))
    starts = starting_points(frozen, frozen.held, others, minimiser)
    return _result(problem, starts, minimiser)


def fit_together(
    likelihood: AbstractLikelihood,
    data: PyTree,
    fixed: Sequence[Mapping[str, ArrayLike]],
    *,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> FitResult:
    """Several fits to the same data, each started again from the others' optima.

    The fits of one test statistic belong together: a free fit can then never end above
    a conditional one, and a conditional fit sees the minimum that the free one found.

    Args:
        likelihood: the statistical model.
        data: the data set, constraint measurements included.
        fixed: for every fit the parameters it holds and their values, as in `fit`.
        minimiser: settings of the search.
        throw: as in `fit`.

    Returns:
        The results, with one entry per fit along the leading axis of every field.

    Raises:
        ValueError: as in `fit`.
        EquinoxRuntimeError: if `throw` and any of the fits is not certified.
    """
    settings = Minimiser() if minimiser is None else minimiser
    holds = [_hold(likelihood, data, held) for held in fixed]
    held = jnp.stack([problem.held for problem in holds])
    is_held = jnp.stack([problem.is_held for problem in holds])
    fits = _fit_together(likelihood, data, held, is_held, settings)
    return certified(fits, throw=throw)


@eqx.filter_jit
def _fit_together(
    likelihood: AbstractLikelihood,
    data: PyTree,
    held: Float[Array, "fit par"],
    is_held: Bool[Array, "fit par"],
    minimiser: Minimiser,
) -> FitResult:
    frozen, frozen_data = jax.lax.stop_gradient((likelihood, data))
    nobody = jnp.zeros((0, held.shape[1]))

    def alone(held, is_held):
        problem = Problem(frozen, frozen_data, held, is_held)
        starts = starting_points(problem, held, nobody, minimiser)
        return starts[0], solve(problem, starts, minimiser=minimiser)[1].params

    begins, optima = jax.vmap(alone)(jax.lax.stop_gradient(held), is_held)
    # A failed fit has no optimum to lend; its own start takes that place.
    lent = jnp.where(jnp.isnan(optima), begins, optima)

    def again(held, is_held):
        problem = Problem(likelihood, data, held, is_held)
        return _result(problem, jax.vmap(problem.place)(lent), minimiser)

    return jax.vmap(again)(held, is_held)


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
    likelihood: AbstractLikelihood, data: PyTree, fixed: Mapping[str, ArrayLike]
) -> Problem:
    parameters = likelihood.parameters
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
    return Problem(likelihood, data, held, is_held)


def _result(
    problem: Problem, starts: Float[Array, "start par"], minimiser: Minimiser
) -> FitResult:
    value, solution = solve(problem, jax.lax.stop_gradient(starts), minimiser=minimiser)
    return FitResult(
        bestfit=solution.params,
        best_twice_nll=value,
        edm=solution.edm,
        free=solution.free,
        at_bound=solution.at_bound,
        competing_gap=solution.competing_gap,
        n_steps=solution.n_steps,
        result=solution.result,
    )
