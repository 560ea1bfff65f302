import dataclasses
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tiny
from diffana.analysis import Analysis
from diffana.data.portions import Portions
from diffana.errors import RESULTS, TrainingError
from diffana.fit import Minimiser
from diffana.histogram import Geometric, Linear
from diffana.losses import (
    AbstractLoss,
    AsimovSignificance,
    BinaryCrossEntropy,
    Cls,
    Needs,
    SigmaMu,
)
from diffana.train import Annealing, Trainer, first_epoch, sums, train


TRACES = []


@final
class Counted(AbstractLoss):
    """A cheap loss that tells how often it was traced."""

    @property
    def needs(self):
        return Needs()

    def value(self, likelihood, scores, found):
        TRACES.append(None)
        return AsimovSignificance().value(likelihood, scores, found)


def trainer(loss=None, optimiser=None, n_steps=8, annealings=()):
    return Trainer(
        loss=Counted() if loss is None else loss,
        annealings=annealings,
        n_steps=n_steps,
        signal=("signal",),
        optimiser=optax.adam(0.02) if optimiser is None else optimiser,
        minimiser=Minimiser(n_directions=0),
    )


# One trainer and one analysis, so that the tests share what is compiled for them.
@pytest.fixture(scope="module")
def cheap():
    return trainer()


@pytest.fixture(scope="module")
def start():
    return tiny.analysis()


@pytest.fixture(scope="module")
def events():
    return tiny.populations()


def spoiled(events, weight):
    """The events with weights under which no loss is defined."""
    return tuple(
        dataclasses.replace(one, weight=np.full(len(one), weight))
        if (one.sample, one.variation) == ("background", "nominal")
        else one
        for one in events
    )


def run(cheap, start, events, **options):
    defaults = {
        "n_epochs": 2,
        "n_batches": 4,
        "seed": 1,
        "metrics": {"z": AsimovSignificance(), "sigma_mu": SigmaMu()},
        "selection": "z",
        "max_failed_steps": 2,
    }
    validation = options.pop("validation", tiny.populations(seed=9))
    begin = options.pop("begin", None) or first_epoch(cheap, start)
    return train(cheap, begin, events, validation, **(defaults | options))


def same(first, second):
    return eqx.tree_equal(
        eqx.filter(first, eqx.is_array), eqx.filter(second, eqx.is_array)
    )


def test_an_update_moves_everything_trainable_and_nothing_else(cheap, start, events):
    before = cheap.start(start)
    after, report = cheap.step(before, events)
    assert report.accepted
    assert report.result == RESULTS.successful
    assert np.isfinite(report.loss)
    assert report.gradient_norm > 0
    assert int(after.step) == 1
    assert int(after.failed_steps) == 0
    moved = jax.tree.map(
        lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))),
        eqx.filter(before.analysis, eqx.is_array),
        eqx.filter(after.analysis, eqx.is_array),
    )
    region = moved.regions[0]
    layers = moved.summaries["summary"].observable.layers
    assert all(layer.weight and layer.bias for layer in layers)
    assert region.edges.logits
    assert region.cuts.cuts[0].threshold
    assert not region.cuts.cuts[0].slope
    assert not region.histogrammer.bandwidth
    assert not any(jax.tree.leaves(moved.model))


@pytest.mark.parametrize(
    ("weight", "reason"),
    [(np.nan, RESULTS.undefined_loss), (0.0, RESULTS.undefined_loss)],
)
def test_a_refused_update_changes_nothing(cheap, start, events, weight, reason):
    # A step before gives the optimiser a memory that could be spoiled.
    before, _ = cheap.step(cheap.start(start), events)
    impossible = jax.tree.map(jnp.asarray, events)
    impossible = eqx.tree_at(
        lambda e: e[1].weight, impossible, jnp.full(len(events[1]), weight)
    )
    assert events[1].sample == "background"
    after, report = cheap.step(before, impossible)
    assert not report.accepted
    assert report.result == reason
    assert np.isnan(report.loss)
    assert same(after.analysis, before.analysis)
    assert same(after.optimiser, before.optimiser)
    assert (int(after.step), int(after.failed_steps)) == (2, 1)
    again, _ = cheap.step(after, impossible)
    assert int(again.failed_steps) == 2
    healed, report = cheap.step(again, events)
    assert report.accepted
    assert int(healed.failed_steps) == 0
    # As if the refused updates had never been tried.
    direct, _ = cheap.step(before, events)
    assert same(healed.analysis, direct.analysis)
    assert same(healed.optimiser, direct.optimiser)


def test_a_gradient_that_is_not_finite_is_refused(start, events):
    @final
    class Cusp(AbstractLoss):
        """Finite, with an infinite derivative."""

        @property
        def needs(self):
            return Needs()

        def value(self, likelihood, scores, found):
            total = jnp.sum(likelihood.templates.nominal)
            return jnp.sqrt(total - jax.lax.stop_gradient(total))

    before = trainer(Cusp()).start(start)
    after, report = trainer(Cusp()).step(before, events)
    assert float(report.loss) == 0
    assert not report.accepted
    assert report.result == RESULTS.undefined_gradient
    assert same(after.analysis, before.analysis)


def test_training_stops_when_updates_keep_failing(cheap, start, events, monkeypatch):
    bad = jax.tree.map(jnp.asarray, events)
    bad = eqx.tree_at(lambda e: e[1].weight, bad, jnp.full(len(events[1]), jnp.nan))
    monkeypatch.setattr(
        "diffana.train.Portions.batches", lambda *_: iter([events, bad, bad, bad, bad])
    )
    reports = []
    with pytest.raises(TrainingError) as caught:
        list(run(cheap, start, events, on_step=reports.append))
    assert str(caught.value).startswith(
        "the last 3 updates, up to step 4, were refused: The loss is not a finite "
        "number although its fits are certified"
    )
    assert len(reports) == 3


def test_refused_updates_are_counted(cheap, start, events, monkeypatch):
    bad = jax.tree.map(jnp.asarray, events)
    bad = eqx.tree_at(lambda e: e[1].weight, bad, jnp.full(len(events[1]), jnp.nan))
    monkeypatch.setattr(
        "diffana.train.Portions.batches", lambda *_: iter([bad, bad, events, bad, bad])
    )
    (epoch,) = run(cheap, start, events, n_epochs=1)
    (reason,) = epoch.refused
    assert reason == RESULTS[RESULTS.undefined_loss]
    assert epoch.refused[reason] == 4
    np.testing.assert_array_equal(np.isnan(epoch.losses), [1, 1, 0, 1, 1])
    assert int(epoch.state.step) == 5


def test_the_best_analysis_has_the_best_hard_metric(cheap, start, events, monkeypatch):
    """Whatever the training loss does; and what is not a number is never best."""
    metrics = iter([np.nan, -1.0, -3.0, np.nan, -2.0, -3.0])

    def measured(self, metrics_, analysis, events):
        from diffana.losses import LossValue

        value = jnp.asarray(next(metrics))
        return {name: LossValue(value, RESULTS.successful) for name in metrics_}

    monkeypatch.setattr(Trainer, "hard_metrics", measured)
    epochs = list(run(cheap, start, events, n_epochs=6))
    assert [epoch.improved for epoch in epochs] == [False, True, True] + [False] * 3
    np.testing.assert_array_equal(
        [epoch.best_metric for epoch in epochs], [np.inf, -1, -3, -3, -3, -3]
    )
    assert same(epochs[0].best, start)
    assert same(epochs[-1].best, epochs[2].state.analysis)
    assert not same(epochs[-1].best, epochs[-1].state.analysis)


def test_metrics_are_hard_and_of_validation_events(cheap, start, events):
    validation = tiny.populations(seed=9)
    (epoch,) = run(cheap, start, events, n_epochs=1, validation=validation)
    likelihood = eqx.filter_jit(lambda a: a.hard(validation))(epoch.state.analysis)
    want = AsimovSignificance().evaluate(likelihood).value
    np.testing.assert_allclose(epoch.metrics["z"], want, rtol=1e-12)
    assert epoch.metrics["sigma_mu"] > 0


def test_a_hard_metric_that_is_undefined_is_nan(cheap, start, events):
    (epoch,) = run(
        cheap, start, events, n_epochs=1, validation=spoiled(tiny.populations(), 0.0)
    )
    assert np.isnan(epoch.metrics["z"])
    assert not epoch.improved
    assert epoch.best_metric == np.inf


def test_steps_are_compiled_once(cheap, start, events):
    list(run(cheap, start, events, n_epochs=1))
    before = len(TRACES)
    epochs = list(run(cheap, start, events, n_epochs=3))
    assert len(epochs) == 3
    assert len(TRACES) == before


def test_a_training_goes_on_where_it_was_interrupted(cheap, start, events):
    whole = list(run(cheap, start, events, n_epochs=3))
    first = list(run(cheap, start, events, n_epochs=1))[-1]
    rest = list(run(cheap, start, events, n_epochs=3, begin=first))
    assert [epoch.epoch for epoch in rest] == [2, 3]
    assert same(rest[-1].state, whole[-1].state)
    assert same(rest[-1].best, whole[-1].best)
    np.testing.assert_array_equal(rest[-1].losses, whole[-1].losses)
    assert not list(run(cheap, start, events, n_epochs=3, begin=rest[-1]))


def test_annealed_numbers_reach_both_ends(start):
    def bandwidth(analysis):
        return analysis.regions[0].histogrammer.bandwidth

    def slope(analysis):
        return analysis.regions[0].cuts.cuts[0].slope

    annealings = (
        Annealing(Geometric(0.4, 0.1), bandwidth),
        Annealing(Linear(2.0, 8.0), slope),
    )
    plan = trainer(n_steps=4, annealings=annealings)
    found = [plan.annealed(start, step) for step in range(4)]
    np.testing.assert_allclose(
        [bandwidth(analysis) for analysis in found],
        0.4 * 0.25 ** (np.arange(4) / 3),
        rtol=1e-14,
    )
    np.testing.assert_allclose([slope(a) for a in found], [2, 4, 6, 8], rtol=1e-14)
    only = trainer(n_steps=1, annealings=annealings)
    np.testing.assert_allclose(bandwidth(only.annealed(start, 0)), 0.4, rtol=1e-14)


def test_an_annealed_bandwidth_reaches_the_step(start, events):
    def bandwidth(analysis):
        return analysis.regions[0].histogrammer.bandwidth

    schedule = Annealing(Linear(0.3, 0.1), bandwidth)
    plan = trainer(annealings=(schedule,), n_steps=2, optimiser=optax.sgd(0.0))
    state = plan.start(start)
    losses = []
    for _ in range(2):
        state, report = plan.step(state, events)
        losses.append(float(report.loss))
    for loss, width in zip(losses, (0.3, 0.1), strict=True):
        fixed = eqx.tree_at(bandwidth, start, jnp.asarray(width))
        likelihood = eqx.filter_jit(lambda analysis: analysis(events))(fixed)
        want = AsimovSignificance().evaluate(likelihood).value
        np.testing.assert_allclose(loss, want, rtol=1e-12)
    # The schedule is no part of the state.
    np.testing.assert_array_equal(bandwidth(state.analysis), bandwidth(start))


@pytest.mark.slow
def test_training_on_CLs_improves_CLs(start):
    """Soft loss and hard metric fall together on two blobs that a line separates."""
    events, validation = (tiny.populations(n_events=120, seed=s) for s in (4, 5))
    plan = trainer(Cls(), optax.adam(0.05), n_steps=16)
    epochs = list(
        run(
            plan,
            start,
            events,
            validation=validation,
            n_epochs=8,
            n_batches=2,
            metrics={"cls": Cls(log=False)},
            selection="cls",
        )
    )
    assert all(not epoch.refused for epoch in epochs)
    assert np.mean(epochs[-1].losses) < np.mean(epochs[0].losses) - 0.3
    assert epochs[-1].metrics["cls"] < 0.8 * epochs[0].metrics["cls"]
    assert epochs[-1].best_metric == min(epoch.metrics["cls"] for epoch in epochs)


def cut(events, cuts):
    """The events in parts that end at some rows."""
    return [
        tuple(
            dataclasses.replace(
                one, features=one.features[rows], weight=one.weight[rows]
            )
            for one in events
        )
        for rows in np.split(np.arange(len(events[0])), cuts)
    ]


@pytest.mark.parametrize("cuts", [(), (13,), (1, 39), (10, 20, 30)])
def test_hard_metrics_do_not_depend_on_the_portions(cheap, start, cuts):
    """With weights of both signs; classification, template by template, and fits."""
    weight = np.where(np.arange(40) % 7 == 2, -0.3, 1.0)
    events = tiny.populations(weight=weight)
    metrics = {
        "bce": BinaryCrossEntropy(),
        "bce_augmented": BinaryCrossEntropy(augmented=True),
        "cls": Cls(),
        "sigma_mu": SigmaMu(),
        "z": AsimovSignificance(),
    }
    portions = Portions(cut(events, cuts))
    hard = start.hard
    whole = eqx.filter_jit(type(hard).forward)(hard, events)
    found = sums(hard, portions, ("signal",))
    for one, histogram in zip(events, whole.histograms, strict=True):
        # 1e-12: sums in another order, with cancellations among the weights.
        for ours, theirs in (
            (found.histograms[one.name].sumw, histogram.sumw),
            (found.histograms[one.name].sumw2, histogram.sumw2),
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    in_memory = cheap.hard_metrics(metrics, start, events)
    in_portions = cheap.hard_metrics(metrics, start, portions)
    for name in metrics:
        assert in_memory[name].result == RESULTS.successful
        # 1e-10: the fits stop at slightly different points.
        np.testing.assert_allclose(
            in_portions[name].value, in_memory[name].value, rtol=1e-10
        )


def test_large_data_sets_are_looked_at_in_pieces(cheap, start, events, monkeypatch):
    """Which all have one shape, so that there is one program for them."""
    want = sums(start.hard, [events], ("signal",))
    traced = []
    forward = Analysis.histograms_and_logits

    def counted(self, events):
        traced.append(sum(len(one) for one in events))
        return forward(self, events)

    monkeypatch.setattr(Analysis, "histograms_and_logits", counted)
    monkeypatch.setattr("diffana.train._PIECE", 64)
    found = sums(start.hard, [events], ("signal",))
    assert traced == [4 * 14]
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_training_in_portions_compiles_one_step_and_resumes(cheap, start):
    """The second epoch from where the first one ended, as without an interruption."""
    portions = Portions([tiny.populations(seed=seed) for seed in (0, 1, 2)])
    before = len(TRACES)
    epochs = list(run(cheap, start, portions, n_epochs=2, n_batches=6))
    assert [len(epoch.losses) for epoch in epochs] == [6, 6]
    assert len(TRACES) - before <= 1
    (again,) = run(cheap, start, portions, n_epochs=2, n_batches=6, begin=epochs[0])
    assert same(again.state, epochs[1].state)
    np.testing.assert_array_equal(again.losses, epochs[1].losses)
