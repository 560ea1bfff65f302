"""Fits by minimisers of other packages, certified as our own are."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit.minimum import minimum
from diffana.fit.problem import Problem
from diffana.fit.quadratic import (
    Quadratic,
    is_positive_definite,
    restrict,
    solve_free,
)
from diffana.fit.result import FitResult, _hold, certified
from diffana.fit.solvers import AbstractSolver, End, Objective
from diffana.likelihood import AbstractLikelihood, Expansion


def fit_with(
    solver: AbstractSolver,
    likelihood: AbstractLikelihood,
    data: PyTree,
    *,
    fixed: Mapping[str, ArrayLike] | None = None,
    start: Float[ArrayLike, " par"] | None = None,
    throw: bool = True,
) -> FitResult:
    """Maximum-likelihood fit by an outside minimiser, certified by exact derivatives.

    The solver runs once, on the host, so that this is no function to call under `jit`
    or `vmap`. It can be differentiated there, as `fit` can: `bestfit` and
    `best_twice_nll` are differentiable functions of every array in `likelihood` and
    `data` and of the values in `fixed`, as far as the solver's point is the minimum.

    Where the solver stops, gradient and Hessian are evaluated. A parameter close to a
    bound that the likelihood pushes against is put on it, if less than the solver's
    `certified_edm` is to be gained on the way: methods that transform variables stop
    just before. The fit is certified if then the distance to the minimum estimated with
    the Hessian is at most `certified_edm`, and the Hessian on the free parameters is
    positive definite. Nothing is learnt about other minima: `competing_gap` is inf.

    Args:
        solver: the minimiser and its settings.
        likelihood: the statistical model.
        data: the data set, constraint measurements included.
        fixed: parameters to hold in this fit, by name, and the values to hold them at.
            They come on top of those that the model itself holds.
        start: where to begin, one value per parameter; those outside the bounds are
            moved onto them. The initial values if left out.
        throw: as in `fit`.

    Returns:
        Where the solver stopped, if that is certified as a minimum.

    Raises:
        ValueError: if a name in `fixed` is unknown, `start` has the wrong shape, JAX
            runs in single precision, or under `jit` or `vmap`.
        PackageError: if the package of the solver is not installed.
        EquinoxRuntimeError: if `throw` and the fit is not certified.

    Source: the estimated distance is MINUIT's EDM, gᵀ H⁻¹ g / 2, with the exact Hessian
    in place of MIGRAD's approximate matrix: James, Roos, Comput. Phys. Commun. 10
    (1975) 343.

    Example:
        >>> model, data = from_workspace(workspace)
        >>> fit_with(Minuit(), model, data, fixed={"mu": 1.0}).best_twice_nll
    """
    held = {name: jnp.asarray(value, float) for name, value in (fixed or {}).items()}
    first = None if start is None else jnp.asarray(start, float)
    frozen = jax.lax.stop_gradient((likelihood, data, held, first))
    problem, origin = _problem(*frozen)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((problem, origin))):
        raise ValueError(
            "fit_with runs its solver on the host: call it outside jit and vmap, or "
            "use fit inside"
        )
    can_move = ~problem.is_held & (problem.lower < problem.upper)
    moving = jnp.asarray(np.flatnonzero(can_move))
    end = _run(solver, problem, origin, moving)
    stopped = _placed(problem, origin, moving, jnp.asarray(end.x))
    found = _certify(solver, problem, stopped, end)
    located = (found.bestfit, found.best_twice_nll, found.free)
    differentiable = _minimum(likelihood, data, held, located)
    result = eqx.tree_at(
        lambda fit: (fit.bestfit, fit.best_twice_nll), found, differentiable
    )
    return certified(result, throw=throw)


@eqx.filter_jit
def _problem(
    likelihood: AbstractLikelihood,
    data: PyTree,
    fixed: Mapping[str, Scalar],
    start: Float[Array, " par"] | None,
) -> tuple[Problem, Float[Array, " par"]]:
    """What is minimised, and the start within its bounds.

    Raises:
        ValueError: if `start` does not have one value per parameter.
    """
    likelihood = likelihood.settled()
    parameters = likelihood.parameters
    origin = parameters.inits if start is None else start
    if origin.shape != parameters.inits.shape:
        raise ValueError(
            f"start has shape {origin.shape}, but there are {len(parameters)} "
            "parameters"
        )
    bounds = parameters.lower, parameters.upper
    problem = Problem(likelihood, data, *bounds, *_hold(parameters, fixed))
    return problem, problem.admit(origin)


@eqx.filter_jit
def _minimum(
    likelihood: AbstractLikelihood,
    data: PyTree,
    fixed: Mapping[str, Scalar],
    located: tuple[Float[Array, " par"], Scalar, Bool[Array, " par"]],
) -> tuple[Float[Array, " par"], Scalar]:
    """The located minimum as a function of the arguments before it."""
    parameters = likelihood.parameters
    bounds = parameters.lower, parameters.upper
    problem = Problem(likelihood, data, *bounds, *_hold(parameters, fixed))
    return minimum(problem, located=located)


def _run(
    solver: AbstractSolver,
    problem: Problem,
    origin: Float[Array, " par"],
    moving: Int[Array, " moving"],
) -> End:
    """Where the solver stops; at its start where there is nothing to do."""
    model = problem.model(origin, jnp.array(False))  # noqa: FBT003
    objective, usable = _objective(problem, model, origin, moving)
    if not (moving.size and usable):
        return End(objective.start, 0, exhausted=False)
    return solver.minimise(objective)


@eqx.filter_jit
def _objective(
    problem: Problem,
    model: Quadratic,
    origin: Float[Array, " par"],
    moving: Int[Array, " moving"],
) -> tuple[Objective, Bool[Array, ""]]:
    """What a solver is handed, and whether a descent can begin at its start."""
    lower, upper = problem.lower[moving], problem.upper[moving]
    width = jnp.minimum(jnp.sqrt(2 / model.scale[moving]), upper - lower)
    usable = _is_finite(model.expansion) & jnp.all(width > 0)
    return Objective(problem, moving, origin[moving], lower, upper, width), usable


@eqx.filter_jit
def _placed(
    problem: Problem,
    origin: Float[Array, " par"],
    moving: Int[Array, " moving"],
    x: Float[Array, " moving"],
) -> Float[Array, " par"]:
    """`origin` with those that moved at `x`, within the bounds."""
    return problem.admit(origin.at[moving].set(x))


def _certify(
    solver: AbstractSolver, problem: Problem, stopped: Float[Array, " par"], end: End
) -> FitResult:
    """Check where a solver stopped; the code names the first thing found wanting."""
    exact, worth = jnp.array(True), jnp.asarray(solver.certified_edm)  # noqa: FBT003
    model = problem.model(stopped, exact).expansion
    params = _onto_bounds(problem, stopped, model, worth)
    if jnp.any(params != stopped):
        model = problem.model(params, exact).expansion
    steps = jnp.asarray(end.n_steps), jnp.asarray(end.exhausted)
    return _judged(problem, params, model, *steps, worth)


@eqx.filter_jit
def _onto_bounds(
    problem: Problem, params: Float[Array, " par"], model: Expansion, worth: Scalar
) -> Float[Array, " par"]:
    """`params`, where those on their way to a bound that is close are put on it.

    On their way means that a Newton step of the parameter alone would cross the bound,
    close that twice_nll falls by less than `worth` until there.
    """
    downhill = jnp.where(model.gradient > 0, problem.lower, problem.upper)
    distance = jnp.abs(downhill - params)
    steepness = jnp.abs(model.gradient)
    # At a negative curvature, too, the slope has to be what leads there.
    crosses = steepness >= jnp.abs(jnp.diagonal(model.hessian)) * distance
    close = steepness * distance < worth
    return jnp.where(~problem.is_held & crosses & close, downhill, params)


@eqx.filter_jit
def _judged(
    problem: Problem,
    params: Float[Array, " par"],
    model: Expansion,
    n_steps: Int[Array, ""],
    exhausted: Bool[Array, ""],
    certified_edm: Scalar,
) -> FitResult:
    at_bound = problem.pushed_out(params, model.gradient)
    free = problem.free_at(params, model.gradient)
    slope = jnp.where(free, model.gradient, 0.0)
    edm = 0.5 * slope @ solve_free(model.hessian, slope, free)
    definite = is_positive_definite(restrict(model.hessian, free))
    near = edm <= certified_edm
    missed = RESULTS.where(definite, RESULTS.not_at_minimum, RESULTS.hessian_not_pd)
    missed = RESULTS.where(exhausted, RESULTS.iteration_limit, missed)
    result = RESULTS.where(definite & near, RESULTS.successful, missed)
    result = RESULTS.where(_is_finite(model), result, RESULTS.non_finite)
    success = result == RESULTS.successful
    return FitResult(
        bestfit=jnp.where(success, params, jnp.nan),
        best_twice_nll=jnp.where(success, model.value, jnp.nan),
        edm=edm,
        free=free,
        at_bound=at_bound,
        competing_gap=jnp.array(jnp.inf),
        n_steps=n_steps,
        result=result,
    )


def _is_finite(model: Expansion) -> Bool[Array, ""]:
    return jnp.isfinite(model.value) & jnp.all(jnp.isfinite(model.gradient))
