"""Training: one compiled step, hard metrics, selection of the best model.

Everything here is a function of its arguments. The loop is a generator: whoever drives
it owns files and progress bars, and a state that it was given once goes on bit for bit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from diffana.analysis import NOMINAL, Analysis
from diffana.data import Events
from diffana.data.events import PopulationName
from diffana.data.portions import Portions, in_portions, pieces
from diffana.errors import RESULTS, TrainingError
from diffana.fit import Minimiser
from diffana.histogram import AbstractSchedule, Histogram
from diffana.losses import AbstractLoss, LossValue, Scores, evaluate_all
from diffana.trainable import trainable


def scores(
    logits: Sequence[Float[Array, " event"] | None],
    events: Sequence[Events],
    signal: Sequence[str],
) -> tuple[Scores, ...]:
    """What losses of classification look at.

    Args:
        logits: of each population as in `Outputs`.
        events: the populations, in the same order.
        signal: names of the samples that count as signal.
    """
    return tuple(
        Scores.of(
            logit,
            jnp.asarray(one.weight, float),
            is_signal=one.sample in signal,
            is_nominal=one.variation == NOMINAL,
        )
        for one, logit in zip(events, logits, strict=True)
        if logit is not None
    )


@final
class Sums(eqx.Module):
    """All that the hard metrics need of events; those of parts of a data set add up.

    Attributes:
        histograms: histogram of each population.
        scores: scores of each population whose region is summarised by a classifier.
    """

    histograms: Mapping[PopulationName, Histogram]
    scores: tuple[Scores, ...]

    def __add__(self, other: "Sums") -> "Sums":
        """The sums over both parts."""
        pairs = zip(self.scores, other.scores, strict=True)
        return Sums(
            histograms={
                name: histogram + other.histograms[name]
                for name, histogram in self.histograms.items()
            },
            scores=tuple(first + second for first, second in pairs),
        )


# Events whose summaries are in memory at a time, those of all populations together.
_PIECE = 2**16


def sums(
    analysis: Analysis,
    portions: Iterable[Sequence[Events]],
    signal: tuple[str, ...] = (),
) -> Sums:
    """Histograms and scores of a data set, with memory for a piece of it at a time.

    Args:
        analysis: with hard or soft histograms.
        portions: data sets of the same populations, which together are one.
        signal: names of the samples that count as signal.
    """
    found = None
    for portion in portions:
        for piece in pieces(portion, _PIECE):
            part = _compiled_sums(analysis, piece, signal)
            found = part if found is None else found + part
    return Sums({}, ()) if found is None else found


@eqx.filter_jit
def _compiled_sums(
    analysis: Analysis, events: tuple[Events, ...], signal: tuple[str, ...]
) -> Sums:
    histograms, logits = analysis.histograms_and_logits(events)
    named = {one.name: h for one, h in zip(events, histograms, strict=True)}
    return Sums(named, scores(logits, events, signal))


@final
class Annealing(eqx.Module):
    """A number of the analysis that follows the progress of the training.

    Attributes:
        schedule: its value at a fraction of all steps.
        where: picks the number out of an analysis.
    """

    schedule: AbstractSchedule
    where: Callable[[Analysis], Array] = eqx.field(static=True)


@final
class TrainState(eqx.Module):
    """Everything that the next step depends on, apart from the events.

    Attributes:
        analysis: with the current weights, cuts and edges.
        optimiser: memory of the optimiser.
        step: updates tried so far.
        failed_steps: how many of the latest updates in a row were refused.
    """

    analysis: Analysis
    optimiser: PyTree
    step: Int[Array, ""]
    failed_steps: Int[Array, ""]


@final
class StepReport(eqx.Module):
    """One update.

    Attributes:
        loss: value before the update; nan if the update was refused.
        gradient_norm: Euclidean norm of the gradient; nan if refused.
        result: why the update was refused, or success.
        accepted: whether the update took place.
    """

    loss: Scalar
    gradient_norm: Scalar
    result: RESULTS
    accepted: Bool[Array, ""]


@final
class Trainer(eqx.Module):
    """What is minimised and how.

    Attributes:
        loss: the objective.
        annealings: numbers that change as training proceeds.
        n_steps: length of the whole training, for their progress.
        signal: names of the samples that the parameter of interest scales.
        optimiser: turns a gradient into a step.
        minimiser: settings of the fits.
    """

    loss: AbstractLoss
    annealings: tuple[Annealing, ...]
    n_steps: int = eqx.field(static=True)
    signal: tuple[str, ...] = eqx.field(static=True)
    optimiser: optax.GradientTransformation = eqx.field(static=True)
    minimiser: Minimiser = Minimiser()

    def start(self, analysis: Analysis) -> TrainState:
        """State before the first step."""
        weights = eqx.filter(analysis, trainable(analysis))
        zero = jnp.zeros((), int)
        return TrainState(analysis, self.optimiser.init(weights), zero, zero)

    def annealed(self, analysis: Analysis, step: Int[Array, ""] | int) -> Analysis:
        """The analysis as training sees it at `step`."""
        progress = jnp.asarray(step) / max(self.n_steps - 1, 1)
        for annealing in self.annealings:
            analysis = eqx.tree_at(
                annealing.where, analysis, annealing.schedule(progress)
            )
        return analysis

    def evaluate(
        self, loss: AbstractLoss, analysis: Analysis, events: Sequence[Events]
    ) -> LossValue:
        """Value of a loss for `events`, soft or hard as the analysis is."""
        (value,) = self.evaluate_all({"": loss}, analysis, events).values()
        return value

    def evaluate_all(
        self,
        losses: Mapping[str, AbstractLoss],
        analysis: Analysis,
        events: Sequence[Events],
    ) -> dict[str, LossValue]:
        """Values of several losses, which share what they need."""
        outputs = analysis.forward(events)
        found = scores(outputs.logits, events, self.signal)
        return evaluate_all(losses, outputs.likelihood, found, minimiser=self.minimiser)

    @eqx.filter_jit
    def step(
        self, state: TrainState, events: tuple[Events, ...]
    ) -> tuple[TrainState, StepReport]:
        """One update on one batch.

        An update whose loss is not backed by certified fits, or whose gradient is not
        finite, is refused: weights and optimiser stay as they are, and the report says
        why.
        """
        mask = trainable(state.analysis)
        weights, rest = eqx.partition(state.analysis, mask)

        def objective(weights) -> tuple[Scalar, RESULTS]:
            analysis = self.annealed(eqx.combine(weights, rest), state.step)
            found = self.evaluate(self.loss, analysis, events)
            return found.value, found.result

        (value, result), gradient = eqx.filter_value_and_grad(objective, has_aux=True)(
            weights
        )
        norm = optax.tree.norm(gradient)
        accepted = (result == RESULTS.successful) & jnp.isfinite(norm)
        silent = (result == RESULTS.successful) & ~accepted
        updates, memory = self.optimiser.update(gradient, state.optimiser, weights)
        moved = eqx.apply_updates(weights, updates)

        def keep(new: PyTree, old: PyTree) -> PyTree:
            return jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)

        after = TrainState(
            analysis=eqx.combine(keep(moved, weights), rest),
            optimiser=keep(memory, state.optimiser),
            step=state.step + 1,
            failed_steps=jnp.where(accepted, 0, state.failed_steps + 1),
        )
        report = StepReport(
            loss=value,
            gradient_norm=norm,
            result=RESULTS.where(silent, RESULTS.undefined_gradient, result),
            accepted=accepted,
        )
        return after, report

    def hard_metrics(
        self,
        metrics: Mapping[str, AbstractLoss],
        analysis: Analysis,
        events: Portions | Sequence[Events],
    ) -> dict[str, LossValue]:
        """Metrics with sharp cuts and histograms.

        Args:
            metrics: the metrics by name.
            analysis: soft or hard.
            events: a data set in memory or in portions.
        """
        portions = events if isinstance(events, Portions) else (events,)
        found = sums(analysis.hard, portions, self.signal)
        return _compiled_metrics(metrics, analysis.hard, found, self.minimiser)


# Apart from the trainer, so that trainings on different losses share the program.
@eqx.filter_jit
def _compiled_metrics(
    metrics: Mapping[str, AbstractLoss],
    analysis: Analysis,
    found: Sums,
    minimiser: Minimiser,
) -> dict[str, LossValue]:
    likelihood = analysis.likelihood(found.histograms)
    return evaluate_all(metrics, likelihood, found.scores, minimiser=minimiser)


class Epoch(NamedTuple):
    """State of the training after one pass over the events.

    Attributes:
        epoch: number of passes made.
        state: to go on from.
        best: the analysis with the best metric so far.
        best_metric: its metric on the validation events; inf if none was defined.
        improved: whether this pass found a new best one.
        metrics: hard metrics on the validation events; nan where a fit failed.
        losses: loss of each update, nan where it was refused.
        refused: updates refused in this pass, and why, by message.
    """

    epoch: int
    state: TrainState
    best: Analysis
    best_metric: float
    improved: bool
    metrics: Mapping[str, float]
    losses: Float[np.ndarray, " step"]
    refused: Mapping[str, int]


def train(
    trainer: Trainer,
    begin: Epoch,
    events: Portions | Sequence[Events],
    validation: Portions | Sequence[Events],
    *,
    n_epochs: int,
    n_batches: int,
    seed: int,
    metrics: Mapping[str, AbstractLoss],
    selection: str,
    max_failed_steps: int,
    on_step: Callable[[StepReport], None] = lambda report: None,
) -> Iterator[Epoch]:
    """Train until `n_epochs` passes are made, yielding after each.

    Args:
        trainer: what is minimised and how.
        begin: where to begin: `first_epoch`, or an epoch that an earlier call yielded.
        events: training events, in memory or in portions.
        validation: events that choose the best analysis, likewise.
        n_epochs: passes over the events, counted from the very beginning.
        n_batches: updates per pass, a multiple of the number of portions.
        seed: decides which events form a batch.
        metrics: hard metrics by name; lower is better.
        selection: name of the metric that chooses the best analysis.
        max_failed_steps: refused updates in a row that are put up with.
        on_step: called after every update.

    Raises:
        TrainingError: if more than `max_failed_steps` updates in a row are refused.
    """
    dealt, held_out = in_portions(events), in_portions(validation)
    current = begin
    while current.epoch < n_epochs:
        state, losses, refused = current.state, [], {}
        for batch in dealt.batches(n_batches, seed, current.epoch):
            state, report = trainer.step(state, batch)
            losses.append(float(report.loss))
            if not report.accepted:
                reason = RESULTS[report.result]
                refused[reason] = refused.get(reason, 0) + 1
            if state.failed_steps > max_failed_steps:
                raise TrainingError(
                    f"the last {int(state.failed_steps)} updates, up to step "
                    f"{int(state.step)}, were refused: {RESULTS[report.result]}"
                )
            on_step(report)
        found = {
            name: float(value.value)
            for name, value in trainer.hard_metrics(
                metrics, state.analysis, held_out
            ).items()
        }
        # nan compares as not better: an analysis without certified fits is never best.
        improved = found[selection] < current.best_metric
        current = Epoch(
            epoch=current.epoch + 1,
            state=state,
            best=state.analysis if improved else current.best,
            best_metric=found[selection] if improved else current.best_metric,
            improved=improved,
            metrics=found,
            losses=np.array(losses),
            refused=refused,
        )
        yield current


def first_epoch(trainer: Trainer, analysis: Analysis) -> Epoch:
    """Where a training begins."""
    return Epoch(
        epoch=0,
        state=trainer.start(analysis),
        best=analysis,
        best_metric=float("inf"),
        improved=False,
        metrics={},
        losses=np.zeros(0),
        refused={},
    )
