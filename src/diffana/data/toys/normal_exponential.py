"""Independent normal variables, followed by an exponential one."""

import math
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from diffana.numerics import as_float


@final
class NormalExponential(eqx.Module):
    """Events of independent normal variables, followed by an exponential one.

    The two components of the mixture of de Castro and Dorigo, arXiv:1806.04743,
    section 5.1, are of this kind. Sampling and density are functions of the fields that
    can be differentiated, so that the response of a histogram to a parameter of the
    simulation is known exactly: it is the histogram whose events are weighted with the
    derivative of `log_density`.

    Attributes:
        mean: of the normal variables.
        scale: standard deviations of the normal variables, in their units; > 0.
        rate: inverse mean of the exponential variable; > 0.

    Example:
        >>> process = NormalExponential(mean=[0.0, 0.0], scale=[1.0, 1.0], rate=2.0)
        >>> process.sample(jax.random.key(0), 5).shape
        (5, 3)
    """

    mean: Float[Array, " normal"] = eqx.field(converter=as_float)
    scale: Float[Array, " normal"] = eqx.field(converter=as_float)
    rate: Float[Array, ""] = eqx.field(converter=as_float)

    def __check_init__(self):
        if self.mean.ndim != 1 or self.mean.shape != self.scale.shape:
            raise ValueError(
                f"normal variables: the means have shape {self.mean.shape}, "
                f"the scales {self.scale.shape}; both are lists of equal length"
            )

    def sample(
        self, key: PRNGKeyArray, n_events: int, dtype: DTypeLike = float
    ) -> Float[Array, "event feature"]:
        """Independent events, the exponential variable last.

        Equal keys give the same events moved with the fields, as from a simulation
        with common random numbers.

        Args:
            key: randomness.
            n_events: how many.
            dtype: of the result.
        """
        normal, exponential = jax.random.split(key)
        noise = jax.random.normal(normal, (n_events, self.mean.shape[0]), dtype)
        time = jax.random.exponential(exponential, (n_events, 1), dtype)
        mean, scale = (a.astype(dtype)[None] for a in (self.mean, self.scale))
        moved = mean + scale * noise
        return jnp.concatenate([moved, time / self.rate.astype(dtype)], axis=1)

    def log_density(self, x: Float[Array, "event feature"]) -> Float[Array, " event"]:
        """Logarithm of the probability density of each event.

        Args:
            x: the variables in the order of `sample`; -inf where the last one is
                negative.
        """
        z = (x[:, :-1] - self.mean[None]) / self.scale[None]
        constant = jnp.log(self.scale).sum() + 0.5 * z.shape[1] * math.log(2 * math.pi)
        time = x[:, -1]
        exponential = jnp.log(self.rate) - self.rate * time
        inside = -0.5 * jnp.square(z).sum(axis=1) - constant + exponential
        return jnp.where(time < 0, -jnp.inf, inside)
