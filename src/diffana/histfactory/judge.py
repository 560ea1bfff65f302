"""Final numbers of an analysis as pyhf itself computes them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyhf
from numpy.typing import NDArray
from pyhf import exceptions
from pyhf.infer import mle
from pyhf.infer.calculators import AsymptoticTestStatDistribution


class Verdict(NamedTuple):
    """Expected results of a workspace, computed by pyhf.

    Each is nan if pyhf's minimiser gave up, which `failures` then says.

    Attributes:
        CLs_exp: CLs at the tested strength, expected under background only, at -2, -1,
            0, 1, 2 standard deviations.
        p0: median discovery p-value expected for the signal.
        sigma_mu: expected uncertainty of the parameter of interest at strength 1.
        failures: what pyhf said, by quantity.
    """

    CLs_exp: tuple[float, ...]
    p0: float
    sigma_mu: float
    failures: Mapping[str, str]


def judge(
    workspace: Mapping[str, Any],
    *,
    modifier_settings: Mapping[str, Mapping[str, str]],
    poi_test: float = 1.0,
    starts: Mapping[str, Sequence[float]] | None = None,
) -> Verdict:
    """Let pyhf compute the expected results of a workspace.

    The data are Asimov data at the nominal parameters, whatever the workspace observed.

    Args:
        workspace: in pyhf's form.
        modifier_settings: interpolation codes, which a workspace cannot hold.
        poi_test: strength whose exclusion is tested.
        starts: parameters at which the conditional fits of `"CLs"` and `"p0"` begin.
            pyhf starts a fit once, and where a profile has several minima it may end in
            one that overstates the result; from a certified minimum it does not.

    Source: the definitions are those of `diffana.infer`; only pyhf's code is used.
    """
    model = pyhf.Workspace(dict(workspace)).model(
        modifier_settings={kind: dict(code) for kind, code in modifier_settings.items()}
    )
    begin = starts or {}
    failures: dict[str, str] = {}
    CLs_exp, p0 = (math.nan,) * 5, math.nan
    try:
        CLs_exp = _expected_CLs(model, poi_test, begin.get("CLs"))
    except exceptions.FailedMinimization as error:
        failures["CLs"] = str(error)
    try:
        p0 = _expected_p0(model, begin.get("p0"))
    except exceptions.FailedMinimization as error:
        failures["p0"] = str(error)
    return Verdict(CLs_exp, p0, _expected_sigma_mu(model), failures)


def _nominal(model: pyhf.Model, poi: float) -> NDArray[np.floating]:
    params = np.array(model.config.suggested_init(), float)
    params[model.config.poi_index] = poi
    return params


def _asimov(model: pyhf.Model, poi: float) -> NDArray[np.floating]:
    return np.asarray(model.expected_data(_nominal(model, poi)))


def _expected_CLs(
    model: pyhf.Model, poi_test: float, init: Sequence[float] | None
) -> tuple[float, ...]:
    root = math.sqrt(_asimov_statistic(model, 0.0, poi_test, init))
    with_signal = AsymptoticTestStatDistribution(-root)
    without = AsymptoticTestStatDistribution(0.0)

    def CLs(band: int) -> float:
        at = without.expected_value(band)
        return np.asarray(with_signal.pvalue(at) / without.pvalue(at)).item()

    # A background that fluctuates up by n standard deviations lowers the statistic.
    return tuple(CLs(-band) for band in (-2, -1, 0, 1, 2))


def _expected_p0(model: pyhf.Model, init: Sequence[float] | None) -> float:
    root = math.sqrt(_asimov_statistic(model, 1.0, 0.0, init))
    return np.asarray(AsymptoticTestStatDistribution(0.0).pvalue(root)).item()


def _asimov_statistic(
    model: pyhf.Model, poi_true: float, poi_test: float, init: Sequence[float] | None
) -> float:
    """twice_nll at the tested strength above that of the generating parameters.

    The latter are the exact minimum of their Asimov data. pyhf's minimiser sometimes
    stays where it starts, so the lower one of its start and its end counts.
    """
    data = _asimov(model, poi_true)

    def twice_nll(params: Sequence[float] | NDArray[np.floating]) -> float:
        return np.asarray(mle.twice_nll(params, data, model)).item()

    begin = None if init is None else list(init)
    fitted = mle.fixed_poi_fit(poi_test, data, model, init_pars=begin)
    values = [twice_nll(np.asarray(fitted))]
    values += [] if begin is None else [twice_nll(begin)]
    return max(min(values) - twice_nll(_nominal(model, poi_true)), 0.0)


def _expected_sigma_mu(model: pyhf.Model) -> float:
    """From the second differences of pyhf's log-likelihood at the Asimov point."""
    at, data = _nominal(model, 1.0), _asimov(model, 1.0)
    free = np.flatnonzero(~np.array(model.config.suggested_fixed(), bool))
    # Parameters of HistFactory are of order one. About the fourth root of the rounding
    # error, the step balances it against truncation.
    steps = np.full(len(free), 1e-3)

    def nll(shift: NDArray[np.floating]) -> float:
        params = at.copy()
        params[free] += shift
        return -np.asarray(model.logpdf(params, data)).item()

    n_free = len(free)
    information = np.empty((n_free, n_free))
    basis = np.diag(steps)
    for i in range(n_free):
        for j in range(i + 1):
            corners = (
                nll(basis[i] + basis[j])
                - nll(basis[i] - basis[j])
                - nll(basis[j] - basis[i])
                + nll(-basis[i] - basis[j])
            )
            information[i, j] = corners / (4 * steps[i] * steps[j])
            information[j, i] = information[i, j]
    try:
        variance = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        return math.nan
    poi = int(np.flatnonzero(free == model.config.poi_index)[0])
    return math.sqrt(variance[poi, poi]) if variance[poi, poi] > 0 else math.nan
