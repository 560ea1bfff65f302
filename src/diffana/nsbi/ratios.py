"""Density ratios: one event goes in, ln p_numerator/p_denominator comes out."""

import abc
from collections.abc import Callable, Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, ArrayLike, Float, PyTree, Scalar

from diffana.errors import DataError
from diffana.observable import MLP


class AbstractRatio(eqx.Module):
    """Ratio of two normalised densities of the features of an event.

    Written for one event; `jax.vmap` makes it one for many, and `log_ratios` evaluates
    a sample of any size. A ratio is always handled as its logarithm: the score of a
    classifier is 1 to rounding long before the logarithm of the ratio has lost a digit.
    """

    @abc.abstractmethod
    def log_ratio(self, features: Float[Array, " feature"]) -> Scalar:
        """Natural logarithm of numerator over denominator for one event.

        Args:
            features: of the event, in the units the ratio was made for.
        """


@final
class NetworkRatio(AbstractRatio):
    """The logit of a network with one output, trained on classes of equal weight.

    Attributes:
        network: with a single output (`n_outputs` None).

    Example:
        >>> network = MLP(2, hidden=(8,), key=jax.random.key(0))
        >>> NetworkRatio(network).log_ratio(jnp.array([0.3, -1.2])).shape
        ()
    """

    network: MLP

    def __check_init__(self):
        if self.network.n_outputs is not None:
            raise ValueError(
                f"ratio: the network has {self.network.n_outputs} outputs instead of "
                "a single one; a `ClassRatio` is one of several"
            )

    def log_ratio(self, features: Float[Array, " feature"]) -> Scalar:
        """Logit of the network, in the default floating-point type."""
        return self.network.logit(features).astype(float)


@final
class ClassRatio(AbstractRatio):
    """One class against class 0, from a network with an output per further class.

    Attributes:
        network: output c - 1 is the logit of class c; that of class 0 is 0.
        numerator: the class c, from 1 on.

    Example:
        >>> network = MLP(2, hidden=(8,), n_outputs=3, key=jax.random.key(0))
        >>> ClassRatio(network, numerator=3).log_ratio(jnp.array([0.3, -1.2])).shape
        ()
    """

    network: MLP
    numerator: int = eqx.field(static=True)

    def __check_init__(self):
        n_outputs = self.network.n_outputs
        if n_outputs is None or not 1 <= self.numerator <= n_outputs:
            raise ValueError(
                f"ratio: there is no class {self.numerator} among the outputs of the "
                f"network, which has n_outputs={n_outputs}"
            )

    def log_ratio(self, features: Float[Array, " feature"]) -> Scalar:
        """Logit of the class, in the default floating-point type."""
        return self.network.logit(features)[self.numerator - 1].astype(float)


@final
class Product(AbstractRatio):
    """Chain of ratios: p_a/p_c = p_a/p_b · p_b/p_c.

    For numerators that share an intermediate density b, to which each of them is
    closer than to the common denominator c.

    Attributes:
        factors: the numerator of each is the denominator of the one before.

    Example:
        >>> log_normal = lambda mean: lambda x: -0.5 * jnp.sum((x - mean) ** 2)
        >>> first = Exact(log_normal(2.0), log_normal(1.0))
        >>> second = Exact(log_normal(1.0), log_normal(0.0))
        >>> float(Product((first, second)).log_ratio(jnp.array([3.0])))
        4.0
    """

    factors: tuple[AbstractRatio, ...]

    def __check_init__(self):
        if not self.factors:
            raise ValueError("ratio: a product needs at least one factor")

    def log_ratio(self, features: Float[Array, " feature"]) -> Scalar:
        """Sum of the log ratios of the factors."""
        return jnp.sum(jnp.stack([one.log_ratio(features) for one in self.factors]))


@final
class Exact(AbstractRatio):
    """Two known log densities; the truth of tests and studies.

    Attributes:
        numerator: logarithm of a normalised density, a function of one event.
        denominator: likewise.

    Example:
        >>> ratio = Exact(lambda x: -x[0], lambda x: -2.0 * x[0])
        >>> float(ratio.log_ratio(jnp.array([0.5])))
        0.5
    """

    numerator: Callable[[Float[Array, " feature"]], Scalar]
    denominator: Callable[[Float[Array, " feature"]], Scalar]

    def log_ratio(self, features: Float[Array, " feature"]) -> Scalar:
        """Difference of the log densities."""
        return jnp.asarray(self.numerator(features) - self.denominator(features), float)


@final
class Ensemble(AbstractRatio):
    """Arithmetic mean of ratios, of the ratios and not of their logarithms.

    The mean of normalised ratios is normalised; exp of the mean logarithm integrates
    to less than 1 (Jensen's inequality).

    Attributes:
        members: one ratio whose arrays have a leading axis for the members, as
            `equinox.filter_vmap` returns it.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> networks = [NetworkRatio(MLP(2, hidden=(8,), key=key)) for key in keys]
        >>> Ensemble.of(networks).member_log_ratios(jnp.array([0.3, -1.2])).shape
        (3,)
    """

    members: AbstractRatio

    def __check_init__(self):
        arrays = jax.tree.leaves(eqx.filter(self.members, eqx.is_array))
        lengths = {array.shape[:1] for array in arrays}
        if len(lengths) != 1 or lengths & {(), (0,)}:
            raise ValueError(
                "ensemble: the arrays of the members need one leading axis of the same "
                f"length, not {sorted(lengths)}"
            )

    @classmethod
    def of(cls, members: Sequence[AbstractRatio]) -> "Ensemble":
        """Stack ratios of equal structure.

        Args:
            members: at least one.

        Raises:
            ValueError: if there is none, or if their structures differ.
        """
        if not members:
            raise ValueError("ensemble: there are no members")
        arrays, rest = zip(
            *(eqx.partition(one, eqx.is_array) for one in members), strict=True
        )
        if any(not eqx.tree_equal(rest[0], other) for other in rest[1:]):
            raise ValueError("ensemble: the members differ in more than their numbers")
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)
        return cls(eqx.combine(stacked, rest[0]))

    @property
    def n_members(self) -> int:
        """Number of members."""
        leaves = jax.tree.leaves(eqx.filter(self.members, eqx.is_array))
        return leaves[0].shape[0]

    def member_log_ratios(
        self, features: Float[Array, " feature"]
    ) -> Float[Array, " member"]:
        """Log ratio of every member for one event, for the spread among them."""
        evaluate = eqx.filter_vmap(
            lambda member: member.log_ratio(features), in_axes=eqx.if_array(0)
        )
        return evaluate(self.members)

    def log_ratio(self, features: Float[Array, " feature"]) -> Scalar:
        """Logarithm of the mean ratio."""
        found = self.member_log_ratios(features)
        return logsumexp(found) - np.log(found.shape[0])


def log_ratios(
    ratio: AbstractRatio,
    features: Float[ArrayLike, "event feature"],
    *,
    batch: int = 2**13,
) -> Float[np.ndarray, " event"]:
    """Log ratios of many events.

    Args:
        ratio: the ratio.
        features: of the events; may be mapped from a file, only a batch is in memory.
        batch: events evaluated at a time. One program serves any number of events.

    Raises:
        DataError: if one is not finite; the message names the first such event.

    Example:
        >>> ratio = Exact(lambda x: -x[0], lambda x: -2.0 * x[0])
        >>> log_ratios(ratio, np.array([[0.5], [1.5]])).tolist()
        [0.5, 1.5]
    """
    return for_each_event(_log_ratio, ratio, features, batch=batch)


def member_log_ratios(
    ensemble: Ensemble,
    features: Float[ArrayLike, "event feature"],
    *,
    batch: int = 2**13,
) -> Float[np.ndarray, "event member"]:
    """Log ratios of many events, those of all members; otherwise as `log_ratios`."""
    return for_each_event(_member_log_ratios, ensemble, features, batch=batch)


def _log_ratio(ratio: AbstractRatio, features: Float[Array, " feature"]) -> Scalar:
    return ratio.log_ratio(features)


def _member_log_ratios(
    ensemble: Ensemble, features: Float[Array, " feature"]
) -> Float[Array, " member"]:
    return ensemble.member_log_ratios(features)


def for_each_event(
    function: Callable[[PyTree, Float[Array, " feature"]], Float[Array, "*value"]],
    module: PyTree,
    features: Float[ArrayLike, "event feature"],
    *,
    batch: int,
) -> Float[np.ndarray, "event *value"]:
    """A function of a module and one event, for many events in batches of equal shape.

    Args:
        function: of the module and the features of one event.
        module: handed on; its arrays are arguments of the program, not constants.
        features: of the events.
        batch: events evaluated at a time, > 0.

    Raises:
        DataError: if the features are not a table, or if a value is not finite.
    """
    if batch < 1:
        raise ValueError(f"batch has to be at least 1, not {batch}")
    if np.ndim(features) != 2:
        raise DataError(
            f"ratio: features have shape {np.shape(features)} instead of (event, "
            "feature)"
        )
    events = features if isinstance(features, np.ndarray) else np.asarray(features)
    n_events, n_features = events.shape
    value = eqx.filter_eval_shape(function, module, jnp.zeros(n_features))
    found = np.empty((n_events, *value.shape))
    for start in range(0, n_events, batch):
        piece = np.asarray(events[start : start + batch], dtype=np.float64)
        padded = np.resize(piece, (batch, n_features))
        values = np.asarray(_compiled(function, module, jnp.asarray(padded)))[
            : len(piece)
        ]
        finite = np.isfinite(values).reshape(len(piece), -1).all(axis=1)
        if not finite.all():
            first = int(np.argmin(finite))
            raise DataError(
                f"ratio: event {start + first} has log ratio {values[first]}; its "
                f"features are {piece[first].tolist()}"
            )
        found[start : start + batch] = values
    return found


@eqx.filter_jit
def _compiled(
    function: Callable[[PyTree, Array], Array],
    module: PyTree,
    features: Float[Array, "event feature"],
) -> Float[Array, "event *value"]:
    return jax.vmap(lambda event: function(module, event))(features)
