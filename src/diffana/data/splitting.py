"""Data sets -> disjoint parts, such as train, validation and test."""

import dataclasses
import math
from collections.abc import Mapping, Sequence, Sized

import numpy as np
from jaxtyping import Int

from diffana.data._random import named_generator
from diffana.data.events import Events, Population, check_data_set
from diffana.data.yields import named, on_host, references, rows_of
from diffana.errors import DataError


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
    check_data_set([Population.of(one) for one in events])
    events = on_host(events)
    rows = {}
    for one in events:
        rows[one.source] = dealt_rows(len(one), fractions, (seed, one.source))
        check_dealt(str(one), len(one), fractions, rows[one.source])
    parts = {}
    for part in fractions:
        factors = {}
        for family, reference in references(events).items():
            taken = rows[family[0]][part]
            factors[family] = reference.all().factor(
                reference.of(taken), len(taken), named(f"part {part!r}", family)
            )
        own = {source: dealt[part] for source, dealt in rows.items()}
        parts[part] = tuple(
            dataclasses.replace(
                one,
                features=features,
                weight=one.weight[own[one.source]] * factors[one.source, one.sample],
            )
            for one, features in zip(events, rows_of(events, own), strict=True)
        )
    return parts


def dealt_rows(
    n_events: int, fractions: Mapping[str, float], key: tuple[int | str, ...]
) -> dict[str, Int[np.ndarray, " row"]]:
    """Rows of each part of a source.

    Args:
        n_events: number of its events.
        fractions: share of each part, adding up to 1.
        key: decides which rows; the seed and the source.
    """
    order = named_generator("split", *key).permutation(n_events)
    ends = np.rint(np.cumsum([*fractions.values()]) * n_events).astype(int)
    return dict(zip(fractions, np.split(order, ends[:-1]), strict=True))


def check_dealt(
    where: str,
    n_events: int,
    fractions: Mapping[str, float],
    parts: Mapping[str, Sized],
) -> None:
    """Refuse parts without events.

    Args:
        where: what was split, for the message.
        n_events: number of its events.
        fractions: share of each part.
        parts: what each part got.

    Raises:
        DataError: naming the part.
    """
    for part, taken in parts.items():
        if not len(taken):
            raise DataError(
                f"{where}: {n_events} events are too few for a part {part!r} of "
                f"{fractions[part]:g}"
            )
