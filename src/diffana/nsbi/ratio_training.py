"""Training of density ratios: an ensemble at a time, one compiled program per epoch.

Everything here is a function of its arguments. The loop is a generator: whoever drives
it owns files and progress bars, and an epoch that it yielded once goes on bit for bit.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from diffana.errors import DataError, TrainingError
from diffana.nsbi.classifier import AbstractClassifier
from diffana.nsbi.pool import Pool
from diffana.nsbi.ratio_losses import AbstractRatioLoss, BinaryCrossEntropy
from diffana.nsbi.ratio_pass import RatioState, RatioStep, class_totals, one_pass
from diffana.nsbi.resampling import AbstractResampling, AllEvents
from diffana.trainable import trainable


class RatioEpoch(NamedTuple):
    """State of the training after one pass over the events.

    Attributes:
        epoch: number of passes made.
        state: to go on from; `state.best` is what the training is for.
        train_loss: mean over the updates of the loss before each.
        validation_loss: of all validation events after the pass.
    """

    epoch: int
    state: RatioState
    train_loss: Float[np.ndarray, " member"]
    validation_loss: Float[np.ndarray, " member"]


@final
class RatioTrainer(eqx.Module):
    """What is minimised and how.

    Attributes:
        n_epochs: passes over the events, counted from the very beginning, > 0.
        loss: the objective.
        schedule: learning rate after a number of epochs, fractions included. None for a
            cosine from 10⁻³ to 10⁻⁶ at `n_epochs`.
        batch_size: events per update and member, > 0; of an epoch that does not divide
            evenly, all batches are smaller by up to one event.
        clip_norm: longest gradient, in its Euclidean norm, that is not shortened; > 0.
        update_rule: makes what turns a gradient into a direction, which is then
            multiplied by minus the learning rate.
        resampling: which events a member sees.
        patience: the training ends early once no member has improved for so many
            epochs; None for never.
        max_excess: how far the lowest validation loss of a member may be above that of
            ln r = 0, >= 0. Where there is nothing to learn it is a little above, by
            half the number of effective parameters per event.

    Example:
        >>> trainer = RatioTrainer(n_epochs=20)
        >>> [float(rate) for rate in trainer.rates(jnp.array([0.0, 20.0])).round(6)]
        [0.001, 1e-06]
    """

    n_epochs: int = eqx.field(static=True)
    loss: AbstractRatioLoss = BinaryCrossEntropy()
    schedule: optax.Schedule | None = eqx.field(static=True, default=None)
    batch_size: int = eqx.field(static=True, default=1024)
    clip_norm: float = eqx.field(static=True, default=1.0)
    update_rule: Callable[[], optax.GradientTransformation] = eqx.field(
        static=True, default=optax.scale_by_adam
    )
    resampling: AbstractResampling = AllEvents()
    patience: int | None = eqx.field(static=True, default=None)
    max_excess: float = eqx.field(static=True, default=0.01)

    def __check_init__(self):
        for name, value in (
            ("n_epochs", self.n_epochs),
            ("batch_size", self.batch_size),
            ("clip_norm", self.clip_norm),
            ("patience", self.patience),
        ):
            if value is not None and value <= 0:
                raise ValueError(f"ratio trainer: {name} has to be > 0, not {value}")

    @property
    def step(self) -> RatioStep:
        """One update of one classifier."""
        return RatioStep(self.loss, jnp.asarray(self.clip_norm), self.update_rule)

    def rates(self, epochs: Float[Array, " step"]) -> Float[Array, " step"]:
        """Learning rate at each of several times, in epochs from the beginning."""
        schedule = self.schedule
        if schedule is None:
            schedule = optax.cosine_decay_schedule(1e-3, self.n_epochs, alpha=1e-3)
        return jnp.asarray(jax.vmap(schedule)(epochs), float)

    def start(self, members: AbstractClassifier) -> RatioEpoch:
        """Where a training begins.

        Args:
            members: stacked, as by `draw_members`.
        """
        weights = eqx.filter(members, trainable(members))
        memory = eqx.filter_vmap(self.step.optimiser.init)(weights)
        n_members = jax.tree.leaves(weights)[0].shape[0]
        nothing = np.full(n_members, np.nan)
        state = RatioState(
            members=members,
            optimiser=memory,
            best=members,
            best_loss=jnp.full(n_members, jnp.inf, float),
            best_epoch=jnp.zeros(n_members, int),
        )
        return RatioEpoch(0, state, nothing, nothing)

    def finished(self, epoch: RatioEpoch) -> bool:
        """Whether all epochs are over, or the patience with every member."""
        if epoch.epoch >= self.n_epochs:
            return True
        if self.patience is None:
            return False
        newest = int(np.max(np.asarray(epoch.state.best_epoch)))
        return epoch.epoch - newest >= self.patience


def train_ratio(
    trainer: RatioTrainer,
    begin: RatioEpoch,
    pool: Pool | Callable[[int], Pool],
    validation: Pool,
    *,
    key: PRNGKeyArray,
) -> Iterator[RatioEpoch]:
    """Train until the trainer has finished, yielding after each pass.

    All members are trained at once. A pass is one program, compiled once for pools of
    the same shape.

    Args:
        trainer: what is minimised and how.
        begin: where to begin: `RatioTrainer.start`, or an epoch that was yielded.
        pool: training events; or a function that simulates new ones for every pass,
            given the number of passes made. They have to be as many each time.
        validation: events that choose the best weights of each member.
        key: decides on the order of the events and on the resampling.

    Raises:
        DataError: if the pools do not fit each other or the classifiers, or if a member
            has no events of some class.
        TrainingError: if a loss is not finite; or at the end, if the lowest validation
            loss of a member is not below that of ln r = 0 plus `max_excess`.
            It names the member and the epoch.

    Example:
        >>> draw = partial(NetworkClassifier.drawn, standardisation=scaling)
        >>> begin = trainer.start(draw_members(draw, 4, key=jax.random.key(0)))
        >>> for epoch in train_ratio(
        ...     trainer, begin, pool, validation, key=jax.random.key(1)
        ... ):
        ...     print(epoch.epoch, epoch.validation_loss)
        >>> ratio = Ensemble(epoch.state.best.ratio())
    """
    order_key, share_key = jax.random.split(key)
    held_out, simulate = _on_device(validation), _simulator(pool)
    shares, n_events, current = None, None, begin
    while not trainer.finished(current):
        passed = current.epoch
        events = _on_device(simulate(passed))
        _check_classes(current.state.members, events, held_out)
        if shares is None:
            n_events = events.n_events
            shares = trainer.resampling.deal(share_key, len(begin.train_loss), n_events)
        elif events.n_events != n_events:
            raise DataError(
                f"pool of pass {passed + 1}: {events.n_events} events after a first "
                f"pass over {n_events}"
            )
        totals = class_totals(shares, events)
        _check_totals(np.asarray(totals))
        n_batches = -(-shares.rows.shape[1] // trainer.batch_size)
        state, train_loss, validation_loss = one_pass(
            trainer.step,
            current.state,
            events,
            held_out,
            shares,
            totals,
            rates=trainer.rates(passed + jnp.arange(n_batches) / n_batches),
            passed=jnp.asarray(passed),
            key=order_key,
        )
        current = RatioEpoch(
            epoch=passed + 1,
            state=state,
            train_loss=np.asarray(train_loss),
            validation_loss=np.asarray(validation_loss),
        )
        _check_finite(current)
        yield current
    _check_learned(trainer, current, validation.n_classes)


def _simulator(pool: Pool | Callable[[int], Pool]) -> Callable[[int], Pool]:
    if not isinstance(pool, Pool):
        return pool
    fixed = _on_device(pool)
    return lambda passed: fixed


def _on_device(pool: Pool) -> Pool:
    return jax.tree.map(jnp.asarray, pool)


def _check_classes(members: AbstractClassifier, pool: Pool, validation: Pool) -> None:
    if (pool.n_features, pool.n_classes) != (
        validation.n_features,
        validation.n_classes,
    ):
        raise DataError(
            f"validation: {validation.n_features} features and "
            f"{validation.n_classes} classes, but the training pool has "
            f"{pool.n_features} and {pool.n_classes}"
        )
    member = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, members)
    logits = eqx.filter_eval_shape(member.logits, pool.features[0])
    if logits.shape != (pool.n_classes - 1,):
        raise DataError(
            f"pool: {pool.n_classes} classes, but the classifiers have "
            f"{logits.shape[0]} logits: one per class except class 0"
        )


def _check_totals(totals: Float[np.ndarray, "member class"]) -> None:
    good = np.isfinite(totals) & (totals > 0)
    if not good.all():
        member, index = np.argwhere(~good)[0]
        raise DataError(
            f"member {member}: the weights of its events in class {index} add up to "
            f"{totals[member, index]}"
        )


def _check_finite(epoch: RatioEpoch) -> None:
    for name, losses in (
        ("training", epoch.train_loss),
        ("validation", epoch.validation_loss),
    ):
        finite = np.isfinite(losses)
        if not finite.all():
            member = int(np.argmin(finite))
            raise TrainingError(
                f"member {member}: the {name} loss is {losses[member]} in epoch "
                f"{epoch.epoch}; lower the learning rate, or look for events of very "
                "large weight"
            )


def _check_learned(trainer: RatioTrainer, epoch: RatioEpoch, n_classes: int) -> None:
    """Refuse members that are worse than no ratio at all."""
    # The loss is linear in the weights: one event stands for all.
    nothing = trainer.loss(jnp.zeros((1, n_classes - 1)), jnp.ones((1, n_classes)))
    excess = np.asarray(epoch.state.best_loss) - float(nothing)
    member = int(np.argmax(excess))
    if excess[member] > trainer.max_excess:
        raise TrainingError(
            f"member {member}: the lowest validation loss in {epoch.epoch} epochs is "
            f"that of epoch {int(epoch.state.best_epoch[member])}, and it is "
            f"{excess[member]:.3g} above that of ln r = 0; lower the learning rate, or "
            "take more events"
        )
