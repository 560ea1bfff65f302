"""Critical values of the normal approximation, from which regressions start."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Scalar

from diffana.neyman.construction import Construction, asimov_widths
from diffana.neyman.curves import Curves
from diffana.neyman.gaussian import baseline
from diffana.neyman.grid import Grid
from diffana.neyman.statistics import AbstractStatistic
from diffana.neyman.toys import Batch


_N_POINTS = 41
_N_NODES = 2001


@final
class Interpolated(eqx.Module):
    """Values between points, by straight lines.

    Attributes:
        mu: the points.
        values: one row per level.
    """

    mu: Float[np.ndarray, " node"]
    values: Float[np.ndarray, "level node"]

    def __call__(
        self, mu: Float[np.ndarray, " point"]
    ) -> Float[np.ndarray, "level point"]:
        """Values at `mu`, constant outside."""
        return np.stack([np.interp(mu, self.mu, row) for row in self.values])


def gaussian_baseline(
    construction: Construction,
    plan: list[Batch],
    tested: tuple[int, int],
    levels: Float[np.ndarray, " level"],
) -> Interpolated | None:
    """Critical values if the parameter of interest were measured with normal errors.

    Args:
        construction: the test.
        plan: toys, which tell the parameters at each tested value.
        tested: positions on the grid of the lowest and the highest tested value.
        levels: confidence levels.

    Returns:
        The critical values, or None where no width can be computed.
    """
    positions = np.unique(np.linspace(*tested, _N_POINTS).round().astype(int))
    every = {at: batch.params[i] for batch in plan for i, at in enumerate(batch.at)}
    positions = np.array([at for at in positions if at in every])
    params = jnp.asarray(np.stack([every[at] for at in positions]))
    widths = asimov_widths(construction.likelihood, params)
    if not np.isfinite(widths).all():
        return None
    grid = construction.grid
    mu = np.asarray(grid.points)[positions]
    width_of = dict(zip(mu.tolist(), widths.tolist(), strict=True))
    place = dict(zip(mu.tolist(), positions.tolist(), strict=True))

    def statistic_of(x: Float[np.ndarray, " node"], at: float) -> Array:
        return _gaussian(
            construction.statistic,
            grid,
            jnp.asarray(x),
            jnp.asarray(width_of[at]),
            jnp.asarray(place[at]),
        )

    found = baseline(statistic_of, mu, widths, levels.tolist(), _N_NODES)
    if not np.isfinite(found).all():
        return None
    return Interpolated(mu, found)


@eqx.filter_jit
def _gaussian(
    statistic: AbstractStatistic,
    grid: Grid,
    x: Float[Array, " node"],
    width: Scalar,
    place: Int[Array, ""],
) -> Float[Array, " node"]:
    curve = -0.5 * ((x[:, None] - grid.points[None]) / width) ** 2
    lower, upper = grid.points[0], grid.points[-1]
    outside = x - jnp.clip(x, lower, upper)
    top = -0.5 * (outside / width) ** 2
    return statistic(Curves(curve, curve, top), grid)[:, place]
