"""What density ratios are trained as: logits of several classes against one."""

import abc
from collections.abc import Callable, Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from diffana.nsbi.ratios import AbstractRatio, ClassRatio, NetworkRatio
from diffana.observable import MLP, Standardisation


class AbstractClassifier(eqx.Module):
    """What is trained: log ratios of several classes to class 0, for one event."""

    @abc.abstractmethod
    def logits(self, features: Float[Array, " feature"]) -> Float[Array, " numerator"]:
        """Estimate of ln p_c/p_0 for classes c = 1, 2, ...

        Args:
            features: of the event.
        """


@final
class NetworkClassifier(AbstractClassifier):
    """A network with one output per class other than class 0.

    Attributes:
        network: with `n_outputs` None for a single numerator.

    Example:
        >>> network = MLP(2, hidden=(8,), key=jax.random.key(0))
        >>> NetworkClassifier(network).logits(jnp.array([0.3, -1.2])).shape
        (1,)
    """

    network: MLP

    @classmethod
    def drawn(
        cls,
        key: PRNGKeyArray,
        *,
        standardisation: Standardisation,
        n_numerators: int = 1,
        hidden: Sequence[int] = (64, 64, 64),
        activation: Callable[[Array], Array] = jax.nn.silu,
    ) -> "NetworkClassifier":
        """Draw a network that suits density ratios.

        They are smooth, and so is the default activation: with rectified units the
        error of the log ratio of two Gaussians is nearly twice as large.

        Args:
            key: randomness of the weights.
            standardisation: of the features, `Pool.standardisation`.
            n_numerators: number of classes other than class 0.
            hidden: width of each hidden layer.
            activation: between the layers.
        """
        network = MLP(
            standardisation.mean.shape[0],
            hidden=hidden,
            n_outputs=None if n_numerators == 1 else n_numerators,
            standardisation=standardisation,
            activation=activation,
            key=key,
        )
        return cls(network)

    def logits(self, features: Float[Array, " feature"]) -> Float[Array, " numerator"]:
        """Outputs of the network."""
        return jnp.atleast_1d(self.network.logit(features))

    def ratio(self, numerator: int = 1) -> AbstractRatio:
        """The ratio of one class to class 0; of stacked classifiers, stacked ratios.

        Args:
            numerator: the class, from 1 on.

        Raises:
            ValueError: if there is no such class.
        """
        if self.network.n_outputs is None and numerator == 1:
            return NetworkRatio(self.network)
        return ClassRatio(self.network, numerator)


def draw_members(
    draw: Callable[[PRNGKeyArray], AbstractClassifier],
    n_members: int,
    *,
    key: PRNGKeyArray,
) -> AbstractClassifier:
    """Members of an ensemble, stacked: every array has a leading axis for the member.

    Args:
        draw: makes one member from a key.
        n_members: number of members, > 0.
        key: randomness of all of them.

    Example:
        >>> draw = lambda key: NetworkClassifier(MLP(2, hidden=(8,), key=key))
        >>> members = draw_members(draw, 3, key=jax.random.key(0))
        >>> members.network.layers[0].weight.shape
        (3, 8, 2)
    """
    return eqx.filter_jit(eqx.filter_vmap(draw))(jax.random.split(key, n_members))
