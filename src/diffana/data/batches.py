"""Data sets -> batches of one epoch."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import numpy as np
from jaxtyping import Bool, Int

from diffana.data._random import named_generator
from diffana.data.events import Events, Population, check_data_set
from diffana.data.yields import (
    Family,
    Yield,
    named,
    on_host,
    references,
    rows_of,
    yields,
)
from diffana.errors import DataError


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
    check_data_set([Population.of(one) for one in events])
    return deal(events, n_batches, (seed, epoch), yields(events))


def deal(
    events: Sequence[Events],
    n_batches: int,
    key: tuple[int, ...],
    whole: Mapping[Family, Yield],
) -> Iterator[tuple[Events, ...]]:
    """Batches as of `batches`, with the yields of a larger data set.

    Args:
        events: a part of that data set.
        n_batches: number of batches.
        key: decides with the source which rows form a batch.
        whole: yields of the larger data set, which the batches are scaled to.

    Raises:
        ValueError, DataError: as `batches`; the data set itself is not checked.
    """
    if n_batches < 1:
        raise ValueError(f"n_batches has to be at least 1, not {n_batches}")
    events = on_host(events)
    hands = {one.source: _deal(one, n_batches, key) for one in events}
    scales = {
        family: [
            _scales(
                whole[family],
                reference.of(hand.rows[hand.real]),
                int(np.count_nonzero(hand.real)),
                named(f"batch {batch} of {n_batches}", family),
            )
            for batch, hand in enumerate(hands[family[0]])
        ]
        for family, reference in references(events).items()
    }
    return (
        _batch(
            events,
            {source: dealt[batch] for source, dealt in hands.items()},
            {family: found[batch] for family, found in scales.items()},
        )
        for batch in range(n_batches)
    )


@final
@dataclasses.dataclass(frozen=True)
class _Hand:
    """The rows of one batch; those that are not `real` repeat one to fill it up."""

    rows: Int[np.ndarray, " row"]
    real: Bool[np.ndarray, " row"]


def _deal(one: Events, n_batches: int, key: tuple[int, ...]) -> list[_Hand]:
    if len(one) < n_batches:
        raise DataError(f"{one}: {len(one)} events cannot fill {n_batches} batches")
    order = named_generator("batches", *key, one.source).permutation(len(one))
    size = math.ceil(len(one) / n_batches)
    dealt = [order[batch::n_batches] for batch in range(n_batches)]
    return [_Hand(np.resize(r, size), np.arange(size) < len(r)) for r in dealt]


def _scales(
    whole: Yield, taken: Yield, n_events: int, where: str
) -> tuple[float, float]:
    """Factors on the weights and on `sumw2_scale`."""
    factor = whole.factor(taken, n_events, where)
    return factor, whole.sumw2 / taken.sumw2 / factor**2


def _batch(
    events: Sequence[Events],
    hands: Mapping[str, _Hand],
    scales: Mapping[Family, tuple[float, float]],
) -> tuple[Events, ...]:
    rows = {source: hand.rows for source, hand in hands.items()}
    found = []
    for one, features in zip(events, rows_of(events, rows), strict=True):
        hand, (factor, sumw2_factor) = (
            hands[one.source],
            scales[one.source, one.sample],
        )
        weight = one.weight[hand.rows] * np.where(hand.real, factor, 0.0)
        found.append(
            dataclasses.replace(
                one,
                features=features,
                weight=weight.astype(one.weight.dtype),
                sumw2_scale=one.sumw2_scale * sumw2_factor,
            )
        )
    return tuple(found)
