import dataclasses

import numpy as np
import pytest

import tiny
from diffana.analysis import Shape
from diffana.data import Events
from diffana.workflow.safety.drawing import drawn, everything, resampled
from diffana.workflow.safety.systematics import (
    Effect,
    check_noise,
    check_one_sided,
    check_size,
    effects,
)


def effect(up, down, sigma=None, **changed):
    nominal = np.array([100.0, 50.0])
    sigma = None if sigma is None else np.array([*sigma, np.hypot(*sigma)])
    return dataclasses.replace(
        Effect(
            "SR",
            "ttbar",
            "jes",
            nominal,
            np.array(up),
            np.array(down),
            sigma_up=sigma,
            sigma_down=sigma,
        ),
        **changed,
    )


def test_variations_on_either_side_pass():
    found = check_one_sided([effect([105.0, 52.0], [95.0, 49.0], sigma=(1.0, 0.5))])
    assert found.verdict == "pass"
    assert found.numbers["one_sided"] == []


@pytest.mark.parametrize("sigma", [(1.0, 0.5), None])
def test_variations_on_one_side_are_named(sigma):
    found = check_one_sided([effect([110.0, 50.2], [108.0, 49.8], sigma=sigma)])
    assert found.verdict == "warn"
    where = [row["where"] for row in found.numbers["one_sided"]]
    name = "region 'SR', sample 'ttbar', parameter 'jes'"
    assert where == [f"{name}, bin 0", f"{name}, yield"]
    assert "+10 % up and +8 % down" in found.summary


def test_statistical_noise_on_one_side_passes():
    found = check_one_sided([effect([102.0, 51.0], [101.5, 51.0], sigma=(2.0, 1.0))])
    assert found.verdict == "pass"


def test_symmetrised_variations_are_listed():
    mirrored = effect([110.0, 55.0], [90.0, 45.0], symmetrised=True)
    found = check_one_sided([mirrored, effect([105.0, 52.0], [95.0, 49.0])])
    assert found.verdict == "pass"
    assert found.numbers["symmetrised"] == [str(mirrored)]
    assert check_one_sided([mirrored]).verdict == "not checked"
    assert check_one_sided([]).verdict == "not checked"


@pytest.mark.parametrize(
    ("down", "verdict"), [([5.0, 1.0], "pass"), ([-1.0, 50.0], "warn")]
)
def test_variations_larger_than_the_nominal_are_named(down, verdict):
    found = check_size([effect([120.0, 60.0], down)])
    assert found.verdict == verdict
    assert (len(found.numbers["too_large"]) == 1) == (verdict == "warn")


def events(effect, seed, *, sign=1.0, aligned=False, n_events=4000):
    """Background with variations that shift it by ±`effect` along both features."""
    random = np.random.default_rng(seed)
    first = random.normal(size=(n_events, 2))
    found = []
    for variation, shift in (
        ("nominal", 0.0),
        ("shape/up", effect),
        ("shape/down", -sign * effect),
    ):
        x = first if aligned else random.normal(size=(n_events, 2))
        found.append(
            Events(
                features=x + np.array([1.0, -1.0]) * (1 + shift),
                weight=np.full(n_events, 100.0 / n_events),
                columns=("x", "y"),
                region="SR",
                sample="background",
                variation=variation,
                source="background/nominal" if aligned else None,
            )
        )
    signal = Events(
        features=random.normal(size=(n_events, 2)) + np.array([-1.0, 1.0]),
        weight=np.full(n_events, 20.0 / n_events),
        columns=("x", "y"),
        region="SR",
        sample="signal",
    )
    return signal, *found


ANALYSIS = tiny.analysis()


def measured(*arguments, **changed):
    test = drawn(ANALYSIS, [events(*arguments, **changed)], resampled(40), 1)
    hard = ANALYSIS.hard
    return test, effects(hard, hard.likelihood(test.histograms()), test)


def test_effects_are_the_templates_at_one_standard_deviation():
    """Outside truth: rates of the likelihood, signal off, one parameter at ±1."""
    test, found = measured(0.2, 1)
    likelihood = ANALYSIS.hard.likelihood(test.histograms())
    parameters = likelihood.parameters
    inits = parameters.inits.at[parameters.poi_index].set(0.0)
    assert {one.parameter for one in found} == {"rate", "shape"}
    for one in found:
        for value, template in ((1.0, one.up), (-1.0, one.down), (0.0, one.nominal)):
            params = inits.at[parameters.index(one.parameter)].set(value)
            rates = likelihood.expected_actualdata(params)
            np.testing.assert_allclose(rates, template, rtol=1e-12)
    (shape,) = (one for one in found if one.parameter == "shape")
    (rate,) = (one for one in found if one.parameter == "rate")
    assert (shape.sigma_up is None, rate.sigma_up is None) == (False, True)


def test_a_shift_to_the_same_side_is_one_sided():
    assert check_one_sided(measured(0.3, 1)[1]).verdict == "pass"
    assert check_one_sided(measured(0.3, 1, sign=-1.0)[1]).verdict == "warn"


def test_the_noise_of_variations_of_the_same_events_is_small():
    """An effect far below the noise of independent events, but beyond its own."""
    independent, aligned = (
        next(
            one
            for one in measured(0.05, 1, aligned=aligned)[1]
            if one.sigma_up is not None
        )
        for aligned in (False, True)
    )
    assert np.all(aligned.sigma_up < 0.5 * independent.sigma_up)
    # Each event of weight 100/4000 adds its square.
    passing = independent.nominal.sum() + independent.up.sum()
    assert independent.sigma_up[-1] == pytest.approx(
        np.sqrt(passing * 100 / 4000), rel=1e-9
    )


def test_variations_without_effect_are_noise():
    verdicts = {}
    for effect in (0.0, 0.3):
        found = check_noise(ANALYSIS.shapes, measured(effect, 3)[0])
        verdicts[effect] = found.verdict
        (row,) = found.numbers["variations"]
        assert row["noise"] == (effect == 0.0)
    assert verdicts == {0.0: "warn", 0.3: "pass"}


def test_variations_of_the_nominal_events_are_not_tested_for_noise():
    found = check_noise(ANALYSIS.shapes, measured(0.0, 3, aligned=True)[0])
    assert found.verdict == "not checked"
    assert found.numbers["of_the_nominal_events"] == ["background, shape"]


def test_the_upward_variation_alone_counts_where_the_other_is_its_mirror_image():
    mirrored = Shape("SR", "background", "shape", "shape", symmetrize=True)
    found = check_noise(
        [mirrored], drawn(ANALYSIS, [events(0.3, 1)[:3]], everything, 1)
    )
    (row,) = found.numbers["variations"]
    assert "up" in row
    assert "down" not in row


@pytest.mark.slow
def test_the_verdicts_on_healthy_variations_are_as_rare_as_stated():
    n_toys = 200
    one_sided = sum(
        check_one_sided(measured(0.0, 100 + toy, n_events=400)[1]).verdict == "warn"
        for toy in range(n_toys)
    )
    # At most 1 % of them, 2; four standard deviations above.
    assert one_sided <= 8
    noise = [
        check_noise(ANALYSIS.shapes, measured(0.0, 400 + toy, n_events=400)[0]).verdict
        for toy in range(n_toys)
    ]
    # At least 95 % of them, 190; four standard deviations below.
    assert noise.count("warn") >= 190 - 4 * np.sqrt(10)
