"""What a test statistic makes of nuisance parameters."""

import abc
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from diffana.likelihood import AbstractLikelihood, Parameters
from diffana.neyman.curves import Curves, highest
from diffana.neyman.grid import Grid
from diffana.neyman.profiles import ProfileNodes, profiled


class AbstractNuisance(eqx.Module):
    """How the likelihood becomes a function of the parameter of interest alone."""

    @abc.abstractmethod
    def curves(
        self,
        likelihood: AbstractLikelihood,
        data: PyTree[Array],
        grid: Grid,
        start: Float[Array, " par"],
    ) -> Curves:
        """Curves of data sets; nan where a fit is not certified.

        To be called under `jit`.

        Args:
            likelihood: the statistical model.
            data: data sets, one per entry of the leading axis.
            grid: values of the parameter of interest.
            start: parameters at which fits begin, such as those that generate the data.
        """


@final
class Known(AbstractNuisance):
    """Nuisance parameters are held at given values, or there are none.

    Attributes:
        params: all parameters; the parameter of interest is ignored.
    """

    params: Float[Array, " par"]

    def curves(
        self,
        likelihood: AbstractLikelihood,
        data: PyTree[Array],
        grid: Grid,
        start: Float[Array, " par"],
    ) -> Curves:
        """Curves of the likelihood itself."""
        points = _at(self.params, likelihood.parameters, grid)
        curve = _log_likelihood(likelihood, points, data)
        return Curves(curve, curve, highest(curve))


@final
class Profile(AbstractNuisance):
    """The likelihood is maximised over nuisance parameters, everywhere.

    The profile is fitted at a few Chebyshev nodes around its maximum, and interpolated
    between them by the polynomial through them: with it every value on the grid, and
    the integral over any focus, costs no further fits. Beyond the nodes it is continued
    by a parabola.

    Attributes:
        n_nodes: how many values of the parameter of interest are fitted, >= 3.
        reach: how far the nodes extend on both sides of the maximum, in units of the
            standard deviation there, > 0.

    Source: Berrut, Trefethen, SIAM Rev. 46 (2004) 501, section 6, for the nodes.
    """

    n_nodes: int = eqx.field(static=True, default=13)
    reach: float = 5.0

    def curves(
        self,
        likelihood: AbstractLikelihood,
        data: PyTree[Array],
        grid: Grid,
        start: Float[Array, " par"],
    ) -> Curves:
        """Curves of the profile likelihood."""
        nodes = ProfileNodes(self.n_nodes, self.reach)
        found = profiled(likelihood, data, grid, start, nodes)
        curve = found.curve(grid)
        return Curves(curve, curve, -0.5 * found.best)


@final
class Laplace(AbstractNuisance):
    """As `Profile`, with an approximate integral over nuisance parameters below.

    In the denominator the profile is multiplied with the square root of the inverse
    determinant of the curvature in the nuisance parameters, which is their integral if
    they are normal and have a flat prior of density 1 in their own units.

    Attributes:
        n_nodes: as in `Profile`.
        reach: as in `Profile`.
    """

    n_nodes: int = eqx.field(static=True, default=13)
    reach: float = 5.0

    def curves(
        self,
        likelihood: AbstractLikelihood,
        data: PyTree[Array],
        grid: Grid,
        start: Float[Array, " par"],
    ) -> Curves:
        """Curves of the profile likelihood, with their volumes below."""
        nodes = ProfileNodes(self.n_nodes, self.reach)
        found = profiled(likelihood, data, grid, start, nodes)
        curve = found.curve(grid)
        return Curves(curve, curve + found.log_volume(grid), -0.5 * found.best)


@final
class Marginal(AbstractNuisance):
    """The likelihood is averaged over a prior of the nuisance parameters, everywhere.

    Attributes:
        prior: points with equal probability; the parameter of interest is ignored.
    """

    prior: Float[Array, "point par"]

    def curves(
        self,
        likelihood: AbstractLikelihood,
        data: PyTree[Array],
        grid: Grid,
        start: Float[Array, " par"],
    ) -> Curves:
        """Curves of the average."""
        curve = averaged(likelihood, data, grid, self.prior)
        return Curves(curve, curve, highest(curve))


@final
class Mixed(AbstractNuisance):
    """`Profile` in the numerator, `Marginal` in the denominator.

    With any prior exp(FTS / 2) is then at most 1 on average, whatever the true values
    of the nuisance parameters: critical values -2 ln(1 - CL) are valid for all of them.

    Attributes:
        prior: as in `Marginal`.
        n_nodes: as in `Profile`.
        reach: as in `Profile`.
    """

    prior: Float[Array, "point par"]
    n_nodes: int = eqx.field(static=True, default=13)
    reach: float = 5.0

    def curves(
        self,
        likelihood: AbstractLikelihood,
        data: PyTree[Array],
        grid: Grid,
        start: Float[Array, " par"],
    ) -> Curves:
        """Curves of the profile, and of the average below."""
        settings = Profile(self.n_nodes, self.reach)
        above = settings.curves(likelihood, data, grid, start)
        below = averaged(likelihood, data, grid, self.prior)
        return above._replace(denominator=below)


def averaged(
    likelihood: AbstractLikelihood,
    data: PyTree[Array],
    grid: Grid,
    prior: Float[Array, "point par"],
) -> Float[Array, "toy grid"]:
    """Logarithm of the mean of the likelihood over points of a prior, on the grid."""
    n_points, n_grid = prior.shape[0], grid.points.shape[0]
    points = jax.vmap(lambda one: _at(one, likelihood.parameters, grid))(prior)
    curve = _log_likelihood(likelihood, points.reshape(-1, prior.shape[1]), data)
    curve = curve.reshape(-1, n_points, n_grid)
    return jax.scipy.special.logsumexp(curve, axis=1) - jnp.log(n_points)


def _log_likelihood(
    likelihood: AbstractLikelihood,
    points: Float[Array, "point par"],
    data: PyTree[Array],
) -> Float[Array, "toy point"]:
    """Values of ln L; -inf also where a rate is negative and events are seen."""
    found = -0.5 * likelihood.twice_nll_table(points, data)
    return jnp.where(jnp.isnan(found), -jnp.inf, found)


def _at(
    params: Float[Array, " par"], parameters: Parameters, grid: Grid
) -> Float[Array, "grid par"]:
    rows = jnp.broadcast_to(params, (grid.points.shape[0], params.shape[0]))
    return rows.at[:, parameters.poi_index].set(grid.points)
