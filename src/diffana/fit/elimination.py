"""Linear systems of many small positive definite matrices at once.

Gauss-Jordan elimination without pivoting, vectorised over the matrices. A call of
LAPACK for each of thousands of matrices of ten rows is several times slower on
processors, and XLA's pool of threads can come to a standstill in such calls.
"""

from typing import NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


# Above it a loop is compiled instead of its steps, which takes long otherwise.
_LARGEST_UNROLLED = 16


@final
class Solved(NamedTuple):
    """Solutions of many linear systems.

    Attributes:
        x: solutions of each.
        log_det: logarithm of the determinant of each matrix.
        is_definite: whether each matrix is positive definite; the other two mean
            nothing where it is not.
    """

    x: Float[Array, "system par right"]
    log_det: Float[Array, " system"]
    is_definite: Bool[Array, " system"]


def solve_many(
    matrix: Float[Array, "system par par"], right: Float[Array, "system par right"]
) -> Solved:
    """Solve symmetric positive definite systems, each for several right-hand sides.

    Example:
        >>> solve_many(4.0 * jnp.eye(2)[None], jnp.ones((1, 2, 1))).x.ravel().tolist()
        [0.25, 0.25]
    """
    n = matrix.shape[1]
    # The systems lie next to each other in memory, so that each step is one pass.
    rows = jnp.moveaxis(jnp.concatenate([matrix, right], axis=2), 0, -1)
    pivots = jnp.ones((n, rows.shape[-1]))
    if n <= _LARGEST_UNROLLED:
        for j in range(n):
            rows, pivots = _eliminate(j, (rows, pivots))
    else:
        rows, pivots = jax.lax.fori_loop(0, n, _eliminate, (rows, pivots))
    positive = (pivots > 0) & jnp.isfinite(pivots)
    return Solved(
        x=jnp.moveaxis(rows[:, n:], -1, 0),
        log_det=jnp.log(jnp.where(positive, pivots, 1.0)).sum(0),
        is_definite=jnp.all(positive, axis=0),
    )


def _eliminate(
    j: int | Int[Array, ""], state: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Make column `j` that of the unit matrix."""
    rows, pivots = state
    pivot = rows[j, j]
    row = rows[j] / pivot[None]
    is_own = (jnp.arange(rows.shape[0]) == j)[:, None, None]
    others = rows - rows[:, j][:, None] * row[None]
    return jnp.where(is_own, row[None], others), pivots.at[j].set(pivot)
