"""What a fit minimises, and linear algebra on its free parameters."""

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Bool, Float, PyTree, Scalar

from diffana.likelihood import AbstractLikelihood, Parameters


class Problem(eqx.Module):
    """What is minimised. `held` gives the value of every parameter in `is_held`."""

    likelihood: AbstractLikelihood
    data: PyTree
    held: Float[Array, " par"]
    is_held: Bool[Array, " par"]

    def place(self, params: Float[Array, " par"]) -> Float[Array, " par"]:
        """`params` with the held ones at their values."""
        return jnp.where(self.is_held, self.held, params)

    def value(self, params: Float[Array, " par"]) -> Scalar:
        """-2 ln L."""
        return self.likelihood.twice_nll(self.place(params), self.data)

    def gradient(self, params: Float[Array, " par"]) -> Float[Array, " par"]:
        """First derivative of `value` as if no parameter were held."""
        return self.likelihood.gradient(self.place(params), self.data)

    def hessian(self, params: Float[Array, " par"]) -> Float[Array, "par par"]:
        """Second derivative of `value` as if no parameter were held."""
        return self.likelihood.hessian(self.place(params), self.data)

    def curvature(self, params: Float[Array, " par"]) -> Float[Array, "par par"]:
        """Positive semi-definite matrix close to `hessian`."""
        return self.likelihood.curvature(self.place(params), self.data)


def pushed_out(
    parameters: Parameters,
    params: Float[Array, " par"],
    gradient: Float[Array, " par"],
) -> Bool[Array, " par"]:
    """Parameters on a bound that descent would leave through."""
    return ((params <= parameters.lower) & (gradient > 0)) | (
        (params >= parameters.upper) & (gradient < 0)
    )


def restrict(
    matrix: Float[Array, "par par"], free: Bool[Array, " par"]
) -> Float[Array, "par par"]:
    """`matrix` on the free parameters, the identity on the others."""
    inside = free[:, None] & free[None, :]
    return jnp.where(inside, matrix, 0.0) + jnp.diag(jnp.where(free, 0.0, 1.0))


def solve_free(
    matrix: Float[Array, "par par"],
    rhs: Float[Array, " par"],
    free: Bool[Array, " par"],
) -> Float[Array, " par"]:
    """Solution on the free parameters, zero elsewhere; nan if not positive definite.

    Rows are scaled to a unit diagonal first: parameters come in units from 1e-3 to 1e3
    and the Cholesky factor of the scaled matrix keeps more digits.
    """
    restricted = restrict(matrix, free)
    diagonal = jnp.diagonal(restricted)
    scale = jnp.where(diagonal > 0, diagonal, 1.0) ** -0.5
    factor = jsl.cho_factor(restricted * scale[:, None] * scale[None, :], lower=True)
    return scale * jsl.cho_solve(factor, scale * jnp.where(free, rhs, 0.0))
