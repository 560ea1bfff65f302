"""Bounded maximum-likelihood fits: certified, and differentiated by theorem.

The minimiser is a damped Newton method whose step solves the box-constrained quadratic
model, started from several points. A fit that is not certified returns nan together
with a code that says why, so that neither a number nor a gradient can come out of it.

Derivatives never go through the iterations. The minimiser follows the implicit
function theorem on the parameters that are neither held nor at a bound; the minimum
value follows the envelope theorem. Both rules are exact to every order, in forward and
reverse mode.
"""

from collections.abc import Mapping, Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.likelihood import AbstractLikelihood, Parameters


@final
class Minimiser(eqx.Module):
    """How a fit searches; the defaults serve every model tried so far.

    Attributes:
        max_steps: largest number of trial points per start, > 0.
        target_edm: estimated distance to the minimum, in units of twice_nll, at which
            the search stops, > 0.
        certified_edm: largest estimated distance to the minimum with which a fit counts
            as converged when rounding stops it earlier, > 0.
        n_directions: how many interpolated nuisance parameters, the best measured ones
            first, are varied to make further starts.
        offsets: values given to each of these in turn, in its own unit, around its
            initial value.
        exact_up_to: number of parameters up to which the search uses the exact Hessian;
            above, it uses the likelihood's positive semi-definite curvature.
    """

    max_steps: int = eqx.field(static=True, default=200)
    target_edm: float = eqx.field(static=True, default=1e-18)
    certified_edm: float = eqx.field(static=True, default=1e-10)
    n_directions: int = eqx.field(static=True, default=2)
    offsets: tuple[float, ...] = eqx.field(static=True, default=(-2.0, -1.0, 1.0, 2.0))
    exact_up_to: int = eqx.field(static=True, default=40)


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


class _Problem(eqx.Module):
    """What is minimised. `held` gives the value of every parameter in `is_held`."""

    likelihood: AbstractLikelihood
    data: PyTree
    held: Float[Array, " par"]
    is_held: Bool[Array, " par"]

    def place(self, params: Float[Array, " par"]) -> Float[Array, " par"]:
        return jnp.where(self.is_held, self.held, params)

    def value(self, params: Float[Array, " par"]) -> Scalar:
        return self.likelihood.twice_nll(self.place(params), self.data)

    def gradient(self, params: Float[Array, " par"]) -> Float[Array, " par"]:
        return self.likelihood.gradient(self.place(params), self.data)

    def hessian(self, params: Float[Array, " par"]) -> Float[Array, "par par"]:
        return self.likelihood.hessian(self.place(params), self.data)

    def curvature(self, params: Float[Array, " par"]) -> Float[Array, "par par"]:
        return self.likelihood.curvature(self.place(params), self.data)


class _Point(eqx.Module):
    """A trial point with everything the next step needs.

    `metrics` are candidates for the second derivative, the best first. Far from a
    minimum the exact Hessian may be indefinite; the curvature, last, never is.
    """

    params: Float[Array, " par"]
    value: Scalar
    gradient: Float[Array, " par"]
    metrics: Float[Array, "metric par par"]


class _Search(eqx.Module):
    point: _Point
    damping: Scalar
    edm: Scalar
    n_steps: Int[Array, ""]
    stuck: Bool[Array, ""]


class _Solution(eqx.Module):
    """The certified winner among the starts, before derivatives are attached."""

    params: Float[Array, " par"]
    edm: Scalar
    free: Bool[Array, " par"]
    at_bound: Bool[Array, " par"]
    competing_gap: Scalar
    n_steps: Int[Array, ""]
    result: RESULTS


def _restrict(
    matrix: Float[Array, "par par"], free: Bool[Array, " par"]
) -> Float[Array, "par par"]:
    """`matrix` on the free parameters, the identity on the others."""
    inside = free[:, None] & free[None, :]
    return jnp.where(inside, matrix, 0.0) + jnp.diag(jnp.where(free, 0.0, 1.0))


def _solve_free(
    matrix: Float[Array, "par par"],
    rhs: Float[Array, " par"],
    free: Bool[Array, " par"],
) -> Float[Array, " par"]:
    """Solution on the free parameters, zero elsewhere; nan if not positive definite.

    Rows are scaled to a unit diagonal first: parameters come in units from 1e-3 to 1e3
    and the Cholesky factor of the scaled matrix keeps more digits.
    """
    restricted = _restrict(matrix, free)
    diagonal = jnp.diagonal(restricted)
    scale = jnp.where(diagonal > 0, diagonal, 1.0) ** -0.5
    factor = jsl.cho_factor(restricted * scale[:, None] * scale[None, :], lower=True)
    return scale * jsl.cho_solve(factor, scale * jnp.where(free, rhs, 0.0))


def _evaluate(
    problem: _Problem, params: Float[Array, " par"], *, exact: bool
) -> _Point:
    metrics = [problem.hessian(params)] if exact else []
    return _Point(
        params=params,
        value=problem.value(params),
        gradient=problem.gradient(params),
        metrics=jnp.stack([*metrics, problem.curvature(params)]),
    )


def _pushed_out(
    parameters: Parameters,
    params: Float[Array, " par"],
    gradient: Float[Array, " par"],
) -> Bool[Array, " par"]:
    """Parameters on a bound that descent would leave through."""
    return ((params <= parameters.lower) & (gradient > 0)) | (
        (params >= parameters.upper) & (gradient < 0)
    )


def _box_step(
    parameters: Parameters,
    point: _Point,
    matrix: Float[Array, "par par"],
    free: Bool[Array, " par"],
) -> Float[Array, " par"]:
    """Minimiser of the quadratic model within the bounds; nan if it has none.

    Parameters whose step would cross a bound are moved onto it and the rest is solved
    again, so that the others take the step that belongs to the clipped one. Each round
    clips at least one more parameter, hence it ends.
    """
    lower = parameters.lower - point.params
    upper = parameters.upper - point.params

    def crossing(step, inside):
        return inside & ((step < lower) | (step > upper))

    def unfinished(state):
        step, inside = state
        return jnp.any(crossing(step, inside))

    def clip_and_solve(state):
        step, inside = state
        inside = inside & ~crossing(step, inside)
        clipped = jnp.where(free & ~inside, jnp.clip(step, lower, upper), 0.0)
        rest = _solve_free(matrix, -point.gradient - matrix @ clipped, inside)
        return jnp.where(inside, rest, clipped), inside

    first = _solve_free(matrix, -point.gradient, free)
    step, _ = jax.lax.while_loop(unfinished, clip_and_solve, (first, free))
    return step


def _first_usable(
    usable: Bool[Array, " metric"], values: Float[Array, "metric ..."]
) -> Float[Array, "..."]:
    """The value of the first usable metric; of the last where none is."""
    return jnp.where(jnp.any(usable), values[jnp.argmax(usable)], values[-1])


def _edm(point: _Point, free: Bool[Array, " par"]) -> Scalar:
    """Estimated distance to the minimum, g H^-1 g / 2, in units of twice_nll."""

    def distance(metric):
        return 0.5 * point.gradient @ _solve_free(metric, point.gradient, free)

    distances = jax.vmap(distance)(point.metrics)
    return _first_usable(~jnp.isnan(distances), distances)


def _search(
    problem: _Problem, start: Float[Array, " par"], minimiser: Minimiser
) -> _Search:
    """Damped Newton iterations from `start`."""
    parameters = problem.likelihood.parameters
    exact = start.shape[0] <= minimiser.exact_up_to

    def free_at(point: _Point) -> Bool[Array, " par"]:
        return ~problem.is_held & ~_pushed_out(parameters, point.params, point.gradient)

    def unfinished(search: _Search):
        return (
            (search.n_steps < minimiser.max_steps)
            & ~search.stuck
            & ~(search.edm <= minimiser.target_edm)
        )

    def advance(search: _Search) -> _Search:
        point, free = search.point, free_at(search.point)

        diagonal = jnp.maximum(jnp.diagonal(point.metrics[-1]), 1e-12)

        def model_step(metric):
            damped = metric + jnp.diag(search.damping * diagonal)
            step = _box_step(parameters, point, damped, free)
            return step, -(point.gradient @ step + 0.5 * step @ (damped @ step))

        steps, gains = jax.vmap(model_step)(point.metrics)
        usable = jnp.all(jnp.isfinite(steps), axis=1) & (gains > 0)
        step, gain = _first_usable(usable, steps), _first_usable(usable, gains)

        reachable = jnp.clip(point.params + step, parameters.lower, parameters.upper)
        trial = _evaluate(problem, reachable, exact=exact)
        edm = _edm(trial, free_at(trial))
        rounding = 1e-13 * (1.0 + jnp.abs(point.value))
        drop = point.value - trial.value
        finite = jnp.isfinite(trial.value) & jnp.all(jnp.isfinite(trial.gradient))
        # Below rounding the value cannot tell better from worse; the distance can.
        better = jnp.where(
            gain > rounding, drop > 1e-4 * gain, (drop > -rounding) & (edm < search.edm)
        )
        accept = finite & (better | jnp.isinf(point.value))
        ratio = drop / jnp.where(gain > 0, gain, 1.0)
        relaxed = jnp.where(search.damping > 1e-8, search.damping / 8, 0.0)
        damping = jnp.where(
            accept,
            jnp.where(
                (ratio > 0.5) | (gain <= rounding),
                relaxed,
                jnp.maximum(2 * search.damping, 1e-3),
            ),
            jnp.maximum(6 * search.damping, 1e-3),
        )
        kept = jax.tree.map(lambda new, old: jnp.where(accept, new, old), trial, point)
        return _Search(
            point=kept,
            damping=damping,
            edm=jnp.where(accept, edm, search.edm),
            n_steps=search.n_steps + 1,
            stuck=~accept & ((damping > 1e12) | (gain <= 1e-3 * rounding)),
        )

    # An infinitely high point with no slope: the first step stays where it is, so that
    # the model is evaluated, and compiled, in one place only.
    n_par = start.shape[0]
    identity = jnp.broadcast_to(jnp.eye(n_par), (1 + exact, n_par, n_par))
    zero = jnp.zeros(n_par)
    initial = _Search(
        point=_Point(start, jnp.array(jnp.inf), zero, identity),
        damping=jnp.zeros(()),
        edm=jnp.array(jnp.inf),
        n_steps=jnp.zeros((), int),
        stuck=jnp.array(False),  # noqa: FBT003
    )
    return jax.lax.while_loop(unfinished, advance, initial)


def _starts(
    problem: _Problem,
    start: Float[Array, " par"],
    partners: Float[Array, "partner par"],
    minimiser: Minimiser,
) -> Float[Array, "start par"]:
    """The given start, the partner fits' optima, and the varied nuisance parameters."""
    parameters = problem.likelihood.parameters
    rows = [start[None], partners]
    candidates = [parameters.index(name) for name in parameters.interpolated]
    n_directions = min(len(candidates), minimiser.n_directions)
    if n_directions and minimiser.offsets:
        measured = jnp.diagonal(problem.curvature(start))[jnp.array(candidates)]
        ranked = jnp.where(jnp.isnan(measured), -jnp.inf, measured)
        _, best = jax.lax.top_k(ranked, n_directions)
        chosen = jnp.array(candidates)[best]
        directions = jax.nn.one_hot(chosen, len(parameters), dtype=start.dtype)
        offsets = jnp.array(minimiser.offsets, start.dtype)
        shifts = offsets[:, None, None] * directions[None]
        rows.append(start[None] + shifts.reshape(-1, len(parameters)))

    def admit(point):
        return problem.place(jnp.clip(point, parameters.lower, parameters.upper))

    return jax.vmap(admit)(jnp.concatenate(rows))


def _certify(problem: _Problem, search: _Search, minimiser: Minimiser) -> _Solution:
    """Check one finished search; the code names the first thing found wanting."""
    parameters = problem.likelihood.parameters
    point = search.point
    at_bound = ~problem.is_held & _pushed_out(parameters, point.params, point.gradient)
    free = ~problem.is_held & ~at_bound
    exact = point.metrics.shape[0] > 1
    hessian = point.metrics[0] if exact else problem.hessian(point.params)
    hessian = _restrict(hessian, free)
    diagonal = jnp.diagonal(hessian)
    scale = jnp.where(diagonal > 0, diagonal, 1.0) ** -0.5
    scaled = hessian * scale[:, None] * scale[None, :]
    # nan fails both comparisons, so a Hessian with nan is never certified. The scaled
    # matrix has a unit diagonal: an eigenvalue at rounding level is a flat direction.
    lowest = jnp.linalg.eigvalsh(jnp.where(jnp.isfinite(scaled), scaled, 0.0))[0]
    definite = jnp.all(diagonal > 0) & jnp.all(jnp.isfinite(scaled)) & (lowest > 1e-11)
    finite = jnp.isfinite(point.value) & jnp.all(jnp.isfinite(point.gradient))
    result = RESULTS.where(
        search.edm <= minimiser.certified_edm,
        RESULTS.where(definite, RESULTS.successful, RESULTS.hessian_not_pd),
        RESULTS.where(
            definite | (search.n_steps >= minimiser.max_steps),
            RESULTS.iteration_limit,
            RESULTS.hessian_not_pd,
        ),
    )
    return _Solution(
        params=point.params,
        edm=search.edm,
        free=free,
        at_bound=at_bound,
        competing_gap=jnp.array(jnp.inf),
        n_steps=search.n_steps,
        result=RESULTS.where(finite, result, RESULTS.non_finite),
    )


def _take(tree: PyTree, index: Int[Array, ""]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


@eqx.filter_custom_jvp
def _solve(
    problem: _Problem,
    starts: Float[Array, "start par"],
    *,
    minimiser: Minimiser,
) -> tuple[Scalar, _Solution]:
    """Value and place of the lowest certified minimum, with their derivatives."""
    return _lowest(problem, starts, minimiser)


# Compiled as a unit, the search is traced once however often it is transformed.
@eqx.filter_jit
def _lowest(
    problem: _Problem, starts: Float[Array, "start par"], minimiser: Minimiser
) -> tuple[Scalar, _Solution]:
    """Value and place of the lowest certified minimum over all starts."""

    def run(start):
        search = _search(problem, start, minimiser)
        return _certify(problem, search, minimiser), search.point.value

    solutions, values = jax.vmap(run)(starts)
    certified = solutions.result == RESULTS.successful
    # A start that got lower without being certified disproves the certified ones, so
    # certification decides only between values that are equal to rounding.
    lowest = jnp.min(jnp.where(jnp.isnan(values), jnp.inf, values))
    tied = values <= lowest + 1e-9 * (1.0 + jnp.abs(lowest))
    ranked = jnp.where(tied & certified, -1.0, jnp.where(tied, 0.0, 1.0))
    winner = jnp.argmin(ranked)
    best = _take(solutions, winner)

    shift = solutions.params - best.params[None]
    metric = _restrict(problem.curvature(best.params), best.free)
    distance = jnp.einsum("si,ij,sj->s", shift, metric, shift)
    # Two certified ends closer than a tenth of a standard deviation are one minimum.
    distinct = certified & (distance > 2 * 0.1**2)
    gap = jnp.min(jnp.where(distinct, values - values[winner], jnp.inf))

    failed = best.result != RESULTS.successful
    params = jnp.where(failed, jnp.nan, best.params)
    best = eqx.tree_at(lambda s: (s.params, s.competing_gap), best, (params, gap))
    return jnp.where(failed, jnp.nan, values[winner]), best


@_solve.def_jvp
def _solve_jvp(primals, tangents, *, minimiser):
    problem, starts = primals
    tangent, _ = tangents
    value, solution = _solve(problem, starts, minimiser=minimiser)

    def value_and_gradient(model: _Problem) -> tuple[Scalar, Float[Array, " par"]]:
        return model.value(solution.params), model.gradient(solution.params)

    _, (dvalue, dgradient) = eqx.filter_jvp(value_and_gradient, (problem,), (tangent,))
    hessian = _restrict(problem.hessian(solution.params), solution.free)
    response = jnp.linalg.solve(hessian, jnp.where(solution.free, dgradient, 0.0))
    dheld = jnp.zeros_like(response) if tangent.held is None else tangent.held
    dparams = jnp.where(problem.is_held, dheld, -response)
    unmoved = jax.tree.map(lambda _: None, solution)
    dsolution = eqx.tree_at(
        lambda s: s.params, unmoved, dparams, is_leaf=lambda leaf: leaf is None
    )
    return (value, solution), (dvalue, dsolution)


def _hold(
    likelihood: AbstractLikelihood, data: PyTree, fixed: Mapping[str, ArrayLike]
) -> _Problem:
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
    return _Problem(likelihood, data, held, is_held)


def _result(
    problem: _Problem, starts: Float[Array, "start par"], minimiser: Minimiser
) -> FitResult:
    value, solution = _solve(
        problem, jax.lax.stop_gradient(starts), minimiser=minimiser
    )
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
    return _take(flat, jnp.argmax(flat != RESULTS.successful))


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
    problem: _Problem, partners: Float[Array, "partner par"], minimiser: Minimiser
) -> FitResult:
    frozen, others = jax.lax.stop_gradient((problem, partners))
    starts = _starts(frozen, frozen.held, others, minimiser)
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
        problem = _Problem(frozen, frozen_data, held, is_held)
        starts = _starts(problem, held, nobody, minimiser)
        return starts[0], _solve(problem, starts, minimiser=minimiser)[1].params

    begins, optima = jax.vmap(alone)(jax.lax.stop_gradient(held), is_held)
    # A failed fit has no optimum to lend; its own start takes that place.
    lent = jnp.where(jnp.isnan(optima), begins, optima)

    def again(held, is_held):
        problem = _Problem(likelihood, data, held, is_held)
        return _result(problem, jax.vmap(problem.place)(lent), minimiser)

    return jax.vmap(again)(held, is_held)
