"""Gates of the spread of an ensemble and of Asimov scans."""

import numpy as np
import pytest

from diffana.errors import DataError
from diffana.nsbi.diagnostics import asimov_gate, spread_gate


# Spread.


def members(n_members, sigma, n_events=5000, seed=1):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n_events, 1))
    return truth + sigma * rng.normal(size=(n_events, n_members))


@pytest.mark.parametrize("n_members", [2, 10])
def test_the_uncertainty_of_the_mean_is_measured(n_members):
    log_ratios = members(n_members, 0.2)
    gate = spread_gate(log_ratios, np.ones(5000))
    # A variance from 5000 (M - 1) degrees of freedom: 1 % of its root or less.
    assert gate.numbers["of_member"] == pytest.approx(0.2, rel=0.04)
    assert gate.numbers["of_mean"] == pytest.approx(0.2 / np.sqrt(n_members), rel=0.04)
    assert gate.numbers["members"] == n_members
    assert gate.numbers["largest"] == pytest.approx(
        log_ratios.std(axis=1, ddof=1).max()
    )


def test_members_that_disagree_fail():
    gate = spread_gate(members(4, 0.1), np.ones(5000))
    assert (gate.verdict, gate.threshold) == ("pass", 0.1)
    assert spread_gate(members(4, 0.3), np.ones(5000)).verdict == "fail"
    assert spread_gate(members(4, 0.3), np.ones(5000), threshold=0.2).verdict == "pass"
    # The same members in larger number: their mean is certain enough.
    assert spread_gate(members(16, 0.3), np.ones(5000)).verdict == "pass"


def test_the_mass_decides_where_members_have_to_agree():
    log_ratios = np.array([[0.0, 0.0], [5.0, -5.0]])
    assert spread_gate(log_ratios, np.array([1.0, 1e-6])).verdict == "pass"
    assert spread_gate(log_ratios, np.array([1.0, -0.5])).verdict == "fail"
    # s = 5 √2 of the second event, which has a third of the mass.
    gate = spread_gate(log_ratios, np.array([1.0, -0.5]))
    assert gate.numbers["of_mean"] == pytest.approx(5 / np.sqrt(3))


def test_a_single_member_is_not_checked():
    assert spread_gate(np.zeros((3, 1)), np.ones(3)).verdict == "not checked"


def test_a_member_that_is_not_finite_fails():
    log_ratios = members(3, 0.01)
    log_ratios[7, 1] = np.nan
    gate = spread_gate(log_ratios, np.ones(5000))
    assert gate.verdict == "fail"
    assert "not finite in 1 of 5000 events" in gate.summary


@pytest.mark.parametrize(
    ("log_ratios", "weight", "reason"),
    [
        (np.zeros(3), np.ones(3), r"not \(event, member\)"),
        (np.zeros((3, 0)), np.ones(3), r"not \(event, member\)"),
        (np.zeros((0, 2)), np.ones(0), "there are no events"),
        (np.zeros((3, 2)), np.zeros(3), "add up to 0"),
    ],
)
def test_unusable_members_are_refused(log_ratios, weight, reason):
    with pytest.raises(DataError, match=f"ensemble spread: .*{reason}"):
        spread_gate(log_ratios, weight)


# Asimov scans.

POINTS = np.linspace(0.0, 2.0, 21)
EXACT = ((POINTS - 1.0) / 0.3) ** 2


def test_the_worst_point_is_named():
    learned = EXACT.copy()
    learned[4] -= 0.3
    learned[9] += 0.2
    gate = asimov_gate(POINTS, learned, EXACT)
    assert (gate.verdict, gate.threshold) == ("fail", 0.1)
    assert gate.numbers["worst_point"] == pytest.approx(0.4)
    assert gate.numbers["worst_difference"] == pytest.approx(-0.3)
    assert "-0.3 at 0.4" in gate.summary


def test_the_exact_scan_and_one_within_the_threshold_pass():
    assert asimov_gate(POINTS, EXACT, EXACT).verdict == "pass"
    assert asimov_gate(POINTS, EXACT + 0.09, EXACT).verdict == "pass"
    assert asimov_gate(POINTS, EXACT + 0.11, EXACT).verdict == "fail"
    assert asimov_gate(POINTS, EXACT + 0.11, EXACT, threshold=0.2).verdict == "pass"


def test_a_minimum_in_the_wrong_place_fails():
    shifted = ((POINTS - 0.95) / 0.3) ** 2
    assert asimov_gate(POINTS, shifted, EXACT).verdict == "fail"


def test_a_learned_value_that_is_not_finite_fails():
    gate = asimov_gate([0.0, 1.0], [np.nan, 0.0], [4.0, 0.0])
    assert gate.verdict == "fail"
    assert gate.summary == "1 of 2 learned values are not finite"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (([], [], []), "one of each is needed"),
        (([0.0, 1.0], [0.0], [0.0, 1.0]), "one of each is needed"),
        (([0.0, 1.0], [0.0, 0.0], [0.0, np.nan]), "exact value at 1 is not finite"),
    ],
)
def test_unusable_scans_are_refused(arguments, reason):
    with pytest.raises(DataError, match=reason):
        asimov_gate(*arguments)
