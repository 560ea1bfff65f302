"""Asymptotic p-values against SciPy, pyhf's distributions and their own limits."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from pyhf.infer.calculators import AsymptoticTestStatDistribution
from scipy import special, stats

from diffana.infer import (
    BANDS,
    expected_log_CLs,
    limit_p_values,
    log_p0,
    significance,
)


# The programs run a few times only.
FAST = {"xla_backend_optimization_level": 0}


@jax.jit
def unbounded(q, q_asimov):
    tails = limit_p_values(q, q_asimov, bounded=False)
    return jnp.stack([tails.log_CLsb, tails.log_CLb, tails.log_CLs])


@jax.jit
def bounded(q, q_asimov):
    tails = limit_p_values(q, q_asimov, bounded=True)
    return jnp.stack([tails.log_CLsb, tails.log_CLb, tails.log_CLs])


@jax.jit
def everything(q, q_asimov):
    others = jnp.stack([log_p0(q), significance(q)])
    return jnp.concatenate([bounded(q, q_asimov), expected_log_CLs(q_asimov), others])


BOTH = (0, 1)
first = jax.jit(jax.jacrev(everything, BOTH), compiler_options=FAST)
# Forward over reverse mode.
second = jax.jit(jax.hessian(everything, BOTH), compiler_options=FAST)

bands = jax.jit(expected_log_CLs)

statistics = st.floats(0.0, 400.0)
asimov_statistics = st.floats(1e-3, 400.0)

# Sums of a few terms of size up to 1e3 whose logarithms are exact to 1e-12.
EXACT = {"rtol": 1e-11, "atol": 1e-11}


@given(statistics, asimov_statistics)
def test_tails_of_q_are_normal(q, q_asimov):
    tail = special.log_ndtr(-np.sqrt(q))
    background = special.log_ndtr(np.sqrt(q_asimov) - np.sqrt(q))
    want = [tail, background, tail - background]
    np.testing.assert_allclose(unbounded(q, q_asimov), want, **EXACT)


@given(statistics, asimov_statistics)
def test_tails_of_bounded_q_follow_both_branches(q, q_asimov):
    if q <= q_asimov:
        np.testing.assert_array_equal(bounded(q, q_asimov), unbounded(q, q_asimov))
        return
    width = 2 * np.sqrt(q_asimov)
    tail = special.log_ndtr(-(q + q_asimov) / width)
    background = special.log_ndtr(-(q - q_asimov) / width)
    # Relative to the terms, since CLs is their difference.
    np.testing.assert_allclose(
        bounded(q, q_asimov), [tail, background, tail - background], rtol=1e-9
    )


@pytest.mark.parametrize(("q", "q_asimov"), [(0.7, 2.3), (5.1, 2.3), (0.0, 1.0)])
def test_tails_equal_those_of_pyhf(q, q_asimov):
    root = np.sqrt(q_asimov)
    statistic = np.sqrt(q) - root if q < q_asimov else (q - q_asimov) / (2 * root)
    signal, background = (AsymptoticTestStatDistribution(at) for at in (-root, 0.0))
    want = np.array([d.pvalue(statistic) for d in (signal, background)])
    np.testing.assert_allclose(
        np.exp(bounded(q, q_asimov)[:2]), want.astype(float), rtol=1e-12
    )


@given(asimov_statistics)
def test_branches_of_the_bounded_statistic_meet_smoothly(q):
    just_below, just_above = q * (1 - 1e-9), q * (1 + 1e-9)
    # A step of 1e-9 changes values by less than 1e-9 q; slopes by as little.
    np.testing.assert_allclose(
        bounded(just_below, q), bounded(just_above, q), atol=1e-8 * (1 + q)
    )
    np.testing.assert_allclose(
        first(just_below, q), first(just_above, q), rtol=1e-5, atol=1e-8
    )


@given(asimov_statistics)
def test_median_CLs_is_that_of_the_asimov_data(q_asimov):
    want = np.log(2) + special.log_ndtr(-np.sqrt(q_asimov))
    np.testing.assert_allclose(bands(q_asimov)[2], want, **EXACT)
    np.testing.assert_allclose(bounded(q_asimov, q_asimov)[2], want, **EXACT)


@given(st.floats(25.0, 400.0))
def test_bands_are_the_CLs_of_shifted_data(q_asimov):
    root = np.sqrt(q_asimov)
    # n standard deviations more events lower sqrt(q) by n; above 2 sigma none is < 0.
    shifted = [unbounded((root - n) ** 2, q_asimov)[2] for n in BANDS]
    np.testing.assert_allclose(bands(q_asimov), shifted, **EXACT)


@given(asimov_statistics)
def test_bands_are_ordered_and_probabilities(q_asimov):
    values = bands(q_asimov)
    assert np.all(np.diff(values) > 0)
    assert np.all(values <= 0)


def test_no_sensitivity_excludes_nothing():
    np.testing.assert_allclose(bands(0.0), 0.0, atol=1e-15)
    np.testing.assert_array_equal(bounded(0.0, 0.0)[2], 0.0)


@pytest.mark.parametrize("q", [0.04, 2.7, 30.0, 900.0, 4000.0])
def test_p0_and_significance_are_one_statement(q):
    np.testing.assert_allclose(significance(jnp.array(q)), np.sqrt(q), rtol=1e-15)
    np.testing.assert_allclose(
        log_p0(jnp.array(q)), stats.norm.logsf(np.sqrt(q)), rtol=1e-11
    )


@pytest.mark.parametrize(("q", "q_asimov"), [(0.0, 1.0), (-1e-12, 1.0), (1.0, 0.0)])
def test_derivatives_at_zero_are_finite(q, q_asimov):
    """The statistic is zero at the best fit, and negative by rounding next to it."""
    assert np.all(np.isfinite(everything(q, q_asimov)))
    for derivative in (first, second):
        assert np.all(np.isfinite(jax.tree.leaves(derivative(q, q_asimov))))


@pytest.mark.parametrize(("q", "q_asimov"), [(0.7, 2.3), (5.1, 2.3), (900.0, 950.0)])
def test_derivatives(q, q_asimov):
    def differences(function):
        step = np.array([1e-5 * q, 1e-5 * q_asimov])
        up, down = (
            (
                np.array(function(q + sign * step[0], q_asimov)),
                np.array(function(q, q_asimov + sign * step[1])),
            )
            for sign in (1, -1)
        )
        return [(up[i] - down[i]) / (2 * step[i]) for i in BOTH]

    slopes = np.array(first(q, q_asimov))
    # Values up to 1e3, good to 1e-12 of their size, over a step of 1e-5 of q.
    np.testing.assert_allclose(slopes, differences(everything), rtol=1e-5, atol=1e-8)
    bends = np.moveaxis(np.array(second(q, q_asimov)), 1, 0)
    np.testing.assert_allclose(bends, differences(first), rtol=1e-5, atol=1e-8)


def test_nan_stays_visible():
    nan = jnp.array(jnp.nan)
    for values in (bounded(nan, 1.0), bounded(1.0, nan), bands(nan), log_p0(nan)):
        assert np.any(np.isnan(values))
    assert np.isnan(bounded(1.0, nan)[2])
    assert np.isnan(significance(nan))
