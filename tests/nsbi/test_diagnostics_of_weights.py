"""Gates of the ratio as a weight: normalisation, effective size, saturation."""

import numpy as np
import pytest

from diffana.errors import DataError
from diffana.nsbi.diagnostics import (
    effective_size_gate,
    normalisation,
    normalisation_gate,
    saturation_gate,
)


SHIFT = 0.5


def denominator(rng, n_events):
    """Exact log ratios of N(+1/2, 1) over N(-1/2, 1), of events of the latter."""
    return 2 * SHIFT * (rng.normal(size=n_events) - SHIFT)


def signed(rng, n_events):
    """The same sample by events of weights 1 and -1, a fifth of them negative."""
    return rng.choice([1.0, -1.0], n_events, p=[0.8, 0.2])


def importance(rng, n_events):
    """The same sample by events from N(0, 1.5), whose weights depend on the ratio."""
    x = rng.normal(size=n_events) * 1.5
    weight = np.exp(0.5 * (x / 1.5) ** 2 - 0.5 * (x + SHIFT) ** 2)
    # Some have the opposite sign, more often the larger ones.
    flipped = rng.uniform(size=n_events) < 0.2 * (x > 0)
    weight *= np.where(flipped, -1.0, 1.0) / (1 - 0.4 * (x > 0))
    return 2 * SHIFT * x, weight


SAMPLES = {
    "unweighted": lambda rng, n: (denominator(rng, n), np.ones(n)),
    "signed": lambda rng, n: (denominator(rng, n), signed(rng, n)),
    "importance": importance,
}


# Normalisation.


def test_unit_weights_give_mean_and_standard_error_of_the_textbook():
    ratio = np.random.default_rng(1).exponential(size=50)
    found = normalisation(np.log(ratio), np.full(50, 0.3))
    assert found.mean == pytest.approx(ratio.mean(), rel=1e-13)
    error = ratio.std(ddof=1) / np.sqrt(50)
    assert found.standard_error == pytest.approx(error, rel=1e-12)
    size = ratio.sum() ** 2 / np.sum(ratio**2)
    assert found.effective_size == pytest.approx(size, rel=1e-12)


@pytest.mark.parametrize("sample", SAMPLES)
def test_pulls_of_a_right_ratio_are_standard_normal(sample):
    pulls, means, errors = [], [], []
    for seed in range(400):
        found = normalisation(*SAMPLES[sample](np.random.default_rng(seed), 2000))
        pulls.append(found.pull)
        means.append(found.mean)
        errors.append(found.standard_error)
    # Errors of mean and standard deviation of 400 numbers: 0.05 and 0.035; four of
    # each. Quotients of sums and a long tail add something of order 1/√2000.
    assert abs(np.mean(pulls)) < 0.25
    assert abs(np.std(pulls) - 1) < 0.17
    # The same for the error itself, which varies by a tenth and more.
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(means), rel=0.2)
    # More than 5 of 400 have a probability of 0.4 % if the rate is 0.4 %.
    assert np.sum(np.abs(pulls) > 3) <= 5


def test_the_formula_for_independent_weights_is_too_small_for_dependent_ones():
    # The reason for the other one: weights that grow with the ratio.
    errors, wrong, means = [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=1000) - 1.0
        weight = np.exp(0.5 * x)
        ratio = np.exp(0.8 * x)
        found = normalisation(np.log(ratio), weight)
        share = weight / weight.sum()
        spread = share @ share
        variance = share @ (ratio - share @ ratio) ** 2
        means.append(found.mean)
        errors.append(found.standard_error)
        wrong.append(np.sqrt(variance * spread / (1 - spread)))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)
    assert np.mean(wrong) < 0.75 * np.std(means)


def test_the_transformation_removes_the_excess_of_low_means():
    # Log ratios with a standard deviation of 2: few events carry the mean.
    pulls, plain = [], []
    for seed in range(500):
        rng = np.random.default_rng(seed)
        found = normalisation(2 * (rng.normal(size=2000) - 1), np.ones(2000))
        pulls.append(found.pull)
        plain.append((found.mean - 1) / found.standard_error)
    assert np.mean(np.abs(plain) > 3) > 0.025
    assert np.mean(np.abs(pulls) > 3) < 0.02


def test_the_pull_is_the_cubic_of_hall():
    ratio = np.random.default_rng(4).exponential(size=80)
    found = normalisation(np.log(ratio), np.ones(80))
    z = (found.mean - 1) / found.standard_error
    deviations = ratio - ratio.mean()
    # The skewness of the mean is that of the ratio over √n.
    a = np.mean(deviations**3) / np.std(ratio) ** 3 / np.sqrt(80)
    expected = ((1 + a * z / 3) ** 3 - 1) / a + a / 6
    assert found.pull == pytest.approx(expected, rel=1e-12)
    assert abs(found.pull - z) > 0.01


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_wrong_norm_fails(sample):
    log_ratio, weight = SAMPLES[sample](np.random.default_rng(3), 20_000)
    assert normalisation_gate(log_ratio, weight).verdict == "pass"
    # Errors of the mean are 0.008 to 0.02.
    for factor in (1.12, 1 / 1.12):
        gate = normalisation_gate(log_ratio + np.log(factor), weight)
        assert gate.verdict == "fail"
        assert gate.threshold == 3.0


def test_a_ratio_of_one_everywhere_passes_and_another_constant_fails():
    ones = np.ones(1000) / 3
    assert normalisation_gate(np.zeros(1000), ones).verdict == "pass"
    gate = normalisation_gate(np.full(1000, 1e-6), ones)
    assert gate.verdict == "fail"


def test_the_threshold_decides():
    log_ratio = denominator(np.random.default_rng(0), 1000)
    pull = abs(normalisation_gate(log_ratio, np.ones(1000)).numbers["pull"])
    for factor, verdict in ((1.01, "pass"), (0.99, "fail")):
        gate = normalisation_gate(log_ratio, np.ones(1000), threshold=factor * pull)
        assert gate.verdict == verdict


def test_few_effective_events_are_not_checked():
    weight = np.append(np.full(20, 0.01), 5.0)
    assert normalisation_gate(np.zeros(21), weight).verdict == "not checked"
    # Weights that cancel: 5 events net, (5)²/105 = 0.24 effective ones.
    weight = np.append(np.ones(55), -np.ones(50))
    assert normalisation_gate(np.zeros(105), weight).verdict == "not checked"
    # A single event of huge ratio carries the mean, which overflows without a warning.
    gate = normalisation_gate(np.append(np.zeros(20), 800.0), np.ones(21))
    assert gate.numbers["mean"] == np.inf
    assert gate.verdict == "not checked"


def test_a_mean_that_overflows_fails():
    gate = normalisation_gate(800 + np.log([0.5, 1.5] * 50), np.ones(100))
    assert gate.numbers["mean"] == np.inf
    assert gate.verdict == "fail"


# Effective size.


def test_effective_size_is_that_of_the_closed_form():
    # E[r]²/E[r²] = exp(-s²) of a log ratio of variance s² = 1.
    log_ratio = denominator(np.random.default_rng(2), 200_000)
    gate = effective_size_gate(log_ratio, np.full(200_000, 0.1))
    # The relative error of the mean of r² is √(exp(4 s²) - 1)/√n = 1.6 %.
    assert gate.numbers["size"] / 200_000 == pytest.approx(np.exp(-1.0), rel=0.05)
    assert gate.verdict == "pass"


def test_signed_weights_lower_the_effective_size():
    rng = np.random.default_rng(5)
    weight = signed(rng, 10_000)
    gate = effective_size_gate(np.zeros(10_000), weight)
    assert gate.numbers["size"] == pytest.approx(weight.sum() ** 2 / 10_000)


def test_a_denominator_that_misses_the_numerator_fails():
    # N(+2, 1) over N(-2, 1): exp(-16) of the events are effective.
    x = np.random.default_rng(1).normal(size=10_000) - 2
    gate = effective_size_gate(4 * x, np.ones(10_000))
    assert gate.verdict == "fail"
    assert gate.numbers["largest_share"] > 0.05
    assert gate.threshold == 100


def test_the_size_can_be_stated():
    log_ratio, ones = np.zeros(50), np.ones(50)
    assert effective_size_gate(log_ratio, ones, size=51).verdict == "fail"
    assert effective_size_gate(log_ratio, ones, size=49).verdict == "pass"
    assert effective_size_gate(log_ratio, ones, fraction=1.01).verdict == "fail"


def test_effective_size_of_huge_ratios_does_not_overflow():
    gate = effective_size_gate(np.full(10, 5000.0), np.ones(10))
    assert gate.numbers["size"] == pytest.approx(10)


# Saturation.


def test_shares_beyond_the_edge_are_counted_by_mass():
    log_ratio = np.array([-20.0, -13.0, 0.0, 13.0, 14.0])
    weight = np.array([1.0, 10.0, 88.0, 10.0, -1.0])
    gate = saturation_gate(log_ratio, weight)
    # ln(10⁶ - 1) = 13.8; the mass is 110.
    assert gate.numbers["below"] == pytest.approx(1 / 110)
    assert gate.numbers["above"] == pytest.approx(1 / 110)
    assert gate.verdict == "fail"
    assert saturation_gate(log_ratio, weight, threshold=0.02).verdict == "pass"
    assert saturation_gate(log_ratio, weight, edge=1e-9).verdict == "pass"


def test_an_overtrained_log_ratio_fails():
    log_ratio = denominator(np.random.default_rng(1), 5000)
    assert saturation_gate(log_ratio, np.ones(5000)).verdict == "pass"
    # Thirteen times too steep: beyond 13.8 - 6.5 of a standard deviation of 13.
    assert saturation_gate(13 * log_ratio, np.ones(5000)).verdict == "fail"


@pytest.mark.parametrize("edge", [0.0, 0.5, -1.0])
def test_an_edge_out_of_range_is_refused(edge):
    with pytest.raises(ValueError, match="not between 0 and 1/2"):
        saturation_gate(np.zeros(3), np.ones(3), edge=edge)


# What all have in common.

GATES = [normalisation_gate, effective_size_gate, saturation_gate]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_log_ratio_that_is_not_finite_fails(gate, value):
    log_ratio = np.append(np.zeros(99), value)
    found = gate(log_ratio, np.ones(100))
    assert found.verdict == "fail"
    assert "not finite in 1 of 100 events" in found.summary
    # Of an event without weight nobody asks.
    assert gate(log_ratio, np.append(np.ones(99), 0.0)).verdict == "pass"


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(
    ("log_ratio", "weight", "reason"),
    [
        ([], [], "there are no events"),
        ([0.0, 1.0], [0.0, 0.0], "weights of 2 events add up to 0"),
        ([0.0, 1.0], [1.0, -2.0], "add up to -1"),
        ([0.0, 1.0], [1.0, np.nan], "event 1 has weight nan"),
        ([0.0, 1.0], [1.0], r"values of shape \(2,\)"),
        ([[0.0], [1.0]], [1.0, 1.0], "not one per event"),
    ],
)
def test_unusable_events_are_refused(gate, log_ratio, weight, reason):
    with pytest.raises(DataError, match=reason):
        gate(np.array(log_ratio), np.array(weight))
