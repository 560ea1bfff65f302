"""Normal measurements of mu, with and without a shift that a second one constrains."""

from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffana.likelihood import AbstractLikelihood, Parameters


def _parameters(names, lower):
    n = len(names)
    return Parameters(
        inits=jnp.zeros(n),
        lower=jnp.asarray(lower, float),
        upper=jnp.full(n, 100.0),
        fixed=jnp.zeros(n, bool),
        names=names,
        poi="mu",
    )


@final
class Direct(AbstractLikelihood):
    """x ~ N(mu, 1)."""

    @property
    def parameters(self):
        return _parameters(("mu",), [-100.0])

    def twice_nll(self, params, data):
        return ((data - params) ** 2).sum()

    def expected_data(self, params):
        return params

    def sample(self, params, key):
        return params + jax.random.normal(key, (1,))

    def curvature(self, params, data):
        return jnp.full((1, 1), 2.0)


@final
class Shifted(AbstractLikelihood):
    """x ~ N(mu + theta, 1) and y ~ N(theta, tau²); data are x, y."""

    tau: Float[Array, ""]

    @property
    def parameters(self):
        return _parameters(("theta", "mu"), [-100.0, -100.0])

    def twice_nll(self, params, data):
        theta, mu = params
        return (data[0] - mu - theta) ** 2 + ((data[1] - theta) / self.tau) ** 2

    def expected_data(self, params):
        return jnp.stack([params[0] + params[1], params[0]])

    def sample(self, params, key):
        noise = jax.random.normal(key, (2,)) * jnp.stack([jnp.ones(()), self.tau])
        return self.expected_data(params) + noise

    def curvature(self, params, data):
        return 2 * jnp.ones((2, 2)) + jnp.diag(
            jnp.stack([2 / self.tau**2, jnp.zeros(())])
        )
