"""Derivatives of every loss through network, cuts, bins, likelihood and fits."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tiny
from diffana.fit import Minimiser
from diffana.losses import (
    P0,
    AsimovSignificance,
    BinaryCrossEntropy,
    Cls,
    Constraint,
    EmptyBins,
    Gaussianity,
    GeneralisedVariance,
    IntervalLength,
    LogGeneralisedVariance,
    Pulls,
    SigmaMu,
    Significance,
    TotalVariance,
    UpperLimit,
)
from diffana.train import Trainer


LOSSES = {
    "cls": Cls(),
    "p0": P0(),
    "significance": Significance(),
    "sigma_mu": SigmaMu(),
    "fisher": LogGeneralisedVariance(),
    "determinant": 1e3 * GeneralisedVariance(parameters=("mu", "shape")),
    "trace": TotalVariance(),
    "gaussianity": 1e3 * Gaussianity(n_points=32),
    "gaussianity of the logarithm": Gaussianity(n_points=32, of="log_likelihood"),
    "constraint": Constraint(),
    "pulls": Pulls(),
    "empty_bins": EmptyBins(threshold=0.05),
    "asimov_significance": AsimovSignificance(),
    "bce": BinaryCrossEntropy(),
    "bce_augmented": BinaryCrossEntropy(augmented=True),
    "mixture": Cls(log=False) + 0.5 * P0() + 0.3 * SigmaMu(log=True),
}
# Searches of limits and intervals take long to compile.
SEARCHED = {
    "upper_limit": UpperLimit(),
    "upper_limit of a fluctuation": UpperLimit(level=0.1, n_sigma=1.0, log=True),
    "interval_length": IntervalLength(),
}
KNOBS = ("weight", "edge logit", "cut threshold")

# The programs run a few times only.
FAST = {"xla_backend_optimization_level": 0}


def _places(analysis):
    region = analysis.regions[0]
    return (
        analysis.summaries["summary"].observable.layers[0].weight,
        region.edges.logits,
        region.cuts.cuts[0].threshold,
    )


@pytest.fixture(scope="module")
def pipeline():
    """(losses, one weight, one logit, one threshold) -> values, on a fixed batch."""
    analysis, events = tiny.analysis(), tiny.populations()
    trainer = Trainer(
        loss=Cls(),
        annealings=(),
        n_steps=1,
        signal=("signal",),
        optimiser=optax.sgd(0.1),
        minimiser=Minimiser(n_directions=1, offsets=(-1.0, 1.0)),
    )
    weight, logits, threshold = _places(analysis)

    def values(losses, knobs):
        moved = (
            weight.at[1, 0].add(knobs[0]),
            logits.at[0].add(knobs[1]),
            threshold + knobs[2],
        )
        found = trainer.evaluate_all(
            losses, eqx.tree_at(_places, analysis, moved), events
        )
        return jnp.stack([found[name].value for name in losses])

    return values


class Derivatives(NamedTuple):
    """Derivatives by knob of losses by name, and the same from values alone."""

    exact: dict[str, np.ndarray]
    differences: dict[str, np.ndarray]


def derivatives(losses, pipeline):
    """All losses, which share their fits, in one program: compilation is what costs.

    Four points leave an error of the fourth order in the step, 1e-9, and the rounding
    of the values over the step, 1e-11.
    """
    step = 5e-3

    def values(knobs):
        found = pipeline(losses, knobs)
        return found, found

    values_and_jacobian = jax.jit(
        jax.jacrev(values, has_aux=True), compiler_options=FAST
    )

    def odd(shift):
        up, down = (values_and_jacobian(jnp.asarray(x))[1] for x in (shift, -shift))
        return up - down

    columns = [
        (8 * odd(step * knob) - odd(2 * step * knob)) / (12 * step)
        for knob in np.eye(len(KNOBS))
    ]
    rows, _ = values_and_jacobian(jnp.zeros(len(KNOBS)))
    return Derivatives(
        dict(zip(losses, np.asarray(rows), strict=True)),
        dict(zip(losses, np.stack(columns, axis=1), strict=True)),
    )


def compare(found, name):
    # A derivative that vanishes by construction would agree with anything.
    moves = [True, not name.startswith("bce"), not name.startswith("bce")]
    np.testing.assert_array_equal(np.abs(found.differences[name]) > 1e-4, moves)
    # 1e-5: house tolerance of derivatives; the differences are good to 1e-8.
    np.testing.assert_allclose(
        found.exact[name], found.differences[name], rtol=1e-5, atol=1e-10
    )


@pytest.fixture(scope="module")
def unsearched(pipeline):
    return derivatives(LOSSES, pipeline)


@pytest.fixture(scope="module")
def searched(pipeline):
    return derivatives(SEARCHED, pipeline)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_of_the_whole_pipeline(name, unsearched):
    compare(unsearched, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHED)
def test_gradient_of_limits_and_intervals(name, searched):
    compare(searched, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_of_one_loss(name, pipeline, unsearched):
    value_and_grad = jax.jit(
        jax.value_and_grad(lambda knobs: pipeline({name: LOSSES[name]}, knobs)[0]),
        compiler_options=FAST,
    )
    value, gradient = value_and_grad(jnp.zeros(len(KNOBS)))
    assert np.isfinite(value)
    np.testing.assert_allclose(
        gradient, unsearched.differences[name], rtol=1e-5, atol=1e-10
    )
