from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from scipy import stats

from diffana.errors import DataError
from diffana.nsbi.normalisation import Normalised, normalised
from diffana.nsbi.ratios import (
    AbstractRatio,
    ClassRatio,
    Ensemble,
    Exact,
    NetworkRatio,
    Product,
    log_ratios,
    member_log_ratios,
)
from diffana.nsbi.signed import split_signed
from diffana.observable import MLP
from diffana.trainable import trainable


TRACES = []


@final
class Line(AbstractRatio):
    """ln r = slope · x - slope²/2: a standard normal moved by the slope."""

    slope: Array = eqx.field(converter=jnp.asarray)

    def log_ratio(self, features):
        TRACES.append(None)
        return self.slope * features[0] - 0.5 * self.slope**2


def normal(mean):
    return lambda x: jax.scipy.stats.norm.logpdf(x[0], mean)


def network(n_features, **options):
    options = {"hidden": (5,)} | options
    return eqx.filter_jit(lambda key: MLP(n_features, key=key, **options))(
        jax.random.key(0)
    )


def features(n_events, seed=0, n_features=1):
    return np.random.default_rng(seed).normal(size=(n_events, n_features))


def test_network_ratios_are_logits():
    events = features(20, n_features=2)
    single = network(2)
    want = jax.vmap(single.logit)(events)
    # Sums in float32, in another order.
    np.testing.assert_allclose(
        log_ratios(NetworkRatio(single), events), want, atol=1e-6
    )

    several = network(2, n_outputs=3)
    outputs = jax.vmap(several.logit)(events)
    for c in (1, 2, 3):
        found = log_ratios(ClassRatio(several, c), events)
        np.testing.assert_allclose(found, outputs[:, c - 1], atol=1e-6)


def test_a_large_logit_keeps_its_digits():
    # The score of such an event is 1 to rounding: its logit would be infinite.
    line = network(1, hidden=(), dtype=jnp.float64)
    line = eqx.tree_at(lambda n: n.layers[0].weight, line, jnp.array([[300.0]]))
    assert log_ratios(NetworkRatio(line), np.array([[2.0]])) == 600.0


def test_networks_that_do_not_fit_are_refused():
    several = network(2, n_outputs=3)
    single = network(2)
    with pytest.raises(ValueError, match="has 3 outputs"):
        NetworkRatio(several)
    for chosen, numerator in ((several, 0), (several, 4), (single, 1)):
        with pytest.raises(ValueError, match=f"no class {numerator}"):
            ClassRatio(chosen, numerator)


def test_a_chain_of_ratios_is_the_ratio_of_its_ends():
    chain = Product((Exact(normal(2.0), normal(0.7)), Exact(normal(0.7), normal(-1.0))))
    events = features(50)
    want = stats.norm.logpdf(events[:, 0], 2.0) - stats.norm.logpdf(events[:, 0], -1.0)
    # Differences of numbers of order ten.
    np.testing.assert_allclose(log_ratios(chain, events), want, atol=1e-13)
    with pytest.raises(ValueError, match="at least one factor"):
        Product(())


def test_exact_ratio_takes_modules_for_densities():
    class Density(eqx.Module):
        mean: Array

        def __call__(self, x):
            return jax.scipy.stats.norm.logpdf(x[0], self.mean)

    ratio = Exact(Density(jnp.array(1.0)), Density(jnp.array(0.0)))
    np.testing.assert_allclose(log_ratios(ratio, [[2.0]]), [1.5], rtol=1e-14)


def test_ensemble_is_the_arithmetic_mean_of_the_ratios():
    slopes = np.array([0.5, -0.3, 0.9])
    ensemble = Ensemble.of([Line(slope) for slope in slopes])
    assert ensemble.n_members == 3
    events = features(30)
    each = slopes * events - 0.5 * slopes**2
    np.testing.assert_allclose(member_log_ratios(ensemble, events), each, rtol=1e-13)
    want = np.log(np.exp(each).mean(axis=1))
    np.testing.assert_allclose(log_ratios(ensemble, events), want, atol=1e-14)


def test_mean_of_normalised_ratios_is_normalised_and_that_of_logarithms_is_not():
    grid = np.linspace(-12.0, 12.0, 1001)
    measure = stats.norm.pdf(grid) * (grid[1] - grid[0])
    slopes = [1.0, -1.0]
    ensemble = Ensemble.of([Line(slope) for slope in slopes])
    # The trapezoid rule is exact for functions that vanish at both ends.
    total = measure @ np.exp(log_ratios(ensemble, grid[:, None]))
    np.testing.assert_allclose(total, 1.0, rtol=1e-13)
    of_logarithms = measure @ np.exp(
        member_log_ratios(ensemble, grid[:, None]).mean(axis=1)
    )
    np.testing.assert_allclose(of_logarithms, np.exp(-0.5), rtol=1e-13)


def test_ensemble_of_large_log_ratios_does_not_overflow():
    ensemble = Ensemble.of([Line(1000.0), Line(0.0)])
    # ln((e^t + 1)/2) with t = 2 million minus half a million.
    want = 1000.0 * 2000.0 - 0.5e6 - np.log(2.0)
    np.testing.assert_allclose(log_ratios(ensemble, [[2000.0]]), [want], rtol=1e-15)


def test_ensembles_that_are_none_are_refused():
    with pytest.raises(ValueError, match="no members"):
        Ensemble.of([])
    with pytest.raises(ValueError, match="one leading axis"):
        Ensemble(Line(1.0))
    wide, narrow = (network(1, hidden=(n,)) for n in (4, 3))
    with pytest.raises(ValueError, match="differ"):
        Ensemble.of([NetworkRatio(wide), NetworkRatio(narrow)])


def test_one_program_serves_any_number_of_events():
    ratio = Line(0.25)
    TRACES.clear()
    log_ratios(ratio, features(3), batch=64)
    n_traces = len(TRACES)
    for n_events in (1, 64, 65, 1000):
        events = features(n_events, seed=n_events)
        found = log_ratios(Line(0.5), events, batch=64)
        np.testing.assert_allclose(found, 0.5 * events[:, 0] - 0.125, rtol=1e-14)
    # The shape is looked up once per call, the program traced once.
    assert len(TRACES) - n_traces == 4
    assert n_traces == 2


def test_values_are_double_precision_for_a_network_in_single():
    assert log_ratios(NetworkRatio(network(1)), features(5)).dtype == np.float64
    assert log_ratios(Line(1.0), np.zeros((0, 1))).shape == (0,)


def test_events_may_be_mapped_from_a_file(tmp_path):
    events = features(100)
    np.save(tmp_path / "events.npy", events)
    mapped = np.load(tmp_path / "events.npy", mmap_mode="r")
    found = log_ratios(Line(1.0), mapped, batch=32)
    np.testing.assert_array_equal(found, log_ratios(Line(1.0), events, batch=32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_event_that_is_not_finite_is_named(value):
    events = features(200)
    events[[137, 150], 0] = value
    with pytest.raises(DataError, match=f"event 137 has log ratio {value}"):
        log_ratios(Line(1.0), events, batch=64)
    ensemble = Ensemble.of([Line(1.0), Line(0.5)])
    with pytest.raises(DataError, match="event 137"):
        member_log_ratios(ensemble, events, batch=64)


def test_features_that_are_no_table_are_refused():
    with pytest.raises(DataError, match=r"shape \(3,\)"):
        log_ratios(Line(1.0), np.zeros(3))
    with pytest.raises(ValueError, match="batch"):
        log_ratios(Line(1.0), np.zeros((3, 1)), batch=0)


def scaled(factor):
    """A ratio that is too large by a factor."""
    return Exact(lambda x: 0.3 * x[0] - 0.045 + jnp.log(factor), lambda x: 0.0)


def test_norm_is_the_factor_that_a_ratio_is_too_large_by():
    rng = np.random.default_rng(1)
    # Twice the width, and weighted back.
    events = rng.normal(scale=2.0, size=(20_000, 1))
    weight = stats.norm.pdf(events[:, 0]) / stats.norm.pdf(events[:, 0], scale=2.0)
    found = normalised(scaled(3.0), events, weight)
    # Four standard deviations, with a fixed seed.
    assert abs(found.log_norm - np.log(3.0)) < 4 * found.log_norm_error
    assert found.log_norm_error < 0.01
    product = weight * np.exp(0.3 * events[:, 0])
    np.testing.assert_allclose(found.ess, product.sum() ** 2 / (product**2).sum())
    values = log_ratios(found, events[:9])
    want = 0.3 * events[:9, 0] - 0.045 + np.log(3.0) - float(found.log_norm)
    np.testing.assert_allclose(values, want, rtol=1e-12)
    # The same relative to a scale at which exp overflows.
    huge = normalised(
        Exact(lambda x: 2000.0 + 0.3 * x[0], lambda x: 0.0), events, weight
    )
    np.testing.assert_allclose(
        huge.log_norm - 2000.0, found.log_norm + 0.045 - np.log(3.0), rtol=1e-10
    )


def test_error_of_the_norm_is_the_spread_over_samples():
    rng, ratio = np.random.default_rng(2), scaled(1.0)
    pulls = []
    for _ in range(400):
        events = rng.normal(size=(500, 1))
        weight = rng.exponential(size=500)
        found = normalised(ratio, events, weight, batch=512)
        pulls.append(float(found.log_norm / found.log_norm_error))
    # 1/sqrt(800) of spread of a standard deviation, times four.
    assert abs(np.std(pulls) - 1) < 4 / np.sqrt(800)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(400)


def test_norm_is_held_and_its_events_without_weight_are_not_looked_at():
    events = np.array([[0.0], [1.0], [np.nan]])
    ratio = NetworkRatio(network(1))
    found = normalised(ratio, events, np.array([1.0, 1.0, 0.0]))
    mask = trainable(found)
    assert not any((mask.log_norm, mask.log_norm_error, mask.ess))
    assert any(jax.tree.leaves(mask.ratio))
    gradient = eqx.filter_grad(lambda r: r.log_ratio(jnp.zeros(1)))(found)
    assert gradient.log_norm == 0.0
    assert isinstance(found, Normalised)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(0), "0 of 0 events"),
        (np.zeros(4), "0 of 4 events"),
        (np.array([0.0, 2.0, 0.0]), "1 of 3 events"),
        (np.array([1.0, -0.5]), "event 1 has weight -0.5"),
        (np.array([np.nan, 1.0]), "event 0 has weight nan"),
    ],
)
def test_a_norm_without_events_is_refused(weight, message):
    with pytest.raises(DataError, match=message):
        normalised(Line(1.0), features(len(weight)), weight)


def test_norm_needs_a_weight_per_event():
    with pytest.raises(DataError, match="shape"):
        normalised(Line(1.0), features(3), np.ones(2))


def test_signed_sample_is_a_difference_of_two_positive_ones():
    rng = np.random.default_rng(3)
    events = rng.normal(size=(1000, 2))
    weight = rng.choice([2.0, -1.0, 0.0], size=1000, p=[0.6, 0.3, 0.1])
    positive, negative = split_signed(events, weight)
    assert positive.coefficient > 1
    assert negative.coefficient < 0
    np.testing.assert_allclose(positive.coefficient + negative.coefficient, 1.0)
    assert (positive.weight == 2.0).all()
    assert (negative.weight == 1.0).all()
    # Any expectation value is that of the mixture.
    whole = (weight @ events**2) / weight.sum()
    mixture = sum(
        part.coefficient * (part.weight @ part.features**2) / part.weight.sum()
        for part in (positive, negative)
    )
    np.testing.assert_allclose(mixture, whole, rtol=1e-12)


def test_sample_without_negative_weights_stays_whole():
    (part,) = split_signed(np.zeros((2, 1)), np.array([1.0, 0.5]))
    assert part.coefficient == 1.0


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, np.inf], "event 1 has weight inf"),
        ([1.0, -1.0], "add up to 0"),
        ([1.0], "shape"),
    ],
)
def test_signed_samples_without_a_density_are_refused(weight, message):
    with pytest.raises(DataError, match=message):
        split_signed(np.zeros((2, 1)), np.array(weight))
