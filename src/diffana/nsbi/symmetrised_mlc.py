"""The symmetrised maximum-likelihood classifier loss, which is convex in ensembles."""

from collections.abc import Callable
from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from diffana.likelihood import AbstractLikelihood, Parameters


# Columns of the weights of a pool of training events.
DENOMINATOR, NUMERATOR = 0, 1


@final
class SymmetrisedMLC(AbstractLikelihood):
    """Loss of a log ratio h = Σ w_i f_i, in the place of -2 ln L of its weights.

    With events i of numerator share p_i and denominator share q_i, each adding up to 1,

        2 NLL = size (Σ p_i [exp(-h_i) - 1 - h_i] + Σ q_i [exp(h_i) - 1 + h_i]).

    It is convex in the weights, and smallest at the ratio of the densities if the f can
    express it. `size` makes its second derivative at r = 1 twice the inverse covariance
    of the weights, so that a fit is certified in units of their uncertainty. It is not
    a likelihood otherwise: intervals must not be read off it.

    The data are the shares, class 0 the denominator and class 1 the numerator.

    Attributes:
        parameters: the weights, which start at the mean of the members' log ratios.
        basis: f of every event, the constant 1 first.
        measure: mean share of each event; where Asimov data put their events.
        size: 1/(1/N_n + 1/N_d) with the effective numbers of events.

    Source: the maximum-likelihood classifier loss of D'Agnolo and Wulzer,
    arXiv:1806.02350, made symmetric by Benevedes and Thaler, arXiv:2506.00113.
    """

    parameters: Parameters
    basis: Float[Array, "event basis"]
    measure: Float[Array, " event"]
    size: Scalar

    @classmethod
    def of(
        cls, basis: Float[Array, "event basis"], shares: Float[Array, "event 2"]
    ) -> "SymmetrisedMLC":
        """The loss of events with the given shares, which are its data."""
        n_members = basis.shape[1] - 1
        mean = jnp.full(n_members, 1 / max(n_members, 1))
        inits = jnp.concatenate([jnp.zeros(1), mean])
        parameters = Parameters(
            inits=inits,
            lower=jnp.full_like(inits, -jnp.inf),
            upper=jnp.full_like(inits, jnp.inf),
            fixed=jnp.zeros(inits.shape, bool),
            names=tuple(f"w[{index}]" for index in range(n_members + 1)),
        )
        return cls(parameters, basis, shares.mean(axis=1), 1 / jnp.sum(shares**2))

    def twice_nll(
        self, params: Float[Array, " basis"], data: Float[Array, "event class"]
    ) -> Scalar:
        """The loss, times `size`."""
        h = self.basis @ params
        numerator = weighted(data[:, NUMERATOR], _loss, -h)
        return self.size * jnp.sum(numerator + weighted(data[:, DENOMINATOR], _loss, h))

    def expected_data(self, params: Float[Array, " basis"]) -> Float[Array, "event 2"]:
        """Shares of every event in both classes, in the ratio at `params`."""
        denominator = 2 * self.measure * jax.nn.sigmoid(-self.basis @ params)
        return jnp.stack([denominator, 2 * self.measure - denominator], axis=1)

    def sample(
        self, params: Float[Array, " basis"], key: PRNGKeyArray
    ) -> Float[Array, "event 2"]:
        """Shares of events that each belong to one class, drawn by the ratio."""
        chance = jax.nn.sigmoid(self.basis @ params)
        drawn = jax.random.bernoulli(key, chance).astype(float)
        return 2 * self.measure[:, None] * jnp.stack([1 - drawn, drawn], axis=1)

    def hessian(
        self, params: Float[Array, " basis"], data: Float[Array, "event class"]
    ) -> Float[Array, "basis basis"]:
        """Second derivative of `twice_nll`."""
        h = self.basis @ params
        bend = weighted(data[:, NUMERATOR], jnp.exp, -h)
        bend = bend + weighted(data[:, DENOMINATOR], jnp.exp, h)
        return self.size * (self.basis.T @ (bend[:, None] * self.basis))

    def curvature(
        self, params: Float[Array, " basis"], data: Float[Array, "event class"]
    ) -> Float[Array, "basis basis"]:
        """The second derivative, which is positive semi-definite."""
        return self.hessian(params, data)


def shares_of(weight: Float[Array, "event class"]) -> Float[Array, "event class"]:
    """Weights that add up to 1 in each class; nan if one is negative."""
    # The loss has no lower bound then, but may well have a minimum nearby.
    allowed = jnp.all(weight >= 0)
    return jnp.where(allowed, weight / weight.sum(axis=0, keepdims=True), jnp.nan)


def weighted(
    weight: Float[Array, " event"],
    function: Callable[[Array], Array],
    h: Float[Array, " event"],
) -> Float[Array, " event"]:
    """Products weight · function(h), 0 for events without weight even on overflow."""
    used = weight != 0
    return jnp.where(used, weight * function(jnp.where(used, h, 0.0)), 0.0)


def _loss(h: Float[Array, " event"]) -> Float[Array, " event"]:
    """exp(h) - 1 + h."""
    # Rounding of exp(h) - 1 would hide the last steps of a fit to many events.
    return jnp.expm1(h) + h
