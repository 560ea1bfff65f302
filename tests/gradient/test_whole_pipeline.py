"""Derivatives of every loss through network, cuts, bins, likelihood and fits."""

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
    LogGeneralisedVariance,
    SigmaMu,
    Significance,
)
from diffana.train import Trainer


LOSSES = {
    "cls": Cls(),
    "p0": P0(),
    "significance": Significance(),
    "sigma_mu": SigmaMu(),
    "fisher": LogGeneralisedVariance(),
    "asimov_significance": AsimovSignificance(),
    "bce": BinaryCrossEntropy(),
    "bce_augmented": BinaryCrossEntropy(augmented=True),
    "mixture": Cls(log=False) + 0.5 * P0() + 0.3 * SigmaMu(log=True),
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


@pytest.fixture(scope="module")
def values_and_jacobian(pipeline):
    """All losses, whose fits are shared, in one program: compilation is what costs."""

    def values(knobs):
        found = pipeline(LOSSES, knobs)
        return found, found

    return jax.jit(jax.jacrev(values, has_aux=True), compiler_options=FAST)


@pytest.fixture(scope="module")
def differences(values_and_jacobian):
    """Derivatives [loss, knob] from values alone, by central differences.

    Four points leave an error of the fourth order in the step, 1e-9, and the rounding
    of the values over the step, 1e-11.
    """
    step = 5e-3

    def odd(shift):
        up, down = (values_and_jacobian(jnp.asarray(x))[1] for x in (shift, -shift))
        return up - down

    columns = [
        (8 * odd(step * knob) - odd(2 * step * knob)) / (12 * step)
        for knob in np.eye(len(KNOBS))
    ]
    return dict(zip(LOSSES, np.stack(columns, axis=1), strict=True))


@pytest.fixture(scope="module")
def jacobian(values_and_jacobian):
    rows, _ = values_and_jacobian(jnp.zeros(len(KNOBS)))
    return dict(zip(LOSSES, np.asarray(rows), strict=True))


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_of_the_whole_pipeline(name, jacobian, differences):
    # A derivative that vanishes by construction would agree with anything.
    moves = [True, not name.startswith("bce"), not name.startswith("bce")]
    np.testing.assert_array_equal(np.abs(differences[name]) > 1e-4, moves)
    # 1e-5: house tolerance of derivatives; the differences above are good to 1e-8.
    np.testing.assert_allclose(jacobian[name], differences[name], rtol=1e-5, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_of_one_loss(name, pipeline, differences):
    value_and_grad = jax.jit(
        jax.value_and_grad(lambda knobs: pipeline({name: LOSSES[name]}, knobs)[0]),
        compiler_options=FAST,
    )
    value, gradient = value_and_grad(jnp.zeros(len(KNOBS)))
    assert np.isfinite(value)
    np.testing.assert_allclose(gradient, differences[name], rtol=1e-5, atol=1e-10)
