"""Damped Newton search within bounds, from one start."""

from collections.abc import Callable
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from diffana.fit.problem import Problem
from diffana.fit.quadratic import Quadratic, box_step


@final
class Minimiser(eqx.Module):
    """How a fit searches; the defaults serve every model tried so far.

    Every start first descends with the likelihood's positive semi-definite curvature,
    which is cheap and cannot mislead, then with the exact Hessian. A fit that is not
    certified after all starts goes on from its best point with the exact Hessian alone
    and many more steps: curved valleys take them.

    Attributes:
        max_steps: largest number of trial points per descent, > 0.
        near_edm: estimated distance to the minimum, in units of twice_nll, at which the
            exact Hessian takes over, > 0.
        target_edm: the distance at which the search stops, > 0.
        certified_edm: largest distance with which a fit counts as converged when
            rounding stops it earlier, > 0.
        reach: longest step of an interpolated parameter, in its own unit, > 0. Morphed
            templates change their character over one unit: a longer step would cross
            from the nearest minimum to a farther one.
        n_directions: how many interpolated nuisance parameters, the best measured ones
            first, are varied to make further starts.
        offsets: values given to each of these in turn, in its own unit, around its
            initial value.
        last_steps: largest number of trial points of the last descent; 0 leaves it out.
    """

    max_steps: int = eqx.field(static=True, default=200)
    near_edm: float = eqx.field(static=True, default=1e-3)
    target_edm: float = eqx.field(static=True, default=1e-18)
    certified_edm: float = eqx.field(static=True, default=1e-10)
    reach: float = eqx.field(static=True, default=0.5)
    n_directions: int = eqx.field(static=True, default=2)
    offsets: tuple[float, ...] = eqx.field(static=True, default=(-2.0, -1.0, 1.0, 2.0))
    last_steps: int = eqx.field(static=True, default=4000)


class Search(eqx.Module):
    """State of a descent.

    Attributes:
        params: lowest point so far.
        value: twice_nll there; inf before it is evaluated with the model in use.
        model: quadratic model of twice_nll there.
        step: next step to try.
        gain: decrease of twice_nll that the model predicts for it; nan if the damped
            model has no minimum, and then the step is of no use.
        damping: multiple of the model's scale added to its diagonal.
        exact: whether the next model takes the Hessian.
        n_cut: how many of the latest steps in a row were cut to the reach and turned
            out as predicted.
        is_cut: whether the next step is cut to the reach.
        n_steps: trial points so far.
        known: whether it ended where nothing new can be found.
        ended: whether there is nothing left to do.
    """

    params: Float[Array, " par"]
    value: Scalar
    model: Quadratic
    step: Float[Array, " par"]
    gain: Scalar
    damping: Scalar
    exact: Bool[Array, ""]
    n_cut: Int[Array, ""]
    is_cut: Bool[Array, ""]
    n_steps: Int[Array, ""]
    known: Bool[Array, ""]
    ended: Bool[Array, ""]


class Trial(NamedTuple):
    """A point that a descent has reached.

    Attributes:
        params: the point.
        model: quadratic model of twice_nll there.
        step: from there to the minimum of the damped model.
        gain: decrease of twice_nll that the model predicts for that step.
        n_steps: trial points so far.
    """

    params: Float[Array, " par"]
    model: Quadratic
    step: Float[Array, " par"]
    gain: Scalar
    n_steps: Int[Array, ""]


def descend(
    problem: Problem,
    start: Float[Array, " par"],
    pinned: Bool[Array, " par"],
    reach: Float[Array, " par"],
    minimiser: Minimiser,
    arrived: Callable[[Trial], Bool[Array, ""]],
    *,
    is_last: Bool[Array, ""],
) -> Search:
    """Damped Newton iterations from `start` until the model promises nothing more.

    Args:
        problem: what is minimised.
        start: first point, within the bounds.
        pinned: parameters that the first step leaves where they are.
        reach: longest step of each parameter at first. Once two steps in a row are
            cut to it and turn out as predicted, it doubles with every further one.
        minimiser: settings of the search.
        arrived: whether a point is where nothing new can be found.
        is_last: whether this is the last descent of a fit, see `Minimiser`.
    """

    def unfinished(search: Search) -> Bool[Array, ""]:
        return ~search.ended

    def advance(search: Search) -> Search:
        usable = ~jnp.isnan(search.gain)
        step = jnp.where(usable, search.step, 0.0)
        reachable = jnp.clip(search.params + step, problem.lower, problem.upper)
        params = problem.place(reachable)
        trial = problem.model(params, search.exact)
        value, slope = trial.expansion.value, trial.expansion.gradient

        before, gain = search.value, search.gain
        rounding = 1e-13 * (1.0 + jnp.abs(before))
        drop = before - value
        # Below rounding the value cannot tell better from worse.
        at_rounding = gain <= rounding
        better = jnp.where(at_rounding, drop > -rounding, drop > 1e-4 * gain)
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope))
        first = jnp.isinf(before)
        accept = finite & ((usable & better) | first)

        well_modelled = at_rounding | first | (drop > 0.5 * gain)
        relaxed = jnp.where(search.damping > 1e-9, search.damping / 8, 0.0)
        stiffer = jnp.where(accept, 2.0, 6.0) * search.damping
        damping = jnp.where(accept & well_modelled, relaxed, jnp.maximum(stiffer, 1e-3))

        params, value, model = jax.tree.map(
            lambda new, old: jnp.where(accept, new, old),
            (params, value, trial),
            (search.params, before, search.model),
        )
        n_steps = search.n_steps + 1
        free = problem.free_at(params, model.expansion.gradient)
        free = free & ~(pinned & (n_steps == 1))
        distances = problem.lower - params, problem.upper - params
        step, next_gain = box_step(model, *distances, free, damping)
        next_gain = jnp.where(next_gain >= 0, next_gain, jnp.nan)
        as_predicted = accept & well_modelled
        n_cut = jnp.where(usable & ~as_predicted, 0, search.n_cut)
        n_cut = n_cut + (usable & as_predicted & search.is_cut)
        stride = reach * 2.0 ** jnp.maximum(n_cut - 1, 0)
        part = 1.0 / jnp.max(jnp.abs(step) / stride, initial=1.0)

        target = jnp.where(search.exact, minimiser.target_edm, minimiser.near_edm)
        stalled = accept & at_rounding & ~first & (next_gain > 0.25 * gain)
        hopeless = ~accept & ((damping > 1e12) | (gain <= 1e-3 * rounding) | first)
        usual = minimiser.max_steps * jnp.where(search.exact, 2, 1)
        limit = jnp.where(is_last, minimiser.last_steps, usual)
        done = (next_gain <= target) | stalled | hopeless | (n_steps >= limit)
        there = arrived(Trial(params, model, step, next_gain, n_steps))
        # The Hessian takes over at the same point, evaluated anew.
        refine = done & ~search.exact & ~there
        return Search(
            params=params,
            value=jnp.where(refine, jnp.inf, value),
            model=model,
            step=jnp.where(refine, 0.0, part * step),
            # What the model predicts for that part of its step.
            gain=jnp.where(refine, 0.0, part * (2 - part) * next_gain),
            damping=jnp.where(refine, 0.0, damping),
            exact=search.exact | refine,
            n_cut=n_cut,
            is_cut=part < 1,
            n_steps=n_steps,
            known=there,
            ended=there | (done & search.exact),
        )

    # An infinitely high point with no slope: the first step stays where it is, so that
    # the model is evaluated, and compiled, in one place only.
    no, yes = jnp.array(False), jnp.array(True)  # noqa: FBT003
    shapes = eqx.filter_eval_shape(problem.model, start, no)
    initial = Search(
        params=start,
        value=jnp.array(jnp.inf),
        model=jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes),
        step=jnp.zeros_like(start),
        gain=jnp.zeros(()),
        damping=jnp.zeros(()),
        exact=is_last,
        n_cut=jnp.zeros((), int),
        is_cut=no,
        n_steps=jnp.zeros((), int),
        known=no,
        ended=jnp.where(jnp.any(jnp.isnan(start)), yes, no),
    )
    return jax.lax.while_loop(unfinished, advance, initial)
