"""Error of the gradient of bin yields, for a bin at every place of a grid.

Moving all events by mu moves every bin by -mu, so that one sample measures the gradient
for all positions and widths that a grid of narrow bins adds up to.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffana.histogram import BinnedKDE, HardHistogram


def shares(x, edges, bandwidth, shift):
    """Share of the events `x + shift` in each bin."""
    weight = jnp.full(x.shape, 1 / len(x))
    return BinnedKDE(bandwidth, chunk=2048)(x + shift, weight, edges).sumw


@eqx.filter_jit
def gradients(x, edges, bandwidth):
    """Derivative of each share with respect to a displacement of all events."""
    moved = lambda shift: shares(x, edges, bandwidth, shift)
    return jax.jvp(moved, (0.0,), (1.0,))[1]


@eqx.filter_jit
def errors(samples, edges, density, bandwidths, widths):
    """Errors of the gradient, averaged over the places of a bin and over samples.

    Args:
        samples: events, [repetition, event].
        edges: of the grid of narrow bins.
        density: true density at each edge.
        bandwidths: to try.
        widths: number of narrow bins in a bin.

    Returns:
        Root of the mean square relative to that of the true gradient, and the mean
        absolute relative error, each [width, bandwidth].
    """

    def of_one(x, bandwidth):
        total = jnp.cumsum(gradients(x, edges, bandwidth))
        total = jnp.concatenate([jnp.zeros(1), total])
        found = []
        for width in widths:
            truth = density[:-width] - density[width:]
            wrong = total[width:] - total[:-width] - truth
            relative = jnp.mean(jnp.abs(wrong / truth))
            found.append([jnp.mean(wrong**2) / jnp.mean(truth**2), relative])
        return jnp.array(found)

    def of_bandwidth(bandwidth):
        return jax.lax.map(lambda x: of_one(x, bandwidth), samples).mean(axis=0)

    found = jax.lax.map(of_bandwidth, bandwidths)
    return jnp.sqrt(found[..., 0]).T, found[..., 1].T


def table(density, edges, sizes, bandwidths, widths, *, budget, seed, fewest=3):
    """Both errors, [width, size, bandwidth].

    Each size has `budget` events in all, and at least `fewest` samples.
    """
    random, found = np.random.default_rng(seed), []
    for size in sizes:
        repetitions = max(fewest, budget // size)
        samples = jnp.asarray(density.sample(random, (repetitions, size)))
        at = jnp.asarray(density.pdf(edges))
        found.append(
            errors(samples, jnp.asarray(edges), at, jnp.asarray(bandwidths), widths)
        )
    return tuple(np.stack(list(kind), axis=1) for kind in zip(*found, strict=True))


@eqx.filter_jit
def central_bin(x, edges, bandwidth, displacements):
    """Share of the events in a single bin, and its derivative, for each displacement.

    Returns:
        Share in the hard bin, share under the kernels, derivative of the latter.
    """

    def at(shift):
        soft = lambda moved: shares(x, edges, bandwidth, moved)[0]
        weight = jnp.full(x.shape, 1 / len(x))
        hard = HardHistogram()(x + shift, weight, edges).sumw[0]
        return hard, *jax.value_and_grad(soft)(shift)

    return jax.lax.map(at, displacements)
