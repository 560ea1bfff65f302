"""Pseudo-experiments of tested values, in batches that can be made anywhere."""

from collections.abc import Iterator
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from diffana.infer.toys import block_seed
from diffana.likelihood import AbstractLikelihood
from diffana.neyman.construction import Construction
from diffana.neyman.schemes import AbstractScheme


_MOST_TOYS, _MOST_NUMBERS = 2000, 2_000_000


@final
class Batch(NamedTuple):
    """Toys that are made together.

    Attributes:
        params: parameters that generate each of them.
        at: tested value, as a position on the grid, of each.
        seed: of their random numbers.
        size: toys of the largest batch made with it, for which programs are compiled.
    """

    params: Float[np.ndarray, "toy par"]
    at: Int[np.ndarray, " toy"]
    seed: int
    size: int


def batch_size(likelihood: AbstractLikelihood, n_toys: int) -> int:
    """Toys that are made together, of so many; memory grows with it."""
    shapes = eqx.filter_eval_shape(
        likelihood.expected_data, likelihood.parameters.inits
    )
    n_numbers = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    most = max(8, min(_MOST_TOYS, _MOST_NUMBERS // max(n_numbers, 1)))
    # Equally many in each, so that none is filled up in vain.
    n_batches = max(-(-n_toys // most), 1)
    return max(-(-n_toys // n_batches), 1)


def batches(
    scheme: AbstractScheme,
    points: Int[np.ndarray, " point"],
    n_toys: int,
    seed: int,
    *,
    stream: int = 0,
    size: int = _MOST_TOYS,
) -> list[Batch]:
    """Toys of several tested values, the same whoever makes them.

    Args:
        scheme: where the nuisance parameters come from; its tested values are all those
            of the grid.
        points: positions on the grid of the tested values.
        n_toys: at each of them.
        seed: of the random numbers.
        stream: what tells toys of one purpose from those of another.
        size: toys per batch; the last one may have fewer.
    """
    every = np.repeat(np.asarray(points, int), n_toys)
    size = max(min(size, every.size), 1)
    found = []
    for number, start in enumerate(range(0, every.size, size)):
        at = every[start : start + size]
        own = block_seed(seed, stream, number)
        rng = np.random.default_rng([own, 1])
        found.append(Batch(scheme.params(at, rng), at, own, size))
    return found


def statistics(
    construction: Construction, batch: Batch
) -> Float[np.ndarray, "toy grid"]:
    """The statistic of every toy of a batch at every tested value."""
    n_toys = batch.at.size
    params = jnp.asarray(batch.params)
    toys = construction.likelihood.samples(params, n_toys, batch.seed)
    # The last batch is filled up: another shape would be compiled anew.
    missing = batch.size - n_toys
    filled, starts = jax.tree.map(
        lambda leaf: jnp.concatenate([leaf, jnp.repeat(leaf[:1], missing, 0)]),
        (toys, params),
    )
    return construction.of(filled, starts)[:n_toys]


def own_statistics(
    construction: Construction, batch: Batch
) -> Float[np.ndarray, " toy"]:
    """The statistic of every toy at the tested value that it was made for."""
    found = statistics(construction, batch)
    return found[np.arange(batch.at.size), batch.at]


def here(
    construction: Construction, several: list[Batch]
) -> Iterator[Float[np.ndarray, " toy"]]:
    """`own_statistics` of batches, made one after the other by this process."""
    return (own_statistics(construction, batch) for batch in several)
