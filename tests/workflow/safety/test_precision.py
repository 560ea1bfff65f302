"""Verdicts on results whose spread is known, and on a network that learned by heart."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

import tiny
from diffana.data import Events, split
from diffana.histogram import Selection
from diffana.observable import MLP
from diffana.workflow.safety.agreement import check_agreement
from diffana.workflow.safety.drawing import drawn, everything, resampled
from diffana.workflow.safety.precision import (
    check_generalisation,
    check_halves,
    check_precision,
)
from diffana.workflow.safety.sensitivity import (
    METRICS,
    Expected,
    expected,
    sensitivity,
)


N_RESAMPLES = 100


def result(values):
    """A result with given sensitivities."""
    z = dict(zip(METRICS, map(float, values), strict=True))
    quoted = {
        "cls": norm.sf(z["cls"]),
        "p0": norm.sf(z["p0"]),
        "sigma_mu": 1 / z["sigma_mu"],
    }
    return Expected(quoted=quoted, sensitivity=z, fits={})


def results(random, centre, spread, number):
    return [result(random.normal(centre, spread, 3)) for _ in range(number)]


def test_sensitivities_of_p_values_are_standard_deviations():
    for p_value in (0.3, 1e-3, 1e-12):
        found = sensitivity("p0", np.log(p_value))
        assert found == pytest.approx(norm.isf(p_value), rel=1e-12)
    # Far below the smallest number: the asymptotic tail -z²/2 - ln(z √2π).
    log_value = -0.5 * 60.0**2 - np.log(60.0 * np.sqrt(2 * np.pi))
    assert sensitivity("cls", log_value) == pytest.approx(60.0, rel=1e-5)
    assert sensitivity("sigma_mu", np.log(0.25)) == pytest.approx(4.0, rel=1e-12)


@pytest.mark.parametrize("check", [check_halves, check_generalisation])
def test_differences_by_chance_rarely_warn(check):
    """Three independent metrics: the correction for their number is exact then."""
    random = np.random.default_rng(3)
    n_toys = 300
    warned = 0
    for _ in range(n_toys):
        pair = results(random, 5.0, 0.3, 2)
        spread = [results(random, 5.0, 0.3, 30) for _ in range(2)]
        warned += check(tuple(pair), tuple(spread)).verdict == "warn"
    # 1 % of them are 3; four standard deviations above.
    assert 1 <= warned <= 10


@pytest.mark.parametrize("metric", range(3))
def test_a_difference_of_five_standard_deviations_warns(metric):
    random = np.random.default_rng(4)
    spread = [results(random, 5.0, 0.3, N_RESAMPLES) for _ in range(2)]
    values = np.full(3, 5.0)
    values[metric] += 5 * 0.3 * np.sqrt(2)
    found = check_generalisation(
        (result(values), result(np.full(3, 5.0))), tuple(spread)
    )
    assert found.verdict == "warn"
    pulls = [row["pull"] for row in found.numbers["metrics"].values()]
    # The spreads are known to 7 % each.
    assert pulls[metric] == pytest.approx(5, rel=0.2)
    assert f"({pulls[metric]:+.1f} σ)" in found.summary


@pytest.mark.parametrize(("spread", "verdict"), [(0.3, "pass"), (1.0, "warn")])
def test_the_precision_of_the_result_is_quoted(spread, verdict):
    random = np.random.default_rng(5)
    found = check_precision(result([5, 5, 5]), results(random, 5.0, spread, 2000))
    assert found.verdict == verdict
    row = found.numbers["metrics"]["sigma_mu"]
    # Known to 1/sqrt(4000).
    assert row["relative"] == pytest.approx(spread / 5, rel=0.08)
    for name, z in (("low", 1), ("high", -1)):
        assert row[name] == pytest.approx(1 / (5 + z * spread), rel=0.03)
    assert f"[{row['low']:.3g}, {row['high']:.3g}]" in found.summary


def test_results_that_are_not_certified_are_no_pass():
    random = np.random.default_rng(6)
    nothing = result([5.0, np.nan, 5.0])
    some = results(random, 5.0, 0.3, 20)
    for found in (
        check_precision(nothing, some),
        check_precision(some[0], [*some, nothing, nothing, nothing]),
        check_halves((some[0], nothing), (some, some)),
    ):
        assert found.verdict == "warn"
        assert "no certified value" in found.summary


def noise(n_events, seed):
    """Signal and background that no observable can tell apart."""
    random = np.random.default_rng(seed)
    return tuple(
        Events(
            features=random.normal(size=(n_events, 2)),
            weight=np.full(n_events, size / n_events),
            columns=("x", "y"),
            region="SR",
            sample=sample,
            variation=variation,
        )
        for sample, variation, size in (
            ("signal", "nominal", 20.0),
            ("background", "nominal", 100.0),
            ("background", "shape/up", 110.0),
            ("background", "shape/down", 95.0),
        )
    )


def by_heart(events, n_steps=800):
    """The tiny analysis with a wide network that learns each of its few events."""
    analysis = tiny.analysis()
    signal, background = (jnp.asarray(one.features) for one in events[:2])
    x = jnp.concatenate([signal, background])
    y = jnp.concatenate([jnp.ones(len(signal)), jnp.zeros(len(background))])
    network = MLP(2, key=jax.random.key(1), hidden=(64, 64), dtype="float64")
    optimiser = optax.adam(0.01)

    @eqx.filter_jit
    def fitted(network):
        weights, rest = eqx.partition(network, eqx.is_inexact_array)

        def loss(weights):
            logit = jax.vmap(eqx.combine(weights, rest).logit)(x)
            return optax.sigmoid_binary_cross_entropy(logit, y).mean()

        def step(state, _):
            weights, memory = state
            updates, memory = optimiser.update(jax.grad(loss)(weights), memory)
            return (eqx.apply_updates(weights, updates), memory), None

        state = (weights, optimiser.init(weights))
        (weights, _), _ = jax.lax.scan(step, state, None, length=n_steps)
        return eqx.combine(weights, rest)

    analysis = eqx.tree_at(lambda a: a.regions[0].cuts, analysis, Selection(()))
    return eqx.tree_at(
        lambda a: a.summaries["summary"].observable, analysis, fitted(network)
    )


@pytest.mark.usefixtures("compiled")
def test_a_network_that_learned_by_heart_is_found():
    config = tiny.parsed(tiny.document())
    parts = split(noise(300, 1), {"train": 0.4, "validation": 0.3, "test": 0.3}, 1)
    analysis = by_heart(parts["train"])
    hists = [
        drawn(analysis, [parts[part]], everything, 1)
        for part in ("train", "validation", "test")
    ]
    agreement = check_agreement(*hists)
    assert agreement.verdict == "warn"
    assert "between train and test" in agreement.summary
    sides = [
        expected(
            config, analysis, drawn(analysis, [parts[part]], resampled(30), 1, part)
        )
        for part in ("train", "test")
    ]
    found = check_generalisation(
        tuple(side[0] for side in sides), tuple(side[1:] for side in sides)
    )
    assert found.verdict == "warn"
    # The expected exclusion is better than on events that were not seen. p0 is not: the
    # variations were not learned, and a wrong effect on the background limits it.
    for metric in ("cls", "sigma_mu"):
        assert found.numbers["metrics"][metric]["pull"] > found.numbers["threshold"]


def test_a_shifted_test_sample_is_found():
    parts = split(tiny.populations(n_events=2000), {"a": 0.4, "b": 0.3, "c": 0.3}, 1)
    analysis = tiny.analysis()

    def shifted(events, shift):
        return [
            eqx.tree_at(lambda e: e.features, one, one.features + shift)
            for one in events
        ]

    def verdict(shift):
        hists = [
            drawn(analysis, [shifted(events, by)], everything, 1)
            for events, by in zip(parts.values(), (0.0, 0.0, shift), strict=True)
        ]
        return check_agreement(*hists).verdict

    assert verdict(0.0) == "pass"
    assert verdict(0.3) == "warn"


def test_too_few_events_to_compare_are_not_checked():
    parts = split(tiny.populations(n_events=12), {"a": 0.4, "b": 0.3, "c": 0.3}, 1)
    analysis = tiny.analysis()
    hists = [drawn(analysis, [events], everything, 1) for events in parts.values()]
    found = check_agreement(*hists)
    assert found.verdict == "not checked"
    assert len(found.numbers["comparisons"]) == 8
