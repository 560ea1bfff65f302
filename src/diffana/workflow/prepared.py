"""What training and evaluation of a configuration have in common."""

import math
from typing import NamedTuple

from diffana import assemble
from diffana.analysis import Analysis
from diffana.config import Config
from diffana.data.events import Events, batches, check_events, split
from diffana.errors import SpecificationError
from diffana.train import Epoch, Trainer, first_epoch


class Prepared(NamedTuple):
    """Events and objects of a configuration, before any training.

    Attributes:
        train: events for the gradient steps.
        validation: events that select the best model.
        test: events that results come from.
        observed: observed events; empty if there are none.
        trainer: what is minimised, and how.
        first: the untrained analysis, as the loop wants it.
        n_batches: updates per epoch.
    """

    train: tuple[Events, ...]
    validation: tuple[Events, ...]
    test: tuple[Events, ...]
    observed: tuple[Events, ...]
    trainer: Trainer
    first: Epoch
    n_batches: int

    @property
    def analysis(self) -> Analysis:
        """The untrained analysis."""
        return self.first.best


def prepare(config: Config) -> Prepared:
    """Read or generate the events of `config` and build what they meet.

    Raises:
        DataError: naming file, column and sample of what is wrong.
        SpecificationError: if the statistical model cannot be built.
    """
    events = assemble.simulated_events(config)
    parts = config.split
    fractions = {
        "train": parts.train,
        "validation": parts.validation,
        "test": parts.test,
    }
    spare = 1.0 - sum(fractions.values())
    if spare > 1e-9:
        fractions["unused"] = spare
    portions = split(events, fractions, config.general.seed)
    n_bins = {region.name: len(region.binning) - 1 for region in config.regions}
    for part in ("train", "validation", "test"):
        for region, number in n_bins.items():
            inside = [one for one in portions[part] if one.region == region]
            if not inside:
                raise SpecificationError(f"region {region!r}: no sample appears in it")
            check_events(inside, number)
    n_events = sum(len(one) for one in portions["train"])
    n_batches = math.ceil(n_events / config.train.batch_size)
    # Batches that cannot be dealt are found now, before there is a run folder.
    batches(portions["train"], n_batches, config.general.seed, 0)
    analysis = assemble.analysis(config, portions["train"])
    trainer = assemble.trainer(config, analysis, n_batches * config.train.epochs)
    return Prepared(
        train=portions["train"],
        validation=portions["validation"],
        test=portions["test"],
        observed=assemble.observed_events(config),
        trainer=trainer,
        first=first_epoch(trainer, analysis),
        n_batches=n_batches,
    )
