"""A focus function learned for an objective.

Coverage is exact for every focus once the critical values belong to it, so that the
objective needs no penalty: the critical values follow the focus through the implicit
derivative of a quantile. Toys are made once; a focus only changes the denominator of
their statistic.
"""

from collections.abc import Callable
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree, Scalar

from diffana.errors import DataError, TrainingError
from diffana.neyman.focus_objective import AbstractObjective, SoftSets
from diffana.neyman.smoothed_quantile import smoothed_quantile
from diffana.neyman.toy_table import ToyTable


@final
class Learned(NamedTuple):
    """A learned focus.

    Attributes:
        mu: its nodes.
        log_weight: ln of the probability of each; their exponentials add up to 1.
        objective: before each step, on the toys of that step and with soft sets.
        temperature: of the soft sets of each step.
    """

    mu: Float[np.ndarray, " node"]
    log_weight: Float[np.ndarray, " node"]
    objective: Float[np.ndarray, " step"]
    temperature: Float[np.ndarray, " step"]


def learn_focus(
    toys: ToyTable,
    objective: AbstractObjective,
    level: float,
    *,
    nodes: Int[np.ndarray, " node"] | None = None,
    start: Float[np.ndarray, " node"] | None = None,
    n_steps: int = 500,
    learning_rate: float = 0.1,
    temperatures: tuple[float, float] = (0.5, 0.1),
    batch: int | None = None,
    seed: int = 0,
    on_step: Callable[[int, float], None] = lambda step, objective: None,
) -> Learned:
    """Learn the focus that makes an objective small, by gradient descent.

    The focus puts weights, a softmax, on nodes of the grid. Sets are soft, a value is
    in one with probability sigmoid((c(mu) - T) / temperature); c(mu) is where the mean
    of this probability over the toys of mu is `level`, so that the soft sets cover as
    they should at every temperature. The temperature falls geometrically.

    What is learned on toys should be judged on others, with critical values of their
    own and hard sets.

    Args:
        toys: fixed toys; true values are tested values, and lengths are measured
            between them, so that they must be dense and cover the range of interest.
        objective: what is made small.
        level: confidence level of the sets, in (0, 1).
        nodes: places of the nodes in the grid, by default all of it.
        start: logarithms of the weights to start at, in any unit; by default equal
            weights. Finite.
        n_steps: steps of Adam.
        learning_rate: of the first step; it falls as half a cosine to 0.
        temperatures: of the first and the last step, in units of the statistic. The
            last should not be below the distance of the statistics of neighbouring
            toys near the critical value, or the objective has steps.
        batch: toys of each true value used in one step, by default all. Memory grows
            with batch * true values^2 for own and batch * true values for shared toys.
        seed: of the choice of batches.
        on_step: called with the number of steps done and the objective.

    Raises:
        DataError: if a toy has no finite likelihood at any node.
        TrainingError: if the objective or its gradient is not finite.
        ValueError: if the level or a temperature is impossible, or JAX computes in
            single precision.

    Source: the statistic is arXiv:2507.17831.

    Example:
        >>> objective = WorstRegret(reference, mu[points] <= 8)
        >>> learned = learn_focus(toys, objective, 0.6827)
    """
    _check_options(level, temperatures)
    nodes = np.arange(len(toys.mu)) if nodes is None else nodes
    if np.isneginf(toys.log_likelihood[..., nodes]).all(-1).any():
        raise DataError("toys: one has no likelihood at any node of the focus")
    logit = jnp.zeros(len(nodes)) if start is None else jnp.asarray(start)
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, n_steps))
    state = optimiser.init(logit)
    schedule = np.geomspace(*temperatures, n_steps)
    rng = np.random.default_rng(seed)
    objectives = []
    arrays = jax.tree.map(jnp.asarray, toys) if batch is None else toys
    for step, temperature in enumerate(schedule):
        chosen = arrays
        if batch is not None:
            some = rng.choice(toys.weight.shape[1], batch, replace=False)
            chosen = jax.tree.map(jnp.asarray, toys.batch(some))
        value, logit, state = _step(
            chosen,
            jnp.asarray(nodes),
            objective,
            level,
            optimiser,
            logit,
            state,
            jnp.asarray(temperature),
        )
        objectives.append(float(value))
        if not (np.isfinite(objectives[-1]) and np.isfinite(logit).all()):
            raise TrainingError(f"learned focus: not finite since step {step}")
        on_step(step + 1, objectives[-1])
    return Learned(
        mu=np.asarray(toys.mu)[nodes],
        log_weight=np.asarray(jax.nn.log_softmax(logit)),
        objective=np.array(objectives),
        temperature=schedule,
    )


@eqx.filter_jit
def _step(
    toys: ToyTable,
    nodes: Int[Array, " node"],
    objective: AbstractObjective,
    level: float,
    optimiser: optax.GradientTransformation,
    logit: Float[Array, " node"],
    state: PyTree,
    temperature: Scalar,
) -> tuple[Scalar, Float[Array, " node"], PyTree]:
    def loss(logit: Float[Array, " node"]) -> Scalar:
        return objective(soft_sets(toys, nodes, logit, level, temperature))

    value, gradient = jax.value_and_grad(loss)(logit)
    update, state = optimiser.update(gradient, state)
    return value, jnp.asarray(optax.apply_updates(logit, update)), state


def soft_sets(
    toys: ToyTable,
    nodes: Int[Array, " node"],
    logit: Float[Array, " node"],
    level: float,
    temperature: Scalar,
) -> SoftSets:
    """Soft confidence sets of all toys for a focus, exact in their soft coverage.

    Args:
        toys: the toys.
        nodes: places of the nodes of the focus in the grid.
        logit: logarithms of the weights of the nodes, in any unit.
        level: confidence level.
        temperature: of the sets and of the quantiles, in units of the statistic.
    """
    table, weight = jnp.asarray(toys.log_likelihood), jnp.asarray(toys.weight)
    points = toys.points
    weighted = table[..., nodes] + jax.nn.log_softmax(logit)[None, None]
    denominator = jax.nn.logsumexp(weighted, axis=-1)
    statistic = -2.0 * (table[..., points] - denominator[..., None])
    if len(table) == 1:
        null = statistic[0].T
    else:
        null = jnp.diagonal(statistic, axis1=0, axis2=2).T
    # A toy that is impossible at a true value has an infinite statistic there.
    null = jnp.where(weight > 0, null, 0.0)
    critical = smoothed_quantile(null, weight, level, temperature)
    mu = jnp.asarray(toys.mu)[points]
    inner = 0.5 * jnp.diff(mu)
    width = jnp.concatenate([inner, jnp.zeros(1)]) + jnp.concatenate(
        [jnp.zeros(1), inner]
    )
    return SoftSets(
        logit=(critical[None, None] - statistic) / temperature,
        weight=weight,
        width=width,
        mu=mu,
        temperature=temperature,
    )


def _check_options(level: float, temperatures: tuple[float, float]) -> None:
    if jnp.zeros(()).dtype != jnp.float64:
        raise ValueError(
            "a learned focus needs double precision: call jax.config.update("
            "'jax_enable_x64', True)"
        )
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1")
    if not min(temperatures) > 0:
        raise ValueError(f"temperatures {temperatures} are not positive")
