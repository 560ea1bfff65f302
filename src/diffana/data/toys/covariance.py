"""Normal features whose correlations are what is measured."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from diffana.data._random import named_generator
from diffana.data.toys.normal import Normal
from diffana.numerics import as_float


@final
class GaussianCovariance(eqx.Module):
    """Five normal features of unit variance; θ is in two of their covariances.

    Cov(x₀, x₁) = a θ and Cov(x₂, x₃) = b θ; nothing else is correlated, and x₄ says
    nothing about θ. No feature alone depends on θ, and no mean does.

    Source: the Gaussian toy of hybrid-nsbi (github.com/benevedes/hybrid-nsbi); the
    defaults are its constants.

    Attributes:
        slopes: a and b; |a θ| < 1 and |b θ| < 1 wherever densities are needed.
        n_expected: expected events of a pseudo-experiment, > 0, whatever θ is.

    Example:
        >>> problem = GaussianCovariance()
        >>> round(float(problem.asimov(0.5)), 6)
        12.455517
    """

    slopes: Float[Array, " block"] = eqx.field(converter=as_float, default=(0.8, 0.4))
    n_expected: Scalar = eqx.field(converter=as_float, default=50.0)

    def __check_init__(self):
        if self.slopes.shape != (2,):
            raise ValueError(f"two slopes are needed, not {self.slopes.shape}")

    def normal(self, theta: float | Scalar) -> Normal:
        """The distribution of the features at θ."""
        a, b = self.slopes * as_float(theta)
        covariance = jnp.eye(5).at[0, 1].set(a).at[1, 0].set(a)
        covariance = covariance.at[2, 3].set(b).at[3, 2].set(b)
        return Normal(jnp.zeros(5), covariance)

    def log_density(
        self, features: Float[Array, " feature"], theta: float | Scalar
    ) -> Scalar:
        """Logarithm of the normalised density of one event; nan if |a θ| > 1."""
        return self.normal(theta).log_density(features)

    def asimov(self, theta: float | Scalar, truth: float | Scalar = 0.0) -> Scalar:
        """-2 ln L(θ) / L(truth) of the expected events at the truth.

        N Σ (r - 1 - ln r), where r is the ratio of an eigenvalue of the covariance at
        the truth to that at θ: twice N times the divergence of Kullback and Leibler.

        Args:
            theta: tested value.
            truth: value at which events are expected.

        Returns:
            The test statistic, >= 0; its curvature at the truth is 2 / σ².
        """
        signs = jnp.array([[1.0], [-1.0]])
        now, then = (
            1 + signs * (self.slopes * as_float(at))[None] for at in (theta, truth)
        )
        ratio = then / now
        return self.n_expected * (ratio - 1 - jnp.log(ratio)).sum()

    def sample(
        self, theta: float, n_events: int, seed: int
    ) -> Float[np.ndarray, "event feature"]:
        """Independent events.

        Args:
            theta: the truth.
            n_events: how many, >= 0.
            seed: any integer; equal ones give events that differ by θ alone.
        """
        random = named_generator("Gaussian covariance", seed)
        return self.normal(theta).sample(random, n_events)

    def toy(self, theta: float, seed: int) -> Float[np.ndarray, "event feature"]:
        """A pseudo-experiment: a Poisson number of events.

        Args:
            theta: the truth.
            seed: any integer; toys of different seeds are independent.
        """
        random = named_generator("Gaussian covariance toy", seed)
        n_events = int(random.poisson(float(self.n_expected)))
        return self.normal(theta).sample(random, n_events)
