"""Histograms of simulated events that are drawn again, with and without replacement."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffana.analysis import NOMINAL, Analysis, Region, Summary
from diffana.data._random import named_generator
from diffana.data.events import Events, PopulationName
from diffana.histogram import Histogram


# Rows whose factors and bins are in memory at a time, a power of two.
_CHUNK = 16_384
_Random = np.random.Generator
Draw = Callable[[_Random, int], UInt8[np.ndarray, "draw row"]]


class Drawn(NamedTuple):
    """Hard histograms of each drawing, by region, sample and variation.

    Attributes:
        edges: bin edges by region.
        sumw: yield per bin, in events.
        sumw2: its Monte-Carlo variance, in events².
        source: which simulated events a population is made of, as in `data.Events`.
    """

    edges: Mapping[str, Float[np.ndarray, " edge"]]
    sumw: Mapping[PopulationName, Float[np.ndarray, "draw bin"]]
    sumw2: Mapping[PopulationName, Float[np.ndarray, "draw bin"]]
    source: Mapping[PopulationName, str]

    @property
    def n_draws(self) -> int:
        """How many drawings there are."""
        return len(next(iter(self.sumw.values())))

    def histograms(self, draw: int = 0) -> dict[PopulationName, Histogram]:
        """Histogram of each population in one drawing."""
        return {
            name: Histogram(self.edges[name[0]], sumw[draw], self.sumw2[name][draw])
            for name, sumw in self.sumw.items()
        }


def everything(random: _Random, n_rows: int) -> UInt8[np.ndarray, "draw row"]:
    """Every row once."""
    return np.ones((1, n_rows), np.uint8)


def resampled(n_resamples: int, *, share: float = 1.0, n_subsets: int = 1) -> Draw:
    """Disjoint random subsets of the rows, then each of them drawn with replacement.

    Args:
        n_resamples: how many times each subset is drawn.
        share: part of the rows that the subsets hold together, at most 1.
        n_subsets: how many subsets of the same expected size there are.

    Returns:
        A drawing of n_subsets subsets, then of n_resamples times the first of them, and
        so on. In the latter every row of the subset counts k times, with k from a
        Poisson distribution of mean 1.

    Source: Poisson bootstrap, ATLAS, ATL-PHYS-PUB-2021-011.
    """

    def draw(random: _Random, n_rows: int) -> UInt8[np.ndarray, "draw row"]:
        place = np.floor(random.random(n_rows) * n_subsets / share)
        subsets = (place == np.arange(n_subsets)[:, None]).astype(np.uint8)
        counts = random.poisson(1.0, (n_resamples, n_rows)).astype(np.uint8)
        return np.concatenate([subsets, *(counts * subset for subset in subsets)])

    return draw


def drawn(
    analysis: Analysis,
    portions: Iterable[Sequence[Events]],
    draw: Draw,
    *key: int | str,
) -> Drawn:
    """Hard histograms of events, of which each drawing counts every row k times.

    k is the same wherever a row appears: in all regions, and in the variations that are
    made of it. It adds k w to the yield and k w² to the variance. As in `data.split`,
    each sample of each source then gets back the yield of all its events.

    Args:
        analysis: what histograms the events; its hard twin is used.
        portions: data sets whose events add up.
        draw: k of each row of a source, from a generator of its own.
        key: seed of the generators.
    """
    hard = analysis.hard
    sums = _Sums({}, {}, {}, {}, {})
    for i, events in enumerate(portions):
        for source in dict.fromkeys(one.source for one in events):
            members = [one for one in events if one.source == source]
            random = named_generator("draw", *key, source, i)
            for start in range(0, len(members[0]), _CHUNK):
                rows = slice(start, min(start + _CHUNK, len(members[0])))
                counts = draw(random, rows.stop - start).astype(np.float64)
                for one in members:
                    weight = np.asarray(one.weight, np.float64)[rows]
                    filled = _filled(hard, one, rows)
                    sums.add(one, weight, counts, filled)
    scale = sums.scales()
    return Drawn(
        edges={region.name: np.asarray(region.edges()) for region in hard.regions},
        sumw={name: scale[name] * one for name, one in sums.sumw.items()},
        sumw2={name: scale[name] ** 2 * one for name, one in sums.sumw2.items()},
        source=sums.source,
    )


class _Sums(NamedTuple):
    sumw: dict[PopulationName, Float[np.ndarray, "draw bin"]]
    sumw2: dict[PopulationName, Float[np.ndarray, "draw bin"]]
    taken: dict[PopulationName, Float[np.ndarray, " draw"]]
    total: dict[PopulationName, float]
    source: dict[PopulationName, str]

    def add(
        self,
        events: Events,
        weight: Float[np.ndarray, " row"],
        counts: Float[np.ndarray, "draw row"],
        filled: Float[np.ndarray, "row bin"],
    ) -> None:
        name = events.name
        self.sumw[name] = self.sumw.get(name, 0.0) + counts @ filled
        self.sumw2[name] = self.sumw2.get(name, 0.0) + counts @ filled**2
        self.taken[name] = self.taken.get(name, 0.0) + counts @ weight
        self.total[name] = self.total.get(name, 0.0) + float(weight.sum())
        self.source[name] = events.source

    def scales(self) -> dict[PopulationName, Float[np.ndarray, "draw one"]]:
        """Factors that give each sample of each source its yield again."""
        families: dict[tuple[str, str], list[PopulationName]] = {}
        for name, source in self.source.items():
            families.setdefault((source, name[1]), []).append(name)
        scales = {}
        for members in families.values():
            reference = [name for name in members if name[2] == NOMINAL] or members
            total = sum(self.total[name] for name in reference)
            taken = np.sum([self.taken[name] for name in reference], axis=0)
            # Events of no positive yield cannot be scaled to one.
            scale = np.divide(
                total, taken, out=np.full_like(taken, np.nan), where=taken > 0
            )
            scales |= dict.fromkeys(members, scale[:, None])
        return scales


def _filled(
    hard: Analysis, events: Events, rows: slice
) -> Float[np.ndarray, "row bin"]:
    """What each of some rows adds to each bin."""
    (region,) = (one for one in hard.regions if one.name == events.region)
    features = np.asarray(events.features)[rows]
    weight = np.asarray(events.weight, np.float64)[rows]
    # Few sizes, so that few programs are compiled; the names of the events matter not.
    n_rows = len(weight)
    padded = np.resize(np.arange(n_rows), 1 << (n_rows - 1).bit_length())
    filled = _contributions(
        hard.summaries[region.summary],
        region,
        jnp.asarray(features[padded]),
        jnp.asarray(weight[padded]),
    )
    return np.asarray(filled)[:n_rows]


@eqx.filter_jit
def _contributions(
    summary: Summary,
    region: Region,
    features: Float[Array, "row feature"],
    weight: Float[Array, " row"],
) -> Float[Array, "row bin"]:
    columns = tuple(str(column) for column in range(features.shape[1]))

    def alone(value: Array, inputs: Array, weight: Array) -> Float[Array, " bin"]:
        event = Events(
            features=inputs[None],
            weight=weight[None],
            columns=columns,
            region=region.name,
            sample="",
        )
        return region(value[None], event).sumw

    return jax.vmap(alone)(summary(features), features, weight)
