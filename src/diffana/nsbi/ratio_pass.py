"""One pass of an ensemble of classifiers over its events, as one program."""

from collections.abc import Callable
from functools import partial
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Scalar, Shaped

from diffana.nsbi.classifier import AbstractClassifier
from diffana.nsbi.pool import Pool
from diffana.nsbi.ratio_losses import AbstractRatioLoss
from diffana.nsbi.resampling import Shares
from diffana.trainable import trainable


@final
class RatioState(eqx.Module):
    """Everything that the next epoch depends on, apart from the events and the key.

    Attributes:
        members: classifiers with their current weights, stacked.
        optimiser: memory of the optimiser of each.
        best: the classifiers as they were when their validation loss was lowest.
        best_loss: that loss; inf before the first epoch.
        best_epoch: number of the epoch that gave it; 0 before the first.
    """

    members: AbstractClassifier
    optimiser: PyTree
    best: AbstractClassifier
    best_loss: Float[Array, " member"]
    best_epoch: Int[Array, " member"]


@final
class RatioStep(eqx.Module):
    """One update of one classifier on one batch.

    Attributes:
        loss: the objective.
        clip_norm: longest gradient that is not shortened.
        update_rule: makes what turns a gradient into a direction.
    """

    loss: AbstractRatioLoss
    clip_norm: Float[Array, ""]
    update_rule: Callable[[], optax.GradientTransformation] = eqx.field(static=True)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Shortens the gradient, then applies the rule."""
        clip = optax.clip_by_global_norm(self.clip_norm)  # pyright: ignore
        return optax.chain(clip, self.update_rule())

    def __call__(
        self,
        member: AbstractClassifier,
        memory: PyTree,
        features: Float[Array, "event feature"],
        weight: Float[Array, "event class"],
        rate: Float[Array, ""],
    ) -> tuple[AbstractClassifier, PyTree, Scalar]:
        """The classifier after the update, its optimiser, and the loss before.

        Args:
            member: the classifier.
            memory: of its optimiser.
            features: of the events of the batch.
            weight: of these events, scaled so that classes have an expected total of 1.
            rate: the learning rate.
        """
        weights, rest = eqx.partition(member, trainable(member))

        def objective(weights: PyTree) -> Scalar:
            logits = jax.vmap(eqx.combine(weights, rest).logits)(features)
            return self.loss(logits, weight)

        value, gradient = eqx.filter_value_and_grad(objective)(weights)
        direction, memory = self.optimiser.update(gradient, memory, weights)
        step = jax.tree.map(lambda x: -rate.astype(x.dtype) * x, direction)
        return eqx.combine(eqx.apply_updates(weights, step), rest), memory, value


@eqx.filter_jit
def one_pass(
    step: RatioStep,
    state: RatioState,
    pool: Pool,
    validation: Pool,
    shares: Shares,
    totals: Float[Array, "member class"],
    *,
    rates: Float[Array, " step"],
    passed: Int[Array, ""],
    key: PRNGKeyArray,
) -> tuple[RatioState, Float[Array, " member"], Float[Array, " member"]]:
    """All members after one pass, and their losses in training and validation."""
    n_members = shares.rows.shape[0]
    keys = jax.random.split(jax.random.fold_in(key, passed), n_members)

    def one(member, memory, share, total, key):
        member, memory, losses = _updates(
            step, member, memory, pool, share, total, rates, key
        )
        return member, memory, losses.mean(), _whole_loss(step.loss, member, validation)

    members, memory, train_loss, validation_loss = eqx.filter_vmap(one)(
        state.members, state.optimiser, shares, totals, keys
    )
    # nan compares as not better: a spoilt member is never best.
    better = validation_loss < state.best_loss
    new, rest = eqx.partition(members, eqx.is_array)
    old = eqx.filter(state.best, eqx.is_array)
    after = RatioState(
        members=members,
        optimiser=memory,
        best=eqx.combine(jax.tree.map(partial(_chosen, better), new, old), rest),
        best_loss=jnp.where(better, validation_loss, state.best_loss),
        best_epoch=jnp.where(better, passed + 1, state.best_epoch),
    )
    return after, train_loss, validation_loss


def _chosen(
    better: Bool[Array, " member"],
    new: Shaped[Array, "member *shape"],
    old: Shaped[Array, "member *shape"],
) -> Shaped[Array, "member *shape"]:
    return jax.vmap(jnp.where)(better, new, old)


def _updates(
    step: RatioStep,
    member: AbstractClassifier,
    memory: PyTree,
    pool: Pool,
    share: Shares,
    total: Float[Array, " class"],
    rates: Float[Array, " step"],
    key: PRNGKeyArray,
) -> tuple[AbstractClassifier, PyTree, Float[Array, " step"]]:
    """One pass of one member over its events, in a new order."""
    n_rows, n_batches = share.rows.shape[0], rates.shape[0]
    size = -(-n_rows // n_batches)
    # Dealt in turn; the short batches repeat an event with weight 0.
    order = jnp.resize(jax.random.permutation(key, n_rows), (size, n_batches)).T
    is_real = (jnp.arange(size * n_batches).reshape(size, n_batches) < n_rows).T
    arrays, rest = eqx.partition(member, eqx.is_array)

    def update(carry, batch):
        arrays, memory = carry
        picked, real, rate = batch
        rows = share.rows[picked]
        factor = jnp.where(real, share.factor[picked] * n_batches, 0.0)
        weight = pool.weight[rows] * factor[:, None] / total[None, :]
        moved, memory, value = step(
            eqx.combine(arrays, rest), memory, pool.features[rows], weight, rate
        )
        return (eqx.filter(moved, eqx.is_array), memory), value

    (arrays, memory), losses = jax.lax.scan(
        update, (arrays, memory), (order, is_real, rates)
    )
    return eqx.combine(arrays, rest), memory, losses


# Events whose validation loss is in memory at a time.
_PIECE = 2**13


def _whole_loss(
    loss: AbstractRatioLoss, member: AbstractClassifier, pool: Pool
) -> Scalar:
    """Loss of all events of a pool, each class of total weight 1."""
    n_events = pool.n_events
    size = min(_PIECE, n_events)
    n_pieces = -(-n_events // size)
    rows = jnp.resize(jnp.arange(n_events), (n_pieces, size))
    is_real = jnp.arange(n_pieces * size).reshape(n_pieces, size) < n_events
    total = pool.weight.sum(axis=0, dtype=float)

    def add(found, piece):
        rows, real = piece
        weight = jnp.where(real[:, None], pool.weight[rows], 0.0) / total[None, :]
        logits = jax.vmap(member.logits)(jnp.asarray(pool.features)[rows])
        return found + loss(logits, weight), None

    found, _ = jax.lax.scan(add, jnp.zeros((), float), (rows, is_real))
    return found


@eqx.filter_jit
def class_totals(shares: Shares, pool: Pool) -> Float[Array, "member class"]:
    """Total weight of each class among the events of each member."""
    weight = jnp.asarray(pool.weight, float)
    one = lambda share: share.factor.astype(float) @ weight[share.rows]
    return jax.lax.map(one, shares)
