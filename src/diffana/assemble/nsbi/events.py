"""Events of an unbinned measurement, by sample, variation and sign of weight."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float

from diffana.analysis import NOMINAL
from diffana.assemble.events import observed_events, simulated_events
from diffana.assemble.sources import input_files as files_of, sources
from diffana.config import AnalysisConfig, MlpObservable, NsbiConfig, RegionSection
from diffana.data._random import named_generator
from diffana.data.events import Events, total
from diffana.data.splitting import split
from diffana.errors import DataError
from diffana.nsbi.pool import Pool


PARTS = ("train", "validation", "test")

# What the region is taken to bin, so that its events are read as those of a trained
# observable are.
_INPUTS = "features"


class Piece(NamedTuple):
    """Events of one sample under one variation whose weights have one sign.

    Attributes:
        sample: name of the sample.
        variation: "nominal", "<systematic>/up" or "<systematic>/down".
        is_negative: whether it is the events of negative weight.
    """

    sample: str
    variation: str = NOMINAL
    is_negative: bool = False

    def varied(self, variation: str) -> "Piece":
        """The same under a variation."""
        return self._replace(variation=variation)

    def __str__(self) -> str:
        sign = ", negative weights" if self.is_negative else ""
        return f"sample {self.sample!r}, variation {self.variation!r}{sign}"


class Weighted(NamedTuple):
    """Weighted events.

    Attributes:
        features: of the events.
        weight: events per simulated event.
    """

    features: Float[np.ndarray, "event feature"]
    weight: Float[np.ndarray, " event"]


@final
@dataclasses.dataclass(frozen=True)
class Simulation:
    """The simulated events of a configuration.

    Attributes:
        whole: all of them.
        parts: the same, divided: "train", "validation" and "test".
    """

    whole: tuple[Events, ...]
    parts: Mapping[str, tuple[Events, ...]]

    def pieces(self, sample: str, variation: str = NOMINAL) -> tuple[Piece, ...]:
        """What a sample consists of: events of positive, and of negative weight."""
        positive = Piece(sample, variation)
        weight = np.asarray(_find(self.whole, positive).weight)
        if not np.any(weight < 0):
            return (positive,)
        return (positive, positive._replace(is_negative=True))

    def expected(self, piece: Piece) -> float:
        """Expected events, the sum of absolute weights of all simulated ones."""
        return total(weights(self.whole, piece))

    def is_nominal(self, piece: Piece) -> bool:
        """Whether a variation leaves every event as it is."""
        own, nominal = (
            _find(self.whole, one) for one in (piece, piece.varied(NOMINAL))
        )
        return (
            own.source == nominal.source
            and own.features is nominal.features
            and bool(np.array_equal(own.weight, nominal.weight))
        )


def simulation(config: NsbiConfig) -> Simulation:
    """Read or generate the simulated events, and divide them.

    Raises:
        DataError: naming file, column and sample of what is wrong; the sample of which
            no event is in the region; or the part that has no events.
    """
    whole = _read(as_analysis(config))
    fractions = {part: getattr(config.split, part) for part in PARTS}
    spare = 1.0 - sum(fractions.values())
    if spare > 1e-9:
        fractions["unused"] = spare
    parts = split(whole, fractions, config.general.seed)
    found = Simulation(whole, {part: parts[part] for part in PARTS})
    for one in whole:
        for piece in found.pieces(one.sample, one.variation):
            _check_parts(found, piece)
    return found


def _check_parts(found: Simulation, piece: Piece) -> None:
    for part in PARTS:
        n_events = np.count_nonzero(weights(found.parts[part], piece))
        # Two are the least that a mean has an error with.
        if n_events < 2:
            raise DataError(
                f"{piece}: {n_events} of the selected events are in the part {part!r}; "
                "take more events"
            )


def observed(config: NsbiConfig) -> Weighted | None:
    """The observed events; None if there are no data.

    Raises:
        DataError: naming file, column and sample of what is wrong.
    """
    found = observed_events(as_analysis(config))
    if not found:
        return None
    features = np.concatenate([np.asarray(one.features) for one in found])
    weight = np.concatenate([np.asarray(one.weight, np.float64) for one in found])
    return Weighted(features[weight != 0], weight[weight != 0])


def input_files(config: NsbiConfig) -> tuple[Path, ...]:
    """Files that the configuration reads, each once.

    Raises:
        DataError: naming a pattern that matches no file.
    """
    return files_of(as_analysis(config))


def pool(events: Sequence[Events], classes: Sequence[Sequence[Piece]]) -> Pool:
    """Events to learn ratios from; of the same simulated event there is one row.

    Args:
        events: one data set.
        classes: what each class consists of, the denominator first.

    Raises:
        DataError: if a class has no weight.
    """
    rows, weight = _stacked(events, classes)
    used = (weight > 0).any(axis=1)
    return Pool(rows[used], weight[used])


def mixture(events: Sequence[Events], pieces: Sequence[Piece]) -> Weighted:
    """The sum of several pieces; of the same simulated event there is one row."""
    rows, weight = _stacked(events, [pieces])
    used = weight[:, 0] > 0
    return Weighted(rows[used], weight[used, 0])


def fresh_pool(
    config: NsbiConfig,
    simulated: Simulation,
    classes: Sequence[Sequence[Piece]],
    purpose: str | int,
) -> Pool:
    """New events from the generator, as many as it generates at first.

    There are as many rows each time: the last ones are filled up with weight 0.

    Args:
        config: the configuration, which has a generator.
        simulated: the events that set the yields.
        classes: as for `pool`.
        purpose: different ones give independent events.
    """
    if config.generator is None:
        raise TypeError("the configuration has no Generator")
    wanted = {piece.sample for pieces in classes for piece in pieces}
    random = named_generator("fresh events", config.general.seed, purpose)
    seed = int(random.integers(2**62))
    view = as_analysis(config).model_copy(
        update={
            "general": config.general.model_copy(update={"seed": seed}),
            "samples": tuple(one for one in config.samples if one.name in wanted),
        }
    )
    events = _rescaled(_read(view), simulated)
    rows, weight = _stacked(events, classes)
    # As many as were selected at first, and ten standard deviations more.
    sizes = np.array([len(one.weight) for one in _blocks(simulated.whole, classes)])
    most = np.ceil(sizes + 10 * np.sqrt(sizes))
    n_rows = int(np.minimum(most, config.generator.n_events).sum())
    missing = n_rows - len(rows)
    if missing < 0:
        raise DataError(
            f"{len(rows)} of the new events are selected, but no more than {n_rows} "
            "were expected; take more events"
        )
    return Pool(
        np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]),
        np.pad(weight, ((0, missing), (0, 0))),
    )


def weights(events: Sequence[Events], piece: Piece) -> Float[np.ndarray, " event"]:
    """Absolute weights of a piece, 0 for events of the other sign."""
    return _weight(_find(events, piece), piece)


def as_analysis(config: NsbiConfig) -> AnalysisConfig:
    """An analysis with the same events: its region bins an observable of them."""
    region = RegionSection.model_construct(
        name=config.region.name,
        observable=_INPUTS,
        variable=None,
        binning=(0.0, 1.0),
        flow=True,
        filter=config.region.filter,
        region_path=config.region.region_path,
        cuts=None,
    )
    inputs = MlpObservable.model_construct(name=_INPUTS, inputs=config.features)
    return AnalysisConfig.model_construct(
        general=config.general,
        generator=config.generator,
        workspace=None,
        input=config.input,
        split=config.split,
        observables=(inputs,),
        regions=(region,),
        samples=config.samples,
        norm_factors=config.norm_factors or (),
        systematics=config.systematics,
    )


def _read(view: AnalysisConfig) -> tuple[Events, ...]:
    """The simulated events, those of samples that are the same ones as one source.

    Samples that differ by their weights alone then share rows, and no event is in one
    part for one of them and in another part for the other.
    """
    places = {
        one.name: (one.paths, one.tree, one.sample.preselection)
        for one in sources(view)
    }
    known: dict[tuple, list[Events]] = {}
    renamed: dict[str, str] = {}
    found = []
    for one in simulated_events(view):
        seen = known.setdefault(places[one.source], [])
        twins = [two for two in seen if np.array_equal(one.features, two.features)]
        # The nominal events of a source come first, and its variations follow them.
        name = renamed.setdefault(one.source, twins[0].source if twins else one.source)
        features = twins[0].features if twins else one.features
        one = dataclasses.replace(one, features=features, source=name)
        seen.append(one)
        found.append(one)
    return tuple(found)


def _rescaled(events: Sequence[Events], simulated: Simulation) -> tuple[Events, ...]:
    """Events with the yields that the samples have in `simulated`, as `split` does."""
    found = []
    for one in events:
        key = Piece(one.sample)
        wanted = total(_find(simulated.whole, key).weight)
        scale = wanted / total(_find(events, key).weight)
        found.append(dataclasses.replace(one, weight=scale * one.weight))
    return tuple(found)


def _find(events: Sequence[Events], piece: Piece) -> Events:
    for one in events:
        if (one.sample, one.variation) == (piece.sample, piece.variation):
            return one
    raise DataError(f"{piece}: there are no events of it")


def _weight(events: Events, piece: Piece) -> Float[np.ndarray, " event"]:
    """Absolute weights of the events of one sign, 0 for the others."""
    weight = np.asarray(events.weight, np.float64)
    return np.maximum(-weight if piece.is_negative else weight, 0.0)


def _stacked(
    events: Sequence[Events], classes: Sequence[Sequence[Piece]]
) -> tuple[Float[np.ndarray, "event feature"], Float[np.ndarray, "event class"]]:
    features, weight = zip(*_blocks(events, classes), strict=True)
    return np.concatenate(features), np.concatenate(weight)


def _blocks(
    events: Sequence[Events], classes: Sequence[Sequence[Piece]]
) -> list[Weighted]:
    """Rows that several pieces share, with their weights in each class."""
    found: dict[tuple[str, int], Weighted] = {}
    for index, pieces in enumerate(classes):
        for piece in pieces:
            one = _find(events, piece)
            # Recomputed features are rows of their own.
            block = found.setdefault(
                (one.source, id(one.features)),
                Weighted(np.asarray(one.features), np.zeros((len(one), len(classes)))),
            )
            block.weight[:, index] += _weight(one, piece)
    return list(found.values())
