import dataclasses

import equinox as eqx
import numpy as np
import pytest

import tiny
from diffana.data import Events
from diffana.histogram import Selection
from diffana.workflow.safety import drawing
from diffana.workflow.safety.drawing import drawn, everything, resampled


@pytest.fixture(scope="module")
def hard():
    """The tiny analysis without cuts, so that yields are those of the events."""
    return eqx.tree_at(lambda a: a.regions[0].cuts, tiny.analysis(), Selection(())).hard


@pytest.fixture(scope="module")
def events():
    """Events of unequal weights, some of them negative."""
    random = np.random.default_rng(4)
    weight = random.uniform(0.2, 1.5, 300) * np.where(random.random(300) < 0.1, -1, 1)
    return tiny.populations(n_events=300, weight=weight)


def test_everything_gives_the_histograms_of_the_analysis(hard, events):
    found = drawn(hard, [events], everything, 1)
    assert found.n_draws == 1
    histograms = found.histograms()
    for one, wanted in zip(events, hard.histograms(events), strict=True):
        np.testing.assert_allclose(histograms[one.name].sumw, wanted.sumw, rtol=1e-12)
        np.testing.assert_allclose(histograms[one.name].sumw2, wanted.sumw2, rtol=1e-12)
        assert found.source[one.name] == one.source


def test_cuts_apply(events):
    analysis = tiny.analysis().hard
    found = drawn(analysis, [events], everything, 1).histograms()
    for one, wanted in zip(events, analysis.histograms(events), strict=True):
        np.testing.assert_allclose(found[one.name].sumw, wanted.sumw, rtol=1e-12)


def test_neither_chunks_nor_portions_change_the_sums(hard, events, monkeypatch):
    whole = drawn(hard, [events], everything, 1)
    monkeypatch.setattr(drawing, "_CHUNK", 64)
    parts = [
        tuple(
            dataclasses.replace(
                one, features=one.features[rows], weight=one.weight[rows]
            )
            for one in events
        )
        for rows in (slice(0, 110), slice(110, 300))
    ]
    found = drawn(hard, parts, everything, 1)
    for name, sumw in whole.sumw.items():
        np.testing.assert_allclose(found.sumw[name], sumw, rtol=1e-12)
        np.testing.assert_allclose(found.sumw2[name], whole.sumw2[name], rtol=1e-12)


def test_halves_share_no_event(hard):
    """Unit weights: a half of n events scaled to the yield N has sumw2 = N²/n."""
    events = tiny.populations(n_events=200, weight=np.ones(200))
    found = drawn(hard, [events], resampled(2, n_subsets=2), 7)
    assert found.n_draws == 2 + 2 * 2
    for one in events:
        total = float(one.weight.sum())
        if one.variation == "nominal":
            sumw = found.sumw[one.name][:2].sum(axis=1)
            np.testing.assert_allclose(sumw, [total, total], rtol=1e-12)
        n_events = total**2 / found.sumw2[one.name][:2].sum(axis=1)
        assert n_events.sum() == pytest.approx(200, rel=1e-12)
        # Binomial, six standard deviations.
        assert abs(n_events[0] - 100) < 6 * np.sqrt(50)


def test_a_share_is_a_part_of_the_events(hard):
    events = tiny.populations(n_events=4000, weight=np.ones(4000))
    found = drawn(hard, [events], resampled(0, share=0.25), 7)
    (signal,) = (one for one in events if one.sample == "signal")
    n_events = 4000.0**2 / found.sumw2[signal.name].sum()
    assert abs(n_events - 1000) < 6 * np.sqrt(4000 * 0.25 * 0.75)


def test_resampled_yields_spread_as_fractions_of_a_fixed_total_do(hard, events):
    """Closed form: the variance of Σ k w 1_b / Σ k w is Σ w² (1_b - f_b)² / (Σ w)²."""
    n_resamples = 4000
    found = drawn(hard, [events], resampled(n_resamples), 5)
    signal = events[0]
    total = float(signal.weight.sum())
    summary = hard.summaries["summary"](signal.features)
    index = np.searchsorted(found.edges["SR"], np.asarray(summary)) - 1
    for b, sumw in enumerate(found.sumw[signal.name].T):
        inside = index == b
        fraction = signal.weight[inside].sum() / total
        variance = np.sum(signal.weight**2 * (inside - fraction) ** 2)
        # The spread is known to 1/sqrt(2n) = 1.1 %; the form is of first order in the
        # relative spread of the total, 10 % here.
        assert np.std(sumw[1:]) == pytest.approx(np.sqrt(variance), rel=0.06)
        np.testing.assert_allclose(sumw[0], signal.weight[inside].sum(), rtol=1e-12)


def test_resampled_variances_are_those_of_events_that_appear_again(hard, events):
    """A row that counts k times adds k w², and not (k w)², which is twice as much."""
    found = drawn(hard, [events], resampled(2000), 5)
    sumw2 = found.sumw2[events[0].name]
    ratio = sumw2[1:].mean(axis=0) / sumw2[0]
    # The rescaling to the yield adds its relative variance of 1 % a few times over.
    np.testing.assert_allclose(ratio, 1.0, atol=0.06)


def test_events_of_one_source_are_drawn_together(hard, events):
    nominal = events[1]
    twin = Events(
        features=nominal.features,
        weight=1.3 * nominal.weight,
        columns=nominal.columns,
        region="SR",
        sample=nominal.sample,
        variation="weight/up",
        source=nominal.source,
    )
    found = drawn(hard, [(nominal, twin)], resampled(20), 5)
    np.testing.assert_allclose(
        found.sumw[twin.name], 1.3 * found.sumw[nominal.name], rtol=1e-12
    )


def test_other_sources_are_drawn_independently(hard):
    events = tiny.populations(n_events=2000, weight=np.ones(2000))
    found = drawn(hard, [events], resampled(300), 5)
    first, second = (found.sumw[one.name][1:, 0] for one in events[:2])
    # Six standard deviations of the correlation of 300 independent pairs.
    assert abs(np.corrcoef(first, second)[0, 1]) < 6 / np.sqrt(300)


def test_drawings_follow_from_the_key(hard, events):
    first, again, other = (
        drawn(hard, [events], resampled(3), seed, "test").sumw[events[0].name]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first[1:] != other[1:])


def test_a_drawing_without_positive_yield_is_not_scaled(hard):
    weight = np.array([1.0, -0.9, 0.2])
    events = tiny.populations(n_events=3, weight=weight)
    found = drawn(hard, [events], resampled(200), 5)
    sumw = found.sumw[events[0].name]
    defined = ~np.isnan(sumw).any(axis=1)
    assert 0 < np.count_nonzero(~defined) < 200
    np.testing.assert_allclose(sumw[defined].sum(axis=1), weight.sum(), rtol=1e-9)
