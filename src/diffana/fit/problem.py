"""What a fit minimises."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from diffana.fit.quadratic import Quadratic
from diffana.likelihood import AbstractLikelihood, Expansion


class Problem(eqx.Module):
    """What is minimised. `held` gives the value of every parameter in `is_held`.

    Derivatives are those of the likelihood, as if no parameter were held.
    """

    likelihood: AbstractLikelihood
    data: PyTree
    lower: Float[Array, " par"]
    upper: Float[Array, " par"]
    held: Float[Array, " par"]
    is_held: Bool[Array, " par"]

    def admit(self, params: Float[Array, " par"]) -> Float[Array, " par"]:
        """`params` within the bounds, with the held ones at their values."""
        return self.place(jnp.clip(params, self.lower, self.upper))

    def place(self, params: Float[Array, " par"]) -> Float[Array, " par"]:
        """`params` with the held ones at their values."""
        return jnp.where(self.is_held, self.held, params)

    def model(self, params: Float[Array, " par"], exact: Bool[Array, ""]) -> Quadratic:
        """Quadratic model around `params`, with the Hessian or the curvature alone."""
        expansion = _expand(self.likelihood, self.place(params), self.data, exact)
        return Quadratic(expansion, exact)

    def pushed_out(
        self, params: Float[Array, " par"], gradient: Float[Array, " par"]
    ) -> Bool[Array, " par"]:
        """Parameters on a bound that descent would leave through, held ones apart."""
        below = (params <= self.lower) & (gradient > 0)
        above = (params >= self.upper) & (gradient < 0)
        return ~self.is_held & (below | above)

    def free_at(
        self, params: Float[Array, " par"], gradient: Float[Array, " par"]
    ) -> Bool[Array, " par"]:
        """Parameters that are neither held nor pushed against a bound."""
        return ~self.is_held & ~self.pushed_out(params, gradient)


# Compiled as a unit, the likelihood is traced once however often it is asked.
@eqx.filter_jit
def _expand(
    likelihood: AbstractLikelihood,
    params: Float[Array, " par"],
    data: PyTree,
    exact: Bool[Array, ""],
) -> Expansion:
    return likelihood.expansion(params, data, exact=exact)
