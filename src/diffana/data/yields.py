"""What sets the scale of the events of a sample when some of them are taken."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import jax
import numpy as np
from jaxtyping import Float, Int

from diffana.data.events import Events, total
from diffana.errors import DataError


@final
@dataclasses.dataclass(frozen=True)
class Yield:
    """What sets the scale of one sample of one source; those of parts add.

    The weights are those of the nominal events where there are any, else of all
    variations, in all regions.

    Attributes:
        sumw: sum of the weights.
        sumw2: sum of the squared weights.
    """

    sumw: float = 0.0
    sumw2: float = 0.0

    def __add__(self, other: "Yield") -> "Yield":
        """That of both parts together."""
        return Yield(self.sumw + other.sumw, self.sumw2 + other.sumw2)

    def factor(self, taken: "Yield", n_events: int, where: str) -> float:
        """Factor that takes events of the yield `taken` to this yield.

        Args:
            taken: of some of the events.
            n_events: how many they are, for the message.
            where: what they are, for the message.

        Raises:
            DataError: if they have no positive yield.
        """
        if taken.sumw <= 0:
            raise DataError(
                f"{where}: the weights of {n_events} events add up to {taken.sumw:g}, "
                "which cannot be scaled to the yield of the whole sample; take larger "
                "parts or batches, in which positive weights prevail"
            )
        return self.sumw / taken.sumw


Family = tuple[str, str]
"""Source and sample: events that keep their yield together."""


@final
@dataclasses.dataclass(frozen=True)
class Reference:
    """Sums over regions of the weights that set a scale, event by event.

    Attributes:
        sumw: of the weights.
        sumw2: of the squared weights.
    """

    sumw: Float[np.ndarray, " event"]
    sumw2: Float[np.ndarray, " event"]

    def all(self) -> Yield:
        """Of all events."""
        return Yield(total(self.sumw), total(self.sumw2))

    def of(self, rows: Int[np.ndarray, " row"]) -> Yield:
        """Of the events `rows`."""
        return Yield(total(self.sumw[rows]), total(self.sumw2[rows]))


def yields(events: Sequence[Events]) -> dict[Family, Yield]:
    """What sets the scale of each sample of each source of a data set."""
    return {
        family: reference.all()
        for family, reference in references(on_host(events)).items()
    }


def named(part: str, family: Family) -> str:
    """A family in some part, for messages."""
    source, sample = family
    return f"{part}, sample {sample!r}, source {source!r}"


def references(events: Sequence[Events]) -> dict[Family, Reference]:
    """What sets the scale of each family, event by event; of events on the host."""
    families: dict[Family, list[Events]] = {}
    for one in events:
        families.setdefault((one.source, one.sample), []).append(one)
    return {family: _of_family(members) for family, members in families.items()}


def _of_family(members: Sequence[Events]) -> Reference:
    nominal = [one for one in members if one.variation == "nominal"] or members
    weight = np.stack([np.asarray(one.weight, np.float64) for one in nominal])
    return Reference(sumw=weight.sum(axis=0), sumw2=(weight**2).sum(axis=0))


def on_host(events: Sequence[Events]) -> tuple[Events, ...]:
    """The events on NumPy arrays."""
    return tuple(jax.tree.map(np.asarray, one) for one in events)


def rows_of(
    events: Sequence[Events], rows: Mapping[str, Int[np.ndarray, " row"]]
) -> Iterator[Float[np.ndarray, "row feature"]]:
    """Features of some rows of each population; those that share them still do.

    Args:
        events: one data set.
        rows: source -> rows.
    """
    found: dict[tuple[int, str], np.ndarray] = {}
    for one in events:
        array = id(one.features), one.source
        if array not in found:
            found[array] = np.asarray(one.features)[rows[one.source]]
        yield found[array]
