"""Where the nuisance parameters of toys come from, for a model and its data."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy.special import chdtri

from diffana.assemble.neyman.description import Description
from diffana.assemble.neyman.priors import prior_points
from diffana.errors import FitError, SpecificationError
from diffana.likelihood import AbstractLikelihood
from diffana.neyman import (
    AbstractScheme,
    Average,
    Conditional,
    Direct,
    Grid,
    Plugin,
    conditional_params,
    has_nuisance,
)


def scheme_of(
    likelihood: AbstractLikelihood,
    data: PyTree,
    grid: Grid,
    tested: tuple[int, int],
    description: Description,
) -> AbstractScheme:
    """The scheme that a description names.

    Args:
        likelihood: the statistical model.
        data: the observed data set.
        grid: tested values.
        tested: positions on the grid of the lowest and the highest tested value.
        description: what is wanted.

    Raises:
        SpecificationError: if a prior is wanted of a parameter without constraint, or
            the data do not determine a nuisance parameter.
        FitError: if a fit to the data is not certified.
    """
    parameters = likelihood.parameters
    if description.scheme == "average" and has_nuisance(likelihood):
        prior = prior_points(likelihood, description.seed + 1, 4096)
        return Average(prior, np.asarray(grid.points), parameters.poi_index)
    if not has_nuisance(likelihood):
        every = np.tile(np.asarray(parameters.inits), (grid.points.shape[0], 1))
        every[:, parameters.poi_index] = np.asarray(grid.points)
        return Direct(every)
    fitted = _fitted(likelihood, data, grid, tested)
    if description.scheme == "plugin":
        return Plugin(fitted)
    middle = fitted[(tested[0] + tested[1]) // 2]
    return Conditional(
        fitted,
        _ellipsoid(likelihood, data, middle, description.beta),
        np.asarray(parameters.lower),
        np.asarray(parameters.upper),
        description.beta,
    )


def _fitted(
    likelihood: AbstractLikelihood,
    data: PyTree,
    grid: Grid,
    tested: tuple[int, int],
) -> Float[np.ndarray, "grid par"]:
    """Conditional fits at the tested values, nan elsewhere."""
    points = np.asarray(grid.points)
    chosen = slice(tested[0], tested[1] + 1)
    fitted = np.full((points.size, len(likelihood.parameters)), np.nan)
    fitted[chosen] = conditional_params(likelihood, data, jnp.asarray(points[chosen]))
    missing = np.isnan(fitted[chosen]).any(axis=1)
    if missing.any():
        value = points[chosen][missing][0]
        name = likelihood.parameters.poi
        raise FitError(f"the fit at {name} = {value:g} is not certified")
    return fitted


def _ellipsoid(
    likelihood: AbstractLikelihood,
    data: PyTree,
    params: Float[np.ndarray, " par"],
    beta: float,
) -> Float[np.ndarray, "par direction"]:
    """Matrix from the unit ball to the region of probability 1 - beta."""
    parameters = likelihood.parameters
    free = ~np.asarray(parameters.fixed)
    free[parameters.poi_index] = False
    curvature = np.asarray(_curvature(likelihood, jnp.asarray(params), data))
    own = curvature[np.ix_(free, free)] / 2
    values, vectors = np.linalg.eigh(own)
    if not (values > 0).all():
        raise SpecificationError("a nuisance parameter is not determined by the data")
    n_free = int(free.sum())
    root = np.zeros((free.size, n_free))
    root[free] = np.sqrt(chdtri(n_free, beta)) * vectors / np.sqrt(values)
    return root


@eqx.filter_jit
def _curvature(
    likelihood: AbstractLikelihood, params: Float[Array, " par"], data: Any
) -> Float[Array, "par par"]:
    return likelihood.curvature(params, data)
