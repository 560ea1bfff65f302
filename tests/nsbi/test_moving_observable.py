"""Binned tests with optimal observables, fixed or made anew for each tested value."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from diffana import infer, nsbi
from diffana.data.toys import Interference
from diffana.errors import DataError
from diffana.histfactory.interpolation import code4
from diffana.likelihood import Parameters
from diffana.losses import SigmaMu
from diffana.nsbi.binned_mixture import BinnedData, BinnedMixture
from diffana.nsbi.bins import (
    HardBins,
    SoftBins,
    counts,
    equal_expectation_edges,
    least_loss_edges,
)
from diffana.nsbi.optimal_observables import (
    LogIntensityRatio,
    Score,
    poi_score,
    profiled_score,
)
from diffana.nsbi.parametrised import binned_with, parametrised_scan, ratio_to
from nsbi.exact_interference import exact_likelihood


TRUTH = jnp.array([1.0, 0.0])
SIZES = (2, 4, 8, 16, 32, 64)
N_PER_AXIS = 41


@pytest.fixture(scope="module")
def unbinned():
    likelihood = exact_likelihood(n_per_axis=N_PER_AXIS)
    return likelihood, likelihood.expected_data(TRUTH)


@pytest.fixture(scope="module")
def grid():
    nodes, volume = Interference().grid(N_PER_AXIS)
    return jnp.asarray(nodes), volume


# One program for all that differ in numbers alone.
evaluated = eqx.filter_jit(lambda function, *arguments: function(*arguments))
information = eqx.filter_jit(infer.fisher_information)
expected_counts = eqx.filter_jit(BinnedMixture.expected_counts)


def observed(observable, likelihood):
    (channel,) = likelihood.channels
    value = evaluated(observable, channel, likelihood.parameters.names, channel.bank)
    return np.ravel(value)[: N_PER_AXIS**3]


@pytest.mark.parametrize("direction", [[1.0, 0.0], [0.0, 1.0], [0.3, -2.0]])
def test_score_is_the_derivative_of_the_intensity(unbinned, grid, direction):
    at, direction = jnp.array([0.6, 0.7]), jnp.array(direction)
    problem, (nodes, volume) = Interference(), grid

    def log_intensity(x, params):
        return problem.log_intensity(x, params[0] ** 2, params[1])

    score = lambda x: jax.jvp(lambda p: log_intensity(x, p), (at,), (direction,))[1]
    found = observed(Score(at, direction), unbinned[0])
    # Closed form; the norms on the grid are right to 1e-8.
    np.testing.assert_allclose(found, jax.vmap(score)(nodes), atol=1e-7, rtol=1e-7)
    assert volume.shape == found.shape


def test_ratio_is_that_of_the_intensities(unbinned, grid):
    problem, (nodes, _) = Interference(), grid
    ends = jnp.array([[0.4, -0.5], [1.2, 1.0]])
    above, below = (
        jax.vmap(lambda x, p=p: problem.log_intensity(x, p[0] ** 2, p[1]))(nodes)
        for p in ends
    )
    found = observed(LogIntensityRatio(*ends), unbinned[0])
    np.testing.assert_allclose(found, above - below, atol=1e-7, rtol=1e-7)


def test_profiled_score_is_not_mimicked_by_the_nuisance_parameter(unbinned):
    likelihood, data = unbinned
    efficient = profiled_score(likelihood, TRUTH)
    weight = np.ravel(data.rows[0].weight)[: N_PER_AXIS**3]
    score = observed(efficient, likelihood)
    of_nuisance = observed(Score(TRUTH, jnp.array([0.0, 1.0])), likelihood)
    # Efficient information: the inverse of the variance that profiling leaves. The
    # constraint is part of it, here with information 1 against 17 700 of the events.
    follow = float(efficient.direction[1])
    efficiency = weight @ score**2 + follow**2
    variance = np.linalg.inv(information(likelihood, TRUTH))[0, 0]
    np.testing.assert_allclose(efficiency * variance, 1.0, rtol=1e-6)
    assert abs(weight @ (score * of_nuisance) + follow) < 1e-6 * efficiency


@pytest.mark.parametrize("params", [[1.0, 0.0], [0.3, 1.5], [1.4, -0.6]])
def test_expected_counts_are_integrals_of_the_intensity(unbinned, grid, params):
    problem, (nodes, volume) = Interference(), grid
    binned, _ = binned_with(*unbinned, poi_score(unbinned[0], TRUTH), 8)
    index = np.ravel(binned.regions[0].membership.index)[: len(nodes)]
    at = lambda x: problem.intensity(x, params[0] ** 2, params[1])
    want = np.bincount(index, volume * np.asarray(jax.vmap(at)(nodes)), 8)
    found = expected_counts(binned, jnp.array(params))
    # The bank is the grid, whose norms are right to 1e-8.
    np.testing.assert_allclose(found, want, rtol=1e-7)


def small(*, soft, normalised=True):
    """Three components, all kinds of morphs, 40 rows in four bins."""
    random = np.random.default_rng(5)
    n_events = 40
    ends = random.normal(0.0, 0.2, (n_events, 2, 2))
    powers = ((1, 0), (0, 1), (1, 1), (0, 2))
    terms = random.normal(0.0, 0.1, (n_events, len(powers)))
    components = (
        nsbi.Component(30.0, name="S"),
        nsbi.Component(
            200.0,
            yield_morph=nsbi.YieldMorph(("a",), [1.2], [0.9]),
            shape_morphs=(nsbi.PolyExp(("a", "b")),),
            name="B",
            normalised=normalised,
        ),
        nsbi.Component(
            80.0,
            shape_morphs=(nsbi.LogPolynomial(("a", "b"), powers),),
            name="C",
            normalised=normalised,
        ),
    )
    bank = nsbi.held(
        random.uniform(0.5, 1.5, n_events),
        random.normal(0.0, 0.5, (n_events, 3)),
        [(), (ends,), (terms,)],
        chunk=16,
    )
    coefficients = nsbi.Products((("mu",), ("norm",), ()))
    channel = nsbi.Channel(components, coefficients, bank, "R")
    parameters = Parameters(
        inits=jnp.array([1.0, 1.0, 0.0, 0.0]),
        lower=jnp.array([-5.0, 0.0, -5.0, -5.0]),
        upper=jnp.array([5.0, 5.0, 5.0, 5.0]),
        fixed=jnp.zeros(4, bool),
        names=("mu", "norm", "a", "b"),
        poi="mu",
    )
    constraints = nsbi.GaussianConstraints(("a", "b"), [1.0, 0.5])
    model = nsbi.Unbinned(parameters, (channel,), constraints)
    shape = bank.weight.shape
    if soft:
        # Shares that add up to less than 1: events beyond the range.
        share = random.dirichlet(np.ones(5), shape)[..., :4]
        bins = SoftBins(jnp.asarray(share))
    else:
        bins = HardBins(jnp.asarray(random.integers(0, 4, shape)), 4)
    return BinnedMixture.of(model, [bins])


@pytest.mark.parametrize(
    ("soft", "normalised", "settled"),
    [(True, True, False), (False, False, True), (True, False, False)],
)
def test_derivatives_in_closed_form(soft, normalised, settled):
    model = small(soft=soft, normalised=normalised)
    model = model.settled() if settled else model
    # One nuisance parameter inside and one outside the polynomial, bins far from
    # expectation, auxiliary data away from the parameters.
    params = jnp.array([0.7, 1.1, 0.4, -1.3])
    data = BinnedData(jnp.array([60.0, 91.0, 45.0, 0.0]), jnp.array([0.3, -0.2]))
    moves = 1e-4 * jnp.concatenate([jnp.eye(4), -jnp.eye(4)])
    points = jnp.concatenate([params[None], params[None] + moves])
    value = jax.jit(jax.vmap(lambda at: model.twice_nll(at, data)))(points)
    found = jax.jit(jax.vmap(lambda at: model.expansion(at, data)))(points)

    def differences(rows):
        return (rows[1:5] - rows[5:]) / 2e-4

    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    # Central differences: h² times third derivatives of some hundreds.
    np.testing.assert_allclose(found.gradient[0], differences(value), atol=1e-5)
    hessian = jax.vmap(lambda one: one.hessian)(found)[0]
    np.testing.assert_allclose(hessian, differences(found.gradient), atol=1e-4)
    curvature = jax.vmap(lambda one: one.curvature)(found)[0]
    assert np.linalg.eigvalsh(curvature).min() > 0
    # Far from expectation the two differ: the bend is there.
    assert np.abs(hessian - curvature).max() > 1.0


def test_expected_counts_by_hand():
    model = small(soft=True)
    (region,) = model.regions
    rows = region.channel.bank
    terms = rows.source.terms
    weight = np.ravel(rows.weight)
    share = np.asarray(region.membership.share).reshape(len(weight), 4)
    mu, norm, a, b = 0.7, 1.1, 0.4, -1.3
    ends = np.asarray(terms.shapes[1][0]).reshape(-1, 2, 2)
    poly = np.asarray(terms.shapes[2][0]).reshape(-1, 4)
    log_ratio = np.asarray(terms.log_ratio).reshape(-1, 3)
    inside = code4(
        jnp.full(len(weight), a), np.exp(ends[:, 1, 0]), np.exp(ends[:, 0, 0])
    )
    of_b = np.asarray(inside) * np.exp(-b * ends[:, 1, 1])
    of_c = np.exp(poly @ np.array([a, b, a * b, b**2]))
    growth = float(code4(jnp.array(a), jnp.array(0.9), jnp.array(1.2)))
    want = 0.0
    for log, morph, events in zip(
        log_ratio.T,
        (1.0, of_b, of_c),
        (mu * 30.0, norm * 200.0 * growth, 80.0),
        strict=True,
    ):
        density = weight * np.exp(log) * morph
        want = want + events * (density @ share) / density.sum()
    found = expected_counts(model, jnp.array([mu, norm, a, b]))
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_a_loss_has_a_gradient_in_the_shares():
    model = small(soft=True)

    def sigma(share):
        moved = eqx.tree_at(lambda m: m.regions[0].membership.share, model, share)
        return SigmaMu(log=True)(moved)

    share = model.regions[0].membership.share
    step = jnp.asarray(np.random.default_rng(1).normal(size=share.shape))
    both = jax.jit(jax.value_and_grad(sigma))
    slope = jnp.vdot(both(share)[1], step)
    above, below = (both(share + h * step)[0] for h in (1e-5, -1e-5))
    # Central differences: errors of order h² and rounding/h.
    np.testing.assert_allclose(slope, (above - below) / 2e-5, rtol=1e-6)


def test_information_that_is_lost_is_the_spread_within_bins(unbinned):
    likelihood, data = unbinned
    score = poi_score(likelihood, TRUTH)
    value = observed(score, likelihood)
    weight = np.ravel(data.rows[0].weight)[: len(value)]
    binned, _ = binned_with(likelihood, data, score, 16)
    index = np.ravel(binned.regions[0].membership.index)[: len(value)]
    content = np.bincount(index, weight)
    inside = value - (np.bincount(index, weight * value) / content)[index]
    whole, kept = (information(model, TRUTH)[0, 0] for model in (likelihood, binned))
    # An identity, to the rounding of 16 000 terms.
    np.testing.assert_allclose(whole, weight @ value**2, rtol=1e-10)
    np.testing.assert_allclose(whole - kept, weight @ inside**2, rtol=1e-7)
    # 16 bins of least loss keep more than 99 %, those of equal expectation do not.
    even, _ = binned_with(likelihood, data, score, 16, binning=equal_expectation_edges)
    assert kept > 0.99 * whole
    assert information(even, TRUTH)[0, 0] < 0.85 * whole


@eqx.filter_jit
def value(model, params, data):
    return model.settled().twice_nll(params, data)


def kept_fixed(unbinned, mu, observable, n_bins, binning=least_loss_edges):
    """Share of the unbinned t(μ) that is left, the nuisance parameter being known.

    The data are expected ones, so that no fit is needed: the free one returns the
    truth.
    """
    likelihood, data = unbinned
    at = jnp.array([np.sqrt(mu), 0.0])
    binned, counted = binned_with(
        likelihood, data, observable, n_bins, expectation=at, binning=binning
    )
    whole, part = (
        value(model, at, seen) - value(model, TRUTH, seen)
        for model, seen in (unbinned, (binned, counted))
    )
    return float(part / whole)


def kept_profiled(unbinned, mu, choice, n_bins):
    """Share of the unbinned profiled t(μ) that is left, for several μ."""
    likelihood, data = unbinned
    root = jnp.sqrt(jnp.array(mu))
    whole = infer.scan(likelihood, data, {"sqrt_mu": root}).delta_twice_nll
    found = parametrised_scan(likelihood, data, root, choice, n_bins)
    return np.asarray(found.delta_twice_nll / whole)


@pytest.mark.parametrize("mu", [0.126])
def test_refined_bins_keep_more_and_never_more_than_all(unbinned, mu):
    # Bins of equal expectation are refinements of each other, and t of expected data
    # is a divergence, which no map of the events can enlarge.
    ratio = LogIntensityRatio(jnp.array([np.sqrt(mu), 0.0]), TRUTH)
    found = [
        kept_fixed(unbinned, mu, ratio, n_bins, equal_expectation_edges)
        for n_bins in SIZES
    ]
    assert np.all(np.diff(found) > 0)
    assert 0 < found[0] < found[-1] < 1


@pytest.mark.parametrize("mu", [0.05, 0.126, 1.5])
def test_ratio_to_the_truth_converges_to_the_unbinned_test(unbinned, mu):
    ratio = LogIntensityRatio(jnp.array([np.sqrt(mu), 0.0]), TRUTH)
    lost = np.array([1 - kept_fixed(unbinned, mu, ratio, n_bins) for n_bins in SIZES])
    # The loss falls like the square of the width of a bin: by 4 with each doubling, a
    # little less for few bins.
    assert np.all(lost > 0)
    assert np.all(lost[2:-1] / lost[3:] > 3)
    assert lost[-1] < 1e-3
    # Eight bins lose a twentieth at most, also at the second minimum.
    assert lost[2] < 0.05


def test_a_score_is_not_enough_for_values_far_away(unbinned):
    # Moving or not, with as many bins as keep 0.999 of it with the ratio.
    second, near = (jnp.array([np.sqrt(mu), 0.0]) for mu in (0.126, 0.8))
    score = lambda at: poi_score(unbinned[0], at)
    assert kept_fixed(unbinned, 0.126, score(second), 64) < 0.75
    assert kept_fixed(unbinned, 0.126, score(TRUTH), 64) < 0.9
    assert kept_fixed(unbinned, 0.8, score(near), 64) > 0.999
    assert kept_fixed(unbinned, 0.8, score(TRUTH), 64) > 0.999


@pytest.mark.slow
def test_profiled_ratio_keeps_what_the_nuisance_parameter_does_not_mimic(unbinned):
    mu = [0.05, 0.126, 1.5]
    profiled = kept_profiled(unbinned, mu, ratio_to(TRUTH, profiled=True), 16)
    assert 0.98 < profiled.min() < profiled.max() < 1
    plain = kept_profiled(unbinned, mu, ratio_to(TRUTH), 16)
    assert plain[0] < 0.9
    assert np.all(plain < profiled)


@pytest.mark.slow
def test_profiled_ratio_converges_to_the_unbinned_test(unbinned):
    mu = [0.05, 0.126, 0.8, 1.5]
    choice = ratio_to(TRUTH, profiled=True)
    lost = 1 - np.stack([kept_profiled(unbinned, mu, choice, n) for n in SIZES[1:]])
    # As without the nuisance parameter.
    assert np.all(lost[1:-1] / lost[2:] > 3)
    assert np.all(lost[-1] < 1e-3)
    assert np.all(lost > 0)


@pytest.mark.slow
def test_many_bins_give_the_published_scan():
    # On the grid of the published quadrature, see test_interference_likelihood.
    likelihood = exact_likelihood()
    data = likelihood.expected_data(TRUTH)
    published = {0.05: 6.742680, 0.5: 6.607418, 0.8: 1.699612, 1.5: 17.518977}
    root = jnp.sqrt(jnp.array(list(published)))
    found = parametrised_scan(
        likelihood, data, root, ratio_to(TRUTH, profiled=True), 256
    )
    # The loss falls like the square of the number: 6e-4 with 64 bins.
    values = np.array(list(published.values()))
    np.testing.assert_allclose(found.delta_twice_nll, values, rtol=1e-4)
    assert (np.asarray(found.delta_twice_nll) < values).all()


def test_a_fixed_observable_is_an_ordinary_scan(unbinned):
    likelihood, data = unbinned
    score = poi_score(likelihood, TRUTH)
    edges = least_loss_edges(
        observed(score, likelihood),
        np.ravel(data.rows[0].weight)[: N_PER_AXIS**3],
        16,
    )
    always = lambda value, weight, n_bins: edges
    root = jnp.sqrt(jnp.array([0.3, 0.9, 1.4]))
    moving = parametrised_scan(
        likelihood, data, root, lambda *_: score, 16, binning=always
    )
    model, counted = binned_with(likelihood, data, score, 16, binning=always)
    ordinary = infer.scan(model, counted, {"sqrt_mu": root})
    # The fits are certified to 1e-10 in twice_nll.
    np.testing.assert_allclose(
        moving.delta_twice_nll, ordinary.delta_twice_nll, atol=1e-8
    )
    np.testing.assert_allclose(moving.bestfit, ordinary.bestfit, atol=1e-6)
    np.testing.assert_allclose(
        moving.free.bestfit, [ordinary.free.bestfit] * 3, atol=1e-6
    )


def test_the_reference_itself_is_tested_with_the_score(unbinned):
    likelihood, data = unbinned
    found = parametrised_scan(
        likelihood, data, [1.0], ratio_to(TRUTH, profiled=True), 16
    )
    # Expected data of the tested value: no difference, but not for want of bins.
    assert abs(float(found.delta_twice_nll[0])) < 1e-8
    np.testing.assert_allclose(found.free.bestfit[0], TRUTH, atol=1e-6)
    with pytest.raises(DataError, match="too few different values, 1 in all"):
        binned_with(likelihood, data, LogIntensityRatio(TRUTH, TRUTH), 8)


def test_events_with_terms_of_their_own(unbinned):
    likelihood, data = unbinned
    (rows,), (channel,) = data.rows, likelihood.channels
    own = data._replace(rows=(nsbi.Rows(rows.weight, channel.bank.source),))
    score = poi_score(likelihood, TRUTH)
    model, want = binned_with(likelihood, data, score, 5)
    _, found = binned_with(likelihood, own, score, 5)
    np.testing.assert_array_equal(found.counts, want.counts)
    np.testing.assert_allclose(found.counts.sum(), rows.total(), rtol=1e-12)
    with pytest.raises(ValueError, match=r"region 'plane': .* bins have to be given"):
        model.binned(own)


def test_a_wrong_observable_costs_sensitivity_and_biases_nothing(unbinned):
    likelihood, data = unbinned
    terms = likelihood.channels[0].bank.source.terms
    blurred = terms._replace(log_ratio=terms.log_ratio.at[..., :2].multiply(0.7))
    wrong = eqx.tree_at(lambda m: m.channels[0].bank.source.terms, likelihood, blurred)
    left = []
    for model in (likelihood, wrong):
        score = poi_score(model, TRUTH)
        binned, counted = binned_with(model, data, score, 8, filling=likelihood)
        # Every bin holds what is expected, whichever events are in it.
        want = expected_counts(binned, TRUTH)
        np.testing.assert_allclose(counted.counts, want, rtol=1e-12)
        left.append(float(information(binned, TRUTH)[0, 0]))
    assert left[1] < 0.99 * left[0]


def test_an_intensity_that_is_negative_is_refused(unbinned):
    likelihood, data = unbinned
    (channel,) = likelihood.channels
    # A density that is too small for what interference takes from it, and next to
    # nothing that does not interfere.
    terms = channel.bank.source.terms
    moved = terms._replace(log_ratio=terms.log_ratio.at[..., 1].multiply(1.5))
    broken = eqx.tree_at(lambda m: m.channels[0].bank.source.terms, likelihood, moved)
    at = jnp.array([3.0, 0.0])
    smaller = eqx.tree_at(
        lambda m: m.channels[0].components[3].expected, broken, jnp.array(1.0)
    )
    with pytest.raises(DataError, match=r"region 'plane': event \d+: its "):
        binned_with(smaller, data, poi_score(smaller, at), 5, expectation=at)


def test_pseudo_experiments_have_the_expected_counts_and_auxiliary_data():
    model = small(soft=False)
    params = jnp.array([1.0, 1.2, 0.5, -0.3])
    toys = model.samples(params, 4000, seed=3)
    want = model.expected_data(params)
    pull = (np.mean(toys.counts, axis=0) - want.counts) / np.sqrt(want.counts / 4000)
    # Four normal numbers: beyond 4 once in 4000 times.
    assert np.abs(pull).max() < 4
    np.testing.assert_allclose(
        np.std(toys.counts, axis=0) ** 2 / want.counts, 1, atol=0.1
    )
    np.testing.assert_allclose(np.std(toys.auxdata, axis=0), [1.0, 0.5], rtol=0.05)
    one = model.sample(params, jax.random.key(0))
    assert one.counts.shape == (4,)


numbers = st.floats(-100, 100).map(lambda x: round(x, 3))


@given(
    value=arrays(float, st.integers(20, 60), elements=numbers, unique=True),
    n_bins=st.integers(1, 8),
    seed=st.integers(0, 100),
)
def test_edges_share_the_events_out(value, n_bins, seed):
    weight = np.random.default_rng(seed).uniform(0.1, 1.0, len(value))
    even = equal_expectation_edges(value, weight, n_bins)
    least = least_loss_edges(value, weight, n_bins)
    lost = {}
    for name, edges in (("even", even), ("least", least)):
        assert edges[0] == -np.inf
        assert edges[-1] == np.inf
        assert (np.diff(edges) > 0).all()
        index = np.digitize(value, edges[1:-1])
        content = np.bincount(index, weight, n_bins)
        assert (content > 0).all()
        mean = np.bincount(index, weight * value, n_bins) / content
        lost[name] = weight @ (value - mean[index]) ** 2
        if name == "even":
            # No edge is further from its share than the event at it.
            share = weight.sum() * np.arange(1, n_bins) / n_bins
            over = np.cumsum(content)[:-1] - share
            assert (over > -1e-9).all()
            assert (over < 1.0).all()
        elif n_bins > 1:
            # Nothing is won by moving an edge alone: halfway between means.
            halfway = 0.5 * (mean[1:] + mean[:-1])
            assert (np.digitize(value, halfway) == index).all()


def test_least_loss_of_a_normal_score():
    # Max, IRE Trans. Inf. Theory 6 (1960) 7, table I: distortion of 2, 4, 8 levels.
    value = np.linspace(-8, 8, 40_001)
    weight = np.exp(-(value**2) / 2)
    weight /= weight.sum()
    for n_bins, published in ((2, 0.3634), (4, 0.1175), (8, 0.03454)):
        edges = least_loss_edges(value, weight, n_bins)
        index = np.digitize(value, edges[1:-1])
        content = np.bincount(index, weight)
        mean = np.bincount(index, weight * value) / content
        lost = weight @ (value - mean[index]) ** 2
        # Four digits are published, the last of them is off by one in the third.
        np.testing.assert_allclose(lost, published, rtol=4e-4)


@pytest.mark.parametrize("edges", [equal_expectation_edges, least_loss_edges])
def test_edges_that_cannot_be_made_are_refused(edges):
    with pytest.raises(
        DataError, match=r"5 bins: .* too few different values, 4 in all"
    ):
        edges(np.array([1.0, 2, 3, 4, 4]), np.ones(5), 5)
    with pytest.raises(DataError, match=r"event 1: its expected weight is -0\.5"):
        edges(np.array([1.0, 2.0]), np.array([1.0, -0.5]), 2)
    with pytest.raises(DataError, match="event 0: its observable is nan"):
        edges(np.array([np.nan, 2.0]), np.ones(2), 2)
    # Rows of weight 0 are no events.
    found = edges(np.array([np.nan, 2.0, 3.0]), np.array([0.0, 1.0, 1.0]), 2)
    np.testing.assert_array_equal(found, [-np.inf, 2.5, np.inf])


def test_counts_on_an_edge_and_beyond():
    value = jnp.array([[-9.0, 0.0, 0.5], [1.0, 7.0, 0.0]])
    bins = HardBins.between(value, [-1.0, 0.0, 1.0, 2.0])
    weight = jnp.array([[1.0, 2.0, 4.0], [8.0, -3.0, 0.0]])
    assert counts(weight, bins).tolist() == [1.0, 6.0, 5.0]


def test_a_parameter_of_interest_that_is_held_is_not_scanned(unbinned):
    for values, fixed, message in (
        ([1.0], {"sqrt_mu": 1.0}, "is held"),
        ([[1.0]], {}, "have shape"),
        ([], {}, "have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            parametrised_scan(*unbinned, values, poi_score, 4, fixed=fixed)
