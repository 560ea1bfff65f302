"""A training in memory, followed on test events: what studies of many seeds look at."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffana import assemble
from diffana.analysis import Analysis
from diffana.config import Config
from diffana.losses import AbstractLoss
from diffana.train import Epoch, StepReport, first_epoch, train
from diffana.workflow.prepared import Prepared, prepare


class History(NamedTuple):
    """The metrics of one training after each epoch, all with sharp cuts and bins.

    Attributes:
        seed: decided events, split, initial weights and batches.
        prepared: the events, and the untrained analysis.
        validation: metric -> its values on the events that select.
        test: metric -> its values on the events that results come from; nan where a fit
            is not certified, as above.
        chosen: metric -> the analysis with the best validation value of that metric.
        gradient_norm: Euclidean norm of the gradient of each update; nan if refused.
        refused: number of updates that were refused.
        seconds: wall time of the updates and metrics, compilation included.
    """

    seed: int
    prepared: Prepared
    validation: Mapping[str, Float[np.ndarray, " epoch"]]
    test: Mapping[str, Float[np.ndarray, " epoch"]]
    chosen: Mapping[str, Analysis]
    gradient_norm: Float[np.ndarray, " step"]
    refused: int
    seconds: float

    def best(self, metric: str) -> int:
        """Position of the epoch with the smallest validation value of `metric`.

        Raises:
            ValueError: if no epoch has a defined value.
        """
        values = self.validation[metric]
        if np.isnan(values).all():
            raise ValueError(f"seed {self.seed}: no epoch has a defined {metric!r}")
        return int(np.nanargmin(values))

    def final(self, metric: str, selection: str | None = None) -> float:
        """Test value of `metric` at the epoch with the best validation value.

        Args:
            metric: what is quoted.
            selection: metric that selects the epoch; `metric` itself without it.
        """
        return float(self.test[metric][self.best(selection or metric)])


def follow(
    config: Config,
    *,
    metrics: Mapping[str, AbstractLoss] | None = None,
    start: Callable[[Prepared], Analysis] = lambda prepared: prepared.analysis,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> History:
    """Train what `config` describes, and evaluate every epoch on test events.

    Trainings that differ only in their seed share their compiled programs, within one
    process. No file is written, but for events that stream, which are in a temporary
    folder as long as they are needed.

    Args:
        config: the configuration.
        metrics: what is followed, lower is better; those of every validation without
            it.
        start: the analysis to begin with, for example one trained before.
        on_epoch: called after every epoch.

    Raises:
        DiffanaError: if the input cannot be used, or too many updates in a row were
            refused.

    Example:
        >>> config = configuration.load("configs/blobs.yaml")  # doctest: +SKIP
        >>> follow(config).final("cls")  # doctest: +SKIP
        4.9e-07
    """
    prepared = prepare(config)
    followed = dict(metrics or assemble.hard_metrics(config))
    trainer, analysis = prepared.trainer, start(prepared)
    validation = {name: [] for name in followed}
    test = {name: [] for name in followed}
    chosen = dict.fromkeys(followed, analysis)
    lowest = dict.fromkeys(followed, np.inf)
    norms: list[float] = []
    refused = 0

    def on_step(report: StepReport) -> None:
        norms.append(float(report.gradient_norm))

    begin = time.perf_counter()
    for epoch in train(
        trainer,
        first_epoch(trainer, analysis),
        prepared.parts["train"],
        prepared.parts["validation"],
        n_epochs=config.train.epochs,
        n_batches=prepared.n_batches,
        seed=config.general.seed,
        metrics=followed,
        selection=next(iter(followed)),
        max_failed_steps=config.train.max_failed_steps,
        on_step=on_step,
    ):
        refused += sum(epoch.refused.values())
        on_test = trainer.hard_metrics(
            followed, epoch.state.analysis, prepared.parts["test"]
        )
        for name, value in epoch.metrics.items():
            # nan compares as not better.
            if value < lowest[name]:
                lowest[name], chosen[name] = value, epoch.state.analysis
            validation[name].append(value)
            test[name].append(float(on_test[name].value))
        on_epoch(epoch)
    return History(
        seed=config.general.seed,
        prepared=prepared,
        validation={name: np.array(values) for name, values in validation.items()},
        test={name: np.array(values) for name, values in test.items()},
        chosen=chosen,
        gradient_norm=np.array(norms),
        refused=refused,
        seconds=time.perf_counter() - begin,
    )
