"""Populations of simulated events, and data sets of them."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, final

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float

from diffana.errors import DataError


class PopulationName(NamedTuple):
    """What tells a population from the others of a data set."""

    region: str
    sample: str
    variation: str

    def __str__(self) -> str:
        return (
            f"region {self.region!r}, sample {self.sample!r}, "
            f"variation {self.variation!r}"
        )


@final
class Events(eqx.Module):
    """The simulated events of one sample and one variation, as one region sees them.

    A data set is a tuple of them, one per region, sample and variation.

    Attributes:
        features: inputs of the observable, finite; in the units of their columns.
        weight: events at the target luminosity per simulated event; any sign, and 0
            for an event that the selection of the region rejects.
        sumw2_scale: factor on the sum of `weight**2` that turns it into the variance
            of the yield of the whole sample; 1 unless the events are a batch, whose
            weights are scaled up.
        columns: name of each feature.
        region: the region (channel).
        sample: the process.
        variation: "nominal", or "<systematic>/up" or "<systematic>/down".
        source: events with equal source are the same simulated events, row by row, so
            that a split or a batch takes the same rows of all of them. The default
            says that regions select from the same events and that every variation
            was simulated on its own; a variation by recomputed features or weights
            has the source of its nominal events.

    Example:
        >>> signal = Events(
        ...     features=[[125.0], [91.0]],
        ...     weight=[0.5, 0.5],
        ...     columns=["mass"],
        ...     region="SR",
        ...     sample="signal",
        ... )
        >>> signal.variation, signal.source
        ('nominal', 'signal/nominal')
    """

    features: Float[Array | np.ndarray, "event feature"]
    weight: Float[Array | np.ndarray, " event"]
    sumw2_scale: Float[Array | np.ndarray, ""]
    columns: tuple[str, ...] = eqx.field(static=True)
    region: str = eqx.field(static=True)
    sample: str = eqx.field(static=True)
    variation: str = eqx.field(static=True)
    source: str = eqx.field(static=True)

    def __init__(
        self,
        *,
        features: ArrayLike | Sequence[Sequence[float]],
        weight: ArrayLike | Sequence[float],
        columns: Sequence[str],
        region: str,
        sample: str,
        variation: str = "nominal",
        source: str | None = None,
        sumw2_scale: ArrayLike = 1.0,
    ):
        self.features = _floating(features)
        self.weight = _floating(weight)
        self.sumw2_scale = _floating(sumw2_scale)
        self.columns = tuple(columns)
        self.region = region
        self.sample = sample
        self.variation = variation
        self.source = f"{sample}/{variation}" if source is None else source

    def __check_init__(self):
        """Shapes, and finite values unless they are traced.

        Raises:
            DataError: naming region, sample, variation and feature.
        """
        shape = self.features.shape
        if len(shape) != 2 or shape[1] != len(self.columns):
            raise DataError(
                f"{self}: features have shape {shape}, but there are "
                f"{len(self.columns)} columns: {', '.join(self.columns)}"
            )
        if len(set(self.columns)) != len(self.columns):
            raise DataError(f"{self}: a column appears twice: {self.columns}")
        if self.weight.shape != shape[:1]:
            raise DataError(
                f"{self}: {shape[0]} rows of features, but weights of shape "
                f"{self.weight.shape}"
            )
        if self.sumw2_scale.shape != ():
            raise DataError(f"{self}: sumw2_scale is not a single number")
        if not len(self):
            raise DataError(f"{self}: the sample is empty")
        if not isinstance(self.features, Tracer):
            finite = np.isfinite(self.features)
            if not finite.all():
                column = int(np.argmin(finite.all(axis=0)))
                name = f"feature {self.columns[column]!r}"
                raise self._not_finite(name, finite[:, column])
        if not isinstance(self.weight, Tracer):
            finite = np.isfinite(self.weight)
            if not finite.all():
                raise self._not_finite("weight", finite)

    def _not_finite(self, name: str, finite: Bool[np.ndarray, " event"]) -> DataError:
        bad = np.count_nonzero(~finite)
        return DataError(
            f"{self}: {name} is NaN or infinite for {bad} of {len(self)} events"
        )

    def __len__(self) -> int:
        """Number of simulated events, rejected ones included."""
        return self.features.shape[0]

    @property
    def name(self) -> PopulationName:
        """Region, sample and variation."""
        return PopulationName(self.region, self.sample, self.variation)

    def __str__(self) -> str:
        return str(self.name)


def _floating(values: object) -> Array | np.ndarray:
    """Arrays of floats as they are; other numbers as the widest float."""
    array = values if isinstance(values, jax.Array) else np.asarray(values)
    return array if array.dtype.kind == "f" else array.astype(float)


@final
@dataclasses.dataclass(frozen=True)
class Population:
    """What a data set holds of one sample under one variation in one region.

    Those of the parts of a data set add up to that of the whole.

    Attributes:
        name: region, sample and variation.
        source: as in `Events`.
        columns: name of each feature.
        n_events: number of simulated events, rejected ones included.
        n_selected: number of those whose weight is not 0.
        sumw: expected yield, the sum of the weights.

    Example:
        >>> signal = Events(
        ...     features=[[125.0], [91.0]],
        ...     weight=[0.5, 0.0],
        ...     columns=["mass"],
        ...     region="SR",
        ...     sample="signal",
        ... )
        >>> both = Population.of(signal) + Population.of(signal)
        >>> both.n_events, both.n_selected, both.sumw
        (4, 2, 1.0)
    """

    name: PopulationName
    source: str
    columns: tuple[str, ...]
    n_events: int
    n_selected: int
    sumw: float

    @classmethod
    def of(cls, events: Events) -> "Population":
        """The population that `events` are."""
        return cls(
            name=events.name,
            source=events.source,
            columns=events.columns,
            n_events=len(events),
            n_selected=int(np.count_nonzero(events.weight)),
            sumw=total(events.weight),
        )

    def __add__(self, other: "Population") -> "Population":
        """Both together.

        Raises:
            DataError: if the other is not the same population or has other columns.
        """
        same = (self.name, self.source, self.columns)
        if same != (other.name, other.source, other.columns):
            raise DataError(f"{other}: not the same population as {self}")
        return dataclasses.replace(
            self,
            n_events=self.n_events + other.n_events,
            n_selected=self.n_selected + other.n_selected,
            sumw=self.sumw + other.sumw,
        )

    def __str__(self) -> str:
        return str(self.name)


def check_events(events: Sequence[Events | Population], n_bins: int) -> None:
    """Refuse a data set that cannot fill histograms of `n_bins` bins.

    Args:
        events: one data set, or its populations.
        n_bins: number of bins of the observable, > 0.

    Raises:
        DataError: if any of `events` has fewer events of non-zero weight than bins,
            or the data set is one that `split` and `batches` refuse.

    Example:
        >>> signal = Events(
        ...     features=np.zeros((3, 1)),
        ...     weight=[1.0, 1.0, 0.0],
        ...     columns=["mass"],
        ...     region="SR",
        ...     sample="signal",
        ... )
        >>> check_events((signal,), n_bins=2)
    """
    populations = [
        one if isinstance(one, Population) else Population.of(one) for one in events
    ]
    check_data_set(populations)
    for one in populations:
        if one.n_selected < n_bins:
            raise DataError(
                f"{one}: {one.n_selected} events of non-zero weight for {n_bins} bins; "
                "take fewer bins or more events"
            )


def check_data_set(populations: Sequence[Population]) -> None:
    """Refuse a data set that is ambiguous, misaligned or without yield.

    Raises:
        DataError: naming the population.
    """
    if not populations:
        raise DataError("the data set holds no events")
    first, seen, length = populations[0], set(), {}
    for one in populations:
        if one.name in seen:
            raise DataError(f"{one}: appears twice in one data set")
        seen.add(one.name)
        if one.columns != first.columns:
            raise DataError(
                f"{one}: columns {one.columns} differ from {first.columns} of {first}"
            )
        twin = length.setdefault(one.source, one)
        if one.n_events != twin.n_events:
            raise DataError(
                f"{one}: {one.n_events} events, but {twin.n_events} in {twin}, though "
                f"both have the source {one.source!r} and so have to be the same "
                "events; give them different sources, or express the selection by "
                "weight 0"
            )
        if one.sumw <= 0:
            raise DataError(
                f"{one}: the weights of {one.n_events} events add up to {one.sumw:g}; "
                "an expected yield has to be positive, so leave the sample out of this "
                "region or merge it with another"
            )


def total(values: Array | np.ndarray) -> float:
    """Sum in double precision, whatever the type of the values."""
    return float(np.sum(values, dtype=np.float64))
