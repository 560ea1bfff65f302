"""Constructions from descriptions."""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from diffana.assemble.neyman.description import Description
from diffana.assemble.neyman.focus import focus_of
from diffana.assemble.neyman.priors import prior_points
from diffana.assemble.neyman.schemes import scheme_of
from diffana.errors import SpecificationError
from diffana.likelihood import AbstractLikelihood
from diffana.neyman import (
    FTS,
    LRS,
    AbstractNuisance,
    AbstractScheme,
    AbstractStatistic,
    Construction,
    Grid,
    Known,
    Laplace,
    Marginal,
    Mixed,
    Profile,
    effective_support,
    has_nuisance,
    locations,
)


_FAR = 8.0
_LOST_FOCUS = 1e-4
_MOST_POINTS = 5000


@final
class Constructed(NamedTuple):
    """A construction that is ready for toys.

    Attributes:
        construction: the test.
        scheme: where nuisance parameters of toys come from.
        tested: positions on the grid of the lowest and the highest tested value.
    """

    construction: Construction
    scheme: AbstractScheme
    tested: tuple[int, int]


def construct(
    likelihood: AbstractLikelihood, data: PyTree, description: Description
) -> Constructed:
    """Objects from a description.

    Args:
        likelihood: the statistical model.
        data: the observed data set, to which nuisance parameters of toys are fitted.
        description: what is wanted.

    Raises:
        SpecificationError: naming what cannot be done with this model.
        FitError: if a fit to the data is not certified.
    """
    parameters = likelihood.parameters
    poi = parameters.poi_index
    bounds = float(parameters.lower[poi]), float(parameters.upper[poi])
    lower, upper = _tested_range(likelihood, data, description, bounds)
    statistic = _statistic(description, bounds)
    grid, tested = _grid(statistic, lower, upper, bounds, description.n_grid)
    construction = Construction(
        likelihood, statistic, _nuisance(likelihood, description), grid
    )
    try:
        construction.check()
    except ValueError as error:
        raise SpecificationError(str(error)) from error
    scheme = scheme_of(likelihood, data, grid, tested, description)
    return Constructed(construction, scheme, tested)


def _tested_range(
    likelihood: AbstractLikelihood,
    data: PyTree,
    description: Description,
    bounds: tuple[float, float],
) -> tuple[float, float]:
    """As given, or some standard deviations around the nominal and the fitted value."""
    lower, upper = description.lower, description.upper
    if lower is not None and upper is not None:
        return lower, upper
    parameters = likelihood.parameters
    expected = eqx.filter_jit(type(likelihood).expected_data)(
        likelihood, parameters.inits
    )
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], data)
    (width,) = locations(
        likelihood, jax.tree.map(lambda leaf: leaf[None], expected)
    ).width
    (best,) = locations(likelihood, one).poi_hat
    nominal = float(parameters.inits[parameters.poi_index])
    if not (np.isfinite(width) and np.isfinite(best)):
        raise SpecificationError(
            "the model does not tell over which range to test: give one"
        )
    low = max(bounds[0], min(nominal, best) - _FAR * width)
    high = min(bounds[1], max(nominal, best) + _FAR * width)
    return (low if lower is None else lower), (high if upper is None else upper)


def _statistic(
    description: Description, bounds: tuple[float, float]
) -> AbstractStatistic:
    if description.statistic == "lrs":
        if description.focus is not None:
            raise SpecificationError("the statistic lrs has no focus")
        return LRS()
    if description.focus is None:
        raise SpecificationError("the statistic fts needs a focus, as normal(1,1)")
    ends = bounds if description.truncate else (-np.inf, np.inf)
    return FTS(focus_of(description.focus, ends))


def _grid(
    statistic: AbstractStatistic,
    lower: float,
    upper: float,
    bounds: tuple[float, float],
    n_points: int,
) -> tuple[Grid, tuple[int, int]]:
    """Tested values, and as many more of the same step as the focus needs."""
    if not lower < upper:
        raise SpecificationError(f"no value to test from {lower:g} to {upper:g}")
    step = (upper - lower) / (n_points - 1)
    below = above = 0
    if isinstance(statistic, FTS):
        low, high = effective_support(statistic.focus, _LOST_FOCUS)
        below = max(0, int(np.ceil((lower - low) / step - 1e-9)))
        above = max(0, int(np.ceil((high - upper) / step - 1e-9)))
    if below + above + n_points > _MOST_POINTS:
        raise SpecificationError(
            "the focus is far wider than the tested range: "
            f"{(below + above) / n_points:.0f} times"
        )
    grid = Grid.between(
        lower - below * step, upper + above * step, n_points + below + above
    )
    return grid, (below, below + n_points - 1)


def _nuisance(
    likelihood: AbstractLikelihood, description: Description
) -> AbstractNuisance:
    if not has_nuisance(likelihood):
        return Known(likelihood.parameters.inits)
    n_nodes = description.n_nodes
    match description.nuisance:
        case "profile":
            return Profile(n_nodes)
        case "laplace":
            return Laplace(n_nodes)
        case "marginal":
            return Marginal(jnp.asarray(prior_points(likelihood, description.seed)))
        case "mixed":
            prior = jnp.asarray(prior_points(likelihood, description.seed))
            return Mixed(prior, n_nodes)
