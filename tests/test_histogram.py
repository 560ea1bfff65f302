import functools as ft
import importlib
import itertools
import warnings

import equinox as eqx
import hist
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import mplhep
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads
from scipy import special, stats

from diffana.histogram import (
    ArgmaxHistogram,
    BinnedKDE,
    HardHistogram,
    Histogram,
    SoftmaxHistogram,
    kernel_mass,
)
from diffana.trainable import trainable


OPEN_EDGES = np.array([-np.inf, -1.0, 0.2, 0.5, np.inf])
CLOSED_EDGES = np.array([-2.0, -1.0, 0.2, 0.5, 2.0])


@pytest.fixture(scope="module")
def relaxed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("relaxed")


def sample(n_events, seed=0):
    """Values across the edges, and weights of both signs."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=n_events), rng.normal(0.5, 1.0, size=n_events)


@eqx.filter_jit
def both_sums(histogrammer, x, weight, edges):
    histogram = histogrammer(x, weight, edges)
    return jnp.stack([histogram.sumw, histogram.sumw2])


# --- the Gaussian kernel -------------------------------------------------------------


@pytest.mark.parametrize("bandwidth", [0.02, 0.3, 5.0])
def test_bkde_matches_scipy(bandwidth):
    x, weight = sample(50)
    cdf = stats.norm.cdf(OPEN_EDGES[None, :], loc=x[:, None], scale=bandwidth)
    contribution = weight[:, None] * np.diff(cdf, axis=1)
    got = BinnedKDE(bandwidth)(x, weight, OPEN_EDGES)
    # Differences of distribution functions are good to an ulp of 1, times 50 events.
    np.testing.assert_allclose(got.sumw, contribution.sum(axis=0), atol=1e-14)
    np.testing.assert_allclose(got.sumw2, (contribution**2).sum(axis=0), atol=1e-14)


@pytest.mark.parametrize("bandwidth", [0.05, 0.7])
def test_bkde_matches_relaxed(relaxed, bandwidth):
    x, _ = sample(200)
    got = BinnedKDE(bandwidth)(x, np.ones(200), CLOSED_EDGES).sumw
    with jax.numpy_rank_promotion("allow"):
        want = relaxed.hist(jnp.asarray(x), jnp.asarray(CLOSED_EDGES), bandwidth)
    np.testing.assert_allclose(got, want, rtol=1e-12)  # the same sum in other order


def test_kernel_keeps_its_digits_in_both_tails():
    edges = jnp.array([-9.0, -8.5, 8.5, 9.0])
    low, _, high = kernel_mass(jnp.zeros(1), edges, jnp.asarray(1.0))[0]
    want = stats.norm.sf(8.5) - stats.norm.sf(9.0)
    np.testing.assert_allclose([low, high], want, rtol=1e-13)  # z² ulp in the exponent


@pytest.mark.parametrize("x", [1e8, -1e8])
def test_kernel_far_from_all_edges_is_exact_with_zero_derivatives(x):
    @jax.jit
    def mass(x, bandwidth):
        return kernel_mass(x[None], jnp.asarray(OPEN_EDGES), bandwidth)[0]

    args = (jnp.asarray(x), jnp.asarray(1e-3))
    np.testing.assert_array_equal(mass(*args), np.eye(4)[3 if x > 0 else 0])
    assert not np.any(jax.jacrev(mass, (0, 1))(*args))
    assert not np.any(jax.jacfwd(jax.jacrev(mass))(*args))


def test_bkde_gradients_match_finite_differences():
    x, weight = sample(5)

    # Chunks, because a rule of differentiation must also survive the scan over them.
    def sums(x, weight, inner, bandwidth):
        edges = jnp.concatenate([jnp.array([-jnp.inf]), inner, jnp.array([jnp.inf])])
        kde = BinnedKDE(bandwidth, chunk=2)
        histogram = kde(x, weight, edges)
        return histogram.sumw, histogram.sumw2

    args = (x, weight, np.array([-0.5, 0.1]), 0.4)
    check_grads(jax.jit(sums), args, order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("jacobian", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("chunk", [100, 3])
def test_derivatives_at_infinite_edges_are_zero(jacobian, chunk):
    x, weight = sample(9)

    def sums(edges):
        return both_sums(BinnedKDE(0.3, chunk=chunk), x, weight, edges)

    first = jax.jit(jacobian(sums))(OPEN_EDGES)
    second = jax.jit(jacobian(jax.jacrev(sums)))(OPEN_EDGES)
    assert np.isfinite(second).all()
    assert not np.any(first[..., [0, -1]])
    assert not np.any(second[..., [0, -1]])
    assert np.all(np.any(first[..., 1:-1], axis=(0, 1)))


@pytest.mark.parametrize("edge", [0, 1])
def test_derivative_of_an_event_on_an_edge(edge):
    edges = jnp.array([0.0, 0.5])

    def mass(x):
        return kernel_mass(x[None], edges, jnp.asarray(0.3))[0, 0]

    density = stats.norm.pdf(edges, loc=edges[edge], scale=0.3)
    slope = jax.grad(mass)(edges[edge])
    np.testing.assert_allclose(slope, density[0] - density[1], rtol=1e-14)


def test_yield_and_gradient_of_a_normal_sample():
    low, high, location, bandwidth, n_events = -0.3, 0.9, 0.4, 0.05, 40_000
    # Midpoints of equal probability: the sample has no statistical noise.
    quantiles = stats.norm.ppf((np.arange(n_events) + 0.5) / n_events)
    weight = np.full(n_events, 1 / n_events)

    def expected(mu):
        edges = np.array([low, high])
        return BinnedKDE(bandwidth)(mu + quantiles, weight, edges).sumw[0]

    value, slope = jax.value_and_grad(expected)(location)
    # The sample is normal with unit width; smearing with the kernel widens it to
    # √(1 + h²), a change of order h² = 2.5e-3 that the widened form takes into account.
    widened = stats.norm(location, np.hypot(1.0, bandwidth))
    np.testing.assert_allclose(value, widened.cdf(high) - widened.cdf(low), rtol=1e-6)
    np.testing.assert_allclose(
        slope, -(widened.pdf(high) - widened.pdf(low)), rtol=1e-5
    )
    phi = stats.norm(location, 1.0)
    np.testing.assert_allclose(value, phi.cdf(high) - phi.cdf(low), rtol=2 * 0.05**2)
    np.testing.assert_allclose(slope, -(phi.pdf(high) - phi.pdf(low)), rtol=2 * 0.05**2)


finite = st.floats(-5, 5)


@given(
    x=arrays(float, 20, elements=finite),
    weight=arrays(float, 20, elements=finite),
    bandwidth=st.floats(1e-3, 1e2),
)
def test_infinite_edges_conserve_signed_weight(x, weight, bandwidth):
    counts = both_sums(BinnedKDE(bandwidth), x, weight, OPEN_EDGES)[0]
    # 80 terms up to 5, each good to an ulp.
    np.testing.assert_allclose(counts.sum(), weight.sum(), rtol=1e-12, atol=1e-13)


@given(
    x=arrays(float, 20, elements=finite),
    weight=arrays(float, 20, elements=finite),
    order=st.permutations(range(20)),
    cut=st.integers(1, 19),
)
def test_order_does_not_matter_and_samples_add(x, weight, order, cut):
    def sums(x, weight):
        return both_sums(BinnedKDE(0.3), x, weight, OPEN_EDGES)

    whole = sums(x, weight)
    order = np.array(order)
    # Sums of 20 terms up to 25 in another order.
    np.testing.assert_allclose(sums(x[order], weight[order]), whole, atol=1e-12)
    first = np.arange(20) < cut
    parts = sums(x, np.where(first, weight, 0)) + sums(x, np.where(first, 0, weight))
    np.testing.assert_allclose(parts, whole, atol=1e-12)


@given(x=arrays(float, 20, elements=finite), weight=arrays(float, 20, elements=finite))
@pytest.mark.parametrize("edges", [OPEN_EDGES, CLOSED_EDGES])
def test_narrow_kernel_is_the_hard_histogram(edges, x, weight):
    # Events 9 bandwidths off the edges have 1e-19 of themselves in the wrong bin.
    distance = np.abs(x[:, None] - edges[None, :]).min(axis=1)
    weight = np.where(distance > 9e-6, weight, 0.0)
    soft = both_sums(BinnedKDE(1e-6), x, weight, edges)
    hard = both_sums(HardHistogram(), x, weight, edges)
    np.testing.assert_allclose(soft, hard, atol=1e-12)


def test_event_on_an_edge_is_shared_by_the_soft_and_taken_by_the_upper_hard_bin():
    x, weight, edges = np.array([0.5]), np.ones(1), np.array([0.0, 0.5, 1.0])
    np.testing.assert_array_equal(BinnedKDE(1e-9)(x, weight, edges).sumw, [0.5, 0.5])
    np.testing.assert_array_equal(HardHistogram()(x, weight, edges).sumw, [0.0, 1.0])


# --- hard bins -----------------------------------------------------------------------


@given(
    # Quarters put many events exactly on edges.
    x=arrays(float, 30, elements=st.integers(-12, 12).map(lambda n: n / 4)),
    weight=arrays(float, 30, elements=st.integers(-8, 8).map(float)),
)
def test_hard_histogram_is_numpys(x, weight):
    edges = np.array([-2.0, -1.0, 0.25, 0.5, 2.0])
    sums = both_sums(HardHistogram(), x, weight, edges)
    want = np.stack(
        [np.histogram(x, edges, weights=power)[0] for power in (weight, weight**2)]
    )
    np.testing.assert_array_equal(sums, want)  # small integers are exact


@pytest.mark.parametrize("edges", [OPEN_EDGES, CLOSED_EDGES])
def test_hard_histogram_is_hists(edges):
    x, weight = sample(300)
    want = hist.Hist(hist.axis.Variable(edges), storage=hist.storage.Weight())
    want.fill(x, weight=weight)
    got = HardHistogram()(x, weight, edges)
    # Sums of 300 terms in another order.
    np.testing.assert_allclose(got.sumw, want.values(), rtol=1e-12)
    np.testing.assert_allclose(got.sumw2, want.variances(), rtol=1e-12)


def test_hard_histogram_is_linear_in_the_weights_and_flat_in_the_rest():
    x, weight = sample(10)

    def total(x, weight, edges):
        return HardHistogram()(x, weight, edges).sumw[1]

    dx, dweight, dedges = jax.grad(total, (0, 1, 2))(x, weight, CLOSED_EDGES)
    assert not np.any(dx)
    assert not np.any(dedges)
    np.testing.assert_array_equal(dweight, (x >= -1.0) & (x < 0.2))


# --- softmax -------------------------------------------------------------------------


def test_softmax_histogram_is_its_definition():
    rng = np.random.default_rng(3)
    x, weight = rng.normal(size=(40, 3)), rng.normal(size=40)
    power = np.exp(x / 0.7)
    contribution = weight[:, None] * power / power.sum(axis=1, keepdims=True)
    got = SoftmaxHistogram(0.7)(x, weight, np.arange(4.0))
    np.testing.assert_allclose(got.sumw, contribution.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got.sumw2, (contribution**2).sum(axis=0), rtol=1e-12)


def test_cold_softmax_is_argmax():
    rng = np.random.default_rng(4)
    x, weight = rng.normal(size=(40, 3)), rng.normal(size=40)
    soft = SoftmaxHistogram(1e-5)
    cold, hard = (h(x, weight, np.arange(4.0)) for h in (soft, soft.hard))
    np.testing.assert_allclose(cold.sumw, hard.sumw, atol=1e-12)
    want = [weight[x.argmax(axis=1) == bin].sum() for bin in range(3)]
    np.testing.assert_allclose(hard.sumw, want, atol=1e-14)  # summed in other order


@pytest.mark.parametrize("chunk", [8192, 4096])
def test_compiled_softmax_gradient_of_many_events_is_the_closed_form(chunk):
    # Behind a barrier jaxlib 0.10 compiles this derivative to zero from 4096 events on.
    n_events, scale = 8192, np.array([1.0, -2.0, 0.5])
    x = np.random.default_rng(1).normal(size=(n_events, 3))
    edges, weight = np.arange(4.0), np.ones(n_events)

    def total(x):
        return SoftmaxHistogram(0.7, chunk=chunk)(x, weight, edges).sumw @ scale

    share = special.softmax(x / 0.7, axis=1)
    closed = share * (scale - (share @ scale)[:, None]) / 0.7
    # Products of a few numbers of order 1.
    np.testing.assert_allclose(jax.jit(jax.grad(total))(x), closed, atol=1e-13)


def test_softmax_gradients_match_finite_differences():
    rng = np.random.default_rng(5)

    def sums(x, weight, temperature):
        histogram = SoftmaxHistogram(temperature, chunk=4)(x, weight, np.arange(4.0))
        return histogram.sumw, histogram.sumw2

    args = (rng.normal(size=(7, 3)), rng.normal(size=7), 0.8)
    check_grads(jax.jit(sums), args, order=2, modes=("fwd", "rev"))


# --- what all estimators promise -----------------------------------------------------


ESTIMATORS = [
    (BinnedKDE(0.2), np.linspace(-1, 1, 12)),
    (HardHistogram(), np.linspace(-1, 1, 12)),
    (SoftmaxHistogram(0.5), np.linspace(-1, 1, 48).reshape(12, 4)),
    (ArgmaxHistogram(), np.linspace(-1, 1, 48).reshape(12, 4)),
]


@pytest.mark.parametrize(("estimator", "x"), ESTIMATORS)
def test_variance_scale_touches_the_variance_only(estimator, x):
    weight = np.linspace(-1.0, 2.0, 12)
    plain = estimator(x, weight, OPEN_EDGES)
    scaled = estimator(x, weight, OPEN_EDGES, sumw2_scale=2.5)
    np.testing.assert_array_equal(scaled.sumw, plain.sumw)
    np.testing.assert_array_equal(scaled.sumw2, 2.5 * plain.sumw2)


@pytest.mark.parametrize(("estimator", "x"), ESTIMATORS)
def test_float32_values_are_summed_in_float64(estimator, x):
    x32, weight32 = np.float32(x), np.full(12, 0.1, np.float32)
    histogram = estimator(x32, weight32, np.float32(OPEN_EDGES))
    assert {leaf.dtype for leaf in jax.tree.leaves(histogram)} == {np.dtype(float)}
    wide = estimator(np.float64(x32), np.float64(weight32), np.float32(OPEN_EDGES))
    assert eqx.tree_equal(histogram, wide)


@pytest.mark.parametrize(("estimator", "x"), ESTIMATORS)
def test_an_event_without_a_value_is_not_lost(estimator, x):
    x = np.array(x)
    x[3] = np.nan
    histogram = estimator(x, np.ones(12), OPEN_EDGES)
    assert np.isnan(histogram.sumw).all()
    assert np.isnan(histogram.sumw2).all()


@pytest.mark.parametrize(("estimator", "x"), ESTIMATORS)
def test_no_events_are_empty_bins(estimator, x):
    histogram = estimator(x[:0], np.zeros(0), OPEN_EDGES)
    np.testing.assert_array_equal(histogram.sumw, np.zeros(4))
    np.testing.assert_array_equal(histogram.sumw2, np.zeros(4))


@pytest.mark.parametrize(("estimator", "x"), ESTIMATORS)
def test_hard_twin_is_its_own(estimator, x):
    assert estimator.hard.hard == estimator.hard
    assert isinstance(estimator.hard, HardHistogram | ArgmaxHistogram)


@pytest.mark.parametrize("chunk", [1, 7, 99])
def test_chunks_change_rounding_only(chunk):
    x, weight = sample(100)

    def everything(chunk):
        def total(x, weight, bandwidth):
            histogram = BinnedKDE(bandwidth, chunk=chunk)(x, weight, OPEN_EDGES)
            return jnp.sum(histogram.sumw**3 + histogram.sumw2**2)

        return jax.jit(jax.value_and_grad(total, (0, 1, 2)))(x, weight, 0.3)

    for got, want in zip(
        jax.tree.leaves(everything(chunk)),
        jax.tree.leaves(everything(1000)),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=1e-11)  # sums of 100, then powers


def test_backward_pass_keeps_no_kernels():
    x, weight = sample(1000)
    edges = np.linspace(-2, 2, 21)
    for chunk in (64, 1000):
        sums = ft.partial(both_sums, BinnedKDE(0.3, chunk=chunk), edges=edges)
        _, pullback = jax.vjp(lambda x, w, sums=sums: sums(x, w), x, weight)
        largest = max(np.size(leaf) for leaf in jax.tree.leaves(pullback))
        assert largest < 2 * 1000  # events, padded to whole chunks; kernels are 20 000


def test_memory_is_bounded_by_the_chunk():
    def temporary_bytes(n_events, chunk):
        def total(x, weight):
            return BinnedKDE(0.3, chunk=chunk)(x, weight, np.linspace(-2, 2, 21)).sumw[
                3
            ]

        x, weight = sample(n_events)
        step = jax.jit(jax.grad(total, (0, 1)))
        return step.lower(x, weight).compile().memory_analysis().temp_size_in_bytes

    chunked, whole = temporary_bytes(50_000, 500), temporary_bytes(50_000, 50_000)
    events = 50_000 * 8
    assert chunked < 8 * events  # some copies of events and gradients, padded
    assert whole > 20 * events  # so that the test could fail


def test_bandwidth_is_swept_without_compiling_again():
    traces = []

    @eqx.filter_jit
    def counts(kde, x, weight):
        traces.append(kde)
        return kde(x, weight, OPEN_EDGES).sumw

    x, weight = sample(10)
    results = [counts(BinnedKDE(h), x, weight) for h in (0.1, 0.2, 0.3)]
    assert len(traces) == 1
    assert not np.allclose(results[0], results[2])


def test_widths_of_kernels_are_held():
    assert trainable(BinnedKDE(0.1)).bandwidth is False
    assert trainable(SoftmaxHistogram(0.1)).temperature is False


@pytest.mark.parametrize("width", [0.0, -0.1, np.nan])
def test_widths_of_kernels_are_positive(width):
    with pytest.raises(ValueError, match="bandwidth is"):
        BinnedKDE(width)
    with pytest.raises(ValueError, match="temperature is"):
        SoftmaxHistogram(width)
    with pytest.raises(ValueError, match="chunk is 0"):
        BinnedKDE(0.1, chunk=0)


# --- exchange ------------------------------------------------------------------------


def test_histogram_speaks_uhi():
    plottable = pytest.importorskip("uhi.typing.plottable")
    histogram = Histogram([0.0, 0.5, 1.0], [3.0, 0.0], [4.5, 0.0])
    assert isinstance(histogram, plottable.PlottableHistogram)
    assert isinstance(histogram.axes[0], plottable.PlottableAxisGeneric)
    assert histogram.kind == "COUNT"
    np.testing.assert_array_equal(histogram.counts(), [2.0, 0.0])


@pytest.mark.parametrize(
    ("edges", "drawn"),
    [
        ([0.0, 0.5, 2.0], [0.0, 0.5, 2.0]),
        ([-np.inf, 0.0, 0.5, 2.0], [-0.5, 0.0, 0.5, 2.0]),
        ([0.0, 0.5, 2.0, np.inf], [0.0, 0.5, 2.0, 3.5]),
        ([-np.inf, 0.3, np.inf], [-0.7, 0.3, 1.3]),
        ([-np.inf, np.inf], [0.0, 1.0]),
    ],
)
def test_infinite_bins_are_drawn_like_their_neighbours(edges, drawn):
    n_bins = len(edges) - 1
    (axis,) = Histogram(edges, np.ones(n_bins), np.ones(n_bins)).axes
    np.testing.assert_array_equal(axis.edges, drawn)
    assert list(axis) == list(itertools.pairwise(drawn))
    assert len(axis) == n_bins
    assert axis[-1] == (drawn[-2], drawn[-1])


def test_mplhep_draws_it():
    x, weight = sample(50)
    histogram = BinnedKDE(0.2)(x, weight, OPEN_EDGES)
    figure, ax = plt.subplots()
    (artist,) = mplhep.histplot(histogram, ax=ax)
    np.testing.assert_array_equal(artist.stairs.get_data().values, histogram.sumw)
    assert np.isfinite(artist.stairs.get_data().edges).all()
    plt.close(figure)


def test_hist_reads_it():
    x, weight = sample(50)
    histogram = BinnedKDE(0.2)(x, weight, OPEN_EDGES)
    read = hist.Hist(histogram)
    np.testing.assert_array_equal(read.values(), histogram.sumw)
    np.testing.assert_array_equal(read.variances(), histogram.sumw2)


def test_histogram_names_the_field_of_another_length():
    with pytest.raises(ValueError, match=r"'sumw2' has shape \(3,\).*3 edges"):
        Histogram([0.0, 0.5, 1.0], [3.0, 1.0], [1.0, 2.0, 3.0])
