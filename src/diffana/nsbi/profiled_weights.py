"""Likelihoods with the weights of their learned ratios among the parameters."""

import abc
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree, Scalar

from diffana.errors import DataError
from diffana.likelihood import AbstractLikelihood, Parameters
from diffana.nsbi.propagation import check_covariance
from diffana.numerics import as_float


class AbstractWeightedProblem(eqx.Module):
    """A likelihood and its data as functions of the weights of the ratios in it.

    The weights of all ratios form one vector.
    """

    @abc.abstractmethod
    def likelihood(self, weights: Float[Array, " weight"]) -> AbstractLikelihood:
        """The model with these weights. Its parameters must not depend on them."""

    @abc.abstractmethod
    def data(self, weights: Float[Array, " weight"], observed: PyTree) -> PyTree:
        """What the model takes as data, from what was observed.

        Args:
            weights: of the ratios.
            observed: independent of the weights, such as the basis of every event; or
                what the model returned as Asimov or pseudo-data, which stays as it is.
        """

    def __call__(
        self, weights: Float[Array, " weight"], observed: PyTree
    ) -> tuple[AbstractLikelihood, PyTree]:
        """Model and data. `equinox.Partial` with `observed` leaves the weights open."""
        return self.likelihood(weights), self.data(weights, observed)


class WeightedData(NamedTuple):
    """A data set of a likelihood whose weights are profiled.

    Attributes:
        observed: as the problem takes it.
        auxdata: measurement of the weights by their training, in the coordinates of the
            parameters: zero.
    """

    observed: PyTree
    auxdata: Float[Array, " weight"]


@final
class ProfiledWeights(AbstractLikelihood):
    """A likelihood with the weights as nuisance parameters, constrained by training.

    The weights are w = w₀ + L u with C = L Lᵀ. The further parameters u, `network[0]`
    and so on, are in units of standard deviations, with the constraint term Σ (u - t)²,
    t their auxiliary measurement. The profile fit then includes the uncertainty of the
    networks, and to first order in C agrees with `network_covariance`. Where the data
    tell something about the weights they are pulled, and the result is the more precise
    one; that is right as far as the ratio is within reach of the weights.

    The density has to integrate to one for every w, by dividing each ratio by its mean
    over the reference. Otherwise a likelihood of events grows without limit with the
    constant of the ratio, w is pulled by N C times a number of order one, and the fit
    is biased by as much. `network_covariance` does not need it.

    Attributes:
        parameters: those of the likelihood, then u.
        problem: the likelihood as a function of the weights.
        weights: w₀, the fitted weights.
        root: L, the lower Cholesky factor of their covariance.
    """

    parameters: Parameters
    problem: AbstractWeightedProblem
    weights: Float[Array, " weight"]
    root: Float[Array, "weight weight"]

    @classmethod
    def of(
        cls,
        problem: AbstractWeightedProblem,
        weights: Float[ArrayLike, " weight"],
        covariance: Float[ArrayLike, "weight weight"],
    ) -> "ProfiledWeights":
        """The likelihood of fitted weights with their covariance.

        Args:
            problem: the likelihood as a function of the weights.
            weights: the fitted ones of all ratios.
            covariance: of all weights; see `joint_covariance`.

        Raises:
            ValueError: if shapes do not fit.
            DataError: outside `jit`, if the covariance is not symmetric and positive
                definite. Under `jit`, its fits are then not certified.
        """
        centre, matrix = as_float(weights), as_float(covariance)
        n_weights = centre.size
        if centre.ndim != 1 or matrix.shape != (n_weights, n_weights):
            raise ValueError(
                f"profiled weights: the weights have shape {centre.shape}, their "
                f"covariance {matrix.shape}"
            )
        check_covariance(matrix, "profiled weights")
        scale = jnp.sqrt(jnp.diagonal(matrix))
        unit = jnp.linalg.cholesky(matrix / scale[:, None] / scale[None, :])
        root = scale[:, None] * unit
        if not isinstance(root, Tracer) and not np.isfinite(np.asarray(root)).all():
            raise DataError("profiled weights: the covariance of weights is singular")
        inner = problem.likelihood(centre).parameters
        zeros = jnp.zeros(n_weights)
        parameters = Parameters(
            inits=jnp.concatenate([inner.inits, zeros]),
            lower=jnp.concatenate([inner.lower, zeros - jnp.inf]),
            upper=jnp.concatenate([inner.upper, zeros + jnp.inf]),
            fixed=jnp.concatenate([inner.fixed, zeros > 0]),
            names=inner.names + tuple(f"network[{i}]" for i in range(n_weights)),
            poi=inner.poi,
            interpolated=inner.interpolated,
        )
        return cls(parameters, problem, centre, root)

    def split(
        self, params: Float[Array, " par"]
    ) -> tuple[Float[Array, " inner"], Float[Array, " weight"]]:
        """Parameters of the likelihood, and the weights w."""
        n_inner = params.size - self.weights.size
        return params[:n_inner], self.weights + self.root @ params[n_inner:]

    def twice_nll(self, params: Float[Array, " par"], data: WeightedData) -> Scalar:
        """-2 ln L with the constraint terms, these without their normalisation."""
        inner, weights = self.split(params)
        likelihood, seen = self.problem(weights, data.observed)
        pull = params[inner.size :] - data.auxdata
        return likelihood.twice_nll(inner, seen) + jnp.sum(pull**2)

    def curvature(
        self, params: Float[Array, " par"], data: WeightedData
    ) -> Float[Array, "par par"]:
        """That of the likelihood, and of the constraints."""
        inner, weights = self.split(params)
        likelihood, seen = self.problem(weights, data.observed)
        constraints = 2 * jnp.eye(self.weights.size)
        return jsl.block_diag(likelihood.curvature(inner, seen), constraints)

    def expected_data(self, params: Float[Array, " par"]) -> WeightedData:
        """The Asimov data set: that of the likelihood, and the weights as they are."""
        inner, weights = self.split(params)
        expected = self.problem.likelihood(weights).expected_data(inner)
        return WeightedData(expected, params[inner.size :])

    def sample(self, params: Float[Array, " par"], key: PRNGKeyArray) -> WeightedData:
        """One pseudo-experiment, with new data and another training."""
        inner, weights = self.split(params)
        data_key, network_key = jax.random.split(key)
        drawn = self.problem.likelihood(weights).sample(inner, data_key)
        noise = jax.random.normal(network_key, self.weights.shape)
        return WeightedData(drawn, params[inner.size :] + noise)
