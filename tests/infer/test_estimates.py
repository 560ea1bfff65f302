"""Estimates against closed forms, pyhf's likelihood and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from diffana.errors import RESULTS
from diffana.histfactory import from_workspace
from diffana.infer import estimate
from gaussian import Gaussian
from pyhf_minima import minimum
from regions import EVERYTHING, workspace


COVARIANCE = np.array([[4.0, 1.2, -0.3], [1.2, 0.9, 0.1], [-0.3, 0.1, 0.25]])
EXCESS, DEFICIT = [66.0, 50.0, 124.0], [40.0, 30.0, 121.0]


def test_estimates_of_a_gaussian_are_its_moments():
    data = jnp.array([0.3, -1.0, 2.0])
    found = estimate(Gaussian(jnp.linalg.inv(COVARIANCE)), data)
    np.testing.assert_allclose(found.bestfit, data, rtol=1e-12)
    # Inversions of a 3 x 3 matrix of condition 30.
    np.testing.assert_allclose(found.covariance, COVARIANCE, rtol=1e-12)
    sigma = np.sqrt(np.diag(COVARIANCE))
    np.testing.assert_allclose(found.uncertainty, sigma, rtol=1e-12)
    np.testing.assert_allclose(
        found.correlation, COVARIANCE / np.outer(sigma, sigma), rtol=1e-11
    )
    assert found.goodness is None


@pytest.fixture(scope="module")
def both():
    spec = workspace(EXCESS, **EVERYTHING)
    parsed = pyhf.Workspace(spec)
    theirs = parsed.model()
    return from_workspace(spec), (theirs, np.array(parsed.data(theirs)))


def test_uncertainties_are_those_of_pyhfs_likelihood(both):
    (model, data), (theirs, their_data) = both
    found = estimate(model, data)
    value, params, hessian = minimum(
        theirs, their_data, held=None, start=found.bestfit.tolist()
    )
    want = 2 * np.linalg.inv(hessian)
    assert found.best_twice_nll == pytest.approx(value, abs=1e-9)
    sigma = np.sqrt(np.diag(want))
    np.testing.assert_allclose(found.bestfit, params, atol=1e-6)
    # Second differences: see test_fisher.
    np.testing.assert_allclose(found.uncertainty, sigma, rtol=1e-6)
    np.testing.assert_allclose(
        found.correlation, want / np.outer(sigma, sigma), atol=1e-6
    )


def test_goodness_compares_with_pyhfs_saturated_model(both):
    (model, data), (theirs, their_data) = both
    found = estimate(model, data)
    counts, auxdata = np.split(their_data, [theirs.config.nmaindata])
    inits = theirs.config.suggested_init()
    constraint = theirs.constraint_logpdf(auxdata, pyhf.tensorlib.astensor(inits))
    saturated = -2 * (stats.poisson.logpmf(counts, counts).sum() + constraint)
    goodness = found.goodness
    np.testing.assert_allclose(goodness.twice_nll_saturated, saturated, rtol=1e-12)
    np.testing.assert_allclose(
        goodness.chi2, found.best_twice_nll - saturated, atol=1e-11
    )
    # Three bins, and a strength without constraint.
    assert goodness.ndf == 2
    np.testing.assert_allclose(
        goodness.p_value, stats.chi2.sf(goodness.chi2, 2), rtol=1e-10
    )


def test_a_held_strength_leaves_its_degree_of_freedom(both):
    (model, data), _ = both
    free, index = estimate(model, data), model.parameters.poi_index
    found = estimate(model, data, fixed={"mu": free.bestfit[index]})
    assert found.bestfit[index] == free.bestfit[index]
    assert found.goodness.ndf == free.goodness.ndf + 1
    assert found.uncertainty[index] == 0
    # The covariance given the strength, at the same point.
    given = free.covariance - jnp.outer(
        free.covariance[index], free.covariance[index] / free.covariance[index, index]
    )
    np.testing.assert_allclose(found.covariance, given, atol=1e-9)


def test_a_strength_at_its_bound_has_no_uncertainty_but_was_fitted():
    model, data = from_workspace(workspace(DEFICIT, **EVERYTHING))
    found = estimate(model, data)
    index = model.parameters.poi_index
    assert bool(found.fit.at_bound[index])
    assert found.uncertainty[index] == 0
    assert found.goodness.ndf == 2


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), at_bound=st.booleans())
def test_asimov_data_return_what_generated_them(both, seed, at_bound):
    """Each term of the likelihood is largest there, so no other point comes close."""
    (model, _), _ = both
    parameters = model.parameters
    rng = np.random.default_rng(seed)
    spread = jnp.where(parameters.inits == 0, 1.0, 0.1)
    params = parameters.inits + spread * rng.normal(size=len(parameters))
    params = jnp.clip(params, parameters.lower, parameters.upper)
    params = params.at[parameters.poi_index].set(0.0 if at_bound else rng.uniform(0, 9))
    asimov = model.expected_data(params)
    found = estimate(model, asimov)
    # The strength, the only one that may be at a bound, is uncertain by about one.
    sigma = np.where(found.uncertainty > 0, found.uncertainty, 1.0)
    # The search ends at an edm of 1e-18, that is 1e-9 of an uncertainty.
    np.testing.assert_allclose((found.bestfit - params) / sigma, 0.0, atol=1e-6)
    assert np.all(found.bestfit >= parameters.lower)
    assert np.all(found.bestfit <= parameters.upper)
    # Values near 30.
    generated = model.twice_nll(params, asimov)
    np.testing.assert_allclose(found.best_twice_nll, generated, rtol=1e-12)


def test_derivatives_of_uncertainties_equal_finite_differences(both):
    (model, data), _ = both

    @eqx.filter_jit
    def numbers(templates):
        found = estimate(eqx.tree_at(lambda m: m.templates, model, templates), data)
        return jnp.stack(
            [found.uncertainty[0], found.correlation[0, 1], found.goodness.p_value]
        )

    slopes = eqx.filter_jit(jax.jacrev(numbers))(model.templates)
    step = 1e-4
    for field, entry in [("nominal", 0), ("nominal", 3), ("histosys_hi", 1)]:
        values = getattr(model.templates, field)
        moved = [
            numbers(
                eqx.tree_at(
                    lambda t: getattr(t, field),  # noqa: B023
                    model.templates,
                    values.at[entry].add(h),
                )
            )
            for h in (step, -step)
        ]
        want = (moved[0] - moved[1]) / (2 * step)
        # Parameters good to 1e-9 over the step.
        np.testing.assert_allclose(
            getattr(slopes, field)[:, entry], want, rtol=1e-5, atol=1e-7
        )


def test_a_failed_fit_gives_no_numbers(both):
    (model, data), _ = both
    found = estimate(model, data.at[0].set(jnp.nan), throw=False)
    assert found.result == RESULTS.non_finite
    for numbers in (found.bestfit, found.covariance[0, 0], found.goodness.chi2):
        assert np.all(np.isnan(numbers))
    with pytest.raises(RuntimeError, match="not finite"):
        estimate(model, data.at[0].set(jnp.nan))
