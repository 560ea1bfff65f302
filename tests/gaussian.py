"""A likelihood whose Fisher information is what the test says it is."""

from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffana.likelihood import AbstractLikelihood, Parameters


@final
class Gaussian(AbstractLikelihood):
    """Parameters measured directly, with a known inverse covariance."""

    precision: Float[Array, "par par"]

    @property
    def parameters(self) -> Parameters:
        n_par = self.precision.shape[0]
        return Parameters(
            inits=jnp.zeros(n_par),
            lower=jnp.full(n_par, -jnp.inf),
            upper=jnp.full(n_par, jnp.inf),
            fixed=jnp.zeros(n_par, bool),
            names=("mu", *(f"theta{i}" for i in range(1, n_par))),
            poi="mu",
        )

    def twice_nll(self, params, data):
        return (data - params) @ self.precision @ (data - params)

    def expected_data(self, params):
        return params

    def sample(self, params, key):
        return jax.random.multivariate_normal(
            key, params, jnp.linalg.inv(self.precision)
        )

    def curvature(self, params, data):
        return 2 * self.precision
