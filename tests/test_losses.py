"""Losses against closed forms, pyhf's numbers and a scan of the likelihood.

Every model with fits is one of five bins, so that one compiled program serves all.
"""

from collections import Counter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax.extend.core import jaxprs_in_params
from scipy import optimize, special, stats

from diffana.errors import RESULTS
from diffana.histfactory import from_workspace
from diffana.losses import (
    P0,
    AsimovSignificance,
    BinaryCrossEntropy,
    Cls,
    Constraint,
    EmptyBins,
    Gaussianity,
    GeneralisedVariance,
    Hypotheses,
    IntervalLength,
    LogGeneralisedVariance,
    Needs,
    Pulls,
    Scores,
    SigmaMu,
    Significance,
    TotalVariance,
    UpperLimit,
    WeightedSum,
    asimov_tests,
    evaluate_all,
)
from five_bins import CELLS, FLAT, Yields, binned, filled, specification, templates
from gaussian import Gaussian
from pyhf_minima import minimum
from reference import Morphed
from regions import CONTROL, EVERYTHING, FAKE, TOP, workspace


COVARIANCE = np.array([[4.0, 1.2, -0.3], [1.2, 0.9, 0.1], [-0.3, 0.1, 0.25]])

# The programs run a few times only.
FAST = {"xla_backend_optimization_level": 0}


TERMS = (Cls(), Cls(log=False), P0(), P0(log=False), Significance(), Pulls())
LOG_CLS, CLS, LOG_P0, P_0, MINUS_Z, PULLS = np.eye(len(TERMS))


@eqx.filter_jit(compiler_options=FAST)
@eqx.filter_value_and_grad(has_aux=True)
def _evaluate(model, factors):
    found = WeightedSum(TERMS, tuple(factors)).evaluate(model)
    return found.value, found.result


def evaluate(model, factors):
    """Value, gradient by template and code of the weighted sum of `TERMS`."""
    (value, result), slope = _evaluate(model, jnp.asarray(factors))
    return value, slope.templates, result


def value(yields, factors):
    found, _, result = evaluate(binned(yields), factors)
    assert result == RESULTS.successful
    return float(found)


def counting_q(s, b):
    """q_mu on background-only and q_0 on signal data of counts, arXiv:1007.1727."""
    s, b = np.asarray(s), np.asarray(b)
    q_limit = 2 * np.sum(s - b * np.log1p(s / b))
    q_discovery = 2 * np.sum((s + b) * np.log1p(s / b) - s)
    return q_limit, q_discovery


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0, 40.0])
def test_p_values_of_counts(scale):
    s, b = scale * np.array([5.0, 11.0, 3.0]), np.array([50.0, 45.0, 8.0])
    model = binned(Yields(s, b))
    q_limit, q_discovery = counting_q(s, b)
    log_CLs = np.log(2) + special.log_ndtr(-np.sqrt(q_limit))
    log_p0 = special.log_ndtr(-np.sqrt(q_discovery))
    # q is a difference of numbers near 30 and loses digits where it is small.
    close = {"rtol": 1e-10, "atol": 1e-12 / scale}
    want = (log_CLs, np.exp(log_CLs), log_p0, np.exp(log_p0), -np.sqrt(q_discovery), 0)
    found = [evaluate(model, row)[0] for row in np.eye(len(TERMS))]
    np.testing.assert_allclose(found, want, **close)
    np.testing.assert_allclose(
        found[4], AsimovSignificance().evaluate(model).value, **close
    )
    if scale == 10:
        # There 1 - cdf has lost all digits.
        assert found[1] < 1e-20
    if scale == 40:
        # There the p-values themselves are no longer numbers; the logarithms are.
        assert found[3] == 0
        assert found[2] < -745


def test_gradients_keep_their_digits_where_CLs_is_1e_60():
    s, b = 220.0, 50.0
    model = binned(Yields([s], [b]))
    q, _ = counting_q(s, b)
    log_CLs, slope, _ = evaluate(model, LOG_CLS)
    assert -140 < log_CLs < -137

    log_density = stats.norm.logpdf(np.sqrt(q))
    hazard = np.exp(log_density - special.log_ndtr(-np.sqrt(q)))
    d_root = (1 - b / (s + b)) / np.sqrt(q)
    at = CELLS["signal"].start
    np.testing.assert_allclose(slope.nominal[at], -hazard * d_root, rtol=1e-10)
    CLs, slope, _ = evaluate(model, CLS)
    np.testing.assert_allclose(CLs, np.exp(log_CLs), rtol=1e-10)
    np.testing.assert_allclose(slope.nominal[at], -CLs * hazard * d_root, rtol=1e-10)


def test_bins_without_signal_or_uncertainty_have_no_influence():
    few = Yields([5.0], [40.0], [46.0], [37.0], [4.0])
    silent = Yields(
        [5.0, 0, 0, 0, 0],
        [40.0, 0, 0, 1e-3, 70],
        [46.0, 0, 0, 1e-3, 70],
        [37.0, 0, 0, 1e-3, 70],
        [4.0],
    )
    for row in np.eye(len(TERMS)):
        np.testing.assert_allclose(value(silent, row), value(few, row), rtol=1e-9)
    _, slope, _ = evaluate(binned(silent), np.ones(len(TERMS)))
    for leaf in jax.tree.leaves(slope):
        assert np.all(np.isfinite(leaf))


def test_without_signal_nothing_is_tested_and_gradients_are_finite():
    nothing = Yields([0.0], [40.0, 30.0], [46.0, 28.0], [37.0, 31.0], [4.0, 2.0])
    model = binned(nothing)
    # CLs = 1, p0 = 1/2, Z = 0, no pulls.
    for row, want in zip(
        np.eye(len(TERMS)), (0.0, 1.0, np.log(0.5), 0.5, 0.0, 0.0), strict=True
    ):
        found, slope, result = evaluate(model, row)
        assert result == RESULTS.successful
        # sqrt(q) of a q that is zero up to a rounding error of 1e-15 of 30.
        np.testing.assert_allclose(found, want, atol=1e-6)
        for leaf in jax.tree.leaves(slope):
            assert np.all(np.isfinite(leaf))


def test_a_sum_of_losses_is_the_sum_of_their_values_and_gradients():
    model = binned(Yields([5.0, 11.0], [50.0, 50.0], [58, 45], [43, 52], [3.0, 2.0]))
    CLs, CLs_slope, _ = evaluate(model, LOG_CLS)
    p0, p0_slope, _ = evaluate(model, LOG_P0)
    both, both_slope, _ = evaluate(model, LOG_CLS + 0.5 * LOG_P0)
    np.testing.assert_allclose(both, CLs + 0.5 * p0, rtol=1e-14)
    want = jax.tree.map(lambda a, b: a + 0.5 * b, CLs_slope, p0_slope)
    # Sums of up to a few hundred terms in another order.

    assert eqx.tree_equal(both_slope, want, rtol=1e-11, atol=1e-13)


def test_losses_add_and_scale():
    total = 2.0 * (Cls() + 0.5 * P0()) + SigmaMu()
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    assert total.needs == Needs(
        tests=(Hypotheses(0.0, 1.0), Hypotheses(1.0, 0.0)), fisher=(1.0,)
    )
    only_fisher = 2.0 * (SigmaMu() + 0.5 * TotalVariance()) + SigmaMu(log=True)
    np.testing.assert_allclose(
        only_fisher(model), 2 * (2.0 + 0.5 * 5.15) + np.log(2.0), rtol=1e-12
    )


def primitives(loss, model):
    """How often each JAX primitive occurs in the value of a loss."""
    arrays, rest = eqx.partition(model, eqx.is_array)

    def value(arrays):
        found = loss.evaluate(eqx.combine(arrays, rest))
        return found.value, jax.tree.leaves(found.result)

    counts = Counter()

    def count(jaxpr):
        for equation in jaxpr.eqns:
            counts[equation.primitive.name] += 1
            for nested in jaxprs_in_params(equation.params):
                count(nested)

    count(jax.make_jaxpr(value)(arrays).jaxpr)
    return counts


def test_what_several_losses_need_is_computed_once():
    model = binned(Yields([5.0, 9.0], [50.0, 40.0], [55.0, 42.0], [46.0, 37.0], [3.0]))
    fits, information = primitives(Cls() + P0(), model), primitives(SigmaMu(), model)
    loss = Cls() + P0() + SigmaMu() + Constraint() + LogGeneralisedVariance() + Pulls()
    together = primitives(loss + Gaussianity() + TotalVariance(), model)
    # Descents of fits are loops. Every inverse of the information is one factorisation;
    # Gaussianity factorises the covariance besides.
    assert fits["while"] > 0
    assert together["while"] == fits["while"] + information["while"]
    once_more = fits["cholesky"] + information["cholesky"] + 1
    assert together["cholesky"] == once_more
    alone = sum(
        primitives(term, model)["while"] for term in (Cls(), P0(), Pulls(), SigmaMu())
    )
    assert alone > together["while"]


def test_limits_and_intervals_are_searched_once():
    pair = UpperLimit() + 0.5 * UpperLimit(log=True) + UpperLimit(n_sigma=1.0)
    assert len(pair.needs.limits) == 2
    both = IntervalLength() + IntervalLength(log=True)
    assert len(both.needs.intervals) == 1
    model = Morphed(*np.array([[5.0, 9.0], [50.0, 40.0], [55.0, 42.0], [46.0, 37.0]]))
    alone, twice = primitives(IntervalLength(), model), primitives(both, model)
    assert alone["while"] == twice["while"] > 0


def test_several_losses_of_one_likelihood_share_their_needs():
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    found = evaluate_all({"sigma": SigmaMu(), "trace": TotalVariance()}, model)
    np.testing.assert_allclose(found["sigma"].value, 2.0, rtol=1e-12)
    np.testing.assert_allclose(found["trace"].value, 5.15, rtol=1e-12)


def test_nothing_to_test_runs_no_fit():
    assert AsimovSignificance().needs == Needs()
    assert asimov_tests(FLAT, ()) == {}


def conditional_fit(yields):
    """pyhf's parameters of background-only in a fit to data with signal."""
    model = pyhf.Model(
        specification(Yields(*map(np.asarray, filled(yields)))), poi_name="mu"
    )
    nominal = np.array(model.config.suggested_init())
    _, params, _ = minimum(model, np.array(model.expected_data(nominal)), held=0.0)
    return model, params


def test_pulls_are_those_of_pyhf():
    yields = Yields([5.0, 11.0], [50.0, 40.0], [53.0, 44.0], [46.0, 37.0], [3.0, 2.0])
    model, params = conditional_fit(yields)
    alpha = params[model.config.par_slice("shape")]
    gamma = params[model.config.par_slice("rate")][:2] - 1
    want = np.sum(alpha**2) + np.sum((gamma * [50 / 3, 40 / 2]) ** 2)
    assert want > 0.1
    # The minimum of pyhf is polished to 1e-8 in the parameters.
    np.testing.assert_allclose(value(yields, PULLS), want, rtol=1e-6)


def test_a_pull_at_a_bound_stays_there():
    model = binned(Yields([5.0, 11.0], [50.0, 50.0], [53.0, 56.0], [47.0, 44.0]))
    at = model.parameters.index("shape")
    free, _, _ = evaluate(model, PULLS)
    assert free > 0.3**2
    narrow = eqx.tree_at(
        lambda m: m.layout.parameters.upper,
        model,
        model.layout.parameters.upper.at[at].set(0.3),
    )
    found, slope, result = evaluate(narrow, PULLS)
    assert result == RESULTS.successful
    np.testing.assert_allclose(found, 0.3**2, rtol=1e-12)
    # Only the unit of the pull is left to change.
    np.testing.assert_allclose(slope.sigma, -2 * 0.3**2, rtol=1e-12)
    others = eqx.tree_at(lambda t: t.sigma, slope, jnp.zeros(1))
    for leaf in jax.tree.leaves(others):
        np.testing.assert_array_equal(leaf, 0.0)


def one_bin(phi, kind):
    """Simpson, PhD thesis (2023), section 7.1.1."""
    b, sigma = 45 - 2 * phi, 0.5 + 0.1 * phi**2
    signal = jnp.reshape(15 + phi, 1)
    b, sigma = jnp.reshape(b, 1), jnp.reshape(sigma, 1)
    if kind == "shapesys":
        return templates(Yields(signal, b, uncertainty=sigma))
    return templates(Yields(signal, b, b + sigma, b - sigma))


def p0_and_slope(phi, kind):
    """p0 of the one-bin analysis, and d ln p0 / d phi through its templates."""
    filled_templates, pullback = jax.vjp(lambda at: one_bin(at, kind), float(phi))
    model = eqx.tree_at(lambda m: m.templates, FLAT, filled_templates)
    log_p0, slope, result = evaluate(model, LOG_P0)
    assert result == RESULTS.successful
    return float(jnp.exp(log_p0)), float(pullback(slope)[0])


@pytest.mark.parametrize(
    ("kind", "phi", "p0"),
    [("shapesys", 4.6352, 0.0030757), ("histosys", 4.8406, 0.0029333)],
)
def test_optimum_of_a_one_bin_analysis(kind, phi, p0):
    best = optimize.brentq(lambda at: p0_and_slope(at, kind)[1], 2.0, 8.0, xtol=1e-9)
    # The reference is given to these digits.
    np.testing.assert_allclose(best, phi, atol=1e-4)
    np.testing.assert_allclose(p0_and_slope(best, kind)[0], p0, atol=6e-8)
    # Without the uncertainty the optimum is at the edge of the range.
    if kind == "shapesys":
        np.testing.assert_allclose(p0_and_slope(10.0, kind)[0], 0.04325, atol=6e-6)


def test_without_uncertainty_the_optimum_of_one_bin_is_at_the_edge():
    phi = np.linspace(0, 10, 11)
    p0 = [value(Yields([15 + at], [45 - 2 * at]), P_0) for at in phi]
    assert np.all(np.diff(p0) < 0)


def two_bins(u, d):
    """Simpson, PhD thesis (2023), section 7.5.1."""
    return Yields([5.0, 11.0], [50.0, 50.0], [50.0 + u, 50.0 - u], [50.0 - d, 50.0 + d])


@pytest.mark.parametrize(
    ("u", "d", "CLs", "p0"),
    [
        (0, 0, 0.1079556, 0.0488124),
        (5, 5, 0.1160736, 0.0542064),
        (10, 10, 0.1226347, 0.0573410),
        (5, 0, 0.1132955, 0.0500366),
        (-5, 0, 0.1097224, 0.0527955),
    ],
)
def test_p_values_of_two_bins(u, d, CLs, p0):
    # Half a unit of the last digit, and what pyhf's minimiser leaves.
    np.testing.assert_allclose(value(two_bins(u, d), CLS), CLs, atol=1e-7)
    np.testing.assert_allclose(value(two_bins(u, d), P_0), p0, atol=1e-7)


@pytest.mark.parametrize(
    ("u", "row"),
    [(-7.0, LOG_CLS), (0.0, LOG_CLS), (0.0, LOG_P0), (2.0, LOG_P0), (7.0, LOG_P0)],
)
def test_an_effect_that_helps_neither_way_is_none(u, row):
    """Equal up and down templates that pull away from the data keep alpha at zero."""
    filled_templates, pullback = jax.vjp(lambda u, d: templates(two_bins(u, d)), u, -u)
    model = eqx.tree_at(lambda m: m.templates, FLAT, filled_templates)
    found, slope, _ = evaluate(model, row)
    np.testing.assert_allclose(found, value(two_bins(0, 0), row), rtol=1e-10)
    along_u, along_d = pullback(slope)
    np.testing.assert_allclose(along_u - along_d, 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("u", "mu_true", "mu_test", "row"), [(5.0, 0.0, 1.0, CLS), (-5.0, 1.0, 0.0, P_0)]
)
def test_equal_up_and_down_templates_have_two_minima_beside_zero(
    u, mu_true, mu_test, row
):
    """There alpha = 0 is a maximum of the profile, where a single start gets stuck."""
    yields = two_bins(u, -u)
    at_zero, beside = (
        single_start(yields, mu_true, mu_test, alpha=alpha) for alpha in (0.0, 1.0)
    )
    assert beside < at_zero - 1e-3
    scale = 2.0 if mu_test else 1.0
    np.testing.assert_allclose(
        value(yields, row), scale * stats.norm.sf(np.sqrt(beside)), rtol=1e-6
    )
    # The stuck start reports the values without any uncertainty.
    np.testing.assert_allclose(
        value(two_bins(0, 0), row), scale * stats.norm.sf(np.sqrt(at_zero)), rtol=1e-6
    )


def random_yields(n_models):
    rng = np.random.default_rng(3)
    for _ in range(n_models):
        signal, background = rng.uniform(0, 40, 5), rng.uniform(10, 60, 5)
        shifts = (1 + rng.normal(0, 0.5, (2, 5))).clip(0.05)
        yield Yields(signal, background, *(background * shifts))


@eqx.filter_jit
def scan(model, mu_true, mu_test):
    """Lowest of 20 001 values of alpha, less the value at the true parameters."""
    truth = jnp.array([mu_true, 0.0])
    data = model.expected_data(truth)
    alpha = jnp.linspace(-5.0, 5.0, 20_001)
    points = jnp.stack([jnp.broadcast_to(mu_test, alpha.shape), alpha], axis=1)
    values = jax.vmap(lambda point: model.twice_nll(point, data))(points)
    values = jnp.where(jnp.isfinite(values), values, jnp.inf)
    at = jnp.clip(jnp.argmin(values), 1, len(alpha) - 2)
    before, lowest, after = values[at - 1], values[at], values[at + 1]
    bend = before - 2 * lowest + after
    vertex = lowest - (before - after) ** 2 / (8 * bend)
    return jnp.where(bend > 0, vertex, lowest) - model.twice_nll(truth, data)


def single_start(yields, mu_true, mu_test, *, alpha=0.0):
    """The statistic that pyhf's default minimiser finds from one start."""
    model = pyhf.Model(
        specification(Yields(*map(np.asarray, filled(yields)))), poi_name="mu"
    )
    truth = np.array(model.config.suggested_init())
    truth[model.config.poi_index] = mu_true
    data = np.array(model.expected_data(truth))
    start = truth.copy()
    start[model.config.par_slice("shape")] = alpha
    _, lowest = pyhf.infer.mle.fixed_poi_fit(
        mu_test, data, model, init_pars=start.tolist(), return_fitted_val=True
    )
    return float(lowest) + 2 * float(model.logpdf(truth, data)[0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_p_values_belong_to_the_global_minimum_and_a_single_start_overstates():
    overstated = {"q0": 0, "qmu": 0}
    for yields in random_yields(40):
        model, simple = binned(yields), Morphed(*map(jnp.asarray, yields[:4]))
        q_0, q_mu = scan(simple, 1.0, 0.0), scan(simple, 0.0, 1.0)
        minus_z, _, code = evaluate(model, MINUS_Z)
        assert code == RESULTS.successful
        # The parabola through three points 5e-4 apart is right to about 1e-9.
        np.testing.assert_allclose(minus_z**2, q_0, atol=1e-7)
        CLs, _, _ = evaluate(model, CLS)
        np.testing.assert_allclose(stats.norm.isf(CLs / 2) ** 2, q_mu, atol=1e-7)

        overstated["q0"] += single_start(yields, 1.0, 0.0) > q_0 + 1e-3
        overstated["qmu"] += single_start(yields, 0.0, 1.0) > q_mu + 1e-3
    # Why fits start from several points.
    assert overstated["q0"] >= 1
    assert overstated["qmu"] >= 1


@pytest.mark.parametrize(
    ("loss", "want"),
    [
        (SigmaMu(), 2.0),
        (SigmaMu(log=True), np.log(2.0)),
        (TotalVariance(), 5.15),
        (TotalVariance(parameters=("mu", "theta2")), 4.25),
        (GeneralisedVariance(), np.linalg.det(COVARIANCE)),
        (LogGeneralisedVariance(), np.log(np.linalg.det(COVARIANCE))),
        # A parameter left out is profiled: the block of the covariance.
        (
            LogGeneralisedVariance(parameters=("theta1", "mu")),
            np.log(4.0 * 0.9 - 1.2**2),
        ),
    ],
    ids=lambda item: type(item).__name__,
)
def test_losses_of_a_known_covariance(loss, want):
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    # The inverse of a matrix of condition 30, twice.
    np.testing.assert_allclose(loss(model), want, rtol=1e-12)


def test_sigma_mu_of_counts():
    s, b, delta = 7.0, 40.0, 6.0
    exact = np.sqrt(s + b) / s
    np.testing.assert_allclose(SigmaMu()(binned(Yields([s], [b]))), exact, rtol=1e-12)
    uncertain = SigmaMu()(binned(Yields([s], [b], uncertainty=[delta])))
    np.testing.assert_allclose(uncertain, np.sqrt(s + b + delta**2) / s, rtol=1e-12)


def test_a_held_parameter_is_no_part_of_the_variance():
    # γ of a bin without uncertainty is held: α alone is left next to mu.
    model = binned(Yields([7.0], [40.0]))
    np.testing.assert_allclose(TotalVariance()(model), 47 / 49 + 1.0, rtol=1e-12)
    np.testing.assert_allclose(
        LogGeneralisedVariance()(model), np.log(47 / 49), rtol=1e-12
    )


def test_unknown_parameters_are_named():
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    with pytest.raises(ValueError, match="no parameter 'nu'; there are mu, theta1"):
        TotalVariance(parameters=("nu",))(model)


def test_counting_significance():
    s, b = np.array([5.0, 11.0, 0.0]), np.array([50.0, 8.0, 0.0])
    terms = (s + b)[:2] * np.log(1 + s[:2] / b[:2]) - s[:2]
    # The systematic uncertainties do not matter.
    model = binned(Yields(s, b, 1.2 * b, 0.9 * b, [4.0, 1.0, 0.0]))
    want = -np.sqrt(2 * np.sum(terms))
    np.testing.assert_allclose(AsimovSignificance()(model), want, rtol=1e-12)


def test_signal_without_background_has_no_counting_significance():
    model = binned(Yields([5.0, 1.0], [50.0, 0.0]))
    found = AsimovSignificance().evaluate(model)
    assert found.result == RESULTS.undefined_loss
    assert np.isnan(found.value)
    with pytest.raises(RuntimeError, match="a bin has signal and no background"):
        AsimovSignificance()(model)


def test_counting_significance_needs_bins():
    with pytest.raises(ValueError, match="binned"):
        AsimovSignificance()(Gaussian(jnp.linalg.inv(COVARIANCE)))


def test_penalty_on_bins_of_few_simulated_events():
    model, _ = from_workspace(workspace([60.0, 50.0, 120.0], **EVERYTHING))
    # The signal is no background, and a sample without `staterror` adds certain events.
    uncertain = np.concatenate(
        [np.array([2.5, 2.0]) / (TOP + FAKE), np.array([4.0]) / CONTROL]
    )
    assert uncertain[2] < 0.035 < uncertain[1]
    want = np.sum((uncertain[:2] - 0.035) ** 2)
    np.testing.assert_allclose(EmptyBins(0.035)(model), want, rtol=1e-12)

    slope = eqx.filter_grad(EmptyBins(0.035))(model).templates
    at = model.layout.staterror("SR", "top")
    by_hand = 2 * (uncertain[:2] - 0.035) / (TOP + FAKE)
    np.testing.assert_allclose(slope.staterror[at], by_hand, rtol=1e-12)
    np.testing.assert_array_equal(slope.nominal[model.layout.cells("SR", "signal")], 0)
    assert EmptyBins()(model) == 0


def test_a_bin_without_background_is_beyond_any_penalty():
    model, _ = from_workspace(workspace([60.0, 50.0, 120.0], **EVERYTHING))
    empty = model.templates.nominal.at[model.layout.cells("CR", "top")].set(0.0)
    model = eqx.tree_at(lambda m: m.templates.nominal, model, empty)
    found = EmptyBins().evaluate(model)
    assert found.result == RESULTS.undefined_loss
    assert np.isnan(found.value)


@pytest.mark.parametrize(
    "yields",
    [
        Yields([5.0, 3.0], [50.0, -4.0]),
        Yields([5.0, 3.0], [50.0, np.nan]),
        # Discovery of signal without background is certain, with q_0 infinite.
        Yields([5.0, 3.0], [50.0, 0.0]),
    ],
    ids=["negative", "nan", "no background"],
)
def test_a_failed_fit_gives_a_code_and_no_number_and_no_gradient(yields):
    found, slope, result = evaluate(binned(yields), LOG_CLS + LOG_P0)
    assert result == RESULTS.non_finite
    assert np.isnan(found)
    for leaf in (slope.nominal, slope.histosys_hi, slope.histosys_lo):
        assert np.all(np.isnan(leaf))


def test_singular_information_raises_outside_jit():
    model = binned(Yields([0.0], [40.0]))
    found = SigmaMu().evaluate(model)
    assert found.result == RESULTS.undefined_loss
    assert np.isnan(found.value)
    for call in (SigmaMu(), eqx.filter_jit(SigmaMu())):
        with pytest.raises(RuntimeError, match="Fisher information is singular"):
            call(model)


def classified():
    rng = np.random.default_rng(11)
    populations = {}
    for name, is_signal, is_nominal, n_events in (
        ("signal", True, True, 40),
        ("background", False, True, 60),
        ("other background", False, True, 30),
        ("background up", False, False, 50),
        ("background down", False, False, 20),
        ("signal up", True, False, 25),
    ):
        weight = rng.uniform(0.1, 2.0, n_events)
        weight[::5] *= -0.3
        logit = rng.normal(0.5 if is_signal else -0.5, 2.0, n_events)
        populations[name] = logit, weight, is_signal, is_nominal
    return populations


def scored(logit, weight, is_signal, is_nominal=True):
    return Scores.of(logit, weight, is_signal=is_signal, is_nominal=is_nominal)


def mean_entropy(populations, *, is_signal):
    logit, weight = (np.concatenate([one[i] for one in populations]) for i in (0, 1))
    probability = 1 / (1 + np.exp(-logit if is_signal else logit))
    return -np.average(np.log(probability), weights=weight)


@pytest.mark.parametrize("augmented", [False, True])
def test_cross_entropy_by_hand(augmented):
    populations = classified()
    used = [one for one in populations.values() if augmented or one[3]]
    want = 0.5 * sum(
        mean_entropy([one for one in used if one[2] is kind], is_signal=kind)
        for kind in (True, False)
    )
    loss = BinaryCrossEntropy(augmented=augmented)
    whole = tuple(scored(*one) for one in populations.values())
    np.testing.assert_allclose(loss(FLAT, whole), want, rtol=1e-12)
    cut = tuple(
        scored(logit[:7], weight[:7], *flags) + scored(logit[7:], weight[7:], *flags)
        for logit, weight, *flags in populations.values()
    )
    np.testing.assert_allclose(loss(FLAT, cut), want, rtol=1e-12)


def test_cross_entropy_of_certain_scores_is_finite():
    # Probabilities of exp(-800) have no logarithm.
    def loss(logits):
        scores = tuple(
            scored(logit, jnp.array([1.0, 3.0]), kind)
            for logit, kind in zip(logits, (True, False), strict=True)
        )
        return BinaryCrossEntropy()(FLAT, scores)

    logits = jnp.array([[800.0, -800.0], [800.0, -800.0]])
    np.testing.assert_allclose(loss(logits), 0.5 * (800 * 3 / 4 + 800 / 4), rtol=1e-12)
    want = [[0.0, -3 / 8], [1 / 8, 0.0]]
    np.testing.assert_allclose(jax.grad(loss)(logits), want, atol=1e-15)


def test_cross_entropy_needs_both_classes_with_weight():
    populations = classified()
    with pytest.raises(ValueError, match="both signal and background"):
        BinaryCrossEntropy()(FLAT, (scored(*populations["signal"]),))
    nobody = scored(populations["background"][0], np.zeros(60), is_signal=False)
    scores = (scored(*populations["signal"]), nobody)
    found = BinaryCrossEntropy().evaluate(FLAT, scores)
    assert found.result == RESULTS.undefined_loss
    assert np.isnan(found.value)
