"""Closed-form statistical models that tests fit, independent of HistFactory."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffana.likelihood import AbstractLikelihood, Parameters


@final
class Morphed(AbstractLikelihood):
    """Poisson bins of mu * signal + background morphed by one constrained alpha.

    The morphing is HistFactory's code4p: linear beyond |alpha| = 1, a polynomial with
    matching value and derivatives inside. The profile can have several minima.
    Data are the observed bins followed by the measurement of alpha.
    """

    signal: Float[Array, " bin"]
    nominal: Float[Array, " bin"]
    up: Float[Array, " bin"]
    down: Float[Array, " bin"]
    mu_lower: float = eqx.field(static=True, default=0.0)

    @property
    def parameters(self) -> Parameters:
        return Parameters(
            inits=jnp.array([1.0, 0.0]),
            lower=jnp.array([self.mu_lower, -5.0]),
            upper=jnp.array([10.0, 5.0]),
            fixed=jnp.array([False, False]),
            names=("mu", "alpha"),
            poi="mu",
            interpolated=("alpha",),
        )

    def rates(self, params):
        mu, alpha = params
        rise, fall = self.up - self.nominal, self.nominal - self.down
        inside = (rise + fall) / 2 + alpha * (rise - fall) / 16 * (
            15 + alpha**2 * (3 * alpha**2 - 10)
        )
        slope = jnp.where(jnp.abs(alpha) < 1, inside, jnp.where(alpha > 0, rise, fall))
        shift = alpha * slope
        return mu * self.signal + self.nominal + shift

    def twice_nll(self, params, data):
        observed, auxiliary = data[:-1], data[-1]
        rates = self.rates(params)
        poisson = rates - jax.scipy.special.xlogy(observed, rates)
        return 2 * jnp.sum(poisson) + (params[1] - auxiliary) ** 2

    def expected_data(self, params):
        return jnp.append(self.rates(params), params[1])

    def sample(self, params, key):
        return jax.random.poisson(key, self.expected_data(params)).astype(float)

    def curvature(self, params, data):
        rates = self.rates(params)
        jacobian = jax.jacfwd(self.rates)(params)
        weight = 2 * data[:-1] / rates**2
        return jacobian.T @ (weight[:, None] * jacobian) + jnp.diag(
            jnp.array([0.0, 2.0])
        )
