"""Bin edges: fixed ones, and ones that are trained without losing their order."""

import abc
from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from diffana.histogram._invariants import check_increasing
from diffana.numerics import as_float
from diffana.trainable import HELD


class AbstractEdges(eqx.Module):
    """A source of strictly increasing bin edges, in the unit of the observable."""

    @abc.abstractmethod
    def __call__(self) -> Float[Array, " edge"]:
        """The edges."""


@final
class FixedEdges(AbstractEdges):
    """Edges that no training moves.

    Attributes:
        edges: strictly increasing; the outer ones may be infinite.

    Example:
        >>> FixedEdges([0.0, 0.5, jnp.inf])().tolist()
        [0.0, 0.5, inf]
    """

    edges: Float[Array, " edge"] = eqx.field(converter=as_float, metadata=HELD)

    def __check_init__(self):
        check_increasing(self.edges)

    def __call__(self) -> Float[Array, " edge"]:
        """The edges."""
        return self.edges


@final
class TrainableEdges(AbstractEdges):
    """Edges between two fixed ends whose bin widths are a softmax of free numbers.

    Width b is `minimum_width` plus the share softmax(logits)_b of what is left of the
    range, so the edges are in order for every value of the logits. Usually made with
    `TrainableEdges.from_edges`.

    Attributes:
        logits: one free number per bin; adding a constant to all changes nothing.
        low: lower end of the range that the bins divide, in the unit of the observable.
        high: upper end, above `low`.
        minimum_width: no bin gets narrower; at least 0, in the unit of the observable.
            Bins narrower than a kernel of the histogram have no meaning of their own.
        underflow: the first bin reaches down to −∞ instead of `low`.
        overflow: the last bin reaches up to +∞ instead of `high`.

    Example:
        >>> edges = TrainableEdges.from_edges([0.0, 0.2, 1.0])
        >>> print(edges().round(6))
        [0.  0.2 1. ]
    """

    logits: Float[Array, " bin"] = eqx.field(converter=as_float)
    low: Float[Array, ""] = eqx.field(converter=as_float, metadata=HELD)
    high: Float[Array, ""] = eqx.field(converter=as_float, metadata=HELD)
    minimum_width: Float[Array, ""] = eqx.field(
        converter=as_float, metadata=HELD, default=0.0
    )
    underflow: bool = eqx.field(static=True, default=False)
    overflow: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if isinstance(self.low + self.high + self.minimum_width, Tracer):
            return
        if not (jnp.isfinite(self.low) & jnp.isfinite(self.high)):
            raise ValueError(
                f"trainable edges: the ends {self.low} and {self.high} must be finite; "
                "`underflow` and `overflow` open the outer bins"
            )
        if not self.low < self.high:
            raise ValueError(
                f"trainable edges: the upper end {self.high} is not above the lower "
                f"end {self.low}"
            )
        n_bins = self.logits.shape[0]
        if not 0 <= n_bins * self.minimum_width < self.high - self.low:
            raise ValueError(
                f"trainable edges: {n_bins} bins of minimum width {self.minimum_width} "
                f"do not fit between {self.low} and {self.high}"
            )

    @classmethod
    def from_edges(
        cls,
        edges: ArrayLike | Sequence[float],
        *,
        low: float | None = None,
        high: float | None = None,
        minimum_width: float = 0.0,
    ) -> "TrainableEdges":
        """Trainable edges that start at given ones.

        Args:
            edges: strictly increasing; each bin wider than `minimum_width`.
            low: end of the range that the bins divide; wanted if, and only if, the
                first edge is −∞.
            high: the same at the other side.
            minimum_width: width below which no bin may be trained, at least 0.

        Raises:
            ValueError: at construction, naming the edges or the ends that do not fit.

        Example:
            >>> edges = TrainableEdges.from_edges([-np.inf, 0.3, np.inf], low=0, high=1)
            >>> print(edges().round(6))
            [-inf  0.3  inf]
        """
        finite = np.array(edges, dtype=float)
        check_increasing(finite)
        underflow, overflow = bool(finite[0] == -np.inf), bool(finite[-1] == np.inf)
        for name, end, is_open in (("low", low, underflow), ("high", high, overflow)):
            if (end is None) == is_open:
                raise ValueError(
                    f"trainable edges: {name!r} is {end}, but the outer edges are "
                    f"{finite[0]} and {finite[-1]}; it goes with an infinite one"
                )
        finite[0] = low if underflow else finite[0]
        finite[-1] = high if overflow else finite[-1]
        check_increasing(finite)
        spare = np.diff(finite) - minimum_width
        if not np.all(spare > 0):
            first = int(np.argmin(spare > 0))
            raise ValueError(
                f"trainable edges: the bin from {finite[first]} to {finite[first + 1]} "
                f"is not wider than the minimum width {minimum_width}"
            )
        return cls(
            logits=jnp.log(spare),
            low=finite[0],
            high=finite[-1],
            minimum_width=minimum_width,
            underflow=underflow,
            overflow=overflow,
        )

    def __call__(self) -> Float[Array, " edge"]:
        """The edges."""
        spare = self.high - self.low - self.logits.shape[0] * self.minimum_width
        widths = self.minimum_width + spare * jax.nn.softmax(self.logits)
        inner = self.low + jnp.cumsum(widths[:-1])
        first = -jnp.inf if self.underflow else self.low
        last = jnp.inf if self.overflow else self.high
        return jnp.concatenate([jnp.stack([first]), inner, jnp.stack([last])])
