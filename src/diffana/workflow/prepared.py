"""What training and evaluation of a configuration have in common."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from diffana import assemble
from diffana.analysis import Analysis
from diffana.config import Config
from diffana.data.events import Events, check_events
from diffana.data.portions import Portions
from diffana.data.splitting import split
from diffana.data.store import Store
from diffana.errors import SpecificationError
from diffana.train import Epoch, Trainer, first_epoch
from diffana.workflow.streaming import stored


_PARTS = ("train", "validation", "test")


class Prepared(NamedTuple):
    """Events and objects of a configuration, before any training.

    Attributes:
        parts: events by what they are for: "train" for the gradient steps, "validation"
            to select the best model, "test" for results; "observed" if there are any.
        trainer: what is minimised, and how.
        first: the untrained analysis, as the loop wants it.
        n_batches: updates per epoch.
        store: where the events are kept; None if they are in memory.
    """

    parts: Mapping[str, Portions]
    trainer: Trainer
    first: Epoch
    n_batches: int
    store: Store | None

    @property
    def analysis(self) -> Analysis:
        """The untrained analysis."""
        return self.first.best

    @property
    def train(self) -> tuple[Events, ...]:
        """Events for the gradient steps.

        Raises:
            DataError: as the following ones, if the events are not in memory.
        """
        return self.parts["train"].whole()

    @property
    def validation(self) -> tuple[Events, ...]:
        """Events that select the best model."""
        return self.parts["validation"].whole()

    @property
    def test(self) -> tuple[Events, ...]:
        """Events that results come from."""
        return self.parts["test"].whole()

    @property
    def observed(self) -> tuple[Events, ...]:
        """Observed events; empty if there are none."""
        return self.parts["observed"].whole() if "observed" in self.parts else ()


def prepare(config: Config, folder: Path | None = None) -> Prepared:
    """Read or generate the events of `config` and build what they meet.

    Args:
        config: the configuration.
        folder: where events that stream are kept, see `streaming.stored`; a temporary
            folder without it.

    Raises:
        DataError: naming file, column and sample of what is wrong.
        SpecificationError: if the statistical model cannot be built.
    """
    fractions = _fractions(config)
    store = None
    if config.input.chunk_size is None:
        parts = _in_memory(config, fractions)
    else:
        store = _stored(config, folder, fractions, config.input.chunk_size)
        parts = {part: store.portions(part) for part in store.parts}
    _check(config, parts)
    train = parts["train"]
    n_events = sum(one.n_events for one in train.populations) / len(train)
    n_batches = len(train) * math.ceil(n_events / config.train.batch_size)
    # Batches that cannot be dealt are found now, before there is a run folder.
    train.check_batches(n_batches, config.general.seed, 0)
    analysis = assemble.analysis(config, train)
    trainer = assemble.trainer(config, analysis, n_batches * config.train.epochs)
    return Prepared(
        parts=parts,
        trainer=trainer,
        first=first_epoch(trainer, analysis),
        n_batches=n_batches,
        store=store,
    )


def _fractions(config: Config) -> dict[str, float]:
    fractions = {part: getattr(config.split, part) for part in _PARTS}
    spare = 1.0 - sum(fractions.values())
    if spare > 1e-9:
        fractions["unused"] = spare
    return fractions


def _in_memory(config: Config, fractions: Mapping[str, float]) -> dict[str, Portions]:
    events = assemble.simulated_events(config)
    dealt = split(events, fractions, config.general.seed)
    parts = {part: Portions((dealt[part],)) for part in _PARTS}
    observed = assemble.observed_events(config)
    return parts | ({"observed": Portions((observed,))} if observed else {})


def _stored(
    config: Config, folder: Path | None, fractions: Mapping[str, float], size: int
) -> Store:
    if size < config.train.batch_size:
        raise SpecificationError(
            f"Input.ChunkSize {size} is smaller than Train.BatchSize "
            f"{config.train.batch_size}: a batch cannot be taken from a chunk"
        )
    return stored(config, folder, fractions=fractions, parts=_PARTS, chunk_size=size)


def _check(config: Config, parts: Mapping[str, Portions]) -> None:
    for part in _PARTS:
        for region in config.regions:
            populations = [
                one for one in parts[part].populations if one.name.region == region.name
            ]
            if not populations:
                raise SpecificationError(
                    f"region {region.name!r}: no sample appears in it"
                )
            check_events(populations, len(region.binning) - 1)
