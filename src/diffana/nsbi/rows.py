"""Events as an unbinned likelihood reads them: in chunks, each seen once per pass.

What the likelihood needs of an event is its weight and a few numbers, the *terms*: ln r
of each component and those of the morphs. A sum over events visits one chunk after the
other and is all that is ever done with them, so that memory is bounded by a chunk and
not by the sample, also for derivatives: what a chunk needs for them is computed again.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from diffana.errors import DataError


Sum = TypeVar("Sum", bound=PyTree)

CHUNK = 2048
"""Events in a chunk by default."""


class Terms(NamedTuple):
    """Numbers of events.

    They may be stored in single precision; sums over events are in double precision.

    Attributes:
        log_ratio: ln of the density of each component over that of the reference.
        shapes: for every component and each of its morphs the terms of that morph.
    """

    log_ratio: Float[Array | np.ndarray, "*event component"]
    shapes: tuple[tuple[Float[Array | np.ndarray, "*event _"], ...], ...]


class AbstractTerms(eqx.Module):
    """Terms of all events, chunk by chunk."""

    @abc.abstractmethod
    def scan(
        self,
        add: Callable[[Sum, Float[Array, " event"], Terms], Sum],
        start: Sum,
        weight: Float[Array, "chunk event"],
    ) -> Sum:
        """Carry `start` through `add(carry, weight, terms)` of all chunks.

        Terms are handed on in double precision, and as 0 for events of weight 0.
        """


@final
class HeldTerms(AbstractTerms):
    """Terms in memory. Spread over devices, every device sums its share of each chunk.

    Attributes:
        terms: with the axes chunk and event in front.
    """

    terms: Terms

    def scan(
        self,
        add: Callable[[Sum, Float[Array, " event"], Terms], Sum],
        start: Sum,
        weight: Float[Array, "chunk event"],
    ) -> Sum:
        """Carry `start` through all chunks."""

        def step(carry, chunk):
            weight, terms = chunk
            return add(carry, weight, _usable(weight, terms)), None

        # Otherwise the derivatives of all chunks would be in memory at once.
        frugal = jax.checkpoint(step, prevent_cse=False)
        end, _ = jax.lax.scan(frugal, start, (weight, self.terms))
        return end


@final
class StoredTerms(AbstractTerms):
    """Terms that are read when they are needed, from a memory-mapped file for example.

    They cannot be differentiated, nor spread over devices.

    Attributes:
        read: terms of the chunk with a number, called on the host. Chunks have the
            same shapes and types. Equal functions share a compiled program.
        shapes: shapes and types of what it returns.
    """

    read: Callable[[int], Terms] = eqx.field(static=True)
    shapes: PyTree[jax.ShapeDtypeStruct] = eqx.field(static=True)

    def __init__(self, read: Callable[[int], Terms]):
        self.read = read
        self.shapes = jax.tree.map(
            lambda row: jax.ShapeDtypeStruct(row.shape, row.dtype), read(0)
        )

    def scan(
        self,
        add: Callable[[Sum, Float[Array, " event"], Terms], Sum],
        start: Sum,
        weight: Float[Array, "chunk event"],
    ) -> Sum:
        """Carry `start` through all chunks, reading each once."""

        def read(number: Int[np.ndarray, ""]) -> Terms:
            return self.read(int(number))

        def step(number, carry):
            terms = jax.pure_callback(
                read, self.shapes, number, vmap_method="sequential"
            )
            return add(carry, weight[number], _usable(weight[number], terms))

        return jax.lax.fori_loop(0, weight.shape[0], step, start)


def _usable(weight: Float[Array, " event"], terms: Terms) -> Terms:
    """Terms in double precision; rows without weight may hold anything."""
    used = weight != 0

    def cleaned(rows: Float[Array, "event ..."]) -> Float[Array, "event ..."]:
        is_used = used.reshape(-1, *[1] * (rows.ndim - 1))
        return jnp.where(is_used, jnp.asarray(rows, float), 0.0)

    return jax.tree.map(cleaned, terms)


@final
class Rows(eqx.Module):
    """Weighted events in chunks; the last one is filled up with events of weight 0.

    Attributes:
        weight: events per row, any sign.
        source: terms of the rows; None for rows whose terms are somewhere else, those
            of pseudo-data made of the events of a model.
    """

    weight: Float[Array, "chunk event"]
    source: AbstractTerms | None

    def total(self) -> Float[Array, ""]:
        """Sum of weights."""
        return jnp.sum(self.weight)

    def with_weight(self, weight: Float[Array, "chunk event"]) -> "Rows":
        """The same events with other weights."""
        return Rows(weight, self.source)


def source_of(rows: Rows) -> AbstractTerms:
    """The terms of rows that have their own.

    Raises:
        ValueError: if they have none.
    """
    if rows.source is None:
        raise ValueError("these rows have no terms")
    return rows.source


def held(
    weight: Float[ArrayLike, " event"],
    log_ratio: Float[ArrayLike, "event component"],
    shapes: Sequence[Sequence[Float[ArrayLike, "event _"]]] | None = None,
    *,
    chunk: int = CHUNK,
) -> Rows:
    """Events in memory.

    Args:
        weight: events per row, any sign.
        log_ratio: ln of the density of each component over that of the reference.
        shapes: for every component and each of its morphs the terms; none without it.
        chunk: events in a chunk; the fewer, the less memory is used on top.

    Raises:
        DataError: if lengths differ, or a number of an event with weight is not finite.

    Example:
        >>> rows = held(np.ones(5), np.zeros((5, 2)), chunk=2)
        >>> rows.weight.shape
        (3, 2)
    """
    weights = np.asarray(weight, float)
    ratios = np.asarray(log_ratio)
    per_component = [() for _ in range(ratios.shape[1])] if shapes is None else shapes
    terms = Terms(ratios, tuple(tuple(map(np.asarray, row)) for row in per_component))
    check_terms(weights, terms)
    size = min(chunk, max(1, len(weights)))
    return Rows(
        jnp.asarray(_in_chunks(weights, size)),
        HeldTerms(jax.tree.map(lambda row: jnp.asarray(_in_chunks(row, size)), terms)),
    )


def spread(rows: Rows, devices: Sequence[Any]) -> Rows:
    """The same rows, each chunk of them spread over devices.

    Every device then computes its share of each chunk, and the sums are gathered.

    Args:
        rows: in memory; the events in a chunk are a multiple of the devices.
        devices: where they go, at least one; entries of `jax.devices()`.

    Raises:
        ValueError: if a chunk cannot be divided among the devices.

    Example:
        >>> rows = spread(held(np.ones(8), np.zeros((8, 2)), chunk=4), jax.devices())
    """
    size = rows.weight.shape[1]
    if size % len(devices):
        raise ValueError(
            f"{size} events in a chunk cannot be divided among {len(devices)} devices"
        )
    mesh = jax.sharding.Mesh(np.array(devices), ("event",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "event"))
    return jax.device_put(rows, place)


def _in_chunks(rows: np.ndarray, size: int, missing: float = 0.0) -> np.ndarray:
    n_chunks = max(1, -(-len(rows) // size))
    filled = np.full((n_chunks * size, *rows.shape[1:]), missing, rows.dtype)
    filled[: len(rows)] = rows
    return filled.reshape(n_chunks, size, *rows.shape[1:])


def check_terms(weight: Float[np.ndarray, " event"], terms: Terms) -> None:
    """Refuse events that no likelihood can use.

    Raises:
        DataError: naming the first event with a weight that is not finite, or with
            weight and a term that is not finite; or if lengths differ.
    """
    bad = ~np.isfinite(weight)
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(f"event {first}: the weight is {weight[first]}")
    parts = [("a log ratio", terms.log_ratio)]
    parts += [
        (f"a systematic variation of component {number}", rows)
        for number, of_component in enumerate(terms.shapes)
        for rows in of_component
    ]
    for what, rows in parts:
        if len(rows) != len(weight):
            raise DataError(
                f"{len(weight)} weights, but {len(rows)} events with {what}"
            )
        finite = np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
        bad = ~finite & (weight != 0)
        if bad.any():
            raise DataError(f"event {int(np.argmax(bad))}: {what} is not finite")
