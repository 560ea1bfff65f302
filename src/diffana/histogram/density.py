"""Estimators of a histogram: Gaussian kernels, softmax outputs, and hard bins.

Each is a function (values, weights, edges) -> `Histogram`. The soft ones are for
training, their hard twins for every number that is shown as a result.
"""

import abc
import functools as ft
import math
from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from diffana.histogram._invariants import check_positive
from diffana.histogram.exchange import Histogram
from diffana.numerics import as_float
from diffana.trainable import HELD


class AbstractHistogrammer(eqx.Module):
    """An estimator of the yield per bin."""

    @abc.abstractmethod
    def __call__(
        self,
        x: Float[ArrayLike, "event *output"],
        weight: Float[ArrayLike, " event"],
        edges: Float[ArrayLike, " edge"],
        *,
        sumw2_scale: Float[ArrayLike, ""] | float = 1.0,
    ) -> Histogram:
        """Histogram of a sample of events.

        The sums are in JAX's default floating-point type (float64 under x64) whatever
        the type of `x`. A value that is nan makes every bin nan, whatever its weight.

        Args:
            x: value of the observable for each event, in the unit of `edges`; several
                values per event where the estimator wants them.
            weight: events at the target luminosity per simulated event; any sign.
            edges: strictly increasing; infinite outer edges keep under- and overflow.
            sumw2_scale: factor on the sum of squared weights that turns it into the
                variance of the yield where the events are a scaled-up batch of a
                larger sample.
        """

    @property
    @abc.abstractmethod
    def hard(self) -> "AbstractHistogrammer":
        """The estimator without smoothing, for results."""


@final
class BinnedKDE(AbstractHistogrammer):
    """Histogram of a Gaussian kernel density estimate (bKDE).

    The yield of bin b is Σ_i w_i K_ib and its variance Σ_i w_i² K_ib², with K_ib the
    mass in bin b of a normal density around event i (Simpson, PhD thesis, Lund 2023,
    section 7.2.3). For a bandwidth towards zero it becomes `HardHistogram`, except that
    an event exactly on an edge counts half on either side.

    Attributes:
        bandwidth: width σ of the kernel, in the unit of the observable; > 0.
        chunk: number of events whose kernels are in memory at a time. Neither the
            kernels nor their derivatives are kept for the backward pass. The result
            depends on it by rounding only.

    Example:
        >>> x, weight = jnp.array([0.2, 0.7]), jnp.array([1.0, -0.5])
        >>> edges = jnp.array([-jnp.inf, 0.5, jnp.inf])
        >>> print(BinnedKDE(bandwidth=0.1)(x, weight, edges).sumw.round(4))
        [ 0.9873 -0.4873]
    """

    bandwidth: Float[Array, ""] = eqx.field(converter=as_float, metadata=HELD)
    chunk: int = eqx.field(static=True, default=65_536)

    def __check_init__(self):
        check_positive(self.bandwidth, "bandwidth", "the limit 0 is `HardHistogram`")
        check_positive(self.chunk, "chunk", "it counts events")

    def __call__(
        self,
        x: Float[ArrayLike, " event"],
        weight: Float[ArrayLike, " event"],
        edges: Float[ArrayLike, " edge"],
        *,
        sumw2_scale: Float[ArrayLike, ""] | float = 1.0,
    ) -> Histogram:
        """Histogram of a sample of events, see `AbstractHistogrammer`."""
        edges = as_float(edges)
        mass = jax.tree_util.Partial(kernel_mass, edges=edges, bandwidth=self.bandwidth)
        sumw, sumw2 = _weighted_sums(mass, as_float(x), as_float(weight), self.chunk)
        return Histogram(edges, sumw, sumw2_scale * sumw2)

    @property
    def hard(self) -> "HardHistogram":
        """The limit of zero bandwidth."""
        return HardHistogram()


@final
class SoftmaxHistogram(AbstractHistogrammer):
    """Histogram whose bins are the outputs of a network.

    Event i belongs to bin b with probability K_ib = softmax(x_i/τ)_b (de Castro and
    Dorigo, INFERNO, arXiv:1806.04743). The edges only name the bins: there is one more
    of them than outputs.

    Attributes:
        temperature: τ, in the unit of the outputs; > 0. `ArgmaxHistogram` is its limit
            at 0.
        chunk: number of events in memory at a time.

    Example:
        >>> x, weight = jnp.array([[0.0, 2.0], [1.0, 0.0]]), jnp.ones(2)
        >>> print(SoftmaxHistogram(0.5)(x, weight, jnp.arange(3.0)).sumw.round(3))
        [0.899 1.101]
    """

    temperature: Float[Array, ""] = eqx.field(converter=as_float, metadata=HELD)
    chunk: int = eqx.field(static=True, default=65_536)

    def __check_init__(self):
        check_positive(
            self.temperature, "temperature", "the limit 0 is `ArgmaxHistogram`"
        )
        check_positive(self.chunk, "chunk", "it counts events")

    def __call__(
        self,
        x: Float[ArrayLike, "event bin"],
        weight: Float[ArrayLike, " event"],
        edges: Float[ArrayLike, " edge"],
        *,
        sumw2_scale: Float[ArrayLike, ""] | float = 1.0,
    ) -> Histogram:
        """Histogram of a sample of events, see `AbstractHistogrammer`."""
        mass = jax.tree_util.Partial(_softmax_mass, temperature=self.temperature)
        sumw, sumw2 = _weighted_sums(mass, as_float(x), as_float(weight), self.chunk)
        return Histogram(as_float(edges), sumw, sumw2_scale * sumw2)

    @property
    def hard(self) -> "ArgmaxHistogram":
        """Each event in the bin of its largest output."""
        return ArgmaxHistogram()


@final
class HardHistogram(AbstractHistogrammer):
    """The ordinary histogram.

    Bins are half-open, [e_b, e_{b+1}), and the last one contains its upper edge, as in
    `numpy.histogram`. Events outside are dropped. The derivative with respect to the
    weights is exact; the one with respect to values and edges is zero, so nothing can
    be trained through it.

    Example:
        >>> x, edges = jnp.array([0.5, 1.0, 1.1]), jnp.array([0.0, 0.5, 1.0])
        >>> HardHistogram()(x, jnp.ones(3), edges).sumw.tolist()
        [0.0, 2.0]
    """

    def __call__(
        self,
        x: Float[ArrayLike, " event"],
        weight: Float[ArrayLike, " event"],
        edges: Float[ArrayLike, " edge"],
        *,
        sumw2_scale: Float[ArrayLike, ""] | float = 1.0,
    ) -> Histogram:
        """Histogram of a sample of events, see `AbstractHistogrammer`."""
        x, edges = as_float(x), as_float(edges)
        last = edges.shape[0] - 2
        index = jnp.searchsorted(edges, x, side="right") - 1
        index = jnp.where(x == edges[-1], last, index)
        return _fill(index, jnp.isnan(x), weight, edges, sumw2_scale)

    @property
    def hard(self) -> "HardHistogram":
        """Itself."""
        return self


@final
class ArgmaxHistogram(AbstractHistogrammer):
    """Histogram of the index of the largest output; the first one where several tie.

    Example:
        >>> x = jnp.array([[0.0, 2.0], [1.0, 0.0], [0.0, 0.1]])
        >>> ArgmaxHistogram()(x, jnp.ones(3), jnp.arange(3.0)).sumw.tolist()
        [1.0, 2.0]
    """

    def __call__(
        self,
        x: Float[ArrayLike, "event bin"],
        weight: Float[ArrayLike, " event"],
        edges: Float[ArrayLike, " edge"],
        *,
        sumw2_scale: Float[ArrayLike, ""] | float = 1.0,
    ) -> Histogram:
        """Histogram of a sample of events, see `AbstractHistogrammer`."""
        x, edges = as_float(x), as_float(edges)
        index = jnp.argmax(x, axis=1)
        return _fill(index, jnp.isnan(x).any(axis=1), weight, edges, sumw2_scale)

    @property
    def hard(self) -> "ArgmaxHistogram":
        """Itself."""
        return self


def kernel_mass(
    x: Float[Array, " event"],
    edges: Float[Array, " edge"],
    bandwidth: Float[Array, ""],
) -> Float[Array, "event edge-1"]:
    """Probability of a normal density around each event in each bin.

    K_ib = Φ((e_{b+1} − x_i)/h) − Φ((e_b − x_i)/h), as a difference of the small tails
    on the side where the bin lies: a bin far above an event keeps the digits that 1 − 1
    would lose.

    The derivative is the normal density at the edges. An infinite edge is a constant:
    the derivative with respect to it is zero, and so is its part in the others.

    Args:
        x: centres of the kernels, in the unit of `edges`.
        edges: strictly increasing; the outer ones may be infinite.
        bandwidth: width σ of the kernels, in the unit of `x`; > 0.
    """
    edges = edges[None, :]
    is_finite = jnp.isfinite(edges)
    # ∞ · 0 in the derivatives of what follows is avoided before it can arise.
    z = (jnp.where(is_finite, edges, 0.0) - x[:, None]) / bandwidth
    is_above = jnp.where(is_finite, z > 0, edges > 0)
    # No absolute value: it has no derivative for an event exactly on an edge.
    outwards = jnp.where(is_above, z, -z)
    tail = jnp.where(is_finite, 0.5 * jax.lax.erfc(outwards * math.sqrt(0.5)), 0.0)

    low, high = tail[:, :-1], tail[:, 1:]
    low_above, high_above = is_above[:, :-1], is_above[:, 1:]
    return jnp.where(
        low_above, low - high, jnp.where(high_above, 1 - low - high, high - low)
    )


def _softmax_mass(
    x: Float[Array, "event bin"], temperature: Float[Array, ""]
) -> Float[Array, "event bin"]:
    return jax.nn.softmax(x / temperature, axis=1)


def _weighted_sums(
    mass: Callable[[Float[Array, "event *output"]], Float[Array, "event bin"]],
    x: Float[Array, "event *output"],
    weight: Float[Array, " event"],
    chunk: int,
) -> tuple[Float[Array, " bin"], Float[Array, " bin"]]:
    """Σ_i w_i K_ib and Σ_i w_i² K_ib² over all events, a chunk of them at a time."""
    n_events = weight.shape[0]
    if n_events <= chunk:
        return _chunk_sums(mass, x, weight)
    n_chunks = -(-n_events // chunk)
    size = -(-n_events // n_chunks)  # equal chunks need the least padding

    def padded(array: Array) -> Array:
        padding = [(0, n_chunks * size - n_events)] + [(0, 0)] * (array.ndim - 1)
        return jnp.pad(array, padding).reshape(n_chunks, size, *array.shape[1:])

    def add(sums, events):
        return jax.tree.map(jnp.add, sums, _chunk_sums(mass, *events)), None

    n_bins = jax.eval_shape(mass, x).shape[1]
    start = (jnp.zeros(n_bins, weight.dtype), jnp.zeros(n_bins, weight.dtype))
    return jax.lax.scan(add, start, (padded(x), padded(weight)))[0]


# The barrier that keeps XLA from merging the backward with the forward pass is not
# needed under `scan`. With it, jaxlib 0.10 on CPUs compiles the derivative of a softmax
# to zero, or crashes, from 4096 events on.
@ft.partial(jax.checkpoint, prevent_cse=False)
def _chunk_sums(mass, x, weight):
    # Sums and not a matrix product: XLA fuses them with the kernels, and accelerators
    # do not shorten their mantissa.
    contribution = weight[:, None] * mass(x)
    return contribution.sum(axis=0), jnp.square(contribution).sum(axis=0)


def _fill(
    index: Int[Array, " event"],
    invalid: Array,
    weight: Float[ArrayLike, " event"],
    edges: Float[Array, " edge"],
    sumw2_scale: Float[ArrayLike, ""] | float,
) -> Histogram:
    weight = jnp.where(invalid, jnp.nan, as_float(weight))
    n_bins = edges.shape[0] - 1
    outside = (index < 0) | (index >= n_bins)
    sums = ft.partial(
        jax.ops.segment_sum,
        segment_ids=jnp.where(outside, n_bins, index),
        num_segments=n_bins,
    )
    # An event without a value belongs to no bin; it must not vanish for that reason.
    poison = jnp.where(invalid.any(), jnp.nan, 0.0)
    return Histogram(
        edges, sums(weight) + poison, sumw2_scale * (sums(weight**2) + poison)
    )
