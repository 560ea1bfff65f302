"""Trainings of the benchmark on events that are simulated for each update."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Scalar

from diffana.histogram import (
    AbstractHistogrammer,
    AbstractSchedule,
    ArgmaxHistogram,
    SoftmaxHistogram,
)
from diffana.losses import AbstractLoss
from diffana.observable import MLP, Standardisation
from diffana.trainable import trainable
from experiments.inferno.benchmark import (
    BENCHMARKS,
    Counts,
    Shapes,
    background,
    background_score,
    hard_shapes,
    profile_uncertainty,
    signal,
    uncertainties,
)


Events = Float[Array, "event feature"]
N_VALIDATION = 100_000
N_EQUAL_BINS = 10


@final
class CrossEntropy(eqx.Module):
    """Objective of a classifier of both processes, of equal weight."""

    n_outputs: None = None

    def __call__(self, network: MLP, histogram, events, model) -> Scalar:
        """Mean cross-entropy; the likelihood and the histogram play no part."""
        logit_signal, logit_background = (jax.vmap(network.logit)(x) for x in events)
        of_signal = jax.nn.softplus(-logit_signal).mean()
        return (of_signal + jax.nn.softplus(logit_background).mean()).astype(float)


@final
class Expected(eqx.Module):
    """Objective that is a loss of the likelihood of the network's histogram.

    Attributes:
        loss: of the likelihood.
        n_outputs: of the network, one per bin.
    """

    loss: AbstractLoss
    n_outputs: int = eqx.field(static=True, default=10)

    def __call__(
        self,
        network: MLP,
        histogram: AbstractHistogrammer,
        events: tuple[Events, Events],
        model: Counts,
    ) -> Scalar:
        """The loss on events of signal and background; nan where it is undefined."""
        shapes = learned_shapes(network, histogram, *events)
        return self.loss.evaluate(Counts(shapes, model.width, model.known)).value


def learned_shapes(
    network: MLP, histogram: AbstractHistogrammer, signal: Events, background: Events
) -> Shapes:
    """Shapes of the bins, and the exact slope of those of the background.

    The derivative of an expectation with respect to a parameter of the simulation is
    that of the density: events weighted with their score, so that no shifted copies of
    the events are needed and hard histograms have a slope, too. The sum of the slopes
    is zero, as that of the probabilities is one.
    """
    edges = jnp.arange(network.layers[-1].weight.shape[0] + 1.0)

    def mean(outputs, weight):
        return histogram(outputs, weight / len(outputs), edges).sumw

    of_signal = mean(jax.vmap(network)(signal), jnp.ones(len(signal)))
    outputs = jax.vmap(network)(background)
    of_background = mean(outputs, jnp.ones(len(background)))
    score = background_score(background)
    score = score - score.mean(axis=0, keepdims=True)
    slope = jnp.stack([mean(outputs, weight) for weight in score.T])
    return Shapes.with_slope(of_signal, of_background, slope)


@final
class Training(eqx.Module):
    """How a network is trained.

    Attributes:
        objective: what is minimised.
        temperature: of the softmax, as the training proceeds.
        optimiser: turns a gradient into a step.
        n_steps: updates, each on new events.
        n_checks: how often the objective is evaluated with hard bins; divides
            `n_steps`.
        n_signal: events of signal per update.
        n_background: events of background per update.
        keep_best: whether the network with the best hard objective on validation events
            is returned, instead of the last one.
    """

    objective: CrossEntropy | Expected
    temperature: AbstractSchedule
    optimiser: optax.GradientTransformation = eqx.field(static=True)
    n_steps: int = eqx.field(static=True)
    n_checks: int = eqx.field(static=True, default=10)
    n_signal: int = eqx.field(static=True, default=1_500)
    n_background: int = eqx.field(static=True, default=4_500)
    keep_best: bool = eqx.field(static=True, default=True)

    def __call__(self, model: Counts, seed: int) -> tuple[MLP, np.ndarray]:
        """The trained network, and the hard objective at each check.

        Args:
            model: a likelihood of the benchmark; its shapes are not used.
            seed: of the initial weights and of the events.
        """
        for_network, for_events, for_validation = jax.random.split(
            jax.random.key(seed), 3
        )
        network = MLP(
            3,
            hidden=(100, 100),
            n_outputs=self.objective.n_outputs,
            key=for_network,
            standardisation=Standardisation([1.0, 0.0, 0.4], [2.2, 2.5, 0.4]),
        )
        state = (network, self.optimiser.init(eqx.filter(network, trainable(network))))
        best, checks = (np.inf, network), []
        for check in range(self.n_checks):
            state = self._updates(state, model, for_events, jnp.asarray(check))
            checks.append(float(self._hard(state[0], model, for_validation)))
            if checks[-1] < best[0]:
                best = (checks[-1], state[0])
        return (best[1] if self.keep_best else state[0]), np.array(checks)

    @eqx.filter_jit
    def _updates(self, state, model: Counts, key, check: Int[Array, ""]):
        network, memory = state
        weights, rest = eqx.partition(network, trainable(network))
        n_inner = self.n_steps // self.n_checks

        def update(carry, inner):
            weights, memory = carry
            step = check * n_inner + inner
            events = _events(
                jax.random.fold_in(key, step), self.n_signal, self.n_background
            )
            temperature = self.temperature(step / max(self.n_steps - 1, 1))
            histogram = SoftmaxHistogram(temperature)

            def objective(weights):
                network = eqx.combine(weights, rest)
                return self.objective(network, histogram, events, model)

            gradient = jax.grad(objective)(weights)
            moves, memory = self.optimiser.update(gradient, memory, weights)
            return (eqx.apply_updates(weights, moves), memory), None

        carry, _ = jax.lax.scan(update, (weights, memory), jnp.arange(n_inner))
        return eqx.combine(carry[0], rest), carry[1]

    @eqx.filter_jit
    def _hard(self, network: MLP, model: Counts, key) -> Scalar:
        events = _events(key, N_VALIDATION, N_VALIDATION)
        return self.objective(network, ArgmaxHistogram(), events, model)


def _events(key, n_signal: int, n_background: int) -> tuple[Events, Events]:
    for_signal, for_background = jax.random.split(key)
    return (
        signal().sample(for_signal, n_signal, jnp.float32),
        background().sample(for_background, n_background, jnp.float32),
    )


def hard_bin(network: MLP, events: Events) -> Int[Array, " event"]:
    """The bin of each event: the largest output, or equal ones in [0, 1]."""
    values = jax.vmap(network)(events)
    if network.n_outputs is None:
        index = jnp.floor(N_EQUAL_BINS * values).astype(int)
        return jnp.clip(index, 0, N_EQUAL_BINS - 1)
    return jnp.argmax(values, axis=1)


def network_shapes(network: MLP, n_events: int, seed: int) -> Shapes:
    """Shapes of hard bins as the paper has them: templates of moved events."""
    n_bins = network.n_outputs or N_EQUAL_BINS
    assign = jax.tree_util.Partial(hard_bin, network)
    return hard_shapes(assign, n_bins, n_events, jax.random.key(seed))


def exact_shapes(network: MLP, n_events: int, seed: int, chunk: int = 50_000) -> Shapes:
    """Shapes of hard bins whose slopes come from the density, not from templates."""
    parts = [
        _exact_shapes(network, key, chunk)
        for key in jax.random.split(jax.random.key(seed), n_events // chunk)
    ]
    mean = jax.tree.map(lambda *fields: sum(fields) / len(parts), *parts)
    filled = (mean.signal > 0) & (mean.background > 0)
    return jax.tree.map(lambda field: field[..., filled], mean)


@eqx.filter_jit
def _exact_shapes(network: MLP, key, n_events: int) -> Shapes:
    events = _events(key, n_events, n_events)
    return learned_shapes(network, ArgmaxHistogram(), *events)


def other_uncertainties(
    network: MLP, shapes: Shapes, at: int, n_events: int, seed: int
) -> dict[str, float]:
    """Uncertainty of s in benchmark `at` by two other ways than the paper's.

    Args:
        network: whose largest output is the bin.
        shapes: its hard shapes.
        at: number of the benchmark.
        n_events: simulated events of either process.
        seed: of these events.
    """
    exact = uncertainties(exact_shapes(network, n_events, seed))[at]
    profile = profile_uncertainty(shapes, BENCHMARKS[at])
    return {"exact": float(exact), "profile": profile}
