"""The lowest certified minimum of several related fits."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit.problem import Problem
from diffana.fit.quadratic import (
    is_positive_definite,
    restrict,
    solve_free,
)
from diffana.fit.search import Minimiser, Search, Trial, descend
from diffana.likelihood import AbstractLikelihood


class Place(eqx.Module):
    """Where a search ended, and what certifies it.

    Attributes:
        params: the point.
        value: twice_nll there; inf or nan if the search found no point.
        directions: the best measured interpolated parameters, along which further
            starts are tried.
        stiffness: second derivative of the profile of twice_nll along each of them.
        tangents: how all parameters move with each of them along the profile, or none
            but itself where the Hessian does not tell.
        edm: estimated distance to the minimum, in units of twice_nll.
        free: parameters that are neither held nor at a bound.
        at_bound: parameters stopped by a bound that the likelihood pushes against.
        next_value: twice_nll at the next distinct certified minimum found.
        n_steps: trial points.
        result: success if the point is certified as a minimum.
    """

    params: Float[Array, " par"]
    value: Scalar
    directions: Int[Array, " direction"]
    stiffness: Float[Array, " direction"]
    tangents: Float[Array, "direction par"]
    edm: Scalar
    free: Bool[Array, " par"]
    at_bound: Bool[Array, " par"]
    next_value: Scalar
    n_steps: Int[Array, ""]
    result: RESULTS


class Start(NamedTuple):
    """Where a search of a fit begins.

    Attributes:
        origin: row of the table of origins: the initial parameters, the best points so
            far of all fits, the given partners.
        direction: which of the best measured interpolated parameters is varied around
            the best point.
        offset: to which value, relative to its initial one; nan if none is varied.
        is_last: whether it is the last descent of the fit, which ends at once if the
            fit is certified.
    """

    origin: int | Int[Array, "..."]
    direction: int | Int[Array, "..."] = 0
    offset: float | Float[Array, "..."] = np.nan
    is_last: bool | Bool[Array, "..."] = False


class Round(NamedTuple):
    """Searches of one fit, one after the other.

    Attributes:
        fit: which fit.
        starts: where they begin, filled up at the end.
        n_starts: how many of them count.
    """

    fit: Int[Array, "*round"]
    starts: Start
    n_starts: Int[Array, "*round"]


def locate(
    likelihood: AbstractLikelihood,
    data: PyTree,
    held: Float[Array, "fit par"],
    is_held: Bool[Array, "fit par"],
    asimov_of: Sequence[int | None],
    partners: Float[Array, "partner par"],
    minimiser: Minimiser,
) -> Place:
    """Search all fits one after the other, each from several starts.

    All searches run through one compiled body. A search that comes close to the
    certified best point of its fit has nothing new to find and ends there, so that
    further starts cost a few steps each.

    Args:
        likelihood: the statistical model.
        data: the observed data set.
        held: for every fit, values of the parameters it holds.
        is_held: for every fit, which these are.
        asimov_of: for every fit, the earlier fit whose best point generates its data,
            or None for `data`.
        partners: further starts; the first search of all begins at the first of them.
        minimiser: settings of the search.

    Returns:
        The lowest point of every fit along the leading axis.
    """
    parameters = likelihood.parameters
    n_fits, n_par = held.shape
    candidates = np.array(
        [parameters.index(name) for name in parameters.interpolated], int
    )
    n_directions = min(len(candidates), minimiser.n_directions)
    rounds = _rounds(asimov_of, len(partners), n_directions, minimiser)

    def problem_of(fit: int | Int[Array, ""], places: Place) -> Problem:
        of_fit = data
        if any(source is not None for source in asimov_of):
            sources = jnp.array([-1 if s is None else s for s in asimov_of])
            generator = places.params[sources[fit]]
            shapes = jax.eval_shape(likelihood.expected_data, generator)
            seen = jax.tree.map(
                lambda leaf, like: jnp.asarray(leaf, like.dtype), data, shapes
            )
            of_fit = jax.lax.cond(
                sources[fit] < 0,
                lambda: seen,
                lambda: likelihood.expected_data(generator),
            )
        bounds = parameters.lower, parameters.upper
        return Problem(likelihood, of_fit, *bounds, held[fit], is_held[fit])

    reach = jnp.full(n_par, jnp.inf).at[candidates].set(minimiser.reach)

    def start_of(
        start: Start,
        problem: Problem,
        origins: Float[Array, "origin par"],
        best: Place,
    ) -> tuple[Float[Array, " par"], Int[Array, ""]]:
        """Where the search begins, and the parameter that is varied for it, or -1."""
        origin = origins[start.origin]
        # A fit that found nothing has no point to lend.
        point = jnp.where(jnp.all(jnp.isfinite(origin)), origin, parameters.inits)
        varied = jnp.array(-1)
        if n_directions:
            direction = best.directions[start.direction]
            shift = parameters.inits[direction] + start.offset - best.params[direction]
            along = best.params + shift * best.tangents[start.direction]
            # A fit that found nothing has nothing to be varied either.
            varies = jnp.all(jnp.isfinite(along))
            point = jnp.where(varies, along, point)
            varied = jnp.where(varies, direction, -1)
        return problem.admit(point), varied

    def run(places: Place, round_: Round) -> tuple[Place, None]:
        fit, own = round_.fit, 1 + round_.fit
        problem = problem_of(fit, places)
        origins = jnp.concatenate([parameters.inits[None], places.params, partners])

        def search(state: tuple[Int[Array, ""], Place]) -> tuple[Array, Place]:
            number, best = state
            start = take(round_.starts, number)
            point, varied = start_of(
                start, problem, origins.at[own].set(best.params), best
            )
            found = _search(
                problem,
                point,
                varied,
                reach,
                best,
                jnp.asarray(candidates),
                minimiser,
                is_last=jnp.asarray(start.is_last),
            )
            return number + 1, found

        first = (jnp.zeros((), int), take(places, fit))
        _, best = jax.lax.while_loop(
            lambda state: state[0] < round_.n_starts, search, first
        )
        return jax.tree.map(lambda rows, row: rows.at[fit].set(row), places, best), None

    nothing = Place(
        params=jnp.full((n_fits, n_par), jnp.nan),
        value=jnp.full(n_fits, jnp.inf),
        directions=jnp.zeros((n_fits, n_directions), int),
        stiffness=jnp.full((n_fits, n_directions), jnp.nan),
        tangents=jnp.zeros((n_fits, n_directions, n_par)),
        edm=jnp.full(n_fits, jnp.inf),
        free=~is_held,
        at_bound=jnp.zeros_like(is_held),
        next_value=jnp.full(n_fits, jnp.inf),
        n_steps=jnp.zeros(n_fits, int),
        result=jax.tree.map(
            lambda code: jnp.broadcast_to(code, (n_fits,)), RESULTS.non_finite
        ),
    )
    places, _ = jax.lax.scan(run, nothing, rounds)
    return places


def take(tree: PyTree, index: Int[Array, ""] | int) -> PyTree:
    """Entry `index` along the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _rounds(
    asimov_of: Sequence[int | None],
    n_partners: int,
    n_directions: int,
    minimiser: Minimiser,
) -> Round:
    """All rounds in their order, as one array for each field."""
    n_fits = len(asimov_of)
    initial, partners = 0, range(1 + n_fits, 1 + n_fits + n_partners)
    given = [initial, *partners]
    first_origin = partners[0] if n_partners else initial
    rounds: list[tuple[int, list[Start]]] = []

    def best_of(fit: int) -> int:
        return 1 + fit

    def add_family(family: Sequence[int], opening: Sequence[int]) -> None:
        """Every fit once, then all again from what the others found, and around."""
        opened = dict(zip(family, opening, strict=True))
        rounds.extend((fit, [Start(origin)]) for fit, origin in opened.items())
        for fit, origin in opened.items():
            others = [best_of(other) for other in family if other != fit]
            starts = [Start(o) for o in (*others, *given) if o != origin]
            starts += [
                Start(best_of(fit), direction, offset)
                for direction in range(n_directions)
                for offset in minimiser.offsets
            ]
            if minimiser.last_steps:
                starts.append(Start(best_of(fit), is_last=True))
            rounds.append((fit, starts))

    observed = [f for f, source in enumerate(asimov_of) if source is None]
    add_family(observed, [first_origin] + [best_of(observed[0])] * (len(observed) - 1))
    for fit, source in enumerate(asimov_of):
        if source is not None:
            add_family([fit], [best_of(source)])
    longest = max(len(starts) for _, starts in rounds)
    table = [
        starts + [Start(initial)] * (longest - len(starts)) for _, starts in rounds
    ]
    return Round(
        fit=jnp.array([fit for fit, _ in rounds]),
        starts=Start(
            origin=_column(table, "origin"),
            direction=_column(table, "direction"),
            offset=_column(table, "offset"),
            is_last=_column(table, "is_last"),
        ),
        n_starts=jnp.array([len(starts) for _, starts in rounds]),
    )


def _column(table: Sequence[Sequence[Start]], field: str) -> Array:
    return jnp.array([[getattr(start, field) for start in row] for row in table])


def _search(
    problem: Problem,
    start: Float[Array, " par"],
    varied: Int[Array, ""],
    reach: Float[Array, " par"],
    best: Place,
    candidates: Int[Array, " candidate"],
    minimiser: Minimiser,
    *,
    is_last: Bool[Array, ""],
) -> Place:
    """The better of `best` and where the search from `start` ends."""
    trusted = best.result == RESULTS.successful
    positions = jnp.arange(start.size)
    pinned = positions == varied

    def leads_to_best(at: Trial) -> Bool[Array, ""]:
        """Whether a point a standard deviation away or less has its minimum there."""
        shift = at.params - best.params
        end = shift + jnp.where(jnp.isnan(at.gain), 0.0, at.step)
        # Two ends closer than a tenth of a standard deviation are one minimum, unless
        # a lower point between them says otherwise.
        return (
            (shift @ at.model.times(shift) <= 2.0)
            & (end @ at.model.times(end) <= 2 * 0.1**2)
            & (at.model.expansion.value >= best.value - _rounding(best.value))
        )

    def arrived(at: Trial) -> Bool[Array, ""]:
        opening = (at.n_steps == 1) & (varied >= 0)
        return trusted & (
            leads_to_best(at) | (opening & _follows_parabola(at, varied, best))
        )

    last = is_last & ~trusted
    search = descend(problem, start, pinned, reach, minimiser, arrived, is_last=last)
    return jax.lax.cond(
        search.known,
        lambda: best,
        lambda: _merge(best, _certify(problem, search, candidates, minimiser)),
    )


def _follows_parabola(
    at: Trial, varied: Int[Array, ""], best: Place
) -> Bool[Array, ""]:
    """Whether the profile at a varied parameter is that of a single minimum.

    The profile and its slope there follow from the quadratic model with the parameter
    held. On a parabola around the best point half the slope times the distance is the
    height. Were there a lower minimum in between, at a fraction f of the way back, the
    same would be at least 1/f of the height. Where nothing of the kind is seen, a
    descent would only lead back.
    """
    shift = at.params[varied] - best.params[varied]
    height = at.model.expansion.value - at.gain - best.value
    slope = at.model.expansion.gradient[varied] + at.model.times(at.step)[varied]
    stiffness = jnp.sum(jnp.where(best.directions == varied, best.stiffness, 0.0))
    expected = 0.5 * stiffness * shift**2
    by_slope = 0.5 * slope * shift
    return (
        (height > 0.15 * expected)
        & (height < 3.0 * expected)
        & (by_slope > 0.5 * height)
        & (by_slope < 1.2 * height)
    )


def _certify(
    problem: Problem,
    search: Search,
    candidates: Int[Array, " candidate"],
    minimiser: Minimiser,
) -> Place:
    """Check one finished search; the code names the first thing found wanting."""
    params, model = search.params, search.model.expansion
    at_bound = problem.pushed_out(params, model.gradient)
    free = ~problem.is_held & ~at_bound
    slope = jnp.where(free, model.gradient, 0.0)
    measured = jnp.where(free, jnp.diagonal(model.hessian), -jnp.inf)
    n_directions = min(candidates.size, minimiser.n_directions)
    directions = candidates[jax.lax.top_k(measured[candidates], n_directions)[1]]
    along = jnp.eye(params.size)[directions]
    solve = jax.vmap(solve_free, in_axes=(None, 0, None))
    solved = solve(model.hessian, jnp.concatenate([slope[None], along]), free)
    variance = jnp.diagonal(solved[1:, directions])
    edm = 0.5 * slope @ solved[0]
    hessian = restrict(model.hessian, free)
    definite = is_positive_definite(hessian)
    # The search has no value before a finite point is found.
    finite = jnp.isfinite(search.value) & jnp.all(jnp.isfinite(model.gradient))
    result = RESULTS.where(
        edm <= minimiser.certified_edm,
        RESULTS.where(definite, RESULTS.successful, RESULTS.hessian_not_pd),
        RESULTS.where(
            definite | (search.n_steps >= 2 * minimiser.max_steps),
            RESULTS.iteration_limit,
            RESULTS.hessian_not_pd,
        ),
    )
    return Place(
        params=params,
        value=search.value,
        directions=directions,
        stiffness=1 / variance,
        tangents=jnp.where(
            (variance > 0)[:, None], solved[1:] / variance[:, None], along
        ),
        edm=edm,
        free=free,
        at_bound=at_bound,
        next_value=jnp.array(jnp.inf),
        n_steps=search.n_steps,
        result=RESULTS.where(finite, result, RESULTS.non_finite),
    )


def _merge(best: Place, found: Place) -> Place:
    """The better of two distinct places of one fit."""
    # A search that got lower without being certified disproves the certified one, so
    # certification decides only between values that are equal to rounding.
    rounding = _rounding(best.value)
    certified = found.result == RESULTS.successful
    was_certified = best.result == RESULTS.successful
    lower = found.value < best.value - rounding
    tied = found.value <= best.value + rounding
    better = jnp.isinf(best.value) | lower | (tied & certified & ~was_certified)
    competes = certified & was_certified
    loser = jnp.where(better, best.value, found.value)
    next_value = jnp.minimum(best.next_value, jnp.where(competes, loser, jnp.inf))
    winner = jax.tree.map(lambda a, b: jnp.where(better, a, b), found, best)
    return eqx.tree_at(lambda place: place.next_value, winner, next_value)


def _rounding(value: Scalar) -> Scalar:
    """Difference below which two values of twice_nll count as equal."""
    return 1e-9 * (1.0 + jnp.abs(value))
