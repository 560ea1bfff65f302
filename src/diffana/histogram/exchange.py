"""The histogram every estimator returns, readable by mplhep and hist."""

from collections.abc import Iterator
from typing import Any, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray


@final
class Histogram(eqx.Module):
    """Sums of weights per bin, with what gives their statistical uncertainty.

    The fields are JAX values and carry derivatives. The methods are the protocol
    `PlottableHistogram` of UHI and return NumPy arrays, so that `mplhep.histplot(h)`
    and `hist.Hist(h)` work; they cannot be called under `jit`.

    Attributes:
        edges: strictly increasing, in the unit of the observable; the outer ones may be
            infinite.
        sumw: sum of weights per bin, in events; negative where the weights are.
        sumw2: sum of squared weights per bin, in events², the variance of `sumw`.

    Example:
        >>> h = Histogram(edges=[0.0, 0.5, jnp.inf], sumw=[3.0, 1.0], sumw2=[3.0, 0.5])
        >>> h.counts().tolist(), list(h.axes[0])
        ([3.0, 2.0], [(0.0, 0.5), (0.5, 1.0)])
    """

    edges: Float[Array, " edge"] = eqx.field(converter=jnp.asarray)
    sumw: Float[Array, " edge-1"] = eqx.field(converter=jnp.asarray)
    sumw2: Float[Array, " edge-1"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        n_edges = jnp.shape(self.edges)[-1]
        for field in ("sumw", "sumw2"):
            shape = jnp.shape(getattr(self, field))
            if shape != (n_edges - 1,):
                raise ValueError(
                    f"histogram: {field!r} has shape {shape}, but there are "
                    f"{n_edges} edges"
                )

    def __add__(self, other: "Histogram") -> "Histogram":
        """The histogram of two samples of events, which have the same edges."""
        return Histogram(self.edges, self.sumw + other.sumw, self.sumw2 + other.sumw2)

    @property
    def kind(self) -> str:
        """`COUNT`: the values are sums of weights."""
        return "COUNT"

    @property
    def axes(self) -> tuple["DisplayAxis"]:
        """The axis as it is drawn: an infinite bin gets the width of its neighbour."""
        return (DisplayAxis(_display_edges(np.asarray(self.edges))),)

    def values(self) -> NDArray[np.floating]:
        """Sum of weights per bin, in events."""
        return np.asarray(self.sumw)

    def variances(self) -> NDArray[np.floating]:
        """Variance of the sum of weights per bin, in events²."""
        return np.asarray(self.sumw2)

    def counts(self) -> NDArray[np.floating]:
        """Effective number of entries per bin, sumw²/sumw2; 0 in an empty bin."""
        sumw, sumw2 = self.values(), self.variances()
        return np.divide(sumw**2, sumw2, out=np.zeros_like(sumw), where=sumw2 != 0)

    def _to_uhi_(self) -> dict[str, Any]:
        """The UHI serialisation of what is drawn, from which `hist.Hist` is made."""
        axis = {
            "type": "variable",
            "edges": self.axes[0].edges,
            "underflow": False,
            "overflow": False,
            "circular": False,
        }
        storage = {
            "type": "weighted",
            "values": self.values(),
            "variances": self.variances(),
        }
        return {"uhi_schema": 1, "axes": [axis], "storage": storage}


class DisplayTraits(NamedTuple):
    """The two facts UHI asks of an axis."""

    circular: bool = False
    discrete: bool = False


class DisplayAxis:
    """A UHI axis of finite bins."""

    traits = DisplayTraits()

    def __init__(self, edges: NDArray[np.floating]):
        self.edges = edges

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __getitem__(self, index: int) -> tuple[float, float]:
        low, high = self.edges[:-1][index], self.edges[1:][index]
        return float(low), float(high)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DisplayAxis) and np.array_equal(
            self.edges, other.edges
        )

    def __hash__(self) -> int:
        return hash(self.edges.tobytes())


def _display_edges(edges: NDArray[np.floating]) -> NDArray[np.floating]:
    finite = edges[np.isfinite(edges)]
    if len(finite) == 0:
        return np.array([0.0, 1.0])
    widths = np.diff(finite) if len(finite) > 1 else np.ones(1)
    low = [finite[0] - widths[0]] if edges[0] == -np.inf else []
    high = [finite[-1] + widths[-1]] if edges[-1] == np.inf else []
    return np.concatenate([low, finite, high])
