"""Normal distribution of several variables, of which the exact problems are made."""

import math
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Scalar

from diffana.numerics import as_float


@final
class Normal(eqx.Module):
    """Normal distribution of correlated features.

    Attributes:
        mean: in the unit of each feature.
        covariance: symmetric and positive definite; densities are nan if it is not.

    Example:
        >>> normal = Normal(mean=[0.0, 0.0], covariance=[[1.0, 0.5], [0.5, 1.0]])
        >>> round(float(normal.log_density(jnp.array([1.0, 1.0]))), 6)
        -2.360703
    """

    mean: Float[Array, " feature"] = eqx.field(converter=as_float)
    covariance: Float[Array, "feature feature"] = eqx.field(converter=as_float)

    def __check_init__(self):
        if self.mean.ndim != 1 or self.covariance.shape != 2 * self.mean.shape:
            raise ValueError(
                f"normal distribution: the mean has shape {self.mean.shape}, the "
                f"covariance {self.covariance.shape}; n features need (n,) and (n, n)"
            )

    def log_density(self, features: Float[Array, " feature"]) -> Scalar:
        """Logarithm of the probability density of one event."""
        root = jnp.linalg.cholesky(self.covariance)
        z = solve_triangular(root, features - self.mean, lower=True)
        log_volume = jnp.log(jnp.diagonal(root)).sum()
        return -0.5 * (z @ z) - log_volume - 0.5 * z.size * math.log(2 * math.pi)

    def moved(self, shift: Float[Array, " feature"]) -> "Normal":
        """The distribution of events moved by `shift`, in the unit of each feature."""
        return Normal(self.mean + shift, self.covariance)

    def sample(
        self, random: np.random.Generator, n_events: int
    ) -> Float[np.ndarray, "event feature"]:
        """Independent events; equal states of `random` give equally moved events.

        Args:
            random: randomness, which is used up in the process.
            n_events: how many, >= 0.

        Raises:
            ValueError: if the covariance is not positive definite.
        """
        covariance = np.asarray(self.covariance, np.float64)
        try:
            root = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                f"normal distribution: the covariance {covariance.tolist()} is not "
                "positive definite"
            ) from error
        noise = random.normal(size=(n_events, self.mean.shape[0]))
        return np.asarray(self.mean, np.float64) + noise @ root.T
