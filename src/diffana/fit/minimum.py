"""The lowest certified minimum, and its derivatives by theorem."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit.problem import Problem, pushed_out, restrict
from diffana.fit.search import Minimiser, Search, descend


class Solution(eqx.Module):
    """The certified winner among the starts, before derivatives are attached."""

    params: Float[Array, " par"]
    edm: Scalar
    free: Bool[Array, " par"]
    at_bound: Bool[Array, " par"]
    competing_gap: Scalar
    n_steps: Int[Array, ""]
    result: RESULTS


def _certify(problem: Problem, search: Search, minimiser: Minimiser) -> Solution:
    """Check one finished search; the code names the first thing found wanting."""
    parameters = problem.likelihood.parameters
    point = search.point
    at_bound = ~problem.is_held & pushed_out(parameters, point.params, point.gradient)
    free = ~problem.is_held & ~at_bound
    exact = point.metrics.shape[0] > 1
    hessian = point.metrics[0] if exact else problem.hessian(point.params)
    hessian = restrict(hessian, free)
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
    return Solution(
        params=point.params,
        edm=search.edm,
        free=free,
        at_bound=at_bound,
        competing_gap=jnp.array(jnp.inf),
        n_steps=search.n_steps,
        result=RESULTS.where(finite, result, RESULTS.non_finite),
    )


def take(tree: PyTree, index: Int[Array, ""]) -> PyTree:
    """Entry `index` along the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


@eqx.filter_custom_jvp
def solve(
    problem: Problem,
    starts: Float[Array, "start par"],
    *,
    minimiser: Minimiser,
) -> tuple[Scalar, Solution]:
    """Value and place of the lowest certified minimum, with their derivatives."""
    return _lowest(problem, starts, minimiser)


# Compiled as a unit, the search is traced once however often it is transformed.
@eqx.filter_jit
def _lowest(
    problem: Problem, starts: Float[Array, "start par"], minimiser: Minimiser
) -> tuple[Scalar, Solution]:
    """Value and place of the lowest certified minimum over all starts."""

    def run(start):
        search = descend(problem, start, minimiser)
        return _certify(problem, search, minimiser), search.point.value

    solutions, values = jax.vmap(run)(starts)
    certified = solutions.result == RESULTS.successful
    # A start that got lower without being certified disproves the certified ones, so
    # certification decides only between values that are equal to rounding.
    lowest = jnp.min(jnp.where(jnp.isnan(values), jnp.inf, values))
    tied = values <= lowest + 1e-9 * (1.0 + jnp.abs(lowest))
    ranked = jnp.where(tied & certified, -1.0, jnp.where(tied, 0.0, 1.0))
    winner = jnp.argmin(ranked)
    best = take(solutions, winner)

    shift = solutions.params - best.params[None]
    metric = restrict(problem.curvature(best.params), best.free)
    distance = jnp.einsum("si,ij,sj->s", shift, metric, shift)
    # Two certified ends closer than a tenth of a standard deviation are one minimum.
    distinct = certified & (distance > 2 * 0.1**2)
    gap = jnp.min(jnp.where(distinct, values - values[winner], jnp.inf))

    failed = best.result != RESULTS.successful
    params = jnp.where(failed, jnp.nan, best.params)
    best = eqx.tree_at(lambda s: (s.params, s.competing_gap), best, (params, gap))
    return jnp.where(failed, jnp.nan, values[winner]), best


@solve.def_jvp
def _solve_jvp(primals, tangents, *, minimiser):
    problem, starts = primals
    tangent, _ = tangents
    value, solution = solve(problem, starts, minimiser=minimiser)

    def value_and_gradient(model: Problem) -> tuple[Scalar, Float[Array, " par"]]:
        return model.value(solution.params), model.gradient(solution.params)

    _, (dvalue, dgradient) = eqx.filter_jvp(value_and_gradient, (problem,), (tangent,))
    hessian = restrict(problem.hessian(solution.params), solution.free)
    response = jnp.linalg.solve(hessian, jnp.where(solution.free, dgradient, 0.0))
    dheld = jnp.zeros_like(response) if tangent.held is None else tangent.held
    dparams = jnp.where(problem.is_held, dheld, -response)
    unmoved = jax.tree.map(lambda _: None, solution)
    dsolution = eqx.tree_at(
        lambda s: s.params, unmoved, dparams, is_leaf=lambda leaf: leaf is None
    )
    return (value, solution), (dvalue, dsolution)
