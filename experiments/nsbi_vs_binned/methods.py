"""Everything that is compared, on one problem."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffana.nsbi.bins import equal_expectation_edges, least_loss_edges
from diffana.nsbi.optimal_observables import profiled_score
from diffana.nsbi.parametrised import ratio_to
from diffana.nsbi.ratios import Ensemble, log_ratios
from experiments.nsbi_vs_binned import measures, problems, ratios, simulation, summaries
from experiments.nsbi_vs_binned.measures import Measured
from experiments.nsbi_vs_binned.problems import Problem


N_BINS = 20
N_MOVING = 32


class Setting(NamedTuple):
    """How much is simulated and trained.

    Attributes:
        n_points: points on which everything is evaluated, before the selection.
        n_train: simulated events of each population.
        n_valid: those that choose the best epoch.
        ratios: training of ratios.
        n_epochs: passes over the events of a training on σ_μ.
        knowledge: whether the nuisance parameters are known, in turn.
        n_tested: values of μ on which t is looked at first.
    """

    n_points: int
    n_train: int
    n_valid: int
    ratios: ratios.Settings
    n_epochs: int
    knowledge: tuple[bool, ...]
    n_tested: int


class Kind(NamedTuple):
    """What a problem brings along."""

    make: Callable[[int], Problem]
    simulate: Callable[[int, int], simulation.Simulated]
    learn: Callable[..., ratios.Learned]
    summarise: Callable[..., summaries.LearnedSummary]
    points_per_point: int


KINDS = {
    "interference": Kind(
        problems.interference,
        simulation.interference,
        ratios.interference,
        summaries.interference,
        1,
    ),
    # The selection leaves a third of the points.
    "smeared": Kind(
        problems.smeared, simulation.smeared, ratios.smeared, summaries.smeared, 2
    ),
}


class Row(NamedTuple):
    """Result of a method.

    Attributes:
        method: name of it.
        fixed: whether the nuisance parameters are known.
        training: processor time of the training, in seconds.
        measured: what it measures.
    """

    method: str
    fixed: bool
    training: float
    measured: Measured


def made(name: str, setting: Setting) -> Problem:
    kind = KINDS[name]
    problem = kind.make(kind.points_per_point * setting.n_points)
    return problem._replace(n_tested=setting.n_tested)


def without_training(problem: Problem, setting: Setting) -> Iterator[Row]:
    """Exact densities, and the variables as they are."""
    for fixed in setting.knowledge:
        exact = measures.unbinned(problem, problem.exact, fixed=fixed)
        yield Row("exact likelihood", fixed, 0.0, exact)
        for name, found in _with_observables(problem, problem.exact, fixed):
            yield Row(f"{name}, exact ratios", fixed, 0.0, found)
        for j, column in enumerate(problem.columns):
            value = problem.features[:, j]
            weight = _weight(problem)
            edges = equal_expectation_edges(value, weight, N_BINS)
            found = measures.in_bins(problem, value, edges, fixed=fixed)
            yield Row(f"variable {column}", fixed, 0.0, found)


def learned(name: str, problem: Problem, setting: Setting, seed: int) -> Iterator[Row]:
    """Everything that is trained, on simulated events of the seed."""
    kind = KINDS[name]
    train = kind.simulate(setting.n_train, 2 * seed)
    valid = kind.simulate(setting.n_valid, 2 * seed + 1)
    start = time.process_time()
    classifier = Ensemble(
        ratios.signal_against_background(train, valid, setting.ratios, seed)
    )
    seconds = time.process_time() - start
    logit = log_ratios(classifier, problem.features)
    probability = 1 / (1 + np.exp(-logit))
    for fixed in setting.knowledge:
        found = measures.in_bins(problem, probability, summaries.EDGES, fixed=fixed)
        yield Row("classifier", fixed, seconds, found)
    for fixed in setting.knowledge:
        trained = kind.summarise(train, valid, setting.n_epochs, seed, fixed=fixed)
        value = np.asarray(_outputs(trained.network, jnp.asarray(problem.features)))
        found = measures.in_bins(problem, value, summaries.EDGES, fixed=fixed)
        yield Row("trained on σ", fixed, trained.seconds, found)
    model, seconds = kind.learn(problem, train, valid, setting.ratios, seed)
    for fixed in setting.knowledge:
        found = measures.unbinned(problem, model, fixed=fixed)
        yield Row("unbinned", fixed, seconds, found)
        for method, found in _with_observables(problem, model, fixed):
            yield Row(method, fixed, seconds, found)


def _with_observables(problem: Problem, model, fixed: bool):
    """Optimal observables of a model, fixed and moving."""
    held = {name: 0.0 for name in problem.nuisances} if fixed else {}
    known = eqx.tree_at(
        lambda m: m.parameters.fixed,
        model,
        jnp.array([name in held for name in model.parameters.names]),
    )
    score = profiled_score(known, problem.truth(1.0))
    (channel,) = model.channels
    value = np.ravel(_observed(score, channel, model.parameters.names))
    value = value[: len(problem.features)]
    edges = least_loss_edges(value, _weight(problem), N_MOVING)
    found = measures.in_bins(problem, value, edges, fixed=fixed)
    yield "fixed observable", found
    choices = tuple(ratio_to(problem.truth(mu), profiled=True) for mu in (1.0, 0.0))
    found = measures.parametrised(problem, model, choices, N_MOVING, fixed=fixed)
    yield "parametrised", found


def _weight(problem: Problem) -> np.ndarray:
    """Expected events of each point at μ = 1."""
    (rows,) = measures.expected(problem, 1.0).rows
    return np.ravel(rows.weight)[: len(problem.features)]


@eqx.filter_jit
def _outputs(network, features):
    return jax.vmap(network)(features)


@eqx.filter_jit
def _observed(score, channel, names):
    return score(channel, names, channel.bank)
