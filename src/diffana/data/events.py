"""Populations of simulated events, and how they are split and dealt into batches."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from diffana.data._random import named_generator
from diffana.errors import DataError


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

    def __str__(self) -> str:
        return (
            f"region {self.region!r}, sample {self.sample!r}, "
            f"variation {self.variation!r}"
        )


def _floating(values: object) -> Array | np.ndarray:
    """Arrays of floats as they are; other numbers as the widest float."""
    array = values if isinstance(values, jax.Array) else np.asarray(values)
    return array if array.dtype.kind == "f" else array.astype(float)


def check_events(events: Sequence[Events], n_bins: int) -> None:
    """Refuse a data set that cannot fill histograms of `n_bins` bins.

    Args:
        events: one data set.
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
    _check_data_set(events)
    for one in events:
        selected = np.count_nonzero(one.weight)
        if selected < n_bins:
            raise DataError(
                f"{one}: {selected} events of non-zero weight for {n_bins} bins; "
                "take fewer bins or more events"
            )


def _check_data_set(events: Sequence[Events]) -> None:
    if not events:
        raise DataError("the data set holds no events")
    first, seen, length = events[0], set(), {}
    for one in events:
        name = (one.region, one.sample, one.variation)
        if name in seen:
            raise DataError(f"{one}: appears twice in one data set")
        seen.add(name)
        if one.columns != first.columns:
            raise DataError(
                f"{one}: columns {one.columns} differ from {first.columns} of {first}"
            )
        twin = length.setdefault(one.source, one)
        if len(one) != len(twin):
            raise DataError(
                f"{one}: {len(one)} events, but {len(twin)} in {twin}, though both "
                f"have the source {one.source!r} and so have to be the same events; "
                "give them different sources, or express the selection by weight 0"
            )
        total = _total(one.weight)
        if total <= 0:
            raise DataError(
                f"{one}: the weights of {len(one)} events add up to {total:g}; an "
                "expected yield has to be positive, so leave the sample out of this "
                "region or merge it with another"
            )


def _total(values: Array | np.ndarray) -> float:
    return float(np.sum(values, dtype=np.float64))


@final
@dataclasses.dataclass(frozen=True)
class _Reference:
    """What sets the scale of one sample of one source, in all regions and variations.

    The weights are those of the nominal events where there are any, else of all
    variations, summed over the regions.
    """

    sample: str
    source: str
    sumw: Float[np.ndarray, " event"]
    sumw2: Float[np.ndarray, " event"]

    def factor(self, rows: Int[np.ndarray, " row"], part: str) -> float:
        """Yield of all events over the yield of the events `rows`."""
        taken = _total(self.sumw[rows])
        if taken <= 0:
            raise DataError(
                f"{part}, sample {self.sample!r}, source {self.source!r}: the weights "
                f"of {len(rows)} events add up to {taken:g}, which cannot be scaled to "
                "the yield of the whole sample; take larger parts or batches, in which "
                "positive weights prevail"
            )
        return _total(self.sumw) / taken

    def spread(self, rows: Int[np.ndarray, " row"]) -> float:
        """Sum of squared weights of all events over that of the events `rows`."""
        return _total(self.sumw2) / _total(self.sumw2[rows])


def _references(events: Sequence[Events]) -> dict[tuple[str, str], _Reference]:
    """(source, sample) -> its reference."""
    families: dict[tuple[str, str], list[Events]] = {}
    for one in events:
        families.setdefault((one.source, one.sample), []).append(one)
    return {family: _reference(members) for family, members in families.items()}


def _reference(members: Sequence[Events]) -> _Reference:
    nominal = [one for one in members if one.variation == "nominal"] or members
    weight = np.stack([np.asarray(one.weight, np.float64) for one in nominal])
    return _Reference(
        members[0].sample,
        members[0].source,
        sumw=weight.sum(axis=0),
        sumw2=(weight**2).sum(axis=0),
    )


def _on_host(events: Sequence[Events]) -> tuple[Events, ...]:
    return tuple(jax.tree.map(np.asarray, one) for one in events)


def split(
    events: Sequence[Events], fractions: Mapping[str, float], seed: int
) -> dict[str, tuple[Events, ...]]:
    """Disjoint parts of a data set that cover it, such as train, validation and test.

    Rows are drawn from (seed, source) alone: the order of `events` does not matter,
    and Events of equal source lose no row against each other.

    The weights of a part are scaled up so that each sample keeps its yield. There is
    one factor per source and sample, taken from the nominal weights summed over the
    regions: a variation keeps its effect on the normalisation, and events that move
    between regions keep their weight. The yield of a single region is therefore kept
    on average, not exactly. `sumw2_scale` stays: the Monte-Carlo statistical
    uncertainty of a part is the larger one of its fewer events.

    Args:
        events: one data set.
        fractions: share of each part, > 0, adding up to 1.
        seed: any integer.

    Returns:
        The data set of each part, in the order of `events`.

    Raises:
        ValueError: if `fractions` are no shares of 1.
        DataError: if a part is left without events or has no positive yield, or the
            data set is unusable.

    Example:
        >>> signal = Events(
        ...     features=np.arange(10.0)[:, None],
        ...     weight=np.full(10, 0.5),
        ...     columns=["mass"],
        ...     region="SR",
        ...     sample="signal",
        ... )
        >>> parts = split((signal,), {"train": 0.8, "test": 0.2}, seed=1)
        >>> len(parts["train"][0]), parts["test"][0].weight
        (8, array([2.5, 2.5]))
    """
    if not all(share > 0 for share in fractions.values()) or not math.isclose(
        sum(fractions.values()), 1.0
    ):
        raise ValueError(f"fractions have to be > 0 and add up to 1: {dict(fractions)}")
    _check_data_set(events)
    events = _on_host(events)
    rows = {one.source: _split_rows(one, fractions, seed) for one in events}
    references = _references(events)
    parts = {}
    for part in fractions:
        factors = {
            (source, sample): reference.factor(rows[source][part], f"part {part!r}")
            for (source, sample), reference in references.items()
        }
        parts[part] = tuple(
            dataclasses.replace(
                one,
                features=one.features[rows[one.source][part]],
                weight=one.weight[rows[one.source][part]]
                * factors[one.source, one.sample],
            )
            for one in events
        )
    return parts


def _split_rows(
    one: Events, fractions: Mapping[str, float], seed: int
) -> dict[str, Int[np.ndarray, " row"]]:
    order = named_generator("split", seed, one.source).permutation(len(one))
    ends = np.rint(np.cumsum([*fractions.values()]) * len(one)).astype(int)
    rows = dict(zip(fractions, np.split(order, ends[:-1]), strict=True))
    for part, taken in rows.items():
        if not len(taken):
            raise DataError(
                f"{one}: {len(one)} events are too few for a part {part!r} of "
                f"{fractions[part]:g}"
            )
    return rows


def batches(
    events: Sequence[Events], n_batches: int, seed: int, epoch: int
) -> Iterator[tuple[Events, ...]]:
    """The batches of one epoch: each a small data set with the yields of the whole.

    Every source is dealt out in turn, so a batch holds 1/n_batches of each sample.
    All batches have the same shapes: where a source does not divide evenly, the short
    batches repeat one of their rows with weight 0. Rows follow from (seed, epoch,
    source) alone, bit for bit for one version of NumPy.

    Weights are scaled as in `split`. Unlike there, `sumw2_scale` makes up for the
    smaller number of events: for the nominal events of a sample, summed over regions,
    sumw2_scale times the sum of weight**2 is the same as for the whole sample.

    Args:
        events: one data set.
        n_batches: number of batches, from 1 to the number of events of the smallest
            source.
        seed: any integer.
        epoch: number of the epoch; each one deals anew.

    Returns:
        An iterator over data sets in the order of `events`, on NumPy arrays. Every
        batch is checked before the first one is handed out.

    Raises:
        ValueError: if `n_batches` < 1.
        DataError: if a source has fewer events than there are batches, if the weights
            in some batch do not add up to a positive yield, or the data set is
            unusable.

    Example:
        >>> signal = Events(
        ...     features=np.arange(5.0)[:, None],
        ...     weight=np.ones(5),
        ...     columns=["mass"],
        ...     region="SR",
        ...     sample="signal",
        ... )
        >>> for (batch,) in batches((signal,), n_batches=2, seed=1, epoch=0):
        ...     print(len(batch), batch.weight.sum(), float(batch.sumw2_scale))
        3 5.0 0.6
        3 5.0 0.4
    """
    if n_batches < 1:
        raise ValueError(f"n_batches has to be at least 1, not {n_batches}")
    _check_data_set(events)
    events = _on_host(events)
    hands = {one.source: _deal(one, n_batches, seed, epoch) for one in events}
    scales = {
        family: [
            _scales(reference, hand.rows[hand.real], f"batch {batch} of {n_batches}")
            for batch, hand in enumerate(hands[reference.source])
        ]
        for family, reference in _references(events).items()
    }
    return (
        tuple(
            _batch(
                one, hands[one.source][batch], *scales[one.source, one.sample][batch]
            )
            for one in events
        )
        for batch in range(n_batches)
    )


@final
@dataclasses.dataclass(frozen=True)
class _Hand:
    """The rows of one batch; those that are not `real` repeat one to fill it up."""

    rows: Int[np.ndarray, " row"]
    real: Bool[np.ndarray, " row"]


def _deal(one: Events, n_batches: int, seed: int, epoch: int) -> list[_Hand]:
    if len(one) < n_batches:
        raise DataError(f"{one}: {len(one)} events cannot fill {n_batches} batches")
    order = named_generator("batches", seed, epoch, one.source).permutation(len(one))
    size = math.ceil(len(one) / n_batches)
    dealt = [order[batch::n_batches] for batch in range(n_batches)]
    return [_Hand(np.resize(r, size), np.arange(size) < len(r)) for r in dealt]


def _scales(
    reference: _Reference, rows: Int[np.ndarray, " row"], part: str
) -> tuple[float, float]:
    """Factors on the weights and on `sumw2_scale`."""
    factor = reference.factor(rows, part)
    return factor, reference.spread(rows) / factor**2


def _batch(one: Events, hand: _Hand, factor: float, sumw2_factor: float) -> Events:
    weight = one.weight[hand.rows] * np.where(hand.real, factor, 0.0)
    return dataclasses.replace(
        one,
        features=one.features[hand.rows],
        weight=weight.astype(one.weight.dtype),
        sumw2_scale=one.sumw2_scale * sumw2_factor,
    )
