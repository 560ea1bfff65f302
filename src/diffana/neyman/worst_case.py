"""Critical values that hold for the worst nuisance parameters of a region."""

import numpy as np
from jaxtyping import Float

from diffana.neyman.order_statistic import AbstractCriticalValues, Empirical
from diffana.neyman.quantile_regression import fit_quantiles
from diffana.neyman.schemes import Conditional
from diffana.neyman.toys import Batch


_N_DIRECTIONS = 2000


def worst_case(
    scheme: Conditional,
    grid: Float[np.ndarray, " grid"],
    tested: tuple[int, int],
    plan: list[Batch],
    statistic: Float[np.ndarray, " toy"],
    levels: Float[np.ndarray, " level"],
    seed: int,
) -> AbstractCriticalValues:
    """Largest critical values in the region of a scheme, at every tested value.

    The quantile regression is on the parameter of interest and on the position within
    the region, in its principal directions, linear and squared.

    Args:
        scheme: the region, and by how much levels are raised.
        grid: tested values.
        tested: positions on the grid of the lowest and the highest of them.
        plan: the toys.
        statistic: their statistics, finite.
        levels: confidence levels of the result.
        seed: of the points at which the largest value is searched.

    Raises:
        ValueError: if a raised level is not below 1.
    """
    raised = levels + scheme.beta
    if not (raised < 1).all():
        raise ValueError(f"beta = {scheme.beta:g} is too large for the levels {levels}")
    at = np.concatenate([batch.at for batch in plan])
    params = np.concatenate([batch.params for batch in plan])
    inverse = np.linalg.pinv(scheme.root)
    features = (params - scheme.fitted[at]) @ inverse.T
    critical = fit_quantiles(
        grid[at],
        statistic,
        raised,
        bounds=(grid[tested[0]], grid[tested[1]]),
        features=features,
    )
    ball = scheme.directions(_N_DIRECTIONS, np.random.default_rng(seed))
    # The largest value is often on the surface, and often along an axis.
    surface = ball / np.linalg.norm(ball, axis=1, keepdims=True)
    axes = np.eye(ball.shape[1])
    tried = np.concatenate([ball, surface, axes, -axes, 0 * axes[:1]])
    positions = np.arange(tested[0], tested[1] + 1)
    values = np.empty((levels.size, positions.size))
    for i, position in enumerate(positions):
        # Bounds of the parameters cut the region.
        inside = scheme.at_directions(np.full(len(tried), position), tried)
        where = (inside - scheme.fitted[position]) @ inverse.T
        found = critical(np.full(len(tried), grid[position]), where)
        values[:, i] = found.max(axis=1)
    return Empirical(grid[positions], values, levels)
