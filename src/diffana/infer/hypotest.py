"""Tests of a signal hypothesis: exclusion by CLs, and discovery."""

from typing import TypeVar, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit import Minimiser
from diffana.infer.asymptotics import (
    BANDS,
    expected_log_CLs,
    limit_p_values,
    log_p0,
    significance,
)
from diffana.infer.statistics import (
    AsimovTest,
    ProfileScan,
    discovery_fits,
    exclusion_fits,
)
from diffana.likelihood import AbstractLikelihood
from diffana.numerics import log_normal_sf


@final
class HypoTestResult(eqx.Module):
    """Exclusion test of one signal strength.

    Whatever depends on a fit that was not certified is nan.

    Attributes:
        CLs_obs: observed CLs.
        CLs_exp: CLs expected under background only, at -2, -1, 0, 1, 2 standard
            deviations of the background.
        CLsb: observed p-value of signal plus background.
        CLb: observed p-value of background only.
        q: observed value of the test statistic.
        q_asimov: its value on the background-only Asimov data.
        observed: the fits to the observed data.
        asimov: the fit to the Asimov data, whose nuisance parameters are those fitted
            to the observed data with no signal.
        result: the first failure among all fits.
    """

    CLs_obs: Scalar
    CLs_exp: Float[Array, " band"]
    CLsb: Scalar
    CLb: Scalar
    q: Scalar
    q_asimov: Scalar
    observed: ProfileScan
    asimov: AsimovTest
    result: RESULTS


def hypotest(
    likelihood: AbstractLikelihood,
    data: PyTree,
    poi_test: ArrayLike = 1.0,
    *,
    bounded: bool = True,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> HypoTestResult:
    """Asymptotic CLs test of the signal strength `poi_test`.

    Args:
        likelihood: a statistical model with a parameter of interest.
        data: the observed data set, constraint measurements included.
        poi_test: tested value of the parameter of interest, > 0.
        bounded: whether to use q~_mu, for a parameter that cannot be negative, rather
            than q_mu.
        minimiser: settings of the searches.
        throw: whether a fit that is not certified raises.

    Raises:
        EquinoxRuntimeError: if `throw` and one of the fits is not certified.

    Source: Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, sections 3.5 to 3.7; Read,
    J. Phys. G 28 (2002) 2693 for CLs.

    Example:
        >>> model, data = from_workspace(workspace)
        >>> hypotest(model, data, 1.0).CLs_obs
    """
    found = _exclusion(likelihood, data, poi_test, minimiser, bounded=bounded)
    return _certified(found, throw=throw)


@eqx.filter_jit
def _exclusion(
    likelihood: AbstractLikelihood,
    data: PyTree,
    poi_test: ArrayLike,
    minimiser: Minimiser | None,
    *,
    bounded: bool,
) -> HypoTestResult:
    observed, asimov = exclusion_fits(likelihood, data, poi_test, minimiser)
    q = observed.qmu_tilde if bounded else observed.qmu
    tails = limit_p_values(q, asimov.q, bounded=bounded)
    return HypoTestResult(
        CLs_obs=jnp.exp(tails.log_CLs),
        CLs_exp=jnp.exp(expected_log_CLs(asimov.q)),
        CLsb=jnp.exp(tails.log_CLsb),
        CLb=jnp.exp(tails.log_CLb),
        q=q,
        q_asimov=asimov.q,
        observed=observed,
        asimov=asimov,
        result=_first_failure(observed, asimov),
    )


@final
class DiscoveryResult(eqx.Module):
    """Test of the background-only hypothesis.

    Whatever depends on a fit that was not certified is nan.

    Attributes:
        p0: observed p-value of background only.
        significance: the same in standard deviations, Z.
        p0_exp: p0 expected with the signal at its nominal strength and for data that
            make p0 lower by two and one standard deviations, for the median, and for
            data that make it higher by one and two: pyhf's order.
        q0: observed value of the test statistic.
        q0_asimov: its value on the signal-plus-background Asimov data.
        observed: the fits to the observed data.
        asimov: the fit to the Asimov data, whose nuisance parameters are those fitted
            to the observed data at the nominal strength.
        result: the first failure among all fits.
    """

    p0: Scalar
    significance: Scalar
    p0_exp: Float[Array, " band"]
    q0: Scalar
    q0_asimov: Scalar
    observed: ProfileScan
    asimov: AsimovTest
    result: RESULTS


def discovery(
    likelihood: AbstractLikelihood,
    data: PyTree,
    *,
    poi_signal: ArrayLike = 1.0,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> DiscoveryResult:
    """Asymptotic test of the background-only hypothesis with q_0.

    Args:
        likelihood: a statistical model with a parameter of interest.
        data: the observed data set, constraint measurements included.
        poi_signal: strength of the signal in the expected set.
        minimiser: settings of the searches.
        throw: whether a fit that is not certified raises.

    Raises:
        EquinoxRuntimeError: if `throw` and one of the fits is not certified.

    Source: Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, sections 3.3 and 4.1.
    """
    found = _discovery(likelihood, data, poi_signal, minimiser)
    return _certified(found, throw=throw)


@eqx.filter_jit
def _discovery(
    likelihood: AbstractLikelihood,
    data: PyTree,
    poi_signal: ArrayLike,
    minimiser: Minimiser | None,
) -> DiscoveryResult:
    observed, asimov = discovery_fits(likelihood, data, poi_signal, minimiser)
    bands = jnp.array(BANDS, float)
    return DiscoveryResult(
        p0=jnp.exp(log_p0(observed.q0)),
        significance=significance(observed.q0),
        p0_exp=jnp.exp(log_normal_sf(significance(asimov.q) - bands)),
        q0=observed.q0,
        q0_asimov=asimov.q,
        observed=observed,
        asimov=asimov,
        result=_first_failure(observed, asimov),
    )


def _first_failure(observed: ProfileScan, asimov: AsimovTest) -> RESULTS:
    failed = observed.result != RESULTS.successful
    return RESULTS.where(failed, observed.result, asimov.fit.result)


_Result = TypeVar("_Result", HypoTestResult, DiscoveryResult)


def _certified(found: _Result, *, throw: bool) -> _Result:
    if not throw:
        return found
    return found.result.error_if(found, found.result != RESULTS.successful)
