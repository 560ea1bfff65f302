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
    Quadratic,
    is_positive_definite,
    restrict,
    solve_free,
)
from diffana.fit.search import Minimiser, Search, descend
from diffana.likelihood import AbstractLikelihood


class Place(eqx.Module):
    """Where a search ended, and what certifies it.

    Attributes:
        params: the point.
        value: twice_nll there; inf or nan if the search found no point.
        scale: diagonal of the Hessian.
        edm: estimated distance to the minimum, in units of twice_nll.
        free: parameters that are neither held nor at a bound.
        at_bound: parameters stopped by a bound that the likelihood pushes against.
        next_value: twice_nll at the next distinct certified minimum found.
        n_steps: trial points.
        result: success if the point is certified as a minimum.
    """

    params: Float[Array, " par"]
    value: Scalar
    scale: Float[Array, " par"]
    edm: Scalar
    free: Bool[Array, " par"]
    at_bound: Bool[Array, " par"]
    next_value: Scalar
    n_steps: Int[Array, ""]
    result: RESULTS


class Job(NamedTuple):
    """One search of one fit.

    Attributes:
        fit: which fit.
        origin: row of the table of origins at which it starts: the initial parameters,
            the best points so far of all fits, the given partners.
        direction: which of the best measured interpolated parameters is varied.
        offset: by how much, around its initial value; nan if none is varied.
    """

    fit: int | Int[Array, "..."]
    origin: int | Int[Array, "..."]
    direction: int | Int[Array, "..."] = 0
    offset: float | Float[Array, "..."] = np.nan


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
    jobs = _jobs(asimov_of, len(partners), n_directions, minimiser.offsets)

    def problem_of(fit: int | Int[Array, ""], places: Place) -> Problem:
        of_fit = data
        if any(source is not None for source in asimov_of):
            sources = jnp.array([-1 if s is None else s for s in asimov_of])
            source = sources[fit]
            generated = likelihood.expected_data(places.params[source])
            of_fit = jax.tree.map(
                lambda made, seen: jnp.where(source < 0, seen, made), generated, data
            )
        bounds = parameters.lower, parameters.upper
        return Problem(likelihood, of_fit, *bounds, held[fit], is_held[fit])

    reach = jnp.full(n_par, jnp.inf).at[candidates].set(minimiser.reach)

    def start_of(job: Job, problem: Problem, places: Place) -> Float[Array, " par"]:
        origins = jnp.concatenate([parameters.inits[None], places.params, partners])
        origin = origins[job.origin]
        # A fit that found nothing has no point to lend.
        start = jnp.where(jnp.all(jnp.isfinite(origin)), origin, parameters.inits)
        if n_directions:
            measured = jnp.where(problem.is_held, -jnp.inf, places.scale[job.fit])
            _, best = jax.lax.top_k(measured[candidates], n_directions)
            varied = jnp.asarray(candidates)[best][job.direction]
            value = parameters.inits[varied] + job.offset
            value = jnp.where(jnp.isnan(job.offset), start[varied], value)
            start = start.at[varied].set(value)
        return problem.admit(start)

    def run(places: Place, job: Job) -> tuple[Place, None]:
        best = take(places, job.fit)
        problem = problem_of(job.fit, places)
        start = start_of(job, problem, places)
        merged = _merge(best, *_search(problem, start, reach, best, minimiser))
        updated = jax.tree.map(
            lambda rows, row: rows.at[job.fit].set(row), places, merged
        )
        return updated, None

    nothing = Place(
        params=jnp.full((n_fits, n_par), jnp.nan),
        value=jnp.full(n_fits, jnp.inf),
        scale=jnp.ones((n_fits, n_par)),
        edm=jnp.full(n_fits, jnp.inf),
        free=~is_held,
        at_bound=jnp.zeros_like(is_held),
        next_value=jnp.full(n_fits, jnp.inf),
        n_steps=jnp.zeros(n_fits, int),
        result=jax.tree.map(
            lambda code: jnp.broadcast_to(code, (n_fits,)), RESULTS.non_finite
        ),
    )
    places, _ = jax.lax.scan(run, nothing, jobs)
    return places


def take(tree: PyTree, index: Int[Array, ""] | int) -> PyTree:
    """Entry `index` along the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _jobs(
    asimov_of: Sequence[int | None],
    n_partners: int,
    n_directions: int,
    offsets: Sequence[float],
) -> Job:
    """All searches in their order, as one array for each field."""
    n_fits = len(asimov_of)
    initial, partners = 0, range(1 + n_fits, 1 + n_fits + n_partners)
    given = [initial, *partners]
    first_origin = partners[0] if n_partners else initial

    def best_of(fit: int) -> int:
        return 1 + fit

    def of_family(family: Sequence[int], opening: Sequence[int]) -> list[Job]:
        """Every fit once, then all again from what the others found, and around."""
        jobs = [Job(*pair) for pair in zip(family, opening, strict=True)]
        for fit, opened in zip(family, opening, strict=True):
            others = [best_of(other) for other in family if other != fit]
            origins = [o for o in (*others, *given) if o != opened]
            jobs += [Job(fit, origin) for origin in origins]
            jobs += [
                Job(fit, best_of(fit), direction, offset)
                for direction in range(n_directions)
                for offset in offsets
            ]
        return jobs

    observed = [f for f, source in enumerate(asimov_of) if source is None]
    opening = [first_origin] + [best_of(observed[0])] * (len(observed) - 1)
    jobs = of_family(observed, opening)
    for fit, source in enumerate(asimov_of):
        if source is not None:
            jobs += of_family([fit], [best_of(source)])
    return Job(*(jnp.asarray(column) for column in zip(*jobs, strict=True)))


def _search(
    problem: Problem,
    start: Float[Array, " par"],
    reach: Float[Array, " par"],
    best: Place,
    minimiser: Minimiser,
) -> tuple[Place, Bool[Array, ""]]:
    """Where the search from `start` ends, and whether that is a place of its own."""

    def is_best(params: Float[Array, " par"], model: Quadratic) -> Bool[Array, ""]:
        shift = params - best.params
        # Two ends closer than a tenth of a standard deviation are one minimum.
        near = shift @ model.times(shift) <= 2 * 0.1**2
        return near & (best.result == RESULTS.successful)

    search = descend(problem, start, reach, minimiser, is_best)
    known = is_best(search.params, search.model)
    found = jax.lax.cond(
        known, lambda: best, lambda: _certify(problem, search, minimiser)
    )
    return found, ~known


def _certify(problem: Problem, search: Search, minimiser: Minimiser) -> Place:
    """Check one finished search; the code names the first thing found wanting."""
    params, model = search.params, search.model.expansion
    at_bound = problem.pushed_out(params, model.gradient)
    free = ~problem.is_held & ~at_bound
    slope = jnp.where(free, model.gradient, 0.0)
    edm = 0.5 * slope @ solve_free(model.hessian, slope, free)
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
        scale=jnp.diagonal(model.hessian),
        edm=edm,
        free=free,
        at_bound=at_bound,
        next_value=jnp.array(jnp.inf),
        n_steps=search.n_steps,
        result=RESULTS.where(finite, result, RESULTS.non_finite),
    )


def _merge(best: Place, found: Place, is_new: Bool[Array, ""]) -> Place:
    """The better of two places of one fit."""
    # A search that got lower without being certified disproves the certified one, so
    # certification decides only between values that are equal to rounding.
    rounding = 1e-9 * (1.0 + jnp.abs(best.value))
    certified = found.result == RESULTS.successful
    was_certified = best.result == RESULTS.successful
    lower = found.value < best.value - rounding
    tied = found.value <= best.value + rounding
    better = jnp.isinf(best.value) | lower | (tied & certified & ~was_certified)
    competes = is_new & certified & was_certified
    loser = jnp.where(better, best.value, found.value)
    next_value = jnp.minimum(best.next_value, jnp.where(competes, loser, jnp.inf))
    winner = jax.tree.map(lambda a, b: jnp.where(better, a, b), found, best)
    return eqx.tree_at(lambda place: place.next_value, winner, next_value)
