import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffana.nsbi.ratio_losses import (
    BinaryCrossEntropy,
    ModifiedCarl,
    Multiclass,
    SymmetrisedMlc,
)


LOSSES = [BinaryCrossEntropy(), ModifiedCarl(), SymmetrisedMlc(), Multiclass()]
each_loss = pytest.mark.parametrize(
    "loss", LOSSES, ids=lambda loss: type(loss).__name__
)

# Populations instead of samples: the weights are densities times the step of a grid.
# The trapezoid rule is exact to rounding for functions that vanish with all derivatives
# at both ends.
GRID = np.linspace(-12.0, 12.0, 1201)
STEP = GRID[1] - GRID[0]


def population(*means):
    return jnp.asarray(
        np.stack([stats.norm(mean).pdf(GRID) * STEP for mean in means], axis=1)
    )


def log_ratio(mean, reference=-0.1):
    return (mean - reference) * (GRID - 0.5 * (mean + reference))


TWO = population(-0.1, 0.1)
THREE = population(-0.1, 0.1, 0.5)
TRUTH = jnp.asarray(np.stack([log_ratio(0.1), log_ratio(0.5)], axis=1))


@each_loss
def test_gradient_vanishes_at_the_true_log_ratio_of_every_event(loss):
    gradient = jax.grad(loss)(TRUTH, THREE)
    # Differences of products of the densities, relative to the largest of them; the
    # exponentials of the tails, up to e^7, lose digits.
    scale = np.abs(jax.grad(loss)(TRUTH + 0.1, THREE)).max()
    np.testing.assert_allclose(gradient, 0.0, atol=1e-13 * scale)


@each_loss
def test_curvature_is_positive_definite_for_every_event(loss):
    one = lambda logits, weight: loss(logits[None], weight[None])
    hessians = jax.jit(jax.vmap(jax.hessian(one)))(TRUTH[::50], THREE[::50])
    lowest = np.linalg.eigvalsh(hessians)[:, 0]
    scale = np.asarray(THREE[::50]).max(axis=1)
    assert (lowest > 1e-3 * np.asarray(THREE[::50]).min(axis=1)).all()
    assert (lowest < 10 * scale).all()


@each_loss
def test_minimum_over_lines_is_the_true_line(loss):
    def objective(line):
        return loss((line[0] + line[1] * jnp.asarray(GRID))[:, None], TWO)

    @jax.jit
    def newton(line):
        hessian, gradient = jax.hessian(objective)(line), jax.grad(objective)(line)
        return line - jnp.linalg.solve(hessian, gradient)

    line = jnp.array([0.3, -0.4])
    for _ in range(20):  # the objective is convex in the line
        line = newton(line)
    # Rounding of the gradient, of order 1e-16, over a curvature of 1/4.
    np.testing.assert_allclose(line, [0.0, 0.2], atol=1e-13)


@pytest.mark.parametrize(
    ("loss", "at_zero", "minimum"),
    [
        # ln 2 minus the Jensen-Shannon divergence.
        (BinaryCrossEntropy(), np.log(2.0), "jensen-shannon"),
        # The Bhattacharyya coefficient of Gaussians at distance 0.2.
        (ModifiedCarl(), 1.0, np.exp(-(0.2**2) / 8)),
        # Half of the sum of both Kullback-Leibler divergences, 0.2²/2 each.
        (SymmetrisedMlc(), 0.0, -0.5 * 0.2**2),
        (Multiclass(), np.log(2.0), "jensen-shannon"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_known_divergences(loss, at_zero, minimum):
    zeros = jnp.zeros((len(GRID), 1))
    np.testing.assert_allclose(loss(zeros, TWO), at_zero, atol=1e-14)
    if minimum == "jensen-shannon":
        densities = np.asarray(TWO)
        entropy = stats.entropy(densities.mean(axis=1))
        mean_entropy = stats.entropy(densities, axis=0).mean()
        minimum = np.log(2.0) - (entropy - mean_entropy)
    # Sums of a thousand terms of order one.
    np.testing.assert_allclose(loss(TRUTH[:, :1], TWO), minimum, atol=1e-13)


@each_loss
def test_unequal_totals_shift_the_minimum_by_their_logarithm(loss):
    weight = THREE * jnp.array([[1.0, 7.0, 1.0]])
    shift = jnp.array([[np.log(7.0), 0.0]])
    gradient = jax.grad(loss)(TRUTH + shift, weight)
    scale = np.abs(jax.grad(loss)(TRUTH, weight)).max()
    np.testing.assert_allclose(gradient, 0.0, atol=1e-13 * scale)


def test_several_numerators_of_a_pairwise_loss_are_the_mean_of_the_single_ones():
    for loss in LOSSES[:3]:
        single = [
            loss(TRUTH[:, [i]], jnp.stack([THREE[:, 0], THREE[:, i + 1]], axis=1))
            for i in range(2)
        ]
        np.testing.assert_allclose(loss(TRUTH, THREE), np.mean(single), rtol=1e-13)


def test_multiclass_with_two_classes_is_the_binary_cross_entropy():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(len(GRID), 1)))
    want = BinaryCrossEntropy()(logits, TWO)
    np.testing.assert_allclose(Multiclass()(logits, TWO), want, rtol=1e-13)


@each_loss
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("logit", [-500.0, 500.0])
def test_large_logits_have_finite_values_and_derivatives(loss, dtype, logit):
    # In float32 already exp(89) is infinite.
    logits = jnp.array([[logit]], dtype)
    for weight in (jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])):
        value, gradient = jax.value_and_grad(loss)(logits.astype(float), weight)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        assert np.isfinite(loss(logits, weight))
    # Of the class that it speaks against, half of it: the mean over two classes.
    wrong = jnp.array([[1.0, 0.0]]) if logit > 0 else jnp.array([[0.0, 1.0]])
    want = {
        "BinaryCrossEntropy": 250.0,
        "ModifiedCarl": 0.5 * np.exp(250.0),
        "SymmetrisedMlc": 0.5 * np.exp(500.0),
        "Multiclass": 250.0,
    }
    np.testing.assert_allclose(
        loss(logits, wrong), want[type(loss).__name__], rtol=1e-12
    )


@each_loss
def test_losses_of_parts_add_up(loss):
    parts = [loss(TRUTH[i::3], THREE[i::3]) for i in range(3)]
    np.testing.assert_allclose(sum(parts), loss(TRUTH, THREE), rtol=1e-12)


def test_wrong_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="2 classes of weights, but 2 logits"):
        BinaryCrossEntropy()(TRUTH, TWO)
