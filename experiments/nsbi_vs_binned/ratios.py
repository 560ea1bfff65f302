"""Density ratios learned from simulated events, as likelihoods on the points."""

import time
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from diffana import nsbi
from diffana.data.toys import NUISANCES, Interference
from diffana.nsbi.classifier import NetworkClassifier, draw_members
from diffana.nsbi.parametric import (
    ParametricEnsemble,
    ParametricRatio,
    VariedClassifier,
    coefficients,
)
from diffana.nsbi.pool import Pool
from diffana.nsbi.ratio_training import RatioTrainer, train_ratio
from diffana.nsbi.ratios import Ensemble, log_ratios
from diffana.observable import MLP
from experiments.nsbi_vs_binned.problems import Problem
from experiments.nsbi_vs_binned.simulation import Simulated, variations


class Learned(NamedTuple):
    """A likelihood of learned ratios.

    Attributes:
        model: the likelihood, on the points of the problem.
        seconds: processor time of the trainings.
    """

    model: nsbi.Unbinned
    seconds: float


class Settings(NamedTuple):
    """How ratios are trained.

    Attributes:
        n_epochs: passes over the events.
        n_members: networks of an ensemble.
    """

    n_epochs: int
    n_members: int


def interference(
    problem: Problem, train: Simulated, valid: Simulated, settings: Settings, seed: int
) -> Learned:
    """NI against B, S and SBI against B from shared events, and moved NI."""
    start = time.process_time()
    ratio = partial(_ratios, settings=settings, seed=seed, points=problem.features)
    (other,) = ratio(*(_separate(one, "B", "NI") for one in (train, valid)))
    signal, both = ratio(*(_shared(one) for one in (train, valid)))
    yields = np.asarray(Interference().yields())
    share = np.log(yields[2:] / yields[2:].sum())
    # The reference is the sum of B and NI.
    background = -np.logaddexp(share[0], share[1] + other)
    logs = np.stack([signal, both, np.zeros_like(signal), other], axis=1)
    morph = nsbi.LogPolynomial.quadratic(("alpha",))
    names = ("NI", "NI_up", "NI_down")
    moves = _morph(
        *(_separate(one, *names) for one in (train, valid)),
        morph=morph,
        points=np.array([[1.0], [-1.0]]),
        settings=settings,
        seed=seed,
        features=problem.features,
    )
    model = problem.with_ratios(
        logs + background[:, None],
        [(), (), (), (moves,)],
        [(), (), (), (morph,)],
    )
    return Learned(model, time.process_time() - start)


def smeared(
    problem: Problem, train: Simulated, valid: Simulated, settings: Settings, seed: int
) -> Learned:
    """Signal against background, and both against themselves when moved."""
    start = time.process_time()
    (signal,) = _ratios(
        *(_separate(one, "B", "S") for one in (train, valid)),
        settings=settings,
        seed=seed,
        points=problem.features,
    )
    morph = nsbi.LogPolynomial.quadratic(NUISANCES)
    names, alphas = zip(*variations(), strict=True)
    terms = [
        _morph(
            *(
                _separate(one, *(component + name for name in names))
                for one in (train, valid)
            ),
            morph=morph,
            points=np.array(alphas[1:]),
            settings=settings,
            seed=seed,
            features=problem.features,
        )
        for component in "SB"
    ]
    logs = np.stack([signal, np.zeros_like(signal)], axis=1)
    model = problem.with_ratios(logs, [(one,) for one in terms], [(morph,)] * 2)
    return Learned(model, time.process_time() - start)


def signal_against_background(
    train: Simulated, valid: Simulated, settings: Settings, seed: int
):
    """The usual classifier: all signal against all background at their yields."""
    if "pool" in train.features:
        pools = [_signal_against_all(one) for one in (train, valid)]
    else:
        pools = [_separate(one, "B", "S") for one in (train, valid)]
    return _trained(*pools, settings=settings, seed=seed).ratio()


def _separate(events: Simulated, *names: str) -> Pool:
    return Pool.of_samples(*((events.features[name], None) for name in names))


def _shared(events: Simulated) -> Pool:
    """B, S and SBI, which are the same events."""
    weights = events.weights["pool"]
    weight = np.stack([weights[name] for name in ("B", "S", "SBI")], axis=1)
    return Pool(events.features["pool"], weight)


def _signal_against_all(events: Simulated) -> Pool:
    yields = np.asarray(Interference().yields())
    names = ("S", "B", "NI")
    features = [events.features[name] for name in names]
    share = [
        np.full(len(events), expected / len(events))
        for events, expected in zip(features, yields[[0, 2, 3]], strict=True)
    ]
    zero = [np.zeros_like(one) for one in share]
    weight = np.stack(
        [
            np.concatenate([zero[0], share[1], share[2]]),
            np.concatenate([share[0], zero[1], zero[2]]),
        ],
        axis=1,
    )
    return Pool(np.concatenate(features), weight)


def _ratios(pool: Pool, valid: Pool, *, settings, seed, points):
    """Log ratios of all numerators to class 0 at the points."""
    best = _trained(pool, valid, settings=settings, seed=seed)
    return [
        log_ratios(Ensemble(best.ratio(number)), points)
        for number in range(1, pool.n_classes)
    ]


def _trained(pool: Pool, valid: Pool, *, settings: Settings, seed: int):
    """Best members, stacked."""
    draw = partial(
        NetworkClassifier.drawn,
        standardisation=pool.standardisation(),
        n_numerators=pool.n_classes - 1,
    )
    return _run(draw, pool, valid, settings, seed)


def _morph(pool, valid, *, morph, points, settings, seed, features):
    """Terms of a morph at the points of the problem."""
    scaling = pool.standardisation()

    def draw(key):
        network = MLP(
            pool.n_features,
            hidden=(64, 64, 64),
            n_outputs=len(morph.powers),
            activation=jax.nn.silu,
            standardisation=scaling,
            key=key,
        )
        return VariedClassifier.of(ParametricRatio(network, morph), points)

    best = _run(draw, pool, valid, settings, seed)
    return coefficients(ParametricEnsemble(best.ratio), features)


def _run(draw, pool, valid, settings, seed):
    first, second = jax.random.split(jax.random.key(seed))
    trainer = RatioTrainer(n_epochs=settings.n_epochs)
    begin = trainer.start(draw_members(draw, settings.n_members, key=first))
    *_, last = train_ratio(trainer, begin, pool, valid, key=second)
    return last.state.best
