"""Weights of ensembles: closed forms, known numbers, and many trainings."""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from diffana.errors import RESULTS, DataError
from diffana.nsbi.ratios import AbstractRatio, Ensemble
from diffana.nsbi.symmetrised_mlc import SymmetrisedMLC, shares_of
from diffana.nsbi.weighted_ensemble import (
    WeightedEnsemble,
    basis_values,
    fit_ensemble_weights,
    fit_pool_weights,
    influence,
    joint_covariance,
)


# Unit Gaussians around ±0.1 (arXiv:2506.00113): ln r = 0.2 x exactly.
MEAN, SLOPE = 0.1, 0.2

# The tests compile without optimisation; programs of many trainings run long enough.
OPTIMISED = {
    "xla_backend_optimization_level": 1,
    "xla_llvm_disable_expensive_passes": False,
}


def line(x):
    return jnp.stack([jnp.ones_like(x), x], axis=1)


def over_trials(trial, n_trials, seed):
    """`trial` of as many keys, compiled once."""
    keys = jax.random.split(jax.random.key(seed), n_trials)
    program = jax.jit(lambda rows: jax.lax.map(trial, rows), compiler_options=OPTIMISED)
    return program(keys)


def assert_covariance(found, expected, n_trials):
    """Entries within 4 standard errors of a sample covariance (Wishart)."""
    spread = np.sqrt(np.diag(expected))
    error = np.sqrt((np.outer(spread, spread) ** 2 + expected**2) / n_trials)
    assert np.all(np.abs(np.cov(found.T) - expected) < 4 * error)


def a_pool(n_events=200, seed=3):
    """Events with weight in both classes, and a basis of three members."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_events)
    basis = np.stack([np.ones_like(x), x, np.sin(2 * x), x**2], axis=1)
    weight = rng.exponential(size=(n_events, 2)) * rng.choice([0, 1], (n_events, 2))
    return jnp.asarray(basis), jnp.asarray(weight)


def test_asimov_events_return_the_weights_that_made_them():
    basis, weight = a_pool()
    loss = SymmetrisedMLC.of(basis, shares_of(weight))
    want = jnp.array([0.0, 0.4, -0.3, 0.2])
    shares = loss.expected_data(want)
    found = fit_pool_weights(basis, shares)
    # The constant takes up the sums of weights of the classes.
    norm = jnp.log(shares[:, 1].sum() / shares[:, 0].sum())
    # The search ends at an edm of 1e-18, that is 1e-9 of an uncertainty of 0.1.
    np.testing.assert_allclose(found.weights, want.at[0].add(-norm), atol=1e-8)


def test_pseudo_training_draws_classes_by_the_ratio():
    basis, weight = a_pool()
    loss = SymmetrisedMLC.of(basis, shares_of(weight))
    params = jnp.array([0.1, 0.4, -0.3, 0.2])
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(loss.sample, in_axes=(None, 0))(params, keys)
    size = 2 * loss.measure[:, None]
    np.testing.assert_allclose(
        drawn.sum(axis=2), jnp.broadcast_to(size[:, 0], drawn.shape[:2])
    )
    # 200 binomial means of 4000 draws, 4.5 standard errors: 0.1 % false alarms.
    error = 4.5 * 0.5 / np.sqrt(4000)
    mean, want = drawn.mean(axis=0) / size, loss.expected_data(params) / size
    used = loss.measure > 0
    np.testing.assert_allclose(mean[used], want[used], atol=error)


def test_loss_has_the_derivatives_it_states():
    basis, weight = a_pool()
    shares = shares_of(weight)
    loss = SymmetrisedMLC.of(basis, shares)
    params = jnp.array([0.1, 0.4, -0.3, 0.2])
    p, q, h = shares[:, 1], shares[:, 0], basis @ params
    want = jnp.sum(p * (jnp.exp(-h) - 1 - h) + q * (jnp.exp(h) - 1 + h))
    np.testing.assert_allclose(loss.twice_nll(params, shares), loss.size * want)
    automatic = jax.jit(jax.hessian(loss.twice_nll))(params, shares)
    np.testing.assert_allclose(loss.hessian(params, shares), automatic, rtol=1e-12)
    ess = [w.sum() ** 2 / (w**2).sum() for w in np.asarray(weight).T]
    np.testing.assert_allclose(1 / loss.size, 1 / ess[0] + 1 / ess[1], rtol=1e-12)


class Samples(NamedTuple):
    """Unit Gaussians around ± mean, with log-normal weights of width sigma."""

    mean: float
    n_events: tuple[int, int]
    sigma: float


def gaussian_trainings(samples, n_trials, seed):
    """Weights and covariances of trainings; one program for all samples."""
    keys = jax.random.split(jax.random.key(seed), n_trials)
    return _gaussian_trainings(jax.tree.map(jnp.asarray, samples), keys)


def _gaussian_training(samples, key):
    n_most = 5000
    first, second = jax.random.split(key)
    x = jax.random.normal(first, (2, n_most))
    x = x + samples.mean * jnp.array([[1.0], [-1.0]])
    weight = jnp.exp(samples.sigma * jax.random.normal(second, (2, n_most)))
    used = [jnp.arange(n_most) < n for n in samples.n_events]
    v = weight * jnp.stack(used) * jnp.array([[7.0], [0.1]])
    found = fit_ensemble_weights(line(x[0]), v[0], line(x[1]), v[1], throw=False)
    return found.weights, found.covariance


_gaussian_trainings = jax.jit(
    lambda samples, keys: jax.lax.map(
        lambda key: _gaussian_training(samples, key), keys
    ),
    compiler_options=OPTIMISED,
)


def test_covariance_is_the_known_one_and_that_of_many_trainings():
    n_trials = 200
    samples = Samples(MEAN, (5000, 5000), 0.0)
    weights, covariance = gaussian_trainings(samples, n_trials, seed=1)
    # Another calculation, 5000 per class: slope 4.08e-4, constant 4.16e-6. The latter
    # varies by 20 % between trainings, the former by 1.5 %; their last digits remain.
    expected = covariance.mean(axis=0)
    np.testing.assert_allclose(expected[1, 1], 4.08e-4, atol=0.02e-4)
    np.testing.assert_allclose(expected[0, 0], 4.16e-6, atol=0.2e-6)
    assert_covariance(weights, expected, n_trials)
    error = np.sqrt(np.diag(expected) / n_trials)
    # The constant takes up nothing of the unequal sums of weights.
    assert np.all(np.abs(weights.mean(axis=0) - np.array([0.0, SLOPE])) < 4 * error)


def closed_form(n_numerator, n_denominator, mean=MEAN):
    """C by quadrature over the Gaussians."""
    x, step = np.linspace(-9, 9, 3601, retstep=True)
    p, q = (
        np.exp(-0.5 * (x - m) ** 2) / np.sqrt(2 * np.pi) * step for m in (mean, -mean)
    )
    f, r = np.stack([np.ones_like(x), x]), np.exp(2 * mean * x)
    hessian = (f * (p / r + q * r)) @ f.T
    u_n, u_d = f * (1 + 1 / r), f * (1 + r)
    v_n = (u_n * p) @ u_n.T - np.outer(u_n @ p, u_n @ p)
    v_d = (u_d * q) @ u_d.T - np.outer(u_d @ q, u_d @ q)
    half = np.linalg.inv(hessian)
    return half @ (v_n / n_numerator + v_d / n_denominator) @ half


def test_covariance_by_quadrature_is_what_was_seen_in_trainings():
    expected = closed_form(5000, 5000)
    # 4000 trainings gave 4.08e-6 and 4.07e-4: sample variances, good to 2.2 %.
    np.testing.assert_allclose(np.diag(expected), [4.08e-6, 4.07e-4], rtol=0.045)


def test_covariance_of_weighted_samples_of_unequal_size():
    """Log-normal weights without relation to x lower the number of events alone."""
    n_events, n_trials, sigma = (1000, 2500), 400, 0.8
    samples = Samples(0.3, n_events, sigma)
    weights, covariance = gaussian_trainings(samples, n_trials, seed=2)
    ess = [n / np.exp(sigma**2) for n in n_events]
    expected = closed_form(*ess, mean=0.3)
    assert_covariance(weights, expected, n_trials)
    # The mean of the estimates: their spread is 10 %, and heavy tails of v² bias them
    # by some per cent at these sizes.
    mean = covariance.mean(axis=0)
    np.testing.assert_allclose(np.diag(mean), np.diag(expected), rtol=0.05)
    # Without the weights it would be 1.9 times smaller.
    assert np.cov(weights.T)[1, 1] > 1.5 * closed_form(*n_events, mean=0.3)[1, 1]


@pytest.mark.slow
def test_covariance_of_importance_weights():
    """Both classes drawn from a wider Gaussian and reweighted, independently."""
    n_events, n_trials, width = 2000, 4000, 1.3

    def sample(key, mean):
        x = width * jax.random.normal(key, (n_events,))
        return line(x), jnp.exp(-0.5 * (x - mean) ** 2 + 0.5 * (x / width) ** 2)

    def training(key):
        first, second = jax.random.split(key)
        found = fit_ensemble_weights(
            *sample(first, MEAN), *sample(second, -MEAN), throw=False
        )
        return found.weights, found.covariance

    weights, covariance = over_trials(training, n_trials, seed=3)
    assert_covariance(weights, covariance.mean(axis=0), n_trials)


@pytest.mark.slow
def test_events_in_both_classes_fluctuate_together():
    """The denominator reweighted to the numerator: only the weights tell them apart."""
    n_events, n_trials = 2000, 1000

    def training(key):
        x = jax.random.normal(key, (n_events,)) - MEAN
        weight = jnp.stack([jnp.ones(n_events), jnp.exp(SLOPE * x)], axis=1)
        # A member that is not quite the ratio; the ratio itself would be found exactly.
        basis = line(x + 0.05 * x**2)
        found = fit_pool_weights(basis, weight, throw=False)
        return found.weights, found.covariance

    weights, covariance = over_trials(training, n_trials, seed=4)
    expected = covariance.mean(axis=0)
    assert_covariance(weights, expected, n_trials)
    # Two samples of as many events know much less of the slope.
    assert closed_form(n_events, n_events)[1, 1] > 100 * expected[1, 1]


def test_influence_is_the_response_to_the_weight_of_an_event():
    """The infinitesimal jackknife, against refits."""
    basis, weight = a_pool()
    found = fit_pool_weights(basis, weight)
    rows = influence(found, basis, weight)
    np.testing.assert_allclose(rows.T @ rows, found.covariance, rtol=1e-12)
    event = jnp.zeros(len(basis)).at[jnp.argmax(weight.min(axis=1))].set(1.0)
    several = jnp.asarray(np.random.default_rng(9).normal(size=len(basis)))
    step = 1e-4
    for direction in (event, several):
        ends = [
            fit_pool_weights(basis, weight * jnp.exp(s * direction)[:, None]).weights
            for s in (step, -step)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        # Third order in the step, and fits good to 1e-9 over it.
        np.testing.assert_allclose(direction @ rows, slope, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_ratios_to_one_reference_are_correlated():
    n_events, n_trials = 1500, 1000
    means = jnp.array([-MEAN, MEAN, 2 * MEAN])

    def training(key):
        x = (jax.random.normal(key, (3, n_events)) + means[:, None]).ravel()
        weight = jnp.repeat(jnp.eye(3), n_events, axis=0)
        chosen = [weight[:, jnp.array([0, c])] for c in (1, 2)]
        found = [fit_pool_weights(line(x), pair, throw=False) for pair in chosen]
        rows = [
            influence(one, line(x), pair)
            for one, pair in zip(found, chosen, strict=True)
        ]
        return jnp.concatenate([f.weights for f in found]), joint_covariance(rows)

    weights, covariance = over_trials(training, n_trials, seed=5)
    expected = covariance.mean(axis=0)
    assert_covariance(weights, expected, n_trials)
    # Half of the variance of each slope comes from the reference.
    correlation = expected[1, 3] / np.sqrt(expected[1, 1] * expected[3, 3])
    assert 0.4 < correlation < 0.6


@final
class Line(AbstractRatio):
    """slope · x, with a wiggle and a bend."""

    slope: Array
    wiggle: Array
    phase: Array
    bend: Array

    def log_ratio(self, features):
        x = features[0]
        wiggle = self.wiggle * jnp.sin(2.5 * x + self.phase)
        return self.slope * x + wiggle + self.bend * x**2


def imperfect_members(key, n_members):
    """Ratios around the true one, as trainings on parts of the events would leave."""
    keys = jax.random.split(key, 2)
    spread = jax.random.normal(keys[0], (3, n_members))
    phase = 6.3 * jax.random.uniform(keys[1], (n_members,))
    slope = SLOPE * (1 + spread[0])
    return Ensemble(Line(slope, 0.3 * spread[1], phase, 0.1 * spread[2]))


@pytest.mark.slow
def test_covariance_covers_what_imperfect_members_leave_over():
    """Four of them span x, x² and both phases: the truth is a sum, not their mean."""
    n_events, n_trials, n_members = 2000, 1000, 4
    points = jnp.array([[-2.0], [-0.5], [0.0], [1.0], [2.5]])

    def training(key):
        first, second = jax.random.split(key)
        members = imperfect_members(first, n_members)
        mean = jnp.array([[MEAN], [-MEAN]])
        x = jax.random.normal(second, (2, n_events)) + mean
        rows = jax.vmap(WeightedEnsemble(members, jnp.ones(5), jnp.eye(5)).basis)
        one = jnp.ones(n_events)
        found = fit_ensemble_weights(
            rows(x[0][:, None]), one, rows(x[1][:, None]), one, throw=False
        )
        ratio = WeightedEnsemble(members, found.weights, found.covariance)
        off = jax.vmap(ratio.log_ratio)(points) - SLOPE * points[:, 0]
        equal = rows(points)[:, 1:].mean(axis=1) - SLOPE * points[:, 0]
        sigma = jnp.sqrt(jax.vmap(ratio.variance)(points))
        return off / sigma, equal / sigma

    pulls, equal = over_trials(training, n_trials, seed=6)
    assert np.all(np.isfinite(pulls))
    # Of a standard deviation 1/sqrt(2n), of a mean 1/sqrt(n); 4 of them.
    assert np.all(np.abs(np.std(pulls, axis=0) - 1) < 4 / np.sqrt(2 * n_trials))
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 4 / np.sqrt(n_trials))
    # The mean of the members is not covered by that uncertainty.
    assert np.all(np.std(equal[:, [0, 1, 3, 4]], axis=0) > 1.3)


def members():
    slopes, wiggles = jnp.array([0.15, 0.3]), jnp.array([0.05, -0.1])
    return [
        Line(slope, wiggle, jnp.array(0.3), jnp.array(0.02))
        for slope, wiggle in zip(slopes, wiggles, strict=True)
    ]


def test_stacked_members_and_a_row_of_them_are_one_ratio():
    event, weights = jnp.array([0.7]), jnp.array([0.1, 0.5, 0.4])
    root = jnp.array([[0.2, 0.0, 0.0], [0.1, 0.3, 0.0], [-0.1, 0.2, 0.1]])
    covariance = root @ root.T
    row = WeightedEnsemble(tuple(members()), weights, covariance)
    stacked = WeightedEnsemble(Ensemble.of(members()), weights, covariance)
    f = np.array([1.0, *(float(one.log_ratio(event)) for one in members())])
    for ratio in (row, stacked):
        np.testing.assert_allclose(ratio.log_ratio(event), f @ weights, rtol=1e-14)
        np.testing.assert_allclose(
            ratio.variance(event), f @ covariance @ f, rtol=1e-13
        )
    features = np.array([[0.7], [-1.0]])
    for given in (members(), Ensemble.of(members())):
        table = basis_values(given, features)
        np.testing.assert_allclose(table[0], f, rtol=1e-14)
        assert table.shape == (2, 3)


def test_end_to_end_from_members():
    rng = np.random.default_rng(8)
    third = Line(*jnp.array([0.1, -0.1, 1.0, -0.1]))
    three = [*members(), third]
    # As many events as in the pool, so that they share a compiled program.
    features = rng.normal(size=(2, 100, 1)) + np.array([MEAN, -MEAN])[:, None, None]
    bases = [basis_values(three, sample) for sample in features]
    ones = np.ones(100)
    found = fit_ensemble_weights(bases[0], ones, bases[1], ones)
    ratio = WeightedEnsemble.of(three, found)
    event = jnp.array([0.5])
    off = ratio.log_ratio(event) - SLOPE * 0.5
    assert abs(off) < 4 * jnp.sqrt(ratio.variance(event))
    assert jnp.sqrt(ratio.variance(event)) < 0.3


def test_sums_of_weights_do_not_matter():
    basis, weight = a_pool()
    found = fit_pool_weights(basis, weight)
    scaled = fit_pool_weights(basis, weight * jnp.array([[100.0, 0.03]]))
    # The search ends at an edm of 1e-18, that is 1e-9 of an uncertainty of 0.1.
    np.testing.assert_allclose(scaled.weights, found.weights, atol=1e-8)
    np.testing.assert_allclose(scaled.covariance, found.covariance, rtol=1e-6)


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (lambda b: b[:, 1] - 2 * b[:, 2], "member 1, member 2, member 3"),
        (lambda b: 0.3 * jnp.ones(len(b)), "the constant, member 3"),
        (lambda b: jnp.zeros(len(b)), "member 3 is zero in every event"),
    ],
    ids=["combination", "constant", "zero"],
)
def test_dependent_members_are_named_and_not_regularised(extra, named):
    basis, weight = a_pool()
    basis = basis.at[:, 3].set(extra(basis))
    with pytest.raises(DataError, match=named):
        fit_pool_weights(basis, weight)
    found = fit_pool_weights(basis, weight, throw=False)
    assert found.result == RESULTS.hessian_not_pd
    assert np.all(np.isnan(found.weights))
    assert np.all(np.isnan(found.covariance))


def test_separated_classes_have_no_ratio():
    basis, _ = a_pool()
    weight = jnp.stack([basis[:, 1] < 0, basis[:, 1] > 0], axis=1).astype(float)
    found = fit_pool_weights(basis, weight, throw=False)
    assert found.result != RESULTS.successful
    assert np.all(np.isnan(found.weights))
    with pytest.raises(eqx.EquinoxRuntimeError):
        fit_pool_weights(basis, weight)
    with pytest.raises(eqx.EquinoxRuntimeError):
        WeightedEnsemble.of([*members(), members()[0]], found)


def test_events_without_weight_may_overflow():
    basis, weight = a_pool()
    found = fit_pool_weights(basis, weight)
    unused = jnp.flatnonzero(~jnp.any(weight > 0, axis=1))
    assert len(unused) > 1
    far = basis.at[unused[0]].set(jnp.array([1.0, 2e3, 1.0, 1e3]))
    far = far.at[unused[1]].set(jnp.array([1.0, -2e3, 0.0, 5e3]))
    same = fit_pool_weights(far, weight)
    np.testing.assert_allclose(same.weights, found.weights, atol=1e-8)
    np.testing.assert_allclose(same.covariance, found.covariance, rtol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda b, w: (b.at[3, 1].set(jnp.nan), w), "event 3 has basis"),
        (lambda b, w: (b, w.at[5, 0].set(jnp.inf)), "event 5 has weight"),
        (lambda b, w: (b, w.at[4, 1].set(-0.5)), "event 4 has weight -0.5"),
        (lambda b, w: (b, w.at[:, 1].set(0.0)), "the numerator has no weight"),
        (lambda b, w: (b, w.at[:, 0].set(0.0)), "the denominator has no weight"),
    ],
)
def test_unusable_events_are_refused(spoil, message):
    basis, weight = spoil(*a_pool())
    with pytest.raises(DataError, match=message):
        fit_pool_weights(basis, weight)
    # A traced array cannot be looked at: the fit is not certified instead.
    found = eqx.filter_jit(fit_pool_weights)(basis, weight, throw=False)
    assert found.result != RESULTS.successful
    assert np.all(np.isnan(found.weights))


def test_shapes_are_checked():
    basis, weight = a_pool()
    with pytest.raises(ValueError, match="instead of"):
        fit_pool_weights(basis, weight[:, 0])
    with pytest.raises(ValueError, match="a sample has"):
        fit_ensemble_weights(basis, weight, basis, weight)
    with pytest.raises(ValueError, match="a sample has"):
        fit_ensemble_weights(basis[:90], weight[:110, 1], basis, weight[:180, 0])
    with pytest.raises(ValueError, match="2 members and a constant"):
        WeightedEnsemble(tuple(members()), jnp.ones(2), jnp.eye(2))
    with pytest.raises(ValueError, match="instead of"):
        WeightedEnsemble(tuple(members()), jnp.ones(3), jnp.eye(2))
