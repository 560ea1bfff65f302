"""Observables: one event goes in, the value that is histogrammed comes out."""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, DTypeLike, Float, PRNGKeyArray

from diffana.errors import DataError
from diffana.numerics import as_float
from diffana.trainable import HELD


class AbstractObservable(eqx.Module):
    """A summary of an event.

    Written for one event; `jax.vmap` makes it one for many.
    """

    @abc.abstractmethod
    def __call__(self, features: Float[Array, " feature"]) -> Float[Array, "*output"]:
        """Value of the observable, or several values, for one event."""


@final
class Variable(AbstractObservable):
    """One of the features as it is.

    Attributes:
        column: position of the feature in an event.

    Example:
        >>> float(Variable(column=1)(jnp.array([0.5, 125.0])))
        125.0
    """

    column: int = eqx.field(static=True)

    def __check_init__(self):
        if self.column < 0:
            raise ValueError(f"variable: column {self.column} is negative")

    def __call__(self, features: Float[Array, " feature"]) -> Float[Array, ""]:
        """The feature, in its own unit."""
        if self.column >= features.shape[0]:
            raise ValueError(
                f"variable: there is no column {self.column} among the "
                f"{features.shape[0]} features of an event"
            )
        return features[self.column]


@final
class Standardisation(eqx.Module):
    """Shift and scale that give each feature mean 0 and variance 1. Not trained.

    Attributes:
        mean: in the unit of each feature.
        scale: standard deviation, in the unit of each feature; > 0.

    Example:
        >>> standardise = Standardisation(mean=[125.0], scale=[2.0])
        >>> standardise(jnp.array([129.0])).tolist()
        [2.0]
    """

    mean: Float[Array, " feature"] = eqx.field(converter=as_float, metadata=HELD)
    scale: Float[Array, " feature"] = eqx.field(converter=as_float, metadata=HELD)

    def __check_init__(self):
        if self.mean.shape != self.scale.shape:
            raise ValueError(
                f"standardisation: the mean has shape {self.mean.shape}, "
                f"the scale {self.scale.shape}"
            )

    def __call__(self, features: Float[Array, " feature"]) -> Float[Array, " feature"]:
        """Standardised features of one event, without unit."""
        mean, scale = jax.lax.stop_gradient((self.mean, self.scale))
        return (features - mean) / scale


@final
@dataclasses.dataclass(frozen=True)
class Moments:
    """Weighted mean and variance of features; those of parts of a sample add up.

    They are weighted with |weight|: an event of negative weight is as much an input of
    a network as any other.

    Attributes:
        size: sum of |weight|; 0 for a part in which no event has weight.
        mean: in the unit of each feature.
        variance: in the unit of each feature, squared.
        low: smallest value of each feature.
        high: largest value of each feature.

    Example:
        >>> features, weight = np.array([[1.0], [3.0], [5.0]]), np.ones(3)
        >>> parts = [Moments.of(features[i::2], weight[i::2]) for i in (0, 1)]
        >>> sum(parts[1:], start=parts[0]).mean.tolist()
        [3.0]
    """

    size: float
    mean: Float[np.ndarray, " feature"]
    variance: Float[np.ndarray, " feature"]
    low: Float[np.ndarray, " feature"]
    high: Float[np.ndarray, " feature"]

    @classmethod
    def of(
        cls,
        features: Float[ArrayLike, "event feature"],
        weight: Float[ArrayLike, " event"],
        columns: Sequence[str] = (),
    ) -> "Moments":
        """Moments of some events.

        Args:
            features: of the events, in any units.
            weight: events per simulated event, any sign; an event of weight 0
                (rejected, or padding) is ignored, whatever its features.
            columns: names of the features, for the error message.

        Raises:
            DataError: if a feature of an event with weight is not finite.
        """
        size = np.abs(np.asarray(weight, dtype=np.float64))
        used = size != 0
        values = np.asarray(features, dtype=np.float64)[used]
        n_features = values.shape[1]
        if not used.any():
            zero = np.zeros(n_features)
            return cls(0.0, zero, zero, zero + np.inf, zero - np.inf)
        for name, column in zip(_names(columns, n_features), values.T, strict=True):
            if not np.isfinite(column).all():
                raise DataError(
                    f"standardisation: feature {name!r} is not finite somewhere"
                )
        total = size[used].sum()
        share = size[used] / total
        mean = share @ values
        return cls(
            size=float(total),
            mean=mean,
            variance=share @ (values - mean) ** 2,
            low=values.min(axis=0),
            high=values.max(axis=0),
        )

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both parts together (Chan, Golub, LeVeque, 1983)."""
        size = self.size + other.size
        if size == 0:
            return self
        share, rest = other.size / size, self.size / size
        shift = other.mean - self.mean
        return Moments(
            size=size,
            mean=self.mean + share * shift,
            variance=rest * self.variance
            + share * other.variance
            + rest * share * shift**2,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
        )

    def standardisation(self, columns: Sequence[str] = ()) -> Standardisation:
        """What gives the features mean 0 and variance 1.

        Args:
            columns: names of the features, for the error messages.

        Raises:
            DataError: if no event has weight, or if a feature has the same value in
                all events that have.
        """
        if self.size == 0:
            raise DataError("standardisation: none of the events has weight")
        names = _names(columns, len(self.mean))
        for name, low, high in zip(names, self.low, self.high, strict=True):
            if low == high:
                raise DataError(
                    f"standardisation: feature {name!r} is {low} in every event; "
                    "leave it out"
                )
        return Standardisation(self.mean, np.sqrt(self.variance))


def _names(columns: Sequence[str], n_features: int) -> Sequence[str]:
    return columns or [f"column {index}" for index in range(n_features)]


def fit_standardisation(
    features: Float[ArrayLike, "event feature"],
    weight: Float[ArrayLike, " event"],
    columns: Sequence[str] = (),
) -> Standardisation:
    """Standardisation of a sample of training events, weighted as in `Moments`.

    Args:
        features: of the training events, in any units.
        weight: events per simulated event, any sign; an event of weight 0 (rejected, or
            padding) is ignored, whatever its features.
        columns: names of the features, for the error messages.

    Raises:
        DataError: if no event has weight, if a feature of one that has is not finite,
            or if a feature has the same value in all of them.

    Example:
        >>> features = np.array([[1.0, 20.0], [3.0, 60.0], [np.nan, 0.0]])
        >>> scaling = fit_standardisation(features, np.array([1.0, -1.0, 0.0]))
        >>> scaling.mean.tolist(), scaling.scale.tolist()
        ([2.0, 40.0], [1.0, 20.0])
    """
    return Moments.of(features, weight, columns).standardisation(columns)


@final
class MLP(AbstractObservable):
    """A multilayer perceptron on standardised features.

    With one output (`n_outputs` None) the observable is the logistic function of it, a
    number in [0, 1]. With several it is the outputs themselves, for a softmax
    histogram.

    Attributes:
        layers: affine maps, one per hidden layer and one for the output.
        standardisation: what the features go through first; fitted, not trained.
        activation: function between the layers.

    Example:
        >>> network = MLP(2, hidden=(8, 8), key=jax.random.key(0))
        >>> value = network(jnp.array([0.3, -1.2]))
        >>> value.shape, bool((0 < value) & (value < 1))
        ((), True)
    """

    layers: tuple[eqx.nn.Linear, ...]
    standardisation: Standardisation
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        n_features: int,
        *,
        key: PRNGKeyArray,
        hidden: Sequence[int] = (1024, 1024),
        n_outputs: int | None = None,
        standardisation: Standardisation | None = None,
        activation: Callable[[Array], Array] = jax.nn.relu,
        dtype: DTypeLike = jnp.float32,
    ):
        """Draw a network.

        Weights are normal with variance 2/fan-in before the hidden layers (He et al.,
        arXiv:1502.01852), which keeps the variance through rectified units, and with
        1/fan-in before the output; biases are zero.

        Args:
            n_features: number of features of an event.
            key: randomness of the weights.
            hidden: width of each hidden layer; empty for a linear observable.
            n_outputs: None for one value in [0, 1], else the number of values.
            standardisation: of as many features; None leaves them as they are.
            activation: between the layers, a function of arrays without own weights.
            dtype: of the weights and of the arithmetic; float32 will do.
        """
        keys = jax.random.split(key, len(hidden) + 1)
        widths = (n_features, *hidden)
        inner = [
            _drawn_layer(fan_in, fan_out, 2.0, key, dtype)
            for fan_in, fan_out, key in zip(
                widths[:-1], widths[1:], keys[:-1], strict=True
            )
        ]
        output = "scalar" if n_outputs is None else n_outputs
        last = _drawn_layer(widths[-1], output, 1.0, keys[-1], dtype)
        self.layers = (*inner, last)
        self.standardisation = (
            Standardisation(np.zeros(n_features), np.ones(n_features))
            if standardisation is None
            else standardisation
        )
        self.activation = activation

    def __check_init__(self):
        n_features = self.layers[0].in_features
        n_standardised = self.standardisation.mean.shape[0]
        if n_features != n_standardised:
            raise ValueError(
                f"network: the first layer takes {n_features} features, but the "
                f"standardisation is of {n_standardised}"
            )

    @property
    def n_outputs(self) -> int | None:
        """Number of outputs; None for the single value in [0, 1]."""
        width = self.layers[-1].out_features
        return None if width == "scalar" else width

    def logit(self, features: Float[Array, " feature"]) -> Float[Array, "*output"]:
        """Output before the logistic function, any real number.

        The cross-entropy is computed from it: the logistic function is 1 to rounding
        above 17 in float32, and its logarithm has lost the event by then.

        Args:
            features: of one event, in the units of the standardisation.
        """
        values = self.standardisation(features).astype(self.layers[0].weight.dtype)
        for layer in self.layers[:-1]:
            values = self.activation(layer(values))
        return self.layers[-1](values)

    def __call__(self, features: Float[Array, " feature"]) -> Float[Array, "*output"]:
        """Value in [0, 1], or the outputs of a network that has several, for one event.

        Args:
            features: of one event, in the units of the standardisation.
        """
        output = self.logit(features)
        return jax.nn.sigmoid(output) if output.ndim == 0 else output


def _drawn_layer(
    fan_in: int,
    fan_out: int | Literal["scalar"],
    gain: float,
    key: PRNGKeyArray,
    dtype: DTypeLike,
) -> eqx.nn.Linear:
    layer = eqx.nn.Linear(fan_in, fan_out, dtype=dtype, key=key)
    shape = layer.weight.shape
    weight = jnp.sqrt(gain / fan_in).astype(dtype) * jax.random.normal(
        key, shape, dtype
    )
    bias = jnp.zeros(shape[0], dtype)
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (weight, bias))
