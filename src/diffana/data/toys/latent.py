"""A latent normal variable, seen through noise: joint ratios and scores are exact."""

import math
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from diffana.data._random import named_generator
from diffana.data.table import Table
from diffana.numerics import as_float


@final
class LatentGaussian(eqx.Module):
    """A simulator whose likelihood is known together with that of its latent variable.

    The latent variable is z ~ N(θ, s²), what is observed x ~ N(z, n²). What a simulator
    can tell is the joint likelihood p(x, z | θ) = p(x | z) p(z | θ), whose ratios and
    scores depend on z only; their means at given x are those of p(x | θ).

    Source: the toy of MadMiner, Brehmer, Kling, Espejo and Cranmer, arXiv:1907.10621.
    The joint score has the variance s² of z, not that of x.

    Attributes:
        latent_scale: s, in the unit of x; > 0.
        noise_scale: n, in the unit of x; > 0.

    Example:
        >>> problem = LatentGaussian()
        >>> round(float(problem.log_ratio(2.0, theta_0=1.0, theta_1=0.0)), 6)
        0.3
        >>> float(problem.joint_score(2.0, theta=1.0)), float(problem.score(2.0, 1.0))
        (0.25, 0.2)
    """

    latent_scale: Scalar = eqx.field(converter=as_float, default=2.0)
    noise_scale: Scalar = eqx.field(converter=as_float, default=1.0)

    def log_density(self, x: float | Scalar, theta: float | Scalar) -> Scalar:
        """Logarithm of p(x | θ)."""
        variance = self._variance()
        constant = 0.5 * (jnp.log(variance) + math.log(2 * math.pi))
        return -0.5 * (x - as_float(theta)) ** 2 / variance - constant

    def log_ratio(
        self,
        x: float | Scalar,
        theta_0: float | Scalar,
        theta_1: float | Scalar,
    ) -> Scalar:
        """Logarithm of p(x | θ₀) / p(x | θ₁)."""
        return _log_ratio(x, theta_0, theta_1, self._variance())

    def score(self, x: float | Scalar, theta: float | Scalar) -> Scalar:
        """Derivative of ln p(x | θ) by θ."""
        return (as_float(x) - theta) / self._variance()

    def joint_log_ratio(
        self,
        z: float | Scalar,
        theta_0: float | Scalar,
        theta_1: float | Scalar,
    ) -> Scalar:
        """Logarithm of p(x, z | θ₀) / p(x, z | θ₁), which does not depend on x."""
        return _log_ratio(z, theta_0, theta_1, self.latent_scale**2)

    def joint_score(self, z: float | Scalar, theta: float | Scalar) -> Scalar:
        """Derivative of ln p(x, z | θ) by θ, which does not depend on x."""
        return (as_float(z) - theta) / self.latent_scale**2

    def divergence(self, theta_0: float | Scalar, theta_1: float | Scalar) -> Scalar:
        """Mean of `log_ratio` over events at θ₀: Kullback and Leibler's divergence."""
        return 0.5 * (as_float(theta_0) - theta_1) ** 2 / self._variance()

    def sample(
        self,
        theta: float,
        n_events: int,
        seed: int,
        *,
        theta_0: float,
        theta_1: float,
    ) -> Table:
        """Independent events, with what the simulator knows about them.

        Args:
            theta: where they are drawn from, usually θ₀ or θ₁.
            n_events: how many, > 0.
            seed: any integer; independent of the events at any other θ.
            theta_0: numerator of the joint ratio, and where the joint score is taken.
            theta_1: denominator of the joint ratio.

        Returns:
            Columns x, z, joint_log_ratio and joint_score.

        Raises:
            ValueError: if no events are wanted.
        """
        if n_events < 1:
            raise ValueError(f"n_events has to be at least 1, not {n_events}")
        random = named_generator("latent Gaussian", seed, repr(float(theta)))
        z = theta + float(self.latent_scale) * random.normal(size=n_events)
        x = z + float(self.noise_scale) * random.normal(size=n_events)
        columns = {
            "x": x,
            "z": z,
            "joint_log_ratio": self.joint_log_ratio(jnp.asarray(z), theta_0, theta_1),
            "joint_score": self.joint_score(jnp.asarray(z), theta_0),
        }
        arrays = {name: np.asarray(column) for name, column in columns.items()}
        return Table(arrays, origin=f"latent Gaussian at {theta}")

    def _variance(self) -> Scalar:
        return self.latent_scale**2 + self.noise_scale**2


def _log_ratio(
    at: Float[Array, "*shape"] | float,
    theta_0: float | Scalar,
    theta_1: float | Scalar,
    variance: Scalar,
) -> Float[Array, "*shape"]:
    """Logarithm of the ratio of two normal densities of equal variance."""
    theta_0, theta_1 = as_float(theta_0), as_float(theta_1)
    return (theta_0 - theta_1) * (as_float(at) - 0.5 * (theta_0 + theta_1)) / variance
