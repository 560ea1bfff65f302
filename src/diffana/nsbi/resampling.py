"""Which events of a pool each member of an ensemble is trained on."""

import abc
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


@final
class Shares(eqx.Module):
    """The events of each member.

    Attributes:
        rows: positions of its events in the pool.
        factor: on their weights, >= 0.
    """

    rows: Int[Array, "member row"]
    factor: Float[Array, "member row"]


class AbstractResampling(eqx.Module):
    """How a pool is dealt to the members of an ensemble."""

    @abc.abstractmethod
    def deal(self, key: PRNGKeyArray, n_members: int, n_events: int) -> Shares:
        """The events of each member, the same for the same key.

        Args:
            key: randomness of the choice.
            n_members: number of members.
            n_events: number of events in the pool.
        """


@final
class AllEvents(AbstractResampling):
    """Every member sees all events; they differ by initial weights and order only.

    Example:
        >>> AllEvents().deal(jax.random.key(0), 2, 3).rows.tolist()
        [[0, 1, 2], [0, 1, 2]]
    """

    def deal(self, key: PRNGKeyArray, n_members: int, n_events: int) -> Shares:
        """All events with their own weights."""
        return Shares(
            _all_rows(n_members, n_events),
            jnp.ones((n_members, n_events), jnp.float32),
        )


@final
class Bootstrap(AbstractResampling):
    """Every member sees each event n times, n from a Poisson distribution of mean 1.

    The spread of the members then contains the statistical uncertainty of the pool. An
    event that has weight in several classes is taken n times in all of them.

    Example:
        >>> Bootstrap().deal(jax.random.key(0), 2, 3).factor.shape
        (2, 3)
    """

    def deal(self, key: PRNGKeyArray, n_members: int, n_events: int) -> Shares:
        """All events with their weights times a Poisson number."""
        times = jax.random.poisson(key, 1.0, (n_members, n_events))
        return Shares(_all_rows(n_members, n_events), times.astype(jnp.float32))


@final
class Partition(AbstractResampling):
    """Every member sees a part of its own; the parts are disjoint and of equal size.

    Example:
        >>> shares = Partition().deal(jax.random.key(0), 2, 5)
        >>> sorted(shares.rows[shares.factor > 0].tolist()), shares.rows.shape
        ([0, 1, 2, 3, 4], (2, 3))
    """

    def deal(self, key: PRNGKeyArray, n_members: int, n_events: int) -> Shares:
        """The events dealt out in turn; a short part is filled up with factor 0.

        Raises:
            ValueError: if there are fewer events than members.
        """
        if n_events < n_members:
            raise ValueError(f"{n_events} events do not give {n_members} parts")
        size = -(-n_events // n_members)
        order = jax.random.permutation(key, n_events).astype(jnp.int32)
        rows = jnp.resize(order, (size, n_members)).T
        position = jnp.arange(size * n_members).reshape(size, n_members).T
        return Shares(rows, (position < n_events).astype(jnp.float32))


def _all_rows(n_members: int, n_events: int) -> Int[Array, "member row"]:
    rows = jnp.arange(n_events, dtype=jnp.int32)
    return jnp.broadcast_to(rows, (n_members, n_events))
