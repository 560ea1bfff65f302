import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffana import infer
from diffana.data.toys import Interference, SmearedMixture
from experiments.nsbi_vs_binned import measures, problems, run, simulation, summaries
from experiments.nsbi_vs_binned.measures import EXCLUDED


@pytest.fixture(scope="module")
def interference():
    return problems.interference(2**14)


def weights(problem):
    (channel,) = problem.exact.channels
    return np.ravel(channel.bank.weight)[: len(problem.features)]


@pytest.mark.parametrize("make", [problems.interference, problems.smeared])
def test_points_integrate_all_densities_to_one(make):
    problem = make(2**14)
    (channel,) = problem.exact.channels
    logs = np.asarray(channel.bank.source.terms.log_ratio)
    logs = logs.reshape(-1, len(channel.components))[: len(problem.features)]
    # Pseudo-random points would be wrong by 1e-2; the selection has a sharp edge, along
    # which quasi-random ones are hardly better.
    atol = 3e-4 if problem.name == "interference" else 1e-2
    np.testing.assert_allclose(weights(problem) @ np.exp(logs), 1.0, atol=atol)


def test_points_give_the_published_tests_of_the_interference(interference):
    data = measures.expected(interference, 1.0)
    mu = np.array([0.05, 0.5, 0.8, 1.5])
    found = infer.scan(interference.exact, data, {"sqrt_mu": jnp.sqrt(jnp.array(mu))})
    # Quadrature, see tests/nsbi/test_interference_likelihood.py.
    published = [6.742680, 6.607418, 1.699612, 17.518977]
    np.testing.assert_allclose(found.delta_twice_nll, published, rtol=2e-3)


@pytest.mark.parametrize("component", [0, 1])
def test_moved_densities_of_the_smeared_mixture(component):
    problem, alpha = SmearedMixture(), jnp.array([0.7, -1.2, 0.4])
    events = np.random.default_rng(3).normal(1.0, 1.0, (20, 5))
    morph = problems.QuadraticForm(problem, component)
    found = morph.log_factor(alpha, jnp.asarray(problems.quadratic_terms(events)))
    log_density = lambda x, at: problem.log_densities(x, at)[component]
    ends = [
        jax.vmap(lambda x, at=at: log_density(x, at))(jnp.asarray(events))
        for at in (alpha, jnp.zeros(3))
    ]
    # Closed forms of the same number.
    np.testing.assert_allclose(found, ends[0] - ends[1], rtol=1e-9, atol=1e-11)


def test_ranges_of_a_statistic_with_two_minima():
    def test(mu):
        root = np.sqrt(mu)
        return 300 * (root - 1) ** 2 * (root - 0.4) ** 2

    problem = problems.Problem("two", None, None, (), power=2, largest=4.0)
    found = measures._measured(problem, (test, 1.0), (test, 1.0))
    # (√μ - 1)(√μ - 0.4) = ± √(level / 300).
    for segments, level in ((found.segments, 1.0), (found.segments_95, EXCLUDED)):
        height = np.sqrt(level / 300)
        outer = 0.7 + np.array([-1, 1]) * np.sqrt(0.09 + height)
        inner = 0.7 + np.array([-1, 1]) * np.sqrt(max(0.09 - height, 0.0))
        want = [(outer[0], inner[0]), (inner[1], outer[1])]
        if height > 0.09:
            want = [tuple(outer)]
        np.testing.assert_allclose(segments, np.square(want), rtol=2e-4)
    # The largest value that is not excluded, not the first one that is.
    np.testing.assert_allclose(found.limit, found.segments_95[-1][1], rtol=2e-4)


def test_templates_of_all_components_at_once():
    problem = Interference()
    shape = jnp.array([[0.2, 0.8], [0.5, 0.5], [0.6, 0.4], [0.9, 0.1]])
    model = summaries.Templates(
        shape, shape[3] + 0.02, shape[3] - 0.01, problem.yields(), known=False
    )
    yields, coefficients = problem.yields(), problem.coefficients(0.49)
    want = (coefficients * yields) @ shape
    np.testing.assert_allclose(model.rates(jnp.array([0.7, 0.0])), want, rtol=1e-12)
    moved = model.rates(jnp.array([0.7, 1.0])) - want
    np.testing.assert_allclose(moved, 0.02 * yields[3], rtol=1e-9)


def test_simulated_events_pass_the_selection_and_move():
    events = simulation.smeared(500, seed=1)
    problem = SmearedMixture()
    assert len(events.features) == 14
    for features in events.features.values():
        assert features.shape == (500, 5)
        assert np.asarray(jax.vmap(problem.selected)(jnp.asarray(features))).all()


@pytest.mark.slow
def test_every_claim_of_a_quick_run(tmp_path):
    run.main(["--quick", "--out", str(tmp_path), "--problems", "smeared"])
    document = json.loads((tmp_path / "claims.json").read_text())
    assert document["quick"]
    assert len(document["claims"]) >= 4
    assert (tmp_path / "tests.png").exists()
    assert "parametrised" in (tmp_path / "tables.md").read_text()
