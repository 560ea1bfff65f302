"""Where a function of profiled likelihoods crosses zero, and its derivative by theorem.

Upper limits and profile-likelihood intervals are such points. The search is a Newton
iteration inside a bracket, whose slopes cost nothing: by the envelope theorem the
derivative of a profile is that of twice_nll at fixed nuisance parameters.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit import Minimiser, first_failure, fit
from diffana.likelihood import AbstractLikelihood


class AbstractCurve(eqx.Module):
    """A function of one parameter through the profiles of one or more data sets.

    Attributes:
        likelihood: the statistical model.
        data: the data sets, one for each entry along the leading axis.
        fixed: further parameters held in all fits, with their values.
        name: the parameter along which the profiles run.
    """

    likelihood: eqx.AbstractVar[AbstractLikelihood]
    data: eqx.AbstractVar[PyTree]
    fixed: eqx.AbstractVar[dict[str, ArrayLike]]
    name: eqx.AbstractVar[str]

    @abc.abstractmethod
    def height(
        self, branch: Int[Array, ""], x: Scalar, minima: Float[Array, " fit"]
    ) -> Scalar:
        """The function whose crossing with zero is sought; best when nearly linear.

        Args:
            branch: which of the functions that share these profiles.
            x: value of the parameter, in its unit.
            minima: conditional minimum of twice_nll of every data set at `x`.
        """

    def at(self, x: Scalar, params: Float[Array, "fit par"]) -> Float[Array, "fit par"]:
        """`params` with the parameter at `x` and the fixed ones at their values."""
        parameters = self.likelihood.parameters
        for name, value in {**self.fixed, self.name: x}.items():
            params = params.at[:, parameters.index(name)].set(value)
        return params

    def envelope(
        self, branch: Int[Array, ""], x: Scalar, params: Float[Array, "fit par"]
    ) -> Scalar:
        """`height` at `x` if all other parameters stay at `params`.

        It has the first derivatives of `height` where `params` are the conditional
        minima: those move, but at a minimum that does not count.
        """
        minima = jax.vmap(self.likelihood.twice_nll)(self.at(x, params), self.data)
        return self.height(branch, x, minima)


class Route(eqx.Module):
    """Where searches run, one for each entry along the leading axis.

    Attributes:
        branch: which function of the curve is searched.
        origin: value of the parameter from which it leaves; the curve is below zero.
        end: value it may not pass, on either side of `origin`; may be infinite.
        guess: value of the first trial, between the two.
        start: parameters near the conditional minimum of every data set.
        needed: data sets that the height depends on; the others are not fitted.
        open: whether to search at all.
    """

    branch: Int[Array, "*search"]
    origin: Float[Array, "*search"]
    end: Float[Array, "*search"]
    guess: Float[Array, "*search"]
    start: Float[Array, "*search fit par"]
    needed: Bool[Array, "*search fit"]
    open: Bool[Array, "*search"]


class Crossing(eqx.Module):
    """Where the curve crosses zero, one entry for each search.

    Attributes:
        x: value of the parameter; nan unless `result` is success.
        params: conditional minima there.
        free: parameters that react there when the model changes.
        n_trials: values of the parameter at which fits ran.
        result: success; `no_root` if the curve is still below zero at the end of the
            route; or why the fits at the last trial failed.
    """

    x: Float[Array, "*search"]
    params: Float[Array, "*search fit par"]
    free: Bool[Array, "*search fit par"]
    n_trials: Int[Array, "*search"]
    result: RESULTS


class _Search(eqx.Module):
    """State of a search, in distances from the origin.

    `low` and `high` bracket the crossing once `bracketed`; until then `high` is the end
    of the route.
    """

    distance: Scalar
    low: Scalar
    high: Scalar
    bracketed: Bool[Array, ""]
    last_step: Scalar
    params: Float[Array, "fit par"]
    free: Bool[Array, "fit par"]
    n_trials: Int[Array, ""]
    finished: Bool[Array, ""]
    result: RESULTS


@eqx.filter_custom_jvp
def cross(
    curve: AbstractCurve,
    route: Route,
    *,
    rtol: float,
    max_trials: int,
    minimiser: Minimiser | None,
) -> Crossing:
    """First crossing with zero that each bracketed Newton search meets on its route.

    `x` and `params` are differentiable functions of the arrays in `curve`, to any
    order: the implicit function theorem. The route has no derivative.

    Args:
        curve: what crosses zero.
        route: where to search. One search runs after the other, so that none waits for
            the slowest.
        rtol: size of the last Newton step relative to the distance from the origin. The
            step is taken, so that the error of the crossing is of the order of its
            square.
        max_trials: largest number of trials, > 0.
        minimiser: settings of the fits.
    """

    def run(single: Route) -> Crossing:
        return _search(curve, single, rtol, max_trials, minimiser)

    return jax.lax.map(run, route)


def _search(
    curve: AbstractCurve,
    route: Route,
    rtol: float,
    max_trials: int,
    minimiser: Minimiser | None,
) -> Crossing:
    sign = jnp.where(route.end < route.origin, -1.0, 1.0)
    reach = jnp.abs(route.end - route.origin)

    def unfinished(search: _Search):
        return ~search.finished & (search.n_trials < max_trials)

    def advance(search: _Search) -> _Search:
        distance = search.distance
        x = route.origin + sign * distance
        params, free, result = _conditional(curve, route, x, search.params, minimiser)

        def at_minima(x: Scalar) -> Scalar:
            return curve.envelope(route.branch, x, params)

        height, slope = jax.jvp(at_minima, (x,), (sign,))
        certified = (result == RESULTS.successful) & jnp.isfinite(height)
        above, below = certified & (height >= 0), certified & (height < 0)
        low = jnp.where(below, jnp.maximum(distance, search.low), search.low)
        high = jnp.where(above, jnp.minimum(distance, search.high), search.high)
        bracketed = search.bracketed | above

        usable = certified & (slope > 0)
        step = jnp.where(usable, -height / jnp.where(usable, slope, 1.0), jnp.inf)
        target = distance + step
        # Where the slope jumps, as between competing minima, only the bracket shrinks.
        narrow = bracketed & (high - low <= rtol * high)
        arrived = usable & ((jnp.abs(step) <= rtol * jnp.abs(target)) | narrow)
        ended = below & (distance >= reach) & ~arrived

        # Newton's steps may be as long as they like to halve, but not longer.
        quick = ~search.bracketed | (jnp.abs(step) <= 0.5 * jnp.abs(search.last_step))
        inside = (target > low) & (target < high) & quick
        within = jnp.where(inside, target, 0.5 * (low + high))
        beyond = jnp.minimum(jnp.clip(target, low, 4 * distance), reach)
        onward = jnp.where(bracketed, within, beyond)
        # Without fits the only thing known is that they succeeded closer by.
        trial = jnp.where(certified, onward, 0.5 * (low + distance))
        final = jnp.where(narrow, distance, jnp.clip(target, 0.0, reach))
        following = jnp.where(arrived, final, jnp.where(ended, distance, trial))

        unresolved = RESULTS.where(certified, RESULTS.iteration_limit, result)
        stopped = RESULTS.where(ended, RESULTS.no_root, unresolved)
        return _Search(
            distance=following,
            low=low,
            high=high,
            bracketed=bracketed,
            last_step=following - distance,
            params=params,
            free=free,
            n_trials=search.n_trials + 1,
            finished=arrived | ended,
            result=RESULTS.where(arrived, RESULTS.successful, stopped),
        )

    initial = _Search(
        distance=jnp.minimum(jnp.abs(route.guess - route.origin), reach),
        low=jnp.zeros_like(route.origin),
        high=reach,
        bracketed=jnp.zeros((), bool),
        last_step=jnp.full_like(route.origin, jnp.inf),
        params=route.start,
        free=jnp.zeros(route.start.shape, bool),
        n_trials=jnp.zeros((), int),
        finished=~route.open,
        result=RESULTS.where(route.open, RESULTS.iteration_limit, RESULTS.non_finite),
    )
    search = jax.lax.while_loop(unfinished, advance, initial)
    found = search.result == RESULTS.successful
    x = route.origin + sign * search.distance
    return Crossing(
        x=jnp.where(found, x, jnp.nan),
        params=jnp.where(found, curve.at(x, search.params), search.params),
        free=search.free,
        n_trials=search.n_trials,
        result=search.result,
    )


def _conditional(
    curve: AbstractCurve,
    route: Route,
    x: Scalar,
    nearby: Float[Array, "fit par"],
    minimiser: Minimiser | None,
) -> tuple[Float[Array, "fit par"], Bool[Array, "fit par"], RESULTS]:
    """Conditional minima at `x`; a failed one is replaced by where it started."""

    def run(entry):
        data, start, near, needed = entry

        def fitted():
            found = fit(
                curve.likelihood,
                data,
                fixed={**curve.fixed, curve.name: x},
                partners=jnp.stack([near, start]),
                minimiser=minimiser,
                throw=False,
            )
            good = found.result == RESULTS.successful
            params = jnp.where(good, found.bestfit, start)
            return params, found.free, found.result

        def skipped():
            free = jnp.zeros(start.shape, bool)
            return start, free, RESULTS.successful

        return jax.lax.cond(needed, fitted, skipped)

    entries = (curve.data, route.start, nearby, route.needed)
    params, free, results = jax.lax.map(run, entries)
    return params, free, first_failure(results)


@cross.def_jvp
def _cross_jvp(primals, tangents, *, rtol, max_trials, minimiser):
    curve, route = primals
    dcurve, _ = tangents
    crossing = cross(
        curve, route, rtol=rtol, max_trials=max_trials, minimiser=minimiser
    )

    def react(branch, x, params, free, found):
        def height(curve: AbstractCurve) -> Scalar:
            return curve.envelope(branch, x, params)

        _, dheight = eqx.filter_jvp(height, (curve,), (dcurve,))
        slope = jax.grad(curve.envelope, argnums=1)(branch, x, params)
        dx = -dheight / jnp.where(found, slope, 1.0)

        def place_and_gradient(curve: AbstractCurve, x: Scalar):
            placed = curve.at(x, params)
            return placed, jax.vmap(curve.likelihood.gradient)(placed, curve.data)

        _, (dplaced, dgradient) = eqx.filter_jvp(
            place_and_gradient, (curve, x), (dcurve, dx)
        )
        hessian = jax.vmap(curve.likelihood.hessian)(params, curve.data)
        inside = free[:, :, None] & free[:, None, :]
        reacting = jnp.where(inside, hessian, jnp.eye(free.shape[1])[None])
        force = jnp.where(free, dgradient, 0.0)
        response = jnp.linalg.solve(reacting, force[:, :, None])[:, :, 0]
        # A crossing that does not exist has no derivative. In reverse mode nothing
        # passes through it, so that it leaves the derivatives of the others alone.
        nothing = jnp.where(found, 0.0, jnp.nan)
        dparams = jnp.where(found, dplaced - response, nothing)
        return jnp.where(found, dx, nothing), dparams

    found = crossing.result == RESULTS.successful
    x = jnp.where(found, crossing.x, route.guess)
    moved = jax.vmap(react)(route.branch, x, crossing.params, crossing.free, found)
    unmoved = jax.tree.map(lambda _: None, crossing)
    dcrossing = eqx.tree_at(
        lambda c: (c.x, c.params), unmoved, moved, is_leaf=lambda leaf: leaf is None
    )
    return crossing, dcrossing
