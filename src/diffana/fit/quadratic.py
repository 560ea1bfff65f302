"""Quadratic models of twice_nll around a point, and their minimum within bounds."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Bool, Float, Scalar

from diffana.likelihood import Expansion
from diffana.numerics import safe_sqrt


# A parameter on which nothing depends still needs a scale for its steps.
_LEAST_SCALE = 1e-12


@final
class Quadratic(eqx.Module):
    """Quadratic model of twice_nll around a point.

    Attributes:
        expansion: value and derivatives at the point.
        exact: whether the second derivative is the Hessian, which may be indefinite,
            or the curvature alone.
    """

    expansion: Expansion
    exact: Bool[Array, ""]

    @property
    def scale(self) -> Float[Array, " par"]:
        """Size of the curvature of each parameter, > 0."""
        rows, weight = self.expansion.rows, self.expansion.weight
        return jnp.maximum(self.expansion.diagonal + weight @ rows**2, _LEAST_SCALE)

    def times(self, vector: Float[Array, " par"]) -> Float[Array, " par"]:
        """Second derivative times `vector`."""
        rows, weight = self.expansion.rows, self.expansion.weight
        bent = jax.lax.cond(
            self.exact,
            lambda: self.expansion.bend @ vector,
            lambda: jnp.zeros_like(vector),
        )
        return (
            self.expansion.diagonal * vector
            + rows.T @ (weight * (rows @ vector))
            + bent
        )

    def solve(
        self,
        rhs: Float[Array, " par"],
        free: Bool[Array, " par"],
        damping: Scalar,
    ) -> Float[Array, " par"]:
        """Solution of the damped system on the free parameters, zero elsewhere.

        The damping adds a multiple of `scale` to the diagonal. The solution is nan if
        the damped matrix is not positive definite.
        """

        def by_matrix():
            damped = self.expansion.hessian + jnp.diag(damping * self.scale)
            return solve_free(damped, rhs, free)

        def by_rows():
            # Woodbury's identity divides by the diagonal, which is 0 for parameters
            # without constraint: the least damping costs a relative 1e-9 of the step.
            diagonal = self.expansion.diagonal + (damping + 1e-9) * self.scale
            inverse = jnp.where(free, 1.0 / diagonal, 0.0)
            rows = safe_sqrt(self.expansion.weight)[:, None] * self.expansion.rows
            weighted = rows * inverse[None, :]
            small = jnp.eye(rows.shape[0]) + weighted @ rows.T
            partial = jsl.cho_solve((_cholesky(small), True), weighted @ rhs)
            return inverse * rhs - weighted.T @ partial

        n_rows, n_par = self.expansion.rows.shape
        if n_rows >= n_par:
            return by_matrix()
        return jax.lax.cond(self.exact, by_matrix, by_rows)


def restrict(
    matrix: Float[Array, "par par"], free: Bool[Array, " par"]
) -> Float[Array, "par par"]:
    """`matrix` on the free parameters, the identity on the others."""
    inside = free[:, None] & free[None, :]
    return jnp.where(inside, matrix, 0.0) + jnp.diag(jnp.where(free, 0.0, 1.0))


def unit_diagonal(
    matrix: Float[Array, "par par"],
) -> tuple[Float[Array, "par par"], Float[Array, " par"]]:
    """`matrix` with rows and columns scaled to a diagonal of 1, and the scale.

    Parameters come in units from 1e-3 to 1e3, and a factor of the scaled matrix keeps
    more digits. Entries of the diagonal that are not positive stay as they are.
    """
    diagonal = jnp.diagonal(matrix)
    scale = jnp.where(diagonal > 0, diagonal, 1.0) ** -0.5
    return matrix * scale[:, None] * scale[None, :], scale


def solve_free(
    matrix: Float[Array, "par par"],
    rhs: Float[Array, " par"],
    free: Bool[Array, " par"],
) -> Float[Array, " par"]:
    """Solution on the free parameters, zero elsewhere; nan if not positive definite."""
    unit, scale = unit_diagonal(restrict(matrix, free))
    half = jsl.cho_solve((_cholesky(unit), True), scale * jnp.where(free, rhs, 0.0))
    return scale * half


def is_positive_definite(matrix: Float[Array, "par par"]) -> Bool[Array, ""]:
    """Whether the matrix is, beyond rounding: flat directions do not count.

    With a unit diagonal, an eigenvalue below 1e-11 is a flat direction.
    """
    unit, _ = unit_diagonal(matrix)
    factor = _cholesky(unit - 1e-11 * jnp.eye(unit.shape[0]))
    return jnp.all(jnp.isfinite(factor)) & jnp.all(jnp.diagonal(matrix) > 0)


def _cholesky(matrix: Float[Array, "par par"]) -> Float[Array, "par par"]:
    """Lower factor, nan if there is none; half of `matrix` is not read."""
    return jax.lax.linalg.cholesky(matrix, symmetrize_input=False)


def box_step(
    model: Quadratic,
    lower: Float[Array, " par"],
    upper: Float[Array, " par"],
    free: Bool[Array, " par"],
    damping: Scalar,
) -> tuple[Float[Array, " par"], Scalar]:
    """Minimiser of the damped model within the box, and the decrease it predicts.

    Primal-dual active set method: parameters that leave the box are held on its faces
    and the rest is solved again; those on a face that the model pulls back inside are
    let go. If the faces still change after five rounds, nothing is let go any more, so
    that the method ends.

    Args:
        model: the quadratic model at the current point.
        lower: distance to the lower bounds, <= 0.
        upper: distance to the upper bounds, >= 0.
        free: parameters that may move.
        damping: multiple of the model's scale added to its diagonal.

    Returns:
        The step, and the predicted decrease of twice_nll; nan if the damped model has
        no minimum.

    Source: Hintermüller, Ito, Kunisch, SIAM J. Optim. 13 (2002) 865.
    """
    gradient = model.expansion.gradient

    def times(vector):
        return model.times(vector) + damping * model.scale * vector

    def solve_between(state):
        _, _, below, above, n_rounds = state
        held = jnp.where(below, lower, 0.0) + jnp.where(above, upper, 0.0)
        inside = free & ~below & ~above
        rest = model.solve(-gradient - times(held), inside, damping)
        step = jnp.where(inside, rest, held)
        pull = -(gradient + times(step))
        stay = n_rounds >= 5
        next_below = free & ((step < lower) | (below & ((pull < 0) | stay)))
        next_above = free & ((step > upper) | (above & ((pull > 0) | stay)))
        changed = jnp.any((next_below != below) | (next_above != above))
        return step, changed, next_below, next_above, n_rounds + 1

    nowhere = jnp.zeros_like(free)
    start = (jnp.zeros_like(lower), jnp.array(True), nowhere, nowhere, 0)  # noqa: FBT003
    step, *_ = jax.lax.while_loop(lambda state: state[1], solve_between, start)
    return step, -(gradient @ step + 0.5 * step @ times(step))
