"""Fits of one likelihood to many data sets at once.

A fit by itself starts from several points and is certified with the exact Hessian. That
is too dear for the thousands of pseudo-experiments of a Neyman construction, whose fits
are all alike and start next to their minimum. Here all of them take the steps of
Fisher's scoring together, until the last one has arrived.
"""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from diffana.fit.elimination import solve_many
from diffana.likelihood import AbstractLikelihood


CERTIFIED_EDM = 1e-6
"""Largest estimated distance to the minimum, in units of twice_nll, before it is
subtracted. What remains is of the order of its power of 3/2."""

# Fits that take more evaluations learn how their Hessian differs from the curvature.
_USUAL_STEPS = 4
# A fit that is damped as much as this cannot get anywhere.
_HOPELESS = 1e9


@final
class ManyFits(eqx.Module):
    """Minima of twice_nll, one per data set.

    Attributes:
        params: parameters at the minimum.
        twice_nll: -2 ln L there; nan without certificate.
        tangent: how all parameters move along the profile with the chosen one.
        stiffness: second derivative of the profile of twice_nll in the chosen one, also
            where a bound of it stops the fit; nan where there is none.
        log_det: logarithm of the determinant of the curvature of all free parameters
            but the chosen one; those that a bound stops are not free.
        is_certified: whether the estimated distance to the minimum is small, all
            numbers are finite, and the curvature is positive definite.
    """

    params: Float[Array, "toy par"]
    twice_nll: Float[Array, " toy"]
    tangent: Float[Array, "toy par"]
    log_det: Float[Array, " toy"]
    stiffness: Float[Array, " toy"]
    is_certified: Bool[Array, " toy"]


class _State(NamedTuple):
    """Where all fits are, and what they do next."""

    params: Float[Array, "toy par"]
    value: Float[Array, " toy"]
    slope: Float[Array, "toy par"]
    curvature: Float[Array, "toy par par"]
    bend: Float[Array, "toy par par"]
    step: Float[Array, "toy par"]
    edm: Float[Array, " toy"]
    damping: Float[Array, " toy"]
    n_steps: Int[Array, ""]


class _System(NamedTuple):
    """Linear systems for the next steps, and which parameters take part."""

    matrix: Float[Array, "toy par par"]
    free: Bool[Array, "toy par"]
    moving: Bool[Array, "toy par"]
    stopped: Bool[Array, " toy"]
    surplus: Float[Array, " toy"]


def fit_many(
    likelihood: AbstractLikelihood,
    data: PyTree[Array],
    starts: Float[Array, "toy par"],
    *,
    along: int,
    is_held: bool = False,
    limits: tuple[ArrayLike, ArrayLike] | None = None,
    certified_edm: float = CERTIFIED_EDM,
    max_steps: int = 50,
) -> ManyFits:
    """Minimise twice_nll for many data sets.

    To be called under `jit`. Failures are data. Each data set is fitted as if it were
    alone: the result does not depend on what else is in the batch.

    Args:
        likelihood: a statistical model.
        data: data sets, one per entry of the leading axis.
        starts: where each fit begins.
        along: position of the parameter along which a profile is wanted.
        is_held: whether that parameter keeps its value at the start.
        limits: bounds of that parameter, in place of its own ones.
        certified_edm: largest estimated distance to the minimum, before it is
            subtracted.
        max_steps: largest number of evaluations of the likelihood per data set.

    Example:
        >>> starts = jnp.tile(model.parameters.inits, (len(toys), 1))
        >>> eqx.filter_jit(fit_many)(model, toys, starts, along=0).twice_nll
    """
    parameters = likelihood.parameters
    n_toys, n_par = starts.shape
    held = parameters.fixed | (jnp.arange(n_par) == along) & is_held
    lower, upper = parameters.lower, parameters.upper
    if limits is not None:
        lower, upper = lower.at[along].set(limits[0]), upper.at[along].set(limits[1])
    lower, upper = lower[None], upper[None]
    unit = jnp.zeros(n_par).at[along].set(1.0)
    evaluate = jax.vmap(likelihood.scoring)

    def admit(params: Float[Array, "toy par"]) -> Float[Array, "toy par"]:
        return jnp.where(held[None], starts, jnp.clip(params, lower, upper))

    def assemble(
        params: Float[Array, "toy par"],
        slope: Float[Array, "toy par"],
        curvature: Float[Array, "toy par par"],
        damping: Float[Array, " toy"],
    ) -> _System:
        pushed = (params <= lower) & (slope > 0) | (params >= upper) & (slope < 0)
        free = ~held[None] & ~pushed
        # A bound that stops the fit does not end the profile: what it does beyond is
        # wanted, too.
        stopped = pushed[:, along] & ~held[along]
        moving = free | (jnp.arange(n_par) == along)[None] & stopped[:, None]
        both = moving[:, :, None] & moving[:, None, :]
        diagonal = jnp.diagonal(curvature, axis1=1, axis2=2)
        # Without events a rate has a slope, but no curvature.
        scale = jnp.where(diagonal > 0, diagonal, 1.0)
        extra = damping[:, None] * scale + jnp.where(diagonal > 0, 0.0, 1.0)
        extra = extra.at[:, along].add(jnp.where(stopped, scale[:, along], 0.0))
        extra = jnp.where(moving, extra, 1.0)
        matrix = jnp.where(both, curvature, 0.0)
        matrix = matrix + extra[:, :, None] * jnp.eye(n_par)[None]
        surplus = jnp.where(moving, extra, 0.0)[:, along]
        return _System(matrix, free, moving, stopped, surplus)

    def unfinished(state: _State) -> Bool[Array, ""]:
        arrived = (state.edm <= certified_edm) | (state.damping > _HOPELESS)
        return ~jnp.all(arrived) & (state.n_steps < max_steps)

    def advance(state: _State) -> _State:
        params = admit(state.params + state.step)
        trial = evaluate(params, data)
        finite = jnp.isfinite(trial.value) & jnp.all(jnp.isfinite(trial.gradient), 1)
        # Of sums whose terms may be far larger than their total.
        rounding = 1e-8 + 1e-12 * jnp.abs(trial.value)
        accept = finite & (trial.value <= state.value + rounding)
        # A start where the data are impossible is moved towards the nominal one.
        is_lost = ~accept & jnp.isinf(state.value)
        nearer = admit(0.5 * (params + parameters.inits[None]))
        stay = jnp.where(is_lost[:, None], nearer, state.params)
        params = jnp.where(accept[:, None], params, stay)
        value = jnp.where(accept, trial.value, state.value)
        slope = jnp.where(accept[:, None], trial.gradient, state.slope)
        curvature = jnp.where(accept[:, None, None], trial.curvature, state.curvature)
        bend = _learned(
            state.bend,
            curvature,
            params - state.params,
            slope - state.slope,
            accept & jnp.isfinite(state.value) & (state.n_steps >= _USUAL_STEPS),
        )
        relaxed = jnp.where(state.damping > 0.5, 0.1, 0.0)
        # Where the last matrix was singular there was no step, and nothing to learn.
        relaxed = jnp.where(jnp.isinf(state.edm), state.damping, relaxed)
        stiffer = jnp.maximum(8 * state.damping, 0.1)
        damping = jnp.where(accept, relaxed, stiffer)

        system = assemble(params, slope, curvature + bend, damping)
        free, moving, stopped = system.free, system.moving, system.stopped
        right = jnp.stack(
            [jnp.where(free, slope, 0.0), jnp.where(moving, unit[None], 0.0)], 2
        )
        solved = solve_many(system.matrix, right)
        newton, response = solved.x[:, :, 0], solved.x[:, :, 1]
        # The step that leaves the stopped parameter where it is.
        ratio = newton[:, along] / jnp.where(stopped, response[:, along], 1.0)
        newton = newton - jnp.where(stopped, ratio, 0.0)[:, None] * response
        # Rounding must not take it off its bound.
        newton = newton.at[:, along].multiply(jnp.where(stopped, 0.0, 1.0))
        usable = solved.is_definite & jnp.all(jnp.isfinite(newton), axis=1)
        usable = usable & jnp.isfinite(value)
        edm = jnp.where(usable, 0.5 * (right[:, :, 0] * newton).sum(1), jnp.inf)
        found = _State(
            params=params,
            value=value,
            slope=slope,
            curvature=curvature,
            bend=jnp.where(usable[:, None, None], bend, 0.0),
            step=jnp.where(usable[:, None], -newton, 0.0),
            # With damping the distance is too small an estimate to stop at.
            edm=jnp.where(damping > 0, jnp.maximum(edm, 2 * certified_edm), edm),
            damping=jnp.where(usable, damping, jnp.maximum(8 * damping, 0.1)),
            n_steps=state.n_steps + 1,
        )
        # What has arrived stays, so that no result depends on the other data sets.
        done = state.edm <= certified_edm
        return jax.tree.map(
            lambda new, old: (
                jnp.where(done.reshape(done.shape + (1,) * (new.ndim - 1)), old, new)
                if new.ndim
                else new
            ),
            found,
            state,
        )

    nothing = jnp.zeros((n_toys, n_par))
    state = _State(
        params=admit(starts),
        value=jnp.full(n_toys, jnp.inf),
        slope=nothing,
        curvature=jnp.zeros((n_toys, n_par, n_par)),
        bend=jnp.zeros((n_toys, n_par, n_par)),
        step=nothing,
        edm=jnp.full(n_toys, jnp.inf),
        damping=jnp.zeros(n_toys),
        n_steps=jnp.zeros((), int),
    )
    state = jax.lax.while_loop(unfinished, advance, state)
    ok = jnp.isfinite(state.value) & (state.edm <= certified_edm)
    # The inverse of the curvature tells what the profile does: its column is the
    # direction, its diagonal the inverse of the stiffness and a ratio of determinants.
    system = assemble(state.params, state.slope, state.curvature, jnp.zeros(n_toys))
    right = jnp.where(system.moving, unit[None], 0.0)[:, :, None]
    solved = solve_many(system.matrix, right)
    response = solved.x[:, :, 0]
    moves = ok & (jnp.abs(response[:, along]) > 0)
    variance = jnp.where(moves, response[:, along], 1.0)
    stiffness = 1 / variance - system.surplus
    # What is left of a difference of equal numbers is rounding.
    has_stiffness = moves & (stiffness > 1e-9 / variance)
    return ManyFits(
        params=admit(state.params + jnp.where(ok[:, None], state.step, 0.0)),
        twice_nll=jnp.where(ok, state.value - state.edm, jnp.nan),
        tangent=jnp.where(moves[:, None], response / variance[:, None], nothing),
        stiffness=jnp.where(has_stiffness, stiffness, jnp.nan),
        log_det=solved.log_det + jnp.log(jnp.where(variance > 0, variance, 1.0)),
        is_certified=ok,
    )


def _learned(
    bend: Float[Array, "toy par par"],
    curvature: Float[Array, "toy par par"],
    step: Float[Array, "toy par"],
    change: Float[Array, "toy par"],
    is_wanted: Bool[Array, " toy"],
) -> Float[Array, "toy par par"]:
    """Hessian without the curvature, from how the slope has changed along a step.

    The symmetric update of rank one: far from the data, templates that bend are as
    important as their slopes, and scoring alone overshoots.

    Source: Nocedal, Wright, Numerical Optimization, 2nd edition, equation 6.24.
    """
    missing = change - jnp.einsum("tij,tj->ti", curvature + bend, step)
    missing = jnp.where(step != 0, missing, 0.0)
    along = (missing * step).sum(1)
    size = jnp.sqrt((missing**2).sum(1) * (step**2).sum(1))
    usable = is_wanted & (jnp.abs(along) > 1e-6 * size) & jnp.isfinite(along)
    safe = jnp.where(usable, along, 1.0)
    update = missing[:, :, None] * (missing / safe[:, None])[:, None]
    return bend + jnp.where(usable[:, None, None], update, 0.0)
