"""Events that density ratios are learned from."""

from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int

from diffana.data._random import named_generator
from diffana.errors import DataError
from diffana.observable import Standardisation, fit_standardisation


def _floating(values: ArrayLike | Sequence) -> Array | np.ndarray:
    """Arrays of floats as they are; other numbers as the widest float."""
    array = values if isinstance(values, jax.Array) else np.asarray(values)
    return array if array.dtype.kind == "f" else array.astype(float)


@final
class Pool(eqx.Module):
    """Simulated events with a weight in each of several classes.

    Class 0 is the denominator of the ratios, classes 1, 2, ... are the numerators. The
    same simulated event may have weight in several classes, if it is reweighted; an
    event of a sample of its own has weight 0 in all other classes. Ratios are those of
    normalised densities: the training gives every class the same total weight.

    Attributes:
        features: of the events, finite; in any units.
        weight: of the events in each class, any unit; finite, >= 0, not all 0 in any
            class. A sample with negative weights is split by `split_signed` first.

    Example:
        >>> pool = Pool(features=[[0.1], [0.7]], weight=[[1.0, 0.8], [1.0, 1.2]])
        >>> pool.n_events, pool.n_classes
        (2, 2)
    """

    features: Float[Array | np.ndarray, "event feature"] = eqx.field(
        converter=_floating
    )
    weight: Float[Array | np.ndarray, "event class"] = eqx.field(converter=_floating)

    def __check_init__(self):
        """Shapes, and values unless they are traced.

        Raises:
            DataError: naming the class and the event.
        """
        shape, of_weight = self.features.shape, self.weight.shape
        if len(shape) != 2:
            raise DataError(f"pool: features have shape {shape}, not (event, feature)")
        if len(of_weight) != 2 or of_weight[0] != shape[0]:
            raise DataError(
                f"pool: {shape[0]} rows of features, but weights of shape {of_weight} "
                "instead of (event, class)"
            )
        if of_weight[1] < 2:
            raise DataError(
                "pool: a ratio needs a denominator and a numerator, but there is "
                f"{of_weight[1]} class"
            )
        if not isinstance(self.features, Tracer):
            finite = np.isfinite(np.asarray(self.features))
            if not finite.all():
                event, column = np.argwhere(~finite)[0]
                raise DataError(
                    f"pool: feature {column} of event {event} is "
                    f"{self.features[event, column]}"
                )
        if not isinstance(self.weight, Tracer):
            _check_weights(np.asarray(self.weight))

    @classmethod
    def of_samples(
        cls,
        *samples: tuple[
            Float[ArrayLike, "event feature"], Float[ArrayLike, " event"] | None
        ],
    ) -> "Pool":
        """A sample of its own for every class, the denominator first.

        Args:
            samples: features and weights of each; None for weights of 1.

        Raises:
            DataError: if the numbers of features, events and weights do not agree.

        Example:
            >>> zeros = np.zeros((2, 1))
            >>> Pool.of_samples((zeros, None), (zeros + 1, [0.5, 0.7])).weight.tolist()
            [[1.0, 0.0], [1.0, 0.0], [0.0, 0.5], [0.0, 0.7]]
        """
        features = [np.asarray(sample) for sample, _ in samples]
        shapes = [sample.shape for sample in features]
        if any(len(shape) != 2 or shape[1] != shapes[0][1] for shape in shapes):
            raise DataError(
                f"pool: the features of the classes have shapes {shapes}; all need the "
                "same columns"
            )
        weight = np.zeros((sum(shape[0] for shape in shapes), len(samples)))
        start = 0
        for index, ((_, own), (n_events, _)) in enumerate(
            zip(samples, shapes, strict=True)
        ):
            if own is not None and np.shape(own) != (n_events,):
                raise DataError(
                    f"pool: class {index} has {n_events} events, but weights of shape "
                    f"{np.shape(own)}"
                )
            weight[start : start + n_events, index] = 1.0 if own is None else own
            start += n_events
        return cls(np.concatenate(features), weight)

    @property
    def n_events(self) -> int:
        """Number of simulated events."""
        return self.weight.shape[0]

    @property
    def n_features(self) -> int:
        """Number of features of an event."""
        return self.features.shape[1]

    @property
    def n_classes(self) -> int:
        """Number of classes, the denominator included."""
        return self.weight.shape[1]

    def take(self, rows: Int[ArrayLike, " row"]) -> "Pool":
        """The pool of some of the events.

        Raises:
            DataError: if one of the classes has no weight among them.
        """
        rows = np.asarray(rows)
        return Pool(self.features[rows], self.weight[rows])

    def split(self, fraction: float, seed: int) -> tuple["Pool", "Pool"]:
        """Two disjoint parts, for training and validation.

        Args:
            fraction: of the events, for the first part, in (0, 1).
            seed: decides which events; any integer.

        Raises:
            ValueError: if `fraction` is not between 0 and 1.
            DataError: if a class has no weight in one of the parts.

        Example:
            >>> pool = Pool(np.arange(10.0)[:, None], np.ones((10, 2)))
            >>> [part.n_events for part in pool.split(0.8, seed=1)]
            [8, 2]
        """
        if not 0 < fraction < 1:
            raise ValueError(f"pool: the fraction {fraction} is not between 0 and 1")
        order = named_generator("pool", seed).permutation(self.n_events)
        first = round(fraction * self.n_events)
        return self.take(np.sort(order[:first])), self.take(np.sort(order[first:]))

    def standardisation(self, columns: Sequence[str] = ()) -> Standardisation:
        """Mean and spread of the features, every class with the same total weight.

        Args:
            columns: names of the features, for the error messages.

        Raises:
            DataError: if a feature has the same value in all events.
        """
        weight = np.asarray(self.weight, dtype=np.float64)
        shares = (weight / weight.sum(axis=0)).sum(axis=1)
        return fit_standardisation(self.features, shares, columns)


def _check_weights(weight: Float[np.ndarray, "event class"]) -> None:
    good = np.isfinite(weight) & (weight >= 0)
    if not good.all():
        event, index = np.argwhere(~good)[0]
        raise DataError(
            f"pool: event {event} has weight {weight[event, index]} in class {index}; "
            "weights have to be finite and not negative (`split_signed` makes two "
            "samples of one with both signs)"
        )
    empty = ~(weight > 0).any(axis=0)
    if empty.any():
        raise DataError(
            f"pool: class {int(np.argmax(empty))} is empty: none of the "
            f"{len(weight)} events has weight in it"
        )
