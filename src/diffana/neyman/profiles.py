"""Profiles of many likelihoods at once, as polynomials in the parameter of interest."""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from diffana.fit import ManyFits, fit_many
from diffana.likelihood import AbstractLikelihood
from diffana.neyman.grid import Grid


# What is left of such a distance once it is subtracted is far below what separates the
# polynomials from the profiles.
_CERTIFIED_EDM = 1e-4


@final
class ProfileNodes(NamedTuple):
    """Where profiles are fitted.

    Attributes:
        n_nodes: how many values of the parameter of interest, >= 3.
        reach: how far they extend on both sides of the maximum, in units of the
            standard deviation there, > 0.
    """

    n_nodes: int
    reach: float | Float[Array, ""]


class Profiled(eqx.Module):
    """Profiles of twice_nll as polynomials, one per data set.

    Attributes:
        best: minimum of twice_nll within the range of the grid.
        poi_hat: where it is.
        lower: first node.
        upper: last node.
        heights: coefficients of the Chebyshev series of twice_nll - best.
        log_dets: those of the logarithm of the determinant of the curvature in the
            nuisance parameters.
    """

    best: Float[Array, " toy"]
    poi_hat: Float[Array, " toy"]
    lower: Float[Array, " toy"]
    upper: Float[Array, " toy"]
    heights: Float[Array, "toy node"]
    log_dets: Float[Array, "toy node"]

    def curve(self, grid: Grid) -> Float[Array, "toy grid"]:
        """Profile of ln L on the grid."""
        # The polynomial may pass the fitted maximum by its error.
        height = jnp.maximum(self._series(self.heights, grid), 0.0)
        return -0.5 * (height + self.best[:, None])

    def log_volume(self, grid: Grid) -> Float[Array, "toy grid"]:
        """-1/2 ln of the determinant on the grid, constant beyond the nodes."""
        return -0.5 * _chebyshev(self.log_dets, self._position(grid))

    def _position(self, grid: Grid) -> Float[Array, "toy grid"]:
        """Points of the grid between the nodes, from -1 to 1."""
        x = grid.points[None] - self.lower[:, None]
        return jnp.clip(2 * x / (self.upper - self.lower)[:, None] - 1, -1.0, 1.0)

    def _series(
        self, coefficients: Float[Array, "toy node"], grid: Grid
    ) -> Float[Array, "toy grid"]:
        inside = _chebyshev(coefficients, self._position(grid))
        order = jnp.arange(coefficients.shape[1], dtype=float)
        scale = 2 / (self.upper - self.lower)
        # Derivatives of T_n at 1 are n² and n²(n² - 1)/3, those at -1 have signs.
        first = order**2
        second = order**2 * (order**2 - 1) / 3
        sign = (-1.0) ** jnp.arange(coefficients.shape[1])
        right = grid.points[None] - self.upper[:, None]
        left = self.lower[:, None] - grid.points[None]

        def beyond(distance, by_slope, by_bend):
            away = jnp.maximum(distance, 0.0)
            slope = scale * (coefficients @ by_slope)
            bend = jnp.maximum(scale**2 * (coefficients @ by_bend), 0.0)
            return slope[:, None] * away + 0.5 * bend[:, None] * away**2

        return (
            inside
            + beyond(right, first, second)
            + beyond(left, sign * first, sign * second)
        )


def profiled(
    likelihood: AbstractLikelihood,
    data: PyTree[Array],
    grid: Grid,
    start: Float[Array, " par"],
    nodes: ProfileNodes,
) -> Profiled:
    """Profiles of data sets; nan where a fit is not certified."""
    n_toys = jax.tree.leaves(data)[0].shape[0]
    poi = likelihood.parameters.poi_index
    limits = grid.points[0], grid.points[-1]
    starts = jnp.broadcast_to(start, (n_toys, start.shape[-1]))

    free = fit_many(
        likelihood,
        data,
        starts,
        along=poi,
        limits=limits,
    )
    poi_hat = free.params[:, poi]
    stiffness = jnp.where(free.stiffness > 0, free.stiffness, jnp.nan)
    # Without events the profile is nearly a straight line, which has no width; other
    # data sets of the batch must have no say.
    width = jnp.sqrt(2 / stiffness)
    width = jnp.where(jnp.isfinite(width), width, limits[1] - limits[0])
    lower = jnp.maximum(poi_hat - nodes.reach * width, limits[0])
    upper = jnp.minimum(poi_hat + nodes.reach * width, limits[1])
    # Where the range ends next to the maximum, nodes must not coincide.
    least = 0.1 * width
    lower = jnp.minimum(lower, jnp.maximum(upper - least, limits[0]))
    upper = jnp.maximum(upper, jnp.minimum(lower + least, limits[1]))

    angle = jnp.pi * jnp.arange(nodes.n_nodes) / (nodes.n_nodes - 1)
    place = 0.5 * (1 - jnp.cos(angle))
    places = lower[None] + place[:, None] * (upper - lower)[None]

    def fit_node(
        carry: tuple[Array, Array, Array, Array], node: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array, Array, Array], ManyFits]:
        before, before_at, last, last_at = carry
        at, number = node
        # The line through the latest two nodes; before there are any, the tangent.
        distance = jnp.where(number > 1, last_at - before_at, 1.0)
        ahead = ((at - last_at) / distance)[:, None] * (last - before)
        from_hat = free.params + (at - poi_hat)[:, None] * free.tangent
        guess = jnp.where(number == 0, from_hat, last + jnp.where(number > 1, ahead, 0))
        guess = jnp.clip(
            guess, likelihood.parameters.lower[None], likelihood.parameters.upper[None]
        )
        fits = fit_many(
            likelihood,
            data,
            guess.at[:, poi].set(at),
            along=poi,
            is_held=True,
            certified_edm=_CERTIFIED_EDM,
        )
        fits = eqx.tree_at(lambda f: (f.tangent, f.stiffness), fits, (None, None))
        return (last, last_at, fits.params, at), fits

    numbers: Int[Array, " node"] = jnp.arange(nodes.n_nodes)
    at_hat = (free.params, poi_hat, free.params, poi_hat)
    _, fits = jax.lax.scan(fit_node, at_hat, (places, numbers))
    ok = free.is_certified & jnp.all(fits.is_certified, axis=0)
    # Of a profile with several minima, the free fit may have found another one.
    best = jnp.minimum(free.twice_nll, fits.twice_nll.min(axis=0))
    best = jnp.where(ok, best, jnp.nan)
    to_series = jnp.asarray(_series_of_values(nodes.n_nodes))
    return Profiled(
        best=best,
        poi_hat=jnp.where(ok, poi_hat, jnp.nan),
        lower=lower,
        upper=upper,
        heights=(fits.twice_nll - best[None]).T @ to_series,
        log_dets=fits.log_det.T @ to_series,
    )


def interpolation_error(
    likelihood: AbstractLikelihood,
    data: PyTree[Array],
    grid: Grid,
    start: Float[Array, "*toy par"],
    nodes: ProfileNodes,
    *,
    highest: float = 9.0,
) -> Float[Array, " toy"]:
    """How wrong interpolated profiles are, from further fits between the nodes.

    To be called under `jit`, on some data sets, before `Profile` is used on many.

    Args:
        likelihood: the statistical model.
        data: data sets, one per entry of the leading axis.
        grid: values of the parameter of interest.
        start: parameters at which fits begin.
        nodes: of the polynomials.
        highest: up to which value of the likelihood-ratio statistic errors count.

    Returns:
        The largest error of the statistic at the middle of two neighbouring nodes; nan
        where a fit is not certified.

    Example:
        >>> nodes = ProfileNodes(13, 5.0)
        >>> jnp.max(interpolation_error(model, toys, grid, start, nodes))
    """
    poi = likelihood.parameters.poi_index
    found = profiled(likelihood, data, grid, start, nodes)
    angle = jnp.pi * (jnp.arange(nodes.n_nodes - 1) + 0.5) / (nodes.n_nodes - 1)
    x = jnp.broadcast_to(-jnp.cos(angle), (found.best.shape[0], angle.shape[0]))
    seen = jnp.maximum(_chebyshev(found.heights, x), 0.0)
    span = found.upper - found.lower
    middles = found.lower[:, None] + 0.5 * (x + 1) * span[:, None]
    starts = jnp.broadcast_to(start, (found.best.shape[0], start.shape[-1]))

    def fit_middle(
        params: Float[Array, "toy par"], at: Float[Array, " toy"]
    ) -> tuple[Float[Array, "toy par"], Float[Array, " toy"]]:
        begin = params.at[:, poi].set(at)
        fits = fit_many(likelihood, data, begin, along=poi, is_held=True)
        return fits.params, fits.twice_nll

    _, exact = jax.lax.scan(fit_middle, starts, middles.T)
    height = exact.T - found.best[:, None]
    counts = (height <= highest) | jnp.isnan(height)
    return jnp.max(jnp.where(counts, jnp.abs(seen - height), 0.0), axis=1)


def _chebyshev(
    coefficients: Float[Array, "toy node"], x: Float[Array, "toy grid"]
) -> Float[Array, "toy grid"]:
    """Chebyshev series by Clenshaw's recurrence."""
    after, last = jnp.zeros_like(x), jnp.zeros_like(x)
    for n in range(coefficients.shape[1] - 1, 0, -1):
        after, last = last, coefficients[:, n, None] + 2 * x * last - after
    return coefficients[:, :1] + x * last - after


def _series_of_values(n_nodes: int) -> Float[np.ndarray, "node node"]:
    """Matrix that takes values at Chebyshev nodes, from -1 to 1, to a series."""
    x = -np.cos(np.pi * np.arange(n_nodes) / (n_nodes - 1))
    return np.linalg.inv(np.polynomial.chebyshev.chebvander(x, n_nodes - 1)).T
