import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffana.histogram import Geometric, SoftmaxHistogram
from diffana.losses import SigmaMu
from diffana.observable import MLP
from experiments.inferno import benchmark
from experiments.inferno.benchmark import (
    BENCHMARKS,
    NOMINAL,
    PUBLISHED,
    Counts,
    Shapes,
)
from experiments.inferno.training import (
    Expected,
    Training,
    exact_shapes,
    learned_shapes,
    network_shapes,
)


@pytest.fixture(scope="module")
def network():
    return MLP(3, hidden=(8,), n_outputs=6, key=jax.random.key(0))


def test_quadrature_gives_the_published_rows():
    # The published row is a mean over simulated events, rounded to 0.01.
    found = benchmark.analytical_uncertainties()
    np.testing.assert_allclose(found, PUBLISHED["Analytical likelihood"], rtol=2e-3)
    # That one is from one sample of 100 000 events, which scatters by 2 %.
    optimal = benchmark.uncertainties(benchmark.optimal_shapes(n_points=200))
    np.testing.assert_allclose(optimal, PUBLISHED["Optimal classifier"], rtol=0.02)


def test_simulated_bins_of_the_optimal_classifier_are_the_integrated_ones():
    def assign(x):
        log_ratio = benchmark.signal().log_density(x)
        log_ratio = log_ratio - benchmark.background().log_density(x)
        return jnp.floor(10 * jax.nn.sigmoid(log_ratio)).astype(int)

    n_events = 100_000
    found = benchmark.hard_shapes(
        jax.tree_util.Partial(assign), 10, n_events, jax.random.key(1)
    )
    wanted = benchmark.optimal_shapes(n_points=300)
    for field in Shapes._fields:
        p = np.array(getattr(wanted, field))
        # Binomial: none of 60 numbers is five standard deviations away.
        away = (np.array(getattr(found, field)) - p) / np.sqrt(p * (1 - p) / n_events)
        assert np.abs(away).max() < 5, field


def test_score_weights_give_the_slope_of_the_templates(network):
    signal = benchmark.signal().sample(jax.random.key(1), 10)

    def shape(r, rate):
        events = benchmark.background(r, rate).sample(jax.random.key(2), 50_000)
        return learned_shapes(network, SoftmaxHistogram(1.0), signal, events)

    centre = shape(0.0, 3.0)
    slope = (centre.up - centre.down) / (2 * np.array(benchmark.STEPS)[:, None])
    moved = [
        (shape(0.01, 3.0).background - shape(-0.01, 3.0).background) / 0.02,
        (shape(0.0, 3.01).background - shape(0.0, 2.99).background) / 0.02,
    ]
    # Both estimate one number from the same events; a score of standard deviation
    # below 0.45 times a probability below 1 leaves 0.45/sqrt(5e4) = 2e-3, four of it.
    np.testing.assert_allclose(slope, np.array(moved), atol=8e-3)
    assert np.abs(slope).max() > 0.04


def test_uncertainty_is_that_of_the_inverse_information_matrix(network):
    shapes = network_shapes(network, 50_000, seed=3)
    s, b = 50.0, 1000.0
    move = [(up - down) for up, down in zip(shapes.up, shapes.down, strict=True)]
    slope = np.stack(
        [
            shapes.signal,
            b * move[0] / 0.4,
            b * move[1] / 1.0,
            shapes.background,
        ],
        axis=1,
    )
    rate = np.array(s * shapes.signal + b * shapes.background)
    information = slope.T @ (slope / rate[:, None])
    known = np.diag([0, 1 / 0.4**2, 1 / 1.0**2, 1 / 100.0**2])
    wanted = [
        np.linalg.inv(information[:1, :1])[0, 0],
        np.linalg.inv(information[:2, :2])[0, 0],
        np.linalg.inv(information[:3, :3])[0, 0],
        np.linalg.inv((information + known)[:3, :3])[0, 0],
        np.linalg.inv(information + known)[0, 0],
    ]
    # The same matrix by another way; its condition number is below 1e6.
    np.testing.assert_allclose(
        benchmark.uncertainties(shapes), np.sqrt(wanted), rtol=1e-9
    )


def test_constraints_have_their_width_and_free_parameters_none(network):
    model = Counts.of(network_shapes(network, 50_000, seed=3), BENCHMARKS[4])
    params = jnp.array(NOMINAL)
    data = model.expected_data(params)
    moved = data._replace(measured=data.measured + jnp.array([7.0, 0.4, 1.0, 100.0]))
    twice_nll = eqx.filter_jit(model.twice_nll)
    excess = twice_nll(params, moved) - twice_nll(params, data)
    # Three constraints, one standard deviation each; s has none.
    np.testing.assert_allclose(excess, 3.0, rtol=1e-12)
    hessian = eqx.filter_jit(model.hessian)(params, data)
    # At Asimov data the curvature is the whole Hessian.
    curvature = eqx.filter_jit(model.curvature)(params, data)
    np.testing.assert_allclose(curvature, hessian, rtol=1e-9)
    draw = eqx.filter_jit(model.sample)(params, jax.random.key(1))
    assert draw.measured[0] == 50.0
    assert np.all(draw.measured[1:] != params[1:])


def test_a_short_training_beats_the_optimal_classifier():
    model = Counts.of(None, BENCHMARKS[2])
    training = Training(
        Expected(SigmaMu(NOMINAL[0], log=True)),
        Geometric(3.0, 0.1),
        optax.adam(5e-3),
        n_steps=60,
        n_checks=2,
        n_signal=600,
        n_background=1_800,
    )
    network, checks = training(model, 0)
    sigma = benchmark.uncertainties(network_shapes(network, 100_000, seed=9))[2]
    assert sigma < 0.9 * PUBLISHED["Optimal classifier"][2]
    # The best check is that of the network; other events move it by less than 3 %.
    np.testing.assert_allclose(sigma, np.exp(checks.min()), rtol=0.03)
    exact = benchmark.uncertainties(exact_shapes(network, 100_000, seed=9))[2]
    np.testing.assert_allclose(exact, sigma, rtol=0.02)
