"""Exclusion and discovery tests against pyhf, on observed data of every regime."""

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffana.errors import RESULTS
from diffana.histfactory import from_workspace
from diffana.infer import discovery, hypotest
from regions import COUNTING, EVERYTHING, MORPHING, workspace


# scipy clips trial points that rounding put outside the bounds, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Values in x were outside bounds")


@pytest.fixture(scope="module", autouse=True)
def tightened_pyhf():
    """pyhf on NumPy with a minimiser that stops at rounding, not at 1e-6."""
    backend, optimizer = pyhf.get_backend()
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-14))
    yield
    pyhf.set_backend(backend, optimizer)


def both(spec):
    """The same workspace in diffana and in pyhf: (model, data), (model, data)."""
    parsed = pyhf.Workspace(spec)
    theirs = parsed.model()
    return from_workspace(spec), (theirs, parsed.data(theirs))


CASES = {
    # name: uncertainties, observed bins, tested strength, range of the fitted strength
    "deficit": (COUNTING, [42.0, 30.0, 118.0], 1.0, (-np.inf, -0.5)),
    "signal-like": (COUNTING, [63.0, 54.0, 121.0], 1.0, (0.3, 1.0)),
    "morphed deficit": (MORPHING, [44.0, 30.0, 125.0], 2.0, (-np.inf, -0.3)),
    "morphed excess": (MORPHING, [78.0, 70.0, 112.0], 1.0, (1.0, np.inf)),
    "half the signal": (EVERYTHING, [61.0, 50.0, 124.0], 1.0, (0.0, 1.0)),
    "large excess": (EVERYTHING, [88.0, 84.0, 119.0], 1.5, (1.5, np.inf)),
}

# q is right to about 1e-8 with pyhf's tightened minimiser (its gradient is a finite
# difference); CLs and p0 move by at most about q's error times ten here.
AGREES = {"rtol": 2e-6, "atol": 1e-9}


@pytest.mark.parametrize(
    ("uncertainties", "observed", "poi_test", "poi_hat"), CASES.values(), ids=CASES
)
def test_CLs_equal_pyhf(uncertainties, observed, poi_test, poi_hat):
    signed = workspace(observed, mu_lower=-10.0, **uncertainties)
    (model, data), (theirs, their_data) = both(signed)
    result = hypotest(model, data, poi_test, bounded=False)
    assert poi_hat[0] < result.observed.poi_hat < poi_hat[1]

    want_obs, want_tails, want_exp = pyhf.infer.hypotest(
        poi_test,
        their_data,
        theirs,
        init_pars=result.observed.free.bestfit.tolist(),
        test_stat="q",
        return_tail_probs=True,
        return_expected_set=True,
    )
    np.testing.assert_allclose(result.CLs_obs, want_obs, **AGREES)
    np.testing.assert_allclose(result.CLs_exp, want_exp, **AGREES)
    np.testing.assert_allclose([result.CLsb, result.CLb], want_tails, **AGREES)


@pytest.mark.parametrize(
    ("uncertainties", "observed", "poi_test", "poi_hat"), CASES.values(), ids=CASES
)
def test_bounded_CLs_equal_pyhf(uncertainties, observed, poi_test, poi_hat):
    (model, data), (theirs, their_data) = both(workspace(observed, **uncertainties))
    result = hypotest(model, data, poi_test)
    if poi_hat[1] < 0:
        assert result.observed.poi_hat == 0
        assert bool(result.observed.free.at_bound[model.parameters.poi_index])
        # The other branch of the distribution of q~.
        assert result.q > result.q_asimov
    elif poi_hat[0] >= poi_test:
        assert result.q == 0
        # What is observed exceeds the tested signal: q = 0 leaves CLsb at one half.
        np.testing.assert_allclose(result.CLsb, 0.5, rtol=1e-14)

    want_obs, want_tails, want_exp = pyhf.infer.hypotest(
        poi_test,
        their_data,
        theirs,
        init_pars=result.observed.free.bestfit.tolist(),
        test_stat="qtilde",
        return_tail_probs=True,
        return_expected_set=True,
    )
    np.testing.assert_allclose(result.CLs_obs, want_obs, **AGREES)
    np.testing.assert_allclose(result.CLs_exp, want_exp, **AGREES)
    np.testing.assert_allclose([result.CLsb, result.CLb], want_tails, **AGREES)
    assert np.all(np.diff(result.CLs_exp) > 0)


@pytest.mark.parametrize(
    ("uncertainties", "observed", "poi_test", "poi_hat"), CASES.values(), ids=CASES
)
def test_p0_equals_pyhf(uncertainties, observed, poi_test, poi_hat):
    signed = workspace(observed, mu_lower=-10.0, **uncertainties)
    (model, data), (theirs, their_data) = both(signed)
    result = discovery(model, data)
    want, want_exp = pyhf.infer.hypotest(
        0.0,
        their_data,
        theirs,
        init_pars=result.observed.free.bestfit.tolist(),
        test_stat="q0",
        return_expected_set=True,
    )
    np.testing.assert_allclose(result.p0, want, **AGREES)
    np.testing.assert_allclose(result.p0_exp, want_exp, **AGREES)
    np.testing.assert_allclose(
        jax.scipy.stats.norm.sf(result.significance), result.p0, rtol=1e-12
    )
    if poi_hat[1] < 0:
        assert result.q0 == 0
        np.testing.assert_allclose(result.p0, 0.5, rtol=1e-14)


def test_a_bound_at_zero_and_a_signed_strength_give_the_same_bounded_test():
    uncertainties, observed, poi_test, _ = CASES["morphed deficit"]
    bounded, signed = (
        hypotest(
            *from_workspace(workspace(observed, mu_lower=mu_lower, **uncertainties)),
            poi_test,
        )
        for mu_lower in (0.0, -10.0)
    )
    assert signed.observed.poi_hat < 0
    # Equal minima, found on different ways: certified to an edm of 1e-10.
    np.testing.assert_allclose(bounded.CLs_obs, signed.CLs_obs, rtol=1e-8)


def test_statistics_of_the_best_fit_value_are_zero():
    uncertainties, observed, _, _ = CASES["half the signal"]
    model, data = from_workspace(workspace(observed, **uncertainties))
    poi_hat = hypotest(model, data, 1.0).observed.poi_hat
    again = hypotest(model, data, poi_hat).observed
    # Differences of values of about 30 that are equal up to rounding and edm.
    np.testing.assert_allclose([again.tmu, again.qmu_tilde], 0.0, atol=1e-10)


def test_failed_fits_give_no_numbers():
    uncertainties, observed, poi_test, _ = CASES["half the signal"]
    model, data = from_workspace(workspace(observed, **uncertainties))
    broken = data.at[0].set(jnp.nan)
    exclusion = hypotest(model, broken, poi_test, throw=False)
    assert exclusion.result == RESULTS.non_finite
    found = discovery(model, broken, throw=False)
    assert found.result == RESULTS.non_finite
    numbers = [exclusion.CLs_obs, exclusion.CLsb, exclusion.CLb, found.p0, found.q0]
    assert np.all(np.isnan(numbers))
    assert np.all(np.isnan(exclusion.CLs_exp))
    with pytest.raises(RuntimeError, match="not finite"):
        hypotest(model, broken, poi_test)
