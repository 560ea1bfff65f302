"""Uncertainties of learned ratios in fits: closed forms, derivatives, and coverage."""

import dataclasses
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Bool, Float, Scalar

from diffana.errors import RESULTS, DataError
from diffana.fit import fit
from diffana.infer import estimate, scan
from diffana.likelihood import AbstractLikelihood, Parameters
from diffana.nsbi import (
    Channel,
    Component,
    GaussianConstraints,
    Products,
    Unbinned,
    UnbinnedData,
    YieldMorph,
    held,
)
from diffana.nsbi.profiled_weights import (
    AbstractWeightedProblem,
    ProfiledWeights,
    WeightedData,
)
from diffana.nsbi.propagation import network_covariance, widened_scan
from diffana.nsbi.weighted_ensemble import (
    fit_ensemble_weights,
    fit_pool_weights,
    influence,
    joint_covariance,
)


# Unit Gaussians around ±0.1 (arXiv:2506.00113): ln r = 0.2 x exactly. With a
# shape uncertainty they need to be farther apart for the fraction to be measured.
NEAR, FAR = 0.1, 0.5
N_EVENTS, N_TRAINING = 5000, 1000

# The tests compile without optimisation; programs of many trials run long enough.
OPTIMISED = {
    "xla_backend_optimization_level": 1,
    "xla_llvm_disable_expensive_passes": False,
}


def line(x):
    return jnp.stack([jnp.ones_like(x), x], axis=-1)


def parameters(names, fixed=None, lower=None):
    n_par = len(names)
    return Parameters(
        inits=jnp.zeros(n_par),
        lower=jnp.full(n_par, -jnp.inf) if lower is None else lower,
        upper=jnp.full(n_par, jnp.inf),
        fixed=jnp.zeros(n_par, bool) if fixed is None else fixed,
        names=tuple(names),
        poi=names[0],
    )


class Seen(NamedTuple):
    """Events of a mixture: ln r and x - mean of the signal; and one measurement.

    Observed events have the basis in place of ln r, and x itself.
    """

    log_ratio: Array
    x: Array
    aux: Array


@final
class Mixture(AbstractLikelihood):
    """A fraction k of signal, whose mean is uncertain by a = shift · alpha, exactly.

    p/p_d = k r g + 1 - k with ln g = a x - a²/2, x relative to the nominal mean.
    """

    parameters: Parameters
    shift: Scalar

    def twice_nll(self, params, data):
        k, alpha = params
        a = self.shift * alpha
        ratio = jnp.exp(data.log_ratio + a * data.x - a**2 / 2)
        return -2 * jnp.sum(jnp.log1p(k * (ratio - 1))) + (alpha - data.aux) ** 2

    def expected_data(self, params):
        raise NotImplementedError

    def sample(self, params, key):
        raise NotImplementedError

    def curvature(self, params, data):
        """Outer products of the scores of the events."""
        k, alpha = params
        a = self.shift * alpha
        ratio = jnp.exp(data.log_ratio + a * data.x - a**2 / 2)
        slope = k * ratio * self.shift * (data.x - a)
        score = jnp.stack([ratio - 1, slope]) / (1 + k * (ratio - 1))[None]
        return 2 * score @ score.T + jnp.diag(jnp.array([0.0, 2.0]))


@final
class MixtureProblem(AbstractWeightedProblem):
    """The mixture as a function of the weights of its ratio on {1, x}.

    x is relative to the mean of the background. Normalised, the learned signal is a
    unit Gaussian around w_1, with ln r = w_1 x - w_1²/2 whatever w_0.
    """

    shift: Scalar
    is_shifted: Bool[Array, ""]
    is_normalised: Bool[Array, ""]

    def likelihood(self, weights):
        fixed = jnp.stack([jnp.zeros((), bool), ~self.is_shifted])
        return Mixture(parameters(("k", "alpha"), fixed), self.shift)

    def data(self, weights, observed):
        log_norm = self.is_normalised * (weights[0] + weights[1] ** 2 / 2)
        return observed._replace(
            log_ratio=observed.log_ratio @ weights - log_norm,
            x=observed.x - weights[1],
        )


def events(key, k, mean, *, alpha_aux=0.0):
    """Observed events of a mixture."""
    first, second = jax.random.split(key)
    is_signal = jax.random.uniform(first, (N_EVENTS,)) < k
    centre = jnp.where(is_signal, 2 * mean, 0.0)
    x = jax.random.normal(second, (N_EVENTS,)) + centre
    return Seen(line(x), x, jnp.asarray(alpha_aux, float))


def training(key, mean, n_used):
    """On the first `n_used` of `N_EVENTS` events per class."""
    x = jax.random.normal(key, (2, N_EVENTS)) + jnp.array([[2 * mean], [0.0]])
    weight = (jnp.arange(N_EVENTS) < n_used).astype(float)
    return fit_ensemble_weights(line(x[0]), weight, line(x[1]), weight, throw=False)


@pytest.fixture(scope="module")
def trained():
    return training(jax.random.key(11), FAR, N_TRAINING)


@pytest.fixture(scope="module")
def observed():
    return events(jax.random.key(12), 0.3, FAR)


# One parameter, and one with a shape uncertainty.
ONE = MixtureProblem(jnp.array(0.0), jnp.array(False), jnp.array(False))
TWO = MixtureProblem(jnp.array(0.05), jnp.array(True), jnp.array(True))


def fitted(problem, trained, observed):
    """The covariances, and the estimates behind them."""
    found = estimate(*problem(trained.weights, observed))
    at = eqx.Partial(problem, observed=observed)
    return (
        network_covariance(at, trained.weights, trained.covariance, found),
        found,
    )


def test_one_fraction_has_the_uncertainty_in_closed_form(trained, observed):
    """sigma²_GS = sigma² (1 + sigma² Aᵀ C A), arXiv:2506.00113."""
    both, found = fitted(ONE, trained, observed)
    k = float(found.bestfit[0])
    f = np.asarray(observed.log_ratio)
    r = np.exp(f @ np.asarray(trained.weights))
    density = k * r + 1 - k
    variance = 1 / np.sum(((r - 1) / density) ** 2)
    a = (f * (r / density**2)[:, None]).sum(axis=0)
    factor = 1 + variance * a @ np.asarray(trained.covariance) @ a
    # Sums over 5000 events, and a minimum known to 1e-9 of its uncertainty.
    np.testing.assert_allclose(both.statistical[0, 0], variance, rtol=1e-8)
    np.testing.assert_allclose(both.inflation[0], factor, rtol=1e-8)
    np.testing.assert_allclose(both.uncertainty[0] ** 2, variance * factor, rtol=1e-8)
    np.testing.assert_allclose(both.response[0], variance * a, rtol=1e-8)
    np.testing.assert_allclose(
        both.network_uncertainty[0] ** 2 + both.statistical_uncertainty[0] ** 2,
        both.total[0, 0],
        rtol=1e-12,
    )
    # Held parameters have neither uncertainty.
    np.testing.assert_array_equal(both.total[1], 0.0)
    np.testing.assert_array_equal(both.response[1], 0.0)
    assert np.isnan(both.inflation[1])
    assert both.result == RESULTS.successful


def test_response_is_the_implicit_derivative_of_the_fit(trained, observed):
    both, _ = fitted(TWO, trained, observed)

    def bestfit(weights):
        return fit(*TWO(weights, observed)).bestfit

    implicit = jax.jacfwd(bestfit)(trained.weights)
    # Two systems of two equations with the same Hessian.
    np.testing.assert_allclose(both.response, implicit, rtol=1e-9, atol=1e-12)
    step = 1e-4 * jnp.eye(2)
    refits = jnp.stack(
        [
            (bestfit(trained.weights + row) - bestfit(trained.weights - row)) / 2e-4
            for row in step
        ],
        axis=1,
    )
    # Third order in the step, relative to slopes of order one.
    np.testing.assert_allclose(both.response, refits, rtol=1e-3, atol=1e-4)
    covariance = np.asarray(trained.covariance)
    np.testing.assert_allclose(
        both.network, np.asarray(refits) @ covariance @ np.asarray(refits).T, rtol=3e-3
    )


def test_both_ways_of_differentiating_agree(trained, observed):
    """More weights than parameters are differentiated in reverse."""
    found = estimate(*TWO(trained.weights, observed))
    rng = np.random.default_rng(5)
    mixing = jnp.asarray(rng.normal(size=(2, 5)))
    many = jnp.linalg.pinv(mixing) @ trained.weights

    def of_many(weights):
        return TWO(mixing @ weights, observed)

    covariance = jnp.eye(5)
    reverse = network_covariance(of_many, many, covariance, found)
    at = eqx.Partial(TWO, observed=observed)
    forward = network_covariance(
        at, trained.weights, mixing @ covariance @ mixing.T, found
    )
    # Sums over events in another order.
    np.testing.assert_allclose(reverse.response, forward.response @ mixing, rtol=1e-9)
    np.testing.assert_allclose(reverse.total, forward.total, rtol=1e-9)


def test_weights_of_several_ratios_in_blocks_or_in_one(trained, observed):
    def of_two(weights):
        return TWO(weights["first"] + 0.5 * weights["second"], observed)

    weights = {"first": 0.5 * trained.weights, "second": trained.weights}
    c = trained.covariance
    found = estimate(*of_two(weights))
    blocks = network_covariance(of_two, weights, {"first": c, "second": 4 * c}, found)
    single, _ = fitted(TWO, trained, observed)
    # Independent: variances C + 0.25 · 4C.
    np.testing.assert_allclose(blocks.network, 2 * single.network, rtol=1e-9)
    full = jnp.block([[c, -2 * c], [-2 * c, 4 * c]])
    cancelling = network_covariance(of_two, weights, full, found)
    np.testing.assert_allclose(
        cancelling.network, jnp.zeros((2, 2)), atol=1e-9 * single.network[0, 0]
    )


def test_a_fit_result_will_do(trained, observed):
    both, found = fitted(TWO, trained, observed)
    at = eqx.Partial(TWO, observed=observed)
    again = network_covariance(at, trained.weights, trained.covariance, found.fit)
    np.testing.assert_allclose(again.total, both.total, rtol=1e-12)


@final
class Counts(AbstractLikelihood):
    """Means mu · s + (b + c alpha) with unit errors, linear in everything."""

    parameters: Parameters
    design: Float[Array, "bin par"]
    constant: Float[Array, " bin"]

    def twice_nll(self, params, data):
        return jnp.sum((data - self.design @ params - self.constant) ** 2)

    def expected_data(self, params):
        return self.design @ params + self.constant

    def sample(self, params, key):
        return self.expected_data(params) + jax.random.normal(key, self.constant.shape)

    def curvature(self, params, data):
        return 2 * self.design.T @ self.design


@final
class CountsProblem(AbstractWeightedProblem):
    """Weights add to the means through a matrix."""

    design: Float[Array, "bin par"]
    template: Float[Array, "bin weight"]
    lower: Float[Array, " par"]

    def likelihood(self, weights):
        pars = parameters(("mu", "nu"), lower=self.lower)
        return Counts(pars, self.design, self.template @ weights)

    def data(self, weights, observed):
        return observed


def counting(template=None, lower=(-np.inf, -np.inf)):
    """Four bins, three weights and their covariance."""
    rng = np.random.default_rng(21)
    design = jnp.asarray(rng.normal(size=(4, 2)))
    free = jnp.asarray(rng.normal(size=(4, 3)))
    root = rng.normal(size=(3, 3))
    template = free if template is None else design @ template
    problem = CountsProblem(design, template, jnp.array(lower))
    return problem, jnp.asarray(root @ root.T)


def test_profiling_the_weights_gives_the_same_covariance():
    """Exactly so where the data do not measure the weights apart from θ."""
    mixing = jnp.array([[0.3, -1.2, 0.5], [0.8, 0.1, -0.4]])
    problem, covariance = counting(mixing)
    weights = jnp.array([0.3, -0.2, 0.5])
    counts = jnp.array([1.4, 0.9, -0.3, 0.4])
    found = estimate(*problem(weights, counts))
    both = network_covariance(
        eqx.Partial(problem, observed=counts), weights, covariance, found
    )
    profiled = ProfiledWeights.of(problem, weights, covariance)
    joint = estimate(profiled, WeightedData(counts, jnp.zeros(3)))
    # Inverses of matrices of condition 1e2.
    np.testing.assert_allclose(both.response, -mixing, rtol=1e-10)
    np.testing.assert_allclose(joint.covariance[:2, :2], both.total, rtol=1e-10)
    np.testing.assert_allclose(joint.bestfit[:2], found.bestfit, atol=1e-9)
    np.testing.assert_allclose(joint.uncertainty[2:], 1.0, rtol=1e-10)


def test_data_that_measure_the_weights_help_the_profile():
    """(F - B (C⁻¹ + D)⁻¹ Bᵀ)⁻¹ by hand, below the first-order covariance."""
    problem, covariance = counting()
    weights = jnp.array([0.3, -0.2, 0.5])
    counts = jnp.array([1.4, 0.9, -0.3, 0.4])
    found = estimate(*problem(weights, counts))
    both = network_covariance(
        eqx.Partial(problem, observed=counts), weights, covariance, found
    )
    profiled = ProfiledWeights.of(problem, weights, covariance)
    joint = estimate(profiled, WeightedData(counts, jnp.zeros(3)))
    design, template = np.asarray(problem.design), np.asarray(problem.template)
    spread = np.eye(4) + template @ np.asarray(covariance) @ template.T
    want = np.linalg.inv(design.T @ np.linalg.solve(spread, design))
    np.testing.assert_allclose(joint.covariance[:2, :2], want, rtol=1e-10)
    assert np.all(np.linalg.eigvalsh(both.total - want) > -1e-12)
    assert both.total[0, 0] > 1.05 * want[0, 0]


@pytest.mark.slow
def test_profiled_weights_of_a_mixture(trained, observed):
    """Five times more data than training, which know a part of the weights, too."""
    both, found = fitted(TWO, trained, observed)
    profiled = ProfiledWeights.of(TWO, trained.weights, trained.covariance)
    joint = estimate(profiled, WeightedData(observed, jnp.zeros(2)))
    # Between what the data alone and what error propagation give; in the mean of 1000
    # trials 5 % below the latter.
    assert np.all(joint.uncertainty[:2] > 1.01 * both.statistical_uncertainty)
    assert np.all(joint.uncertainty[:2] < 1.01 * both.uncertainty)
    np.testing.assert_allclose(joint.uncertainty[:2], both.uncertainty, rtol=0.15)
    pull = (joint.bestfit[:2] - found.bestfit) / both.uncertainty
    assert np.all(np.abs(pull) < 1)
    # w_0 is not in the normalised ratio: its constraint is all there is.
    np.testing.assert_allclose(profiled.root[0, 1], 0.0)
    assert np.all(joint.uncertainty[2:] < 1 + 1e-9)


def test_profiled_weights_generate_data():
    problem, covariance = counting()
    profiled = ProfiledWeights.of(problem, jnp.array([0.3, -0.2, 0.5]), covariance)
    params = jnp.array([1.0, 0.5, 0.3, -1.2, 0.4])
    asimov = estimate(profiled, profiled.expected_data(params))
    # The search ends at an edm of 1e-18, that is 1e-9 of an uncertainty of order 1.
    np.testing.assert_allclose(asimov.bestfit, params, atol=1e-7)
    assert profiled.parameters.names[2:] == ("network[0]", "network[1]", "network[2]")
    assert profiled.parameters.poi == "mu"
    _, weights = profiled.split(params)
    shift = np.linalg.cholesky(covariance) @ params[2:]
    np.testing.assert_allclose(weights, profiled.weights + shift, rtol=1e-12)
    toys = profiled.samples(params, 4000, seed=1)
    # Five standard errors of unit Gaussians: 1e-5 false alarms for seven means.
    error = 5 / np.sqrt(4000)
    means = profiled.expected_data(params)
    np.testing.assert_allclose(toys.observed.mean(axis=0), means.observed, atol=error)
    np.testing.assert_allclose(toys.auxdata.mean(axis=0), means.auxdata, atol=error)
    np.testing.assert_allclose(toys.auxdata.std(axis=0), 1.0, atol=error)


def test_a_parameter_at_its_bound_does_not_react():
    problem, covariance = counting(lower=(0.0, -np.inf))
    weights = jnp.array([0.3, -0.2, 0.5])
    counts = problem.likelihood(weights).expected_data(jnp.array([-2.0, 0.4]))
    found = estimate(*problem(weights, counts))
    assert bool(found.fit.at_bound[0])
    both = network_covariance(
        eqx.Partial(problem, observed=counts), weights, covariance, found
    )
    np.testing.assert_array_equal(both.response[0], 0.0)
    np.testing.assert_array_equal(both.total[0], 0.0)
    nu = problem.design[:, 1]
    np.testing.assert_allclose(
        both.response[1], -nu @ problem.template / (nu @ nu), rtol=1e-12
    )
    assert both.result == RESULTS.successful


def test_a_widened_scan_has_the_total_uncertainty(trained, observed):
    both, found = fitted(ONE, trained, observed)
    model, data = ONE(trained.weights, observed)
    reach = jnp.array([-1.0, 0.0, 1.0]) * both.uncertainty[0]
    profile = scan(model, data, {"k": found.bestfit[0] + reach})
    wide = widened_scan(profile, both, model.parameters)
    # The profile is a parabola up to a cubic part of a few per cent, which the mean
    # of both sides removes.
    ends = wide.delta_twice_nll[jnp.array([0, 2])]
    np.testing.assert_allclose(ends.mean(), 1.0, rtol=0.01)
    assert profile.delta_twice_nll[2] > 1.5
    assert abs(wide.delta_twice_nll[1]) < 1e-9
    plane = dataclasses.replace(profile, names=("k", "alpha"))
    with pytest.raises(ValueError, match="one parameter"):
        widened_scan(plane, both, model.parameters)


def test_failure_is_data(trained, observed):
    at = eqx.Partial(TWO, observed=observed)
    found = estimate(*TWO(trained.weights, observed))
    failed = eqx.tree_at(
        lambda e: (e.result, e.covariance),
        found,
        (RESULTS.iteration_limit, jnp.full((2, 2), jnp.nan)),
    )
    both = network_covariance(
        at, trained.weights, trained.covariance, failed, throw=False
    )
    assert both.result == RESULTS.iteration_limit
    for part in (both.statistical, both.network, both.response, both.inflation):
        assert np.all(np.isnan(part))
    with pytest.raises(eqx.EquinoxRuntimeError):
        network_covariance(at, trained.weights, trained.covariance, failed)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        ([[jnp.nan, 0.0], [0.0, 1.0]], "not finite"),
        ([[1.0, 0.5], [0.0, 1.0]], "not symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "not positive semi-definite"),
    ],
)
def test_what_is_no_covariance_is_refused(trained, observed, covariance, message):
    at = eqx.Partial(TWO, observed=observed)
    found = estimate(*TWO(trained.weights, observed))
    matrix = jnp.array(covariance)
    with pytest.raises(DataError, match=message):
        network_covariance(at, trained.weights, matrix, found)
    with pytest.raises(DataError, match=message):
        ProfiledWeights.of(TWO, trained.weights, matrix)
    traced = eqx.filter_jit(network_covariance)(
        at, trained.weights, matrix, found, throw=False
    )
    assert traced.result == RESULTS.non_finite
    assert np.all(np.isnan(traced.total))


def test_shapes_are_checked(trained, observed):
    at = eqx.Partial(TWO, observed=observed)
    found = estimate(*TWO(trained.weights, observed))
    with pytest.raises(ValueError, match="covariance of 2 weights"):
        network_covariance(at, trained.weights, jnp.eye(3), found)
    with pytest.raises(ValueError, match="one covariance for each leaf"):
        network_covariance(at, (trained.weights,), {"a": jnp.eye(2)}, found)
    with pytest.raises(ValueError, match="profiled weights"):
        ProfiledWeights.of(TWO, trained.weights, jnp.eye(3))
    with pytest.raises(DataError, match="singular"):
        ProfiledWeights.of(TWO, trained.weights, jnp.ones((2, 2)))


@final
class EventProblem(eqx.Module):
    """The mixture as a function of the weights of all simulated events.

    The ratio is divided by its mean over the events of a bank, those of the denominator
    if there is none.
    """

    inner: MixtureProblem
    numerator: Float[Array, "event basis"]
    denominator: Float[Array, "event basis"]
    bank: Float[Array, "event basis"] | None
    observed: Seen

    def ones(self):
        rows = {"numerator": self.numerator, "denominator": self.denominator}
        rows |= {} if self.bank is None else {"bank": self.bank}
        return {name: jnp.ones(len(row)) for name, row in rows.items()}

    def __call__(self, weight):
        found = fit_ensemble_weights(
            self.numerator,
            weight["numerator"],
            self.denominator,
            weight["denominator"],
            throw=False,
        )
        bank, name = self.bank, "bank"
        if bank is None:
            bank, name = self.denominator, "denominator"
        mean = weight[name] @ jnp.exp(bank @ found.weights) / weight[name].sum()
        seen = self.inner.data(found.weights, self.observed)
        log_ratio = self.observed.log_ratio @ found.weights - jnp.log(mean)
        return self.inner.likelihood(found.weights), seen._replace(log_ratio=log_ratio)


@pytest.mark.slow
def test_weights_of_events_in_place_of_a_covariance(observed):
    """Σ over events of squared responses is B C Bᵀ, as far as they only train."""
    x = jax.random.normal(jax.random.key(13), (3, 200)) + jnp.array(
        [[1.0], [0.0], [0.0]]
    )
    problem = EventProblem(TWO, *line(x), observed)
    ones = problem.ones()
    trained = fit_ensemble_weights(
        problem.numerator, ones["numerator"], problem.denominator, ones["denominator"]
    )

    def through_weights(w):
        mean = jnp.mean(jnp.exp(problem.bank @ w))
        likelihood, seen = TWO(w, observed)
        log_ratio = observed.log_ratio @ w - jnp.log(mean)
        return likelihood, seen._replace(log_ratio=log_ratio)

    found = estimate(*problem(ones))
    want = network_covariance(
        through_weights, trained.weights, trained.covariance, found
    )
    no_bank = ones | {"bank": jnp.zeros(200)}
    have = network_covariance(problem, ones, no_bank, found)
    # Through another implicit derivative; condition 1e3.
    np.testing.assert_allclose(have.network, want.network, rtol=1e-8)
    both = network_covariance(problem, ones, ones, found)
    assert both.network[0, 0] > 1.02 * have.network[0, 0]


class Events(NamedTuple):
    """Rows of the unbinned likelihood, and the basis of the signal ratio for each."""

    data: UnbinnedData
    basis: Float[Array, "chunk event basis"]


@final
class UnbinnedProblem(AbstractWeightedProblem):
    """An unbinned likelihood whose signal ratio has weights, in bank and data."""

    model: Unbinned
    basis: Float[Array, "chunk event basis"]

    def likelihood(self, weights):
        rows = with_signal(self.model.channels[0].bank, self.basis @ weights)
        return eqx.tree_at(lambda m: m.channels[0].bank, self.model, rows)

    def data(self, weights, observed):
        # Asimov data are weights of the events of the bank.
        if not isinstance(observed, Events):
            return observed
        rows = with_signal(observed.data.rows[0], observed.basis @ weights)
        return observed.data._replace(rows=(rows,))


def with_signal(rows, log_ratio):
    both = jnp.stack([log_ratio, jnp.zeros_like(log_ratio)], axis=-1)
    return eqx.tree_at(lambda r: r.source.terms.log_ratio, rows, both)


def unbinned(weights):
    """300 events of signal, 1700 of background with a yield uncertainty of 10 %."""
    rng = np.random.default_rng(14)
    bank = rng.normal(size=5000)
    seen = rng.normal(size=2000) + np.repeat([2 * FAR, 0.0], [300, 1700])

    def rows_of(x):
        basis = np.asarray(line(x))
        terms = np.stack([basis @ weights, np.zeros_like(x)], axis=1)
        chunked = held(np.ones_like(x), basis, chunk=1024).source.terms.log_ratio
        return held(np.ones_like(x), terms, chunk=1024), jnp.asarray(chunked)

    (bank_rows, bank_basis), (rows, basis) = rows_of(bank), rows_of(seen)
    components = (
        Component(300.0, name="signal"),
        Component(1700.0, YieldMorph(("norm",), [1.1], [0.9]), name="background"),
    )
    channel = Channel(components, Products((("mu",), ())), bank_rows, "SR")
    model = Unbinned(
        parameters(("mu", "norm")), (channel,), GaussianConstraints.unit(("norm",))
    )
    model = eqx.tree_at(lambda m: m.parameters.inits, model, jnp.array([1.0, 0.0]))
    problem = UnbinnedProblem(model, bank_basis)
    return problem, Events(UnbinnedData((rows,), jnp.zeros(1)), basis)


@pytest.mark.slow
def test_response_of_the_unbinned_likelihood_is_that_of_refits(trained):
    problem, observed = unbinned(trained.weights)
    found = estimate(*problem(trained.weights, observed))
    at = eqx.Partial(problem, observed=observed)
    both = network_covariance(at, trained.weights, trained.covariance, found)
    step = 1e-4

    def refit(shift):
        return fit(*problem(trained.weights + shift, observed)).bestfit

    slopes = [(refit(row) - refit(-row)) / (2 * step) for row in step * jnp.eye(2)]
    # Third order in the step, and fits good to 1e-9 over it.
    np.testing.assert_allclose(
        both.response, jnp.stack(slopes, 1), rtol=1e-5, atol=1e-5
    )
    # The ratio is divided by its mean over the bank, whatever the constant.
    np.testing.assert_allclose(both.response[:, 0], 0.0, atol=1e-10)

    def of_halves(weights):
        return problem(weights[:2] + weights[2:], observed)

    halves = jnp.concatenate([trained.weights / 2] * 2)
    reverse = network_covariance(of_halves, halves, jnp.ones(4), found)
    np.testing.assert_allclose(reverse.response[:, :2], both.response, atol=1e-10)
    profiled = ProfiledWeights.of(problem, trained.weights, trained.covariance)
    joint = estimate(profiled, WeightedData(observed, jnp.zeros(2)))
    # The data know a few per cent of what the training does.
    np.testing.assert_allclose(joint.uncertainty[:2], both.uncertainty, rtol=0.05)
    params = jnp.array([0.8, 0.1, 0.0, 0.5])
    asimov = estimate(profiled, profiled.expected_data(params))
    np.testing.assert_allclose(asimov.bestfit, params, atol=1e-6)


def over_trials(trial, n_trials, seed):
    """`trial` of as many keys, compiled once."""
    keys = jax.random.split(jax.random.key(seed), n_trials)
    program = jax.jit(lambda rows: jax.lax.map(trial, rows), compiler_options=OPTIMISED)
    return jax.tree.map(np.asarray, program(keys))


class Coverage(NamedTuple):
    """How many of the fits are within 1 and within 1.96 standard deviations."""

    total: tuple[float, float]
    statistical: tuple[float, float]


NOMINAL = (0.6827, 0.95)


def coverage(pulls):
    """Of fits with an uncertainty for both reasons, and for the data alone."""
    off, total, statistical = pulls
    assert np.all(np.isfinite(off / total))

    def within(sigma):
        return tuple(float(np.mean(np.abs(off) < z * sigma)) for z in (1, 1.96))

    return Coverage(within(total), within(statistical))


def assert_covers(found, n_trials, n_errors):
    """Nominal coverage, within binomial errors."""
    for have, want in zip(found, NOMINAL, strict=True):
        assert abs(have - want) < n_errors * np.sqrt(want * (1 - want) / n_trials)


class Setting(NamedTuple):
    """A problem, the true fraction, the mean, and the events of the training."""

    problem: MixtureProblem
    k: float
    mean: float
    n_training: int


FRACTION = Setting(ONE, 0.1, NEAR, N_EVENTS)
WITH_SHAPE = Setting(TWO, 0.3, FAR, N_TRAINING)


def pulls_of(setting, n_trials, seed):
    """Trainings, data and fits of the fraction; one program for all settings."""
    keys = jax.random.split(jax.random.key(seed), n_trials)
    found = _pulls(jax.tree.map(jnp.asarray, setting), keys)
    return jax.tree.map(np.asarray, found)


def _one_pull(setting, key):
    problem, k, mean, n_training = setting
    first, second, third = jax.random.split(key, 3)
    trained = training(first, mean, n_training)
    # Without a shape uncertainty nothing is measured.
    aux = jax.random.normal(third) * problem.is_shifted
    at = eqx.Partial(problem, observed=events(second, k, mean, alpha_aux=aux))
    found = fit(*at(trained.weights), throw=False)
    both = network_covariance(
        at, trained.weights, trained.covariance, found, throw=False
    )
    return found.bestfit[0] - k, both.uncertainty[0], both.statistical_uncertainty[0]


_pulls = jax.jit(
    lambda setting, keys: jax.lax.map(lambda key: _one_pull(setting, key), keys),
    compiler_options=OPTIMISED,
)


def test_coverage_of_a_fraction():
    n_trials = 300
    found = coverage(pulls_of(FRACTION, n_trials, seed=31))
    assert_covers(found.total, n_trials, 3)
    # 0.544 and 0.856 in 4000 trials: more than four binomial errors from nominal.
    assert found.statistical[0] < 0.61
    assert found.statistical[1] < 0.91


@pytest.mark.slow
def test_coverage_of_a_fraction_in_many_trials():
    n_trials = 4000
    found = coverage(pulls_of(FRACTION, n_trials, seed=32))
    assert_covers(found.total, n_trials, 2.5)
    # Another calculation of 4000 trials: both fluctuate; 3 standard deviations.
    for have, want in zip(
        found.total + found.statistical, (0.686, 0.951, 0.544, 0.856), strict=True
    ):
        assert abs(have - want) < 3 * np.sqrt(2 * want * (1 - want) / n_trials)


def test_coverage_with_a_profiled_shape_uncertainty():
    n_trials = 250
    found = coverage(pulls_of(WITH_SHAPE, n_trials, seed=33))
    assert_covers(found.total, n_trials, 3)
    assert found.statistical[0] < 0.64


@pytest.mark.slow
def test_coverage_with_a_profiled_shape_uncertainty_in_many_trials():
    n_trials = 4000
    found = coverage(pulls_of(WITH_SHAPE, n_trials, seed=34))
    assert_covers(found.total, n_trials, 2.5)
    # An uncertainty 0.83 times as large covers 0.59 and 0.90.
    assert found.statistical[0] < 0.62
    assert found.statistical[1] < 0.92


def bank_trial(n_bank, *, counted):
    """A fraction whose ratio is normalised on events: of a bank, or of the training."""

    def trial(key):
        first, second, third = jax.random.split(key, 3)
        x = jax.random.normal(first, (2, N_EVENTS)) + jnp.array([[2 * NEAR], [0.0]])
        bank = line(jax.random.normal(third, (n_bank,))) if n_bank else None
        observed = events(second, 0.1, NEAR)
        problem = EventProblem(ONE, line(x[0]), line(x[1]), bank, observed)
        ones = problem.ones()
        variances = ones if counted else ones | {"bank": jnp.zeros(n_bank)}
        found = fit(*problem(ones), throw=False)
        both = network_covariance(problem, ones, variances, found, throw=False)
        off = found.bestfit[0] - 0.1
        return off, both.uncertainty[0], both.statistical_uncertainty[0]

    return trial


@pytest.mark.slow
@pytest.mark.parametrize("n_bank", [N_EVENTS, 0], ids=["bank", "training"])
def test_coverage_of_a_ratio_that_is_normalised_on_simulated_events(n_bank):
    n_trials = 1000
    found = coverage(over_trials(bank_trial(n_bank, counted=True), n_trials, seed=36))
    assert_covers(found.total, n_trials, 3)
    assert found.statistical[0] < 0.6
    if n_bank:
        forgotten = coverage(
            over_trials(bank_trial(n_bank, counted=False), n_trials, seed=36)
        )
        assert forgotten.total[0] < 0.6


# A signal of yield 500 and unit Gaussian shape around 1 that interferes with a
# background of yield 5000 around 0; cos of the phase is -0.24.
YIELD_S, YIELD_B, PHASE = 500.0, 5000.0, -0.24
YIELD_I = 2 * PHASE * np.sqrt(YIELD_S * YIELD_B) * np.exp(-1 / 8)
YIELD_SBI = YIELD_S + YIELD_I + YIELD_B


def exact_ratios(x):
    """ln of the densities of signal and of both over the background."""
    signal = jnp.exp(x - 0.5)
    both = 1 + (YIELD_S * signal + 2 * PHASE * jnp.sqrt(YIELD_S * YIELD_B * signal)) / (
        YIELD_B
    )
    return x - 0.5, jnp.log(both * YIELD_B / YIELD_SBI)


class Weighted(NamedTuple):
    """Events with the log ratios of signal and of both, or a basis for each."""

    log_ratio: Array
    weight: Array


@final
class Interfering(AbstractLikelihood):
    """f = (c² - c, c, 1 - c) times signal, both and background, c = √μ; extended."""

    parameters: Parameters

    def twice_nll(self, params, data):
        (c,) = params
        f_s, f_sbi, f_b = (c * (c - 1) * YIELD_S, c * YIELD_SBI, (1 - c) * YIELD_B)
        signal, both = jnp.exp(data.log_ratio.T)
        intensity = f_s * signal + f_sbi * both + f_b
        return 2 * (f_s + f_sbi + f_b - data.weight @ jnp.log(intensity))

    def expected_data(self, params):
        raise NotImplementedError

    def sample(self, params, key):
        raise NotImplementedError

    def curvature(self, params, data):
        return jnp.abs(self.hessian(params, data))


@final
class InterferingProblem(AbstractWeightedProblem):
    def likelihood(self, weights):
        pars = parameters(("c",))
        return Interfering(eqx.tree_at(lambda p: p.inits, pars, jnp.ones(1)))

    def data(self, weights, observed):
        rows = jnp.einsum("ecb,cb->ec", observed.log_ratio, weights.reshape(2, 2))
        return observed._replace(log_ratio=rows)


def drawn_from_both(key, n_events):
    grid = jnp.linspace(-7, 8, 6001)
    density = jnp.exp(-(grid**2) / 2 + exact_ratios(grid)[1])
    steps = (density[1:] + density[:-1]) / 2
    total = jnp.concatenate([jnp.zeros(1), jnp.cumsum(steps)]) / jnp.sum(steps)
    return jnp.interp(jax.random.uniform(key, (n_events,)), total, grid)


def interference_trial(*, joint):
    """Both ratios trained against one background sample; c is fitted at 1."""
    n_training, n_most = 4000, 5400

    def trial(key):
        keys = jax.random.split(key, 5)
        x = jnp.concatenate(
            [
                jax.random.normal(keys[0], (n_training,)),
                jax.random.normal(keys[1], (n_training,)) + 1,
                drawn_from_both(keys[2], n_training),
            ]
        )
        weight = jnp.repeat(jnp.eye(3), n_training, axis=0)
        bases = [jnp.stack([jnp.ones_like(x), row], axis=1) for row in exact_ratios(x)]
        found, rows = [], []
        for basis, one in zip(bases, (1, 2), strict=True):
            pair = weight[:, jnp.array([0, one])]
            found.append(fit_pool_weights(basis, pair, throw=False))
            rows.append(influence(found[-1], basis, pair))
        weights = jnp.concatenate([one.weights for one in found])
        covariance = joint_covariance(rows)
        if not joint:
            covariance = covariance * jnp.kron(jnp.eye(2), jnp.ones((2, 2)))
        n_seen = jax.random.poisson(keys[3], YIELD_SBI)
        x = drawn_from_both(keys[4], n_most)
        basis = jnp.stack([jnp.stack([jnp.ones_like(x), r]) for r in exact_ratios(x)])
        used = (jnp.arange(n_most) < n_seen).astype(float)
        observed = Weighted(basis.transpose(2, 0, 1), used)
        at = eqx.Partial(InterferingProblem(), observed=observed)
        best = fit(*at(weights), throw=False)
        both = network_covariance(at, weights, covariance, best, throw=False)
        off = best.bestfit[0] - 1.0
        return off, both.uncertainty[0], both.statistical_uncertainty[0]

    return trial


@pytest.mark.slow
def test_coverage_with_interference_and_a_common_reference():
    n_trials = 2000
    found = coverage(over_trials(interference_trial(joint=True), n_trials, seed=37))
    assert_covers(found.total, n_trials, 3)
    assert found.statistical[0] < 0.6
    # Signal enters with f' = 1, background with -1: taken as independent, the two
    # ratios would not share the fluctuation of the background sample.
    apart = coverage(over_trials(interference_trial(joint=False), 500, seed=38))
    assert apart.total[0] > 0.75
