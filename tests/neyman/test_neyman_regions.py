"""Test inversion against cases done by hand and against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from diffana.neyman.regions import bounds, invert, is_accepted, lengths, refined


def test_edges_are_interpolated():
    region = invert([0, 1, 2, 3], [4, 0, 0, 3], [1, 1, 1, 1])
    # From 1 up to 4 the difference is -1 and 3; from 2 up to 3, -1 and 2.
    assert region.segments == ((0.75, pytest.approx(2 + 1 / 3)),)
    assert region.brackets == (((1, 0), (2, 3)),)
    assert region.hull == (0.75, pytest.approx(2 + 1 / 3))
    assert region.length == pytest.approx(1.25 + 1 / 3)
    assert not region.empty
    assert region.hits_edge == (False, False)


def test_critical_values_may_vary():
    """Edges are roots of the difference: here where 4 - 2μ meets μ."""
    mu = np.linspace(0, 3, 8)
    region = invert(mu, 4 - 2 * mu, mu)
    assert region.segments == ((pytest.approx(4 / 3, rel=1e-14), 3.0),)
    assert region.hits_edge == (False, True)


def test_disconnected():
    region = invert([0, 1, 2, 3, 4, 5], [0, 0, 4, 4, 0, 4], [2] * 6)
    assert region.segments == ((0, 1.5), (3.5, 4.5))
    assert region.hull == (0, 4.5)
    assert region.length == 2.5
    assert region.hits_edge == (True, False)
    assert region.contains(1.5)
    assert not region.contains(2)
    assert region.contains(4)


def test_empty():
    region = invert([0, 1], [3, 3], [2, 2])
    assert region.empty
    assert region.segments == region.brackets == ()
    assert np.isnan(region.hull).all()
    assert region.length == 0
    assert region.hits_edge == (False, False)


def test_everything():
    region = invert([0, 1, 5], [0, 0, 0], [2, 2, 2])
    assert region.segments == ((0, 5),)
    assert region.length == 5
    assert region.hits_edge == (True, True)


def test_value_at_the_critical_value_is_accepted():
    assert invert([0, 1, 2], [3, 2, 3], [2, 2, 2]).segments == ((1, 1),)
    assert invert([0, 1, 2], [1, 2, 3], [2, 2, 2]).hull == (0, 1)
    assert is_accepted([1, 2, 3], [2, 2, 2]).tolist() == [True, True, False]


def test_single_point_between_rejected_ones():
    assert invert([0, 1, 2], [2, 0, 2], [1, 1, 1]).segments == ((0.5, 1.5),)
    assert invert([0, 1, 2], [np.inf, 0, np.inf], [1, 1, 1]).segments == ((1, 1),)
    assert invert([7], [0], [1]).segments == ((7, 7),)
    assert invert([7], [0], [1]).hits_edge == (True, True)


def test_infinite_numbers():
    one = np.ones(3)
    # Excluded for sure: the edge is the accepted point.
    assert invert([0, 1, 2], [np.inf, 0, 0], one).segments == ((1, 2),)
    assert invert([0, 1, 2], [0, 4, 4], [1, -np.inf, 1]).segments == ((0, 0),)
    # Accepted for sure: the edge is the rejected point.
    assert invert([0, 1, 2], [0, 4, 4], [np.inf, 1, 1]).segments == ((0, 1),)
    assert invert([0, 1, 2], [-np.inf, 4, 4], one).segments == ((0, 1),)
    # Accepted for sure next to excluded for sure: nothing in between is known.
    assert invert([0, 1], [-np.inf, np.inf], [1, 1]).segments == ((0, 0),)
    # An infinite critical value accepts whatever the statistic.
    assert invert([0, 1, 2], [np.inf] * 3, [np.inf] * 3).segments == ((0, 2),)
    assert invert([0, 1], [np.inf, 3], [np.inf, 1]).segments == ((0, 1),)


@pytest.mark.parametrize("position", [0, 1])
def test_nan_is_refused(position):
    numbers = [np.zeros(3), np.ones(3)]
    numbers[position][1] = np.nan
    statistic, critical = numbers
    name = ("statistic", "critical value")[position]
    message = f"{name}: 1 of 3 are nan"
    with pytest.raises(ValueError, match=message):
        invert([0, 1, 2], statistic, critical)
    with pytest.raises(ValueError, match=message):
        lengths([0, 1, 2], statistic[None], critical)
    with pytest.raises(ValueError, match=message):
        bounds([0, 1, 2], statistic[None], critical)
    with pytest.raises(ValueError, match=message):
        is_accepted(statistic, critical)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="must increase"):
        invert([0, 0, 1], [1, 1, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="must be finite"):
        invert([0, 1, np.nan], [1, 1, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="must be finite"):
        invert([], [], [])
    with pytest.raises(ValueError, match="at 3 tested values"):
        invert([0, 1, 2], [1, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="critical values of"):
        invert([0, 1, 2], [1, 1, 1], [1, 1])


def test_no_data_sets():
    none = np.empty((0, 3))
    assert lengths([0, 1, 2], none, [1, 1, 1]).shape == (0,)
    assert bounds([0, 1, 2], none, [1, 1, 1])[0].shape == (0,)


numbers = st.floats(-5, 5) | st.sampled_from([np.inf, -np.inf, 0.0, 1.0])


@settings(max_examples=150)
@given(
    statistic=arrays(float, (4, 9), elements=numbers),
    critical=arrays(float, 9, elements=numbers),
    step=arrays(float, 9, elements=st.floats(0.01, 3)),
)
def test_vectorised_functions_agree_with_segments(statistic, critical, step):
    mu = np.cumsum(step)
    regions = [invert(mu, row, critical) for row in statistic]
    found = lengths(mu, statistic, critical)
    # The same segments; Python may add several of them more precisely.
    np.testing.assert_allclose(found, [r.length for r in regions], rtol=1e-14)
    lower, upper = bounds(mu, statistic, critical)
    np.testing.assert_array_equal(lower, [r.hull[0] for r in regions])
    np.testing.assert_array_equal(upper, [r.hull[1] for r in regions])
    for region, accepted in zip(regions, is_accepted(statistic, critical), strict=True):
        # Edges may be on a rejected point: where the difference is -∞ on one side.
        assert all(region.contains(at) for at in mu[accepted])
        assert region.empty == (not accepted.any())
        assert region.hits_edge == (accepted[0], accepted[-1])
        ends = np.ravel(region.segments)
        assert (np.diff(ends) >= 0).all()


@settings(max_examples=60)
@given(
    statistic=arrays(float, (3, 7), elements=st.floats(-4, 4)),
    critical=arrays(float, 7, elements=st.floats(-2, 2)),
)
def test_lengths_by_counting(statistic, critical):
    """Count of fine points at which the interpolated statistic is not above."""
    mu = np.array([0.0, 0.5, 1.0, 2.0, 2.2, 3.0, 4.0])
    n_fine = 8000
    fine = (np.arange(n_fine) + 0.5) * 4 / n_fine
    counted = [
        4 / n_fine * (np.interp(fine, mu, row - critical) <= 0).sum()
        for row in statistic
    ]
    # A cell for each edge, of which there are at most six; flat pieces at exactly 0,
    # or within rounding of it, are accepted at one end only by one of the two.
    difference = statistic - critical
    flat = (np.abs(difference) < 1e-9).any(axis=1)
    found = lengths(mu, statistic, critical)
    np.testing.assert_allclose(
        found[~flat], np.array(counted)[~flat], atol=6 * 4 / n_fine
    )


def test_refined_edges():
    """The four roots of a polynomial, to the tolerance asked for."""
    mu = np.linspace(-3, 3, 13)

    def difference(at):
        return at**4 - 2 * at**2 - 0.5 * at + 0.3

    region = invert(mu, difference(mu), np.zeros(13))
    roots = np.sort(np.roots([1, 0, -2, -0.5, 0.3]).real)
    assert len(region.segments) == 2
    assert np.abs(np.ravel(region.segments) - roots).max() > 1e-2
    found = refined(region, difference, xtol=1e-12)
    np.testing.assert_allclose(np.ravel(found.segments), roots, atol=1e-11)
    assert found.brackets == region.brackets
    assert found.hits_edge == region.hits_edge


def test_refined_keeps_ends_and_infinities():
    mu = np.array([0.0, 1.0, 2.0])
    region = invert(mu, [0, 0, np.inf], [1, 1, 1])
    assert region.hull == (0, 1)
    found = refined(region, lambda at: -1.0 if at < 1.25 else np.inf)
    assert found.hull == (0, pytest.approx(1.25, abs=1e-9))
    empty = invert(mu, [2, 2, 2], [1, 1, 1])
    assert refined(empty, lambda at: 1.0) == empty


def test_refined_refuses_another_function():
    region = invert([0, 1, 2], [0, 0, 2], [1, 1, 1])
    with pytest.raises(ValueError, match="which the grid accepts"):
        refined(region, lambda at: 1.0)
    with pytest.raises(ValueError, match="which the grid accepts"):
        refined(region, lambda at: -1.0)
    with pytest.raises(ValueError, match="nan at 1"):
        refined(region, lambda at: np.nan)
