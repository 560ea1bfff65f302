"""The gate of the log odds, and the reliability curve."""

import numpy as np
import pytest
from scipy.special import expit

from diffana.errors import DataError
from diffana.nsbi.diagnostics import calibration_gate, reliability


def classes(seed, n_events=2000, shift=0.7):
    """Exact log ratios of events of unit Gaussians around ±shift."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, n_events)) + np.array([[shift], [-shift]])
    return 2 * shift * x


def weights(seed, n_events=2000):
    """Independent of the events: a fifth negative, sizes that vary."""
    rng = np.random.default_rng(1000 + seed)
    sign = rng.choice([1.0, -1.0], size=(2, n_events), p=[0.8, 0.2])
    return sign * rng.exponential(size=(2, n_events))


def gate_of(log_ratio, weight=None, **options):
    if weight is None:
        weight = np.ones(np.shape(log_ratio))
    return calibration_gate(log_ratio[0], weight[0], log_ratio[1], weight[1], **options)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_right_ratio_passes(weighted):
    verdicts, pulls = [], []
    for seed in range(200):
        weight = weights(seed) if weighted else None
        gate = gate_of(classes(seed), weight)
        verdicts.append(gate.verdict)
        pulls.append([gate.numbers["intercept_pull"], gate.numbers["slope_pull"]])
    # More than 5 of 200 failures at a rate of 0.54 %: probability 0.1 %.
    assert verdicts.count("fail") <= 5
    assert verdicts.count("not checked") == 0
    # Errors of mean and standard deviation of 200 numbers: 0.07 and 0.05; four of each.
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 0.28)
    assert np.all(np.abs(np.std(pulls, axis=0) - 1) < 0.2)


@pytest.mark.parametrize(
    "distortion",
    [
        lambda t: 1.2 * t,
        lambda t: 0.8 * t,
        lambda t: t + 0.2,
        lambda t: t - 0.2,
        lambda t: t + np.random.default_rng(1).normal(size=t.shape),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_wrong_log_ratio_fails(distortion, weighted):
    # Errors of slope and intercept are about 0.017, or 0.04 with these weights.
    log_ratio = classes(1, 20_000)
    weight = weights(1, 20_000) if weighted else None
    assert gate_of(distortion(log_ratio), weight).verdict == "fail"
    assert gate_of(log_ratio, weight).verdict == "pass"


def test_the_numbers_are_those_of_the_line():
    log_ratio = classes(3, 50_000)
    gate = gate_of(1.25 * log_ratio - 0.5)
    # t = (s + 0.5)/1.25, with errors of 0.01.
    assert gate.numbers["slope"] == pytest.approx(0.8, abs=0.04)
    assert gate.numbers["intercept"] == pytest.approx(0.4, abs=0.04)
    assert gate.threshold == 3.0
    assert gate_of(1.25 * log_ratio - 0.5, threshold=1000).verdict == "pass"


def test_each_class_is_normalised_on_its_own():
    log_ratio = classes(3)
    weight = np.ones((2, 2000))
    first = gate_of(log_ratio, weight)
    second = gate_of(log_ratio, weight * [[1e-3], [50.0]])
    assert first.numbers == pytest.approx(second.numbers, rel=1e-9)


def test_what_cannot_be_asked_is_not_checked():
    gate = gate_of(np.zeros((2, 100)))
    assert (gate.verdict, gate.summary) == (
        "not checked",
        "the log ratio is the same in all events",
    )
    gate = gate_of(np.array([[5.0, 6.0], [-5.0, -4.0]]))
    assert gate.verdict == "not checked"
    assert "do not overlap" in gate.summary


def test_a_log_ratio_that_is_not_finite_fails():
    log_ratio = classes(0)
    log_ratio[1, 7] = -np.inf
    gate = gate_of(log_ratio)
    assert gate.verdict == "fail"
    assert "not finite in 1 of 4000 events" in gate.summary


@pytest.mark.parametrize("empty", [0, 1])
def test_an_empty_class_is_named(empty):
    weight = np.ones((2, 100))
    weight[empty] = 0
    name = ("numerator", "denominator")[empty]
    with pytest.raises(DataError, match=f"calibration, {name}: the weights of 100"):
        gate_of(np.zeros((2, 100)), weight)


# The curve.


def test_the_curve_of_a_right_ratio_is_the_diagonal():
    log_ratio = classes(5, 20_000)
    ones = np.ones(20_000)
    curve = reliability(log_ratio[0], ones, log_ratio[1], ones, n_bins=20)
    np.testing.assert_allclose(curve.share, 1 / 20, atol=1e-4)
    pulls = (curve.observed - curve.predicted) / curve.error
    # A χ² of 20 degrees of freedom: below 45.3 but for 0.1 %, above 5.9 likewise.
    assert 5.9 < np.sum(pulls**2) < 45.3
    assert np.all(np.diff(curve.predicted) > 0)
    # The mean of 20 absolute values has a relative error of 0.76/√20 = 17 %.
    assert curve.expected_error == pytest.approx(curve.expected_noise, rel=0.6)


def test_the_curve_in_two_bins_by_hand():
    numerator, denominator = np.array([-1.0, 1.0, 1.0]), np.array([-1.0, 1.0])
    curve = reliability(
        numerator,
        np.array([2.0, 3.0, 3.0]),
        denominator,
        np.array([3.0, 1.0]),
        n_bins=2,
    )
    # Shares of the numerator 1/4, 3/4, and of the denominator 3/4, 1/4.
    np.testing.assert_allclose(curve.predicted, expit([-1.0, 1.0]), rtol=1e-13)
    np.testing.assert_allclose(curve.observed, [0.25, 0.75], rtol=1e-13)
    np.testing.assert_allclose(curve.share, [0.5, 0.5], rtol=1e-13)
    # f = a/(a + c): df = ((1 - f) da - f dc)/(a + c), here with a + c = 1.
    variance = [
        (0.75 / 4) ** 2 + (0.25 * 3 / 4) ** 2,
        0.25**2 * 2 * (3 / 8) ** 2 + (0.75 / 4) ** 2,
    ]
    np.testing.assert_allclose(curve.error**2, variance, rtol=1e-12)
    expected = expit(-1.0) - 0.25
    assert curve.expected_error == pytest.approx(abs(expected), rel=1e-12)


def test_an_overconfident_log_ratio_is_off_the_diagonal():
    log_ratio = 2 * classes(5, 20_000)
    ones = np.ones(20_000)
    curve = reliability(log_ratio[0], ones, log_ratio[1], ones)
    np.testing.assert_array_less(curve.predicted[:5], curve.observed[:5])
    np.testing.assert_array_less(curve.observed[-5:], curve.predicted[-5:])
    assert curve.expected_error > 5 * curve.expected_noise


def test_bins_in_which_weights_cancel_have_no_fraction():
    log_ratio = np.array([-1.0, -1.0, 1.0])
    weight = np.array([1.0, -1.0, 1.0])
    curve = reliability(log_ratio, weight, np.array([1.0]), np.ones(1), n_bins=2)
    assert np.isnan(curve.observed[0])
    assert curve.observed[1] == pytest.approx(0.5)
    assert np.isfinite(curve.expected_error)
