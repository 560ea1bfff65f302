"""A test of every value of the parameter of interest, for many data sets at once."""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from diffana.fit import ManyFits, fit_many
from diffana.likelihood import AbstractLikelihood
from diffana.neyman.grid import Grid
from diffana.neyman.nuisance import (
    AbstractNuisance,
    Known,
    Laplace,
    Mixed,
    Profile,
)
from diffana.neyman.profiles import ProfileNodes, interpolation_error
from diffana.neyman.statistics import FTS, AbstractStatistic


@final
class Construction(eqx.Module):
    """What is computed from a data set: a likelihood, a statistic, tested values.

    Attributes:
        likelihood: the statistical model.
        statistic: what orders data sets.
        nuisance: what it makes of nuisance parameters.
        grid: tested values of the parameter of interest. Suprema and integrals over
            that parameter extend over its range, whatever bounds the model has.

    Example:
        >>> grid = Grid.between(0.0, 5.0, 201)
        >>> statistic = FTS(Normal(1.0, 1.0, lower=0.0))
        >>> test = Construction(model, statistic, Profile(), grid)
        >>> test.of(toys)
    """

    likelihood: AbstractLikelihood
    statistic: AbstractStatistic
    nuisance: AbstractNuisance
    grid: Grid

    def check(self) -> None:
        """Refuse what cannot be computed.

        Raises:
            ValueError: if the grid cannot hold the focus, or the model has no parameter
                of interest.
        """
        _ = self.likelihood.parameters.poi_index
        if isinstance(self.statistic, FTS):
            self.statistic.check(self.grid)

    def of(
        self, data: PyTree[Array], start: Float[Array, "*toy par"] | None = None
    ) -> Float[np.ndarray, "toy grid"]:
        """The statistic of data sets at every tested value.

        Args:
            data: data sets, one per entry of the leading axis. Another number of them
                is compiled anew.
            start: parameters at which fits begin; the nominal ones if left out.

        Returns:
            The statistics; inf where a data set is impossible at the tested value, nan
            for data sets with a fit that is not certified.
        """
        begin = self.likelihood.parameters.inits if start is None else start
        return np.asarray(_statistics(self, data, jnp.asarray(begin)))


def interpolation_errors(
    construction: Construction, data: PyTree[Array], start: Float[Array, "toy par"]
) -> Float[np.ndarray, " toy"]:
    """How wrong the statistic of each data set is where profiles are interpolated.

    0 for treatments of nuisance parameters that interpolate nothing, nan where a fit is
    not certified. See `profiles.interpolation_error`.
    """
    nuisance = construction.nuisance
    if not isinstance(nuisance, Profile | Laplace | Mixed):
        return np.zeros(jax.tree.leaves(data)[0].shape[0])
    nodes = ProfileNodes(nuisance.n_nodes, nuisance.reach)
    found = eqx.filter_jit(interpolation_error)(
        construction.likelihood.settled(), data, construction.grid, start, nodes
    )
    return np.asarray(found)


def has_nuisance(likelihood: AbstractLikelihood) -> bool:
    """Whether a parameter other than that of interest is free."""
    free = ~np.asarray(likelihood.parameters.fixed)
    free[likelihood.parameters.poi_index] = False
    return bool(free.any())


def usual_nuisance(likelihood: AbstractLikelihood) -> AbstractNuisance:
    """`Profile`, or `Known` if no nuisance parameter is free."""
    if has_nuisance(likelihood):
        return Profile()
    return Known(likelihood.parameters.inits)


def conditional_params(
    likelihood: AbstractLikelihood, data: PyTree, poi: Float[Array, " point"]
) -> Float[np.ndarray, "point par"]:
    """Parameters fitted to one data set with the parameter of interest held.

    nan where the fit is not certified.
    """
    return np.asarray(_conditional(likelihood, data, poi))


@final
class Location(NamedTuple):
    """Where a parameter of interest is measured, and how well.

    Attributes:
        poi_hat: its best fit; nan if the fit is not certified.
        width: its standard deviation, from the curvature of the profile; nan where a
            bound stops it.
    """

    poi_hat: Float[np.ndarray, " dataset"]
    width: Float[np.ndarray, " dataset"]


def locations(likelihood: AbstractLikelihood, data: PyTree[Array]) -> Location:
    """Best fit and width of the parameter of interest for several data sets."""
    fits = _free(likelihood, data)
    poi = likelihood.parameters.poi_index
    poi_hat = np.where(fits.is_certified, fits.params[:, poi], np.nan)
    stiffness = np.where(fits.stiffness > 0, fits.stiffness, np.nan)
    return Location(poi_hat, np.sqrt(2 / stiffness))


def asimov_widths(
    likelihood: AbstractLikelihood, params: Float[Array, "point par"]
) -> Float[np.ndarray, " point"]:
    """Expected standard deviation of the parameter of interest at some parameters.

    From the curvature of the profile of twice_nll on Asimov data; nan where there is
    none.
    """
    fits = _at_asimov(likelihood, params)
    return np.sqrt(2 / np.where(fits.stiffness > 0, fits.stiffness, np.nan))


@eqx.filter_jit
def _statistics(
    construction: Construction, data: PyTree, start: Float[Array, "*toy par"]
) -> Float[Array, "toy grid"]:
    likelihood, grid = construction.likelihood.settled(), construction.grid
    curves = construction.nuisance.curves(likelihood, data, grid, start)
    return construction.statistic(curves, grid)


@eqx.filter_jit
def _conditional(
    likelihood: AbstractLikelihood, data: PyTree, poi: Float[Array, " point"]
) -> Float[Array, "point par"]:
    likelihood = likelihood.settled()
    parameters = likelihood.parameters
    n_points = poi.shape[0]
    rows = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (n_points, *jnp.shape(leaf))), data
    )
    starts = jnp.broadcast_to(parameters.inits, (n_points, len(parameters)))
    starts = starts.at[:, parameters.poi_index].set(poi)
    fits = fit_many(likelihood, rows, starts, along=parameters.poi_index, is_held=True)
    return jnp.where(fits.is_certified[:, None], fits.params, jnp.nan)


@eqx.filter_jit
def _free(likelihood: AbstractLikelihood, data: PyTree) -> ManyFits:
    likelihood = likelihood.settled()
    inits = likelihood.parameters.inits
    n_data = jax.tree.leaves(data)[0].shape[0]
    starts = jnp.broadcast_to(inits, (n_data, inits.shape[0]))
    return fit_many(likelihood, data, starts, along=likelihood.parameters.poi_index)


@eqx.filter_jit
def _at_asimov(
    likelihood: AbstractLikelihood, params: Float[Array, "point par"]
) -> ManyFits:
    likelihood = likelihood.settled()
    poi = likelihood.parameters.poi_index
    data = jax.vmap(likelihood.expected_data)(params)
    # No tested value is a bound of its own measurement.
    limits = params[:, poi].min() - 1.0, params[:, poi].max() + 1.0
    return fit_many(likelihood, data, params, along=poi, limits=limits)
