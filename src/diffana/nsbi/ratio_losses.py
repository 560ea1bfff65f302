"""Losses whose minimum over all functions is the logarithm of a density ratio."""

import abc
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar


class AbstractRatioLoss(eqx.Module):
    """A sum over events of weight times a penalty that depends on the class.

    It is linear in the weights, so a batch of a sample has an unbiased gradient as
    long as the weights are normalised over the sample and not over the batch. Only
    with a total weight of 1 in every class is the minimum ln p_c/p_0: a total that is
    larger by a factor in class c adds the logarithm of this factor.
    """

    @abc.abstractmethod
    def penalties(
        self, log_ratio: Float[Array, "event numerator"]
    ) -> Float[Array, "event class"]:
        """Loss of an event of unit weight, if it were of class 0, 1, ...

        Args:
            log_ratio: ln p_c/p_0 of classes c = 1, 2, ... as estimated.
        """

    def __call__(
        self,
        logits: Float[Array, "event numerator"],
        weight: Float[Array, "event class"],
    ) -> Scalar:
        """The loss in the default floating-point type, whatever that of the logits.

        Args:
            logits: estimates of ln p_c/p_0 for classes c = 1, 2, ...
            weight: of each event in classes 0, 1, ...; >= 0, of total 1 in each class
                when summed over the whole sample.

        Raises:
            ValueError: if the number of classes is not that of the logits plus 1.
        """
        if weight.shape[1] != logits.shape[1] + 1:
            raise ValueError(
                f"loss: {weight.shape[1]} classes of weights, but {logits.shape[1]} "
                "logits: one per class except class 0"
            )
        return jnp.sum(weight * self.penalties(logits.astype(float)))


@final
class BinaryCrossEntropy(AbstractRatioLoss):
    """Each numerator against the denominator: mean of softplus(-t) and softplus(t).

    ln 2 for t = 0. With several numerators it is the mean over them, each of which is
    learned by itself; with numerators that are one process at several values of its
    nuisance parameters it is the loss of arXiv:2505.05544.

    Example:
        >>> loss = BinaryCrossEntropy()
        >>> print(loss(jnp.zeros((2, 1)), jnp.eye(2)).round(4))
        0.6931
    """

    def penalties(
        self, log_ratio: Float[Array, "event numerator"]
    ) -> Float[Array, "event class"]:
        """-ln(1 - s) of the denominator and -ln s of a numerator, s = sigmoid(t)."""
        return _pairwise(jax.nn.softplus(-log_ratio), jax.nn.softplus(log_ratio))


@final
class ModifiedCarl(AbstractRatioLoss):
    """Each numerator against the denominator: mean of exp(-t/2) and exp(t/2).

    1 for t = 0. Rare events of large ratio weigh more than in the cross-entropy. Beyond
    |t| = 1400 it overflows.
    """

    def penalties(
        self, log_ratio: Float[Array, "event numerator"]
    ) -> Float[Array, "event class"]:
        """exp(t/2) of the denominator and exp(-t/2) of a numerator."""
        return _pairwise(jnp.exp(-0.5 * log_ratio), jnp.exp(0.5 * log_ratio))


@final
class SymmetrisedMlc(AbstractRatioLoss):
    """Maximum-likelihood classification, symmetrised; arXiv:2506.00113.

    Half of E_n[-t + exp(-t) - 1] + E_d[t + exp(t) - 1]; 0 for t = 0 and negative at the
    minimum, where it is minus half of the Jeffreys divergence. Beyond |t| = 700 it
    overflows.
    """

    def penalties(
        self, log_ratio: Float[Array, "event numerator"]
    ) -> Float[Array, "event class"]:
        """T + exp(t) - 1 of the denominator and -t + exp(-t) - 1 of a numerator."""
        return _pairwise(
            jnp.expm1(-log_ratio) - log_ratio, jnp.expm1(log_ratio) + log_ratio
        )


@final
class Multiclass(AbstractRatioLoss):
    """Categorical cross-entropy of all classes, the logit of class 0 being 0.

    ln(number of classes) for equal densities. Between two numerators, too, the
    difference of logits is the log ratio.
    """

    def penalties(
        self, log_ratio: Float[Array, "event numerator"]
    ) -> Float[Array, "event class"]:
        """-ln(probability of the class)."""
        logits = jnp.pad(log_ratio, ((0, 0), (1, 0)))
        return -jax.nn.log_softmax(logits, axis=1) / logits.shape[1]


def _pairwise(
    numerator: Float[Array, "event numerator"],
    denominator: Float[Array, "event numerator"],
) -> Float[Array, "event class"]:
    """Mean over numerators and over the two sides of each."""
    both = jnp.concatenate(
        [jnp.sum(denominator, axis=1, keepdims=True), numerator], axis=1
    )
    return both / (2 * numerator.shape[1])
