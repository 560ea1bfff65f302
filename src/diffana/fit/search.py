"""Damped Newton search within bounds, from one start or from several."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from diffana.fit.problem import Problem, pushed_out, solve_free
from diffana.likelihood import Parameters


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


class Point(eqx.Module):
    """A trial point with everything the next step needs.

    `metrics` are candidates for the second derivative, the best first. Far from a
    minimum the exact Hessian may be indefinite; the curvature, last, never is.
    """

    params: Float[Array, " par"]
    value: Scalar
    gradient: Float[Array, " par"]
    metrics: Float[Array, "metric par par"]


class Search(eqx.Module):
    """State of a search.

    Attributes:
        point: lowest point so far.
        damping: multiple of the curvature's diagonal added to the model.
        edm: estimated distance of the point to the minimum, in units of twice_nll.
        n_steps: trial points so far.
        stuck: whether no step makes progress any more.
    """

    point: Point
    damping: Scalar
    edm: Scalar
    n_steps: Int[Array, ""]
    stuck: Bool[Array, ""]


def descend(
    problem: Problem, start: Float[Array, " par"], minimiser: Minimiser
) -> Search:
    """Damped Newton iterations from `start`."""
    parameters = problem.likelihood.parameters
    exact = start.shape[0] <= minimiser.exact_up_to

    def free_at(point: Point) -> Bool[Array, " par"]:
        return ~problem.is_held & ~pushed_out(parameters, point.params, point.gradient)

    def unfinished(search: Search):
        return (
            (search.n_steps < minimiser.max_steps)
            & ~search.stuck
            & ~(search.edm <= minimiser.target_edm)
        )

    def advance(search: Search) -> Search:
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
        return Search(
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
    initial = Search(
        point=Point(start, jnp.array(jnp.inf), zero, identity),
        damping=jnp.zeros(()),
        edm=jnp.array(jnp.inf),
        n_steps=jnp.zeros((), int),
        stuck=jnp.array(False),  # noqa: FBT003
    )
    return jax.lax.while_loop(unfinished, advance, initial)


def _evaluate(problem: Problem, params: Float[Array, " par"], *, exact: bool) -> Point:
    metrics = [problem.hessian(params)] if exact else []
    return Point(
        params=params,
        value=problem.value(params),
        gradient=problem.gradient(params),
        metrics=jnp.stack([*metrics, problem.curvature(params)]),
    )


def _box_step(
    parameters: Parameters,
    point: Point,
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
        rest = solve_free(matrix, -point.gradient - matrix @ clipped, inside)
        return jnp.where(inside, rest, clipped), inside

    first = solve_free(matrix, -point.gradient, free)
    step, _ = jax.lax.while_loop(unfinished, clip_and_solve, (first, free))
    return step


def _first_usable(
    usable: Bool[Array, " metric"], values: Float[Array, "metric ..."]
) -> Float[Array, "..."]:
    """The value of the first usable metric; of the last where none is."""
    return jnp.where(jnp.any(usable), values[jnp.argmax(usable)], values[-1])


def _edm(point: Point, free: Bool[Array, " par"]) -> Scalar:
    """Estimated distance to the minimum, g H^-1 g / 2, in units of twice_nll."""

    def distance(metric):
        return 0.5 * point.gradient @ solve_free(metric, point.gradient, free)

    distances = jax.vmap(distance)(point.metrics)
    return _first_usable(~jnp.isnan(distances), distances)


def starting_points(
    problem: Problem,
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
