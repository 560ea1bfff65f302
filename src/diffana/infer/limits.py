"""Upper limits on the parameter of interest, as differentiable roots of CLs."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, ArrayLike, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit import FitResult, Minimiser, first_failure, fit_together
from diffana.infer.asymptotics import BANDS, expected_log_CLs, limit_p_values
from diffana.infer.crossing import AbstractCurve, Crossing, Route, cross
from diffana.infer.fisher import covariance, fisher_information, uncertainty
from diffana.infer.statistics import nominal
from diffana.likelihood import AbstractLikelihood
from diffana.numerics import normal_sf, safe_sqrt


@final
class UpperLimitResult(eqx.Module):
    """Upper limits on the parameter of interest, in its unit.

    Whatever depends on a fit that was not certified is nan.

    Attributes:
        observed: observed limit.
        expected: limits expected under background only, at -2, -1, 0, 1, 2 standard
            deviations of the background.
        free: fit to the observed data.
        background: the same with the parameter of interest held at zero, whose nuisance
            parameters generate the Asimov data.
        n_trials: values of the parameter tested for each limit, the observed one first.
        results: how the search of each limit ended, in the same order.
        result: the first failure among all fits and searches.
    """

    observed: Scalar
    expected: Float[Array, " band"]
    free: FitResult
    background: FitResult
    n_trials: Int[Array, " limit"]
    results: RESULTS
    result: RESULTS


@final
class ExpectedUpperLimit(eqx.Module):
    """Median limit expected under background only, in the unit of the parameter.

    Attributes:
        median: the limit; nan unless `result` is success.
        n_trials: values of the parameter tested.
        result: how the search ended.
    """

    median: Scalar
    n_trials: Int[Array, ""]
    result: RESULTS


def upper_limit(
    likelihood: AbstractLikelihood,
    data: PyTree,
    *,
    level: float = 0.05,
    bounded: bool = True,
    rtol: float = 1e-6,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> UpperLimitResult:
    """Observed and expected upper limits: where the asymptotic CLs equals `level`.

    The limits are differentiable functions of every array in `likelihood` and `data`,
    by the implicit function theorem. A limit that does not exist is nan and contributes
    nothing to derivatives in reverse mode.

    Args:
        likelihood: a statistical model with a parameter of interest.
        data: the observed data set, constraint measurements included.
        level: one minus the confidence level, in (0, 1).
        bounded: whether to use q~_mu, for a parameter that cannot be negative, rather
            than q_mu.
        rtol: size of the last Newton step of a search, relative to the limit. The step
            is taken: the limits themselves are as accurate as the fits allow.
        minimiser: settings of the fits.
        throw: whether a fit that is not certified, or a limit beyond the bounds of the
            parameter, raises. Otherwise `result` and `results` tell.

    Raises:
        ValueError: if the model has no parameter of interest, or `level` is no
            probability.
        EquinoxRuntimeError: if `throw` and anything failed.

    Source: Read, J. Phys. G 28 (2002) 2693 for CLs; Cowan, Cranmer, Gross, Vitells,
    arXiv:1007.1727, sections 3.6, 3.7 and 4.3. As in pyhf, the Asimov data have the
    nuisance parameters fitted to the observed data without signal.

    Example:
        >>> model, data = from_workspace(workspace)
        >>> upper_limit(model, data).expected[2]
    """
    poi, height = _poi(likelihood), _checked(level)
    fits = fit_together(
        likelihood, data, [{}, {poi: 0.0}], minimiser=minimiser, throw=throw
    )
    limits = _upper_limits(
        likelihood, data, fits, height, bounded=bounded, rtol=rtol, minimiser=minimiser
    )
    failed = limits.result != RESULTS.successful
    return limits.result.error_if(limits, failed) if throw else limits


def expected_upper_limit(
    likelihood: AbstractLikelihood,
    params: Float[Array, " par"] | None = None,
    *,
    level: float = 0.05,
    rtol: float = 1e-6,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> ExpectedUpperLimit:
    """Median upper limit expected under background only, without observed data.

    Needs one fit per trial and is differentiable like `upper_limit`: a loss.

    Args:
        likelihood: a statistical model with a parameter of interest.
        params: parameters that generate the Asimov data, the parameter of interest
            being zero; by default the nominal ones.
        level: one minus the confidence level, in (0, 1).
        rtol: as in `upper_limit`.
        minimiser: settings of the fits.
        throw: whether a failure raises; otherwise `result` tells.

    Raises:
        ValueError: as in `upper_limit`.
        EquinoxRuntimeError: if `throw` and a fit or the search failed.

    Source: Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, section 4.3.

    Example:
        >>> jax.grad(lambda model: expected_upper_limit(model).median)
    """
    generated = nominal(likelihood, 0.0) if params is None else params
    limit = _expected(
        likelihood, generated, _checked(level), rtol=rtol, minimiser=minimiser
    )
    failed = limit.result != RESULTS.successful
    return limit.result.error_if(limit, failed) if throw else limit


@final
class LogCLs(AbstractCurve):
    """√(-2 ln CLs) above its value at the level; nearly linear in the signal strength.

    The data sets are the observed and the Asimov data. Branch 0 is the observed CLs,
    the following ones are those expected in the order of `BANDS`.

    Attributes:
        poi_hat: best-fit value of the parameter of interest on the observed data.
        observed_minimum: minimum of twice_nll that the observed statistic starts from.
        asimov_minimum: minimum of twice_nll of the Asimov data.
        level: CLs at the limit.
        bounded: whether the statistic is q~_mu.
        fixed: nothing besides the parameter of interest.
    """

    likelihood: AbstractLikelihood
    data: PyTree
    poi_hat: Scalar
    observed_minimum: Scalar
    asimov_minimum: Scalar
    level: Scalar
    name: str = eqx.field(static=True)
    bounded: bool = eqx.field(static=True)
    fixed: dict[str, ArrayLike] = eqx.field(default_factory=dict)

    def height(
        self, branch: Int[Array, ""], x: Scalar, minima: Float[Array, " fit"]
    ) -> Scalar:
        """√(-2 ln CLs) at `x`, minus the same at the level."""
        above = minima[0] - self.observed_minimum
        q = jnp.where(self.poi_hat > x, 0.0, above)
        q_asimov = minima[1] - self.asimov_minimum
        observed = limit_p_values(q, q_asimov, bounded=self.bounded).log_CLs
        expected = expected_log_CLs(q_asimov)
        log_CLs = jnp.append(observed, expected)[branch]
        return safe_sqrt(-2 * log_CLs) - jnp.sqrt(-2 * jnp.log(self.level))


@eqx.filter_jit
def _upper_limits(
    likelihood: AbstractLikelihood,
    data: PyTree,
    fits: FitResult,
    level: Scalar,
    *,
    bounded: bool,
    rtol: float,
    minimiser: Minimiser | None,
) -> UpperLimitResult:
    free = jax.tree.map(lambda leaf: leaf[0], fits)
    background = jax.tree.map(lambda leaf: leaf[1], fits)
    poi_hat = free.bestfit[likelihood.parameters.poi_index]
    physical = free.best_twice_nll
    if bounded:
        physical = jnp.where(poi_hat < 0, background.best_twice_nll, physical)
    generated = background.bestfit
    asimov = likelihood.expected_data(generated)
    curve = LogCLs(
        likelihood=likelihood,
        data=jax.tree.map(lambda *sets: jnp.stack(sets), data, asimov),
        poi_hat=poi_hat,
        observed_minimum=physical,
        asimov_minimum=likelihood.twice_nll(generated, asimov),
        level=level,
        name=_poi(likelihood),
        bounded=bounded,
    )
    start = jnp.stack([free.bestfit, generated])
    branches = jnp.arange(1 + len(BANDS))
    found = _limits(curve, start, branches, rtol=rtol, minimiser=minimiser)
    ends = jax.tree.map(lambda *ends: jnp.concatenate(ends), fits.result, found.result)
    return UpperLimitResult(
        observed=found.x[0],
        expected=found.x[1:],
        free=free,
        background=background,
        n_trials=found.n_trials,
        results=found.result,
        result=first_failure(ends),
    )


@eqx.filter_jit
def _expected(
    likelihood: AbstractLikelihood,
    generated: Float[Array, " par"],
    level: Scalar,
    *,
    rtol: float,
    minimiser: Minimiser | None,
) -> ExpectedUpperLimit:
    asimov = likelihood.expected_data(generated)
    minimum = likelihood.twice_nll(generated, asimov)
    curve = LogCLs(
        likelihood=likelihood,
        data=jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), asimov),
        poi_hat=jnp.zeros(()),
        observed_minimum=minimum,
        asimov_minimum=minimum,
        level=level,
        name=_poi(likelihood),
        bounded=True,
    )
    start = jnp.stack([generated, generated])
    median = jnp.array([1 + BANDS.index(0)])
    found = _limits(curve, start, median, rtol=rtol, minimiser=minimiser)
    # In reverse mode nothing passes through a missing limit, and a derivative of zero
    # would look like a number. Here no other limit can be spoilt.
    result = jax.tree.map(lambda end: end[0], found.result)
    spoilt = jnp.where(result == RESULTS.successful, 0.0, jnp.nan)
    return ExpectedUpperLimit(
        median=found.x[0] + spoilt * minimum,
        n_trials=found.n_trials[0],
        result=result,
    )


def _limits(
    curve: LogCLs,
    start: Float[Array, "fit par"],
    branches: Int[Array, " limit"],
    *,
    rtol: float,
    minimiser: Minimiser | None,
) -> Crossing:
    """Searches from zero up to the bound of the parameter of interest.

    Args:
        curve: the CLs whose level is sought.
        start: parameters near the conditional minima on both data sets; those of the
            Asimov data generate them.
        branches: which limits.
        rtol: as in `upper_limit`.
        minimiser: settings of the fits.
    """
    likelihood = curve.likelihood
    sigma = _sigma(likelihood, start[1])
    # Best-fit signal in units of its uncertainty, of the data and of the bands.
    excess = jnp.maximum(curve.poi_hat, 0.0) / sigma
    shift = jnp.append(excess, jnp.array(BANDS, float))[branches]
    # Equation 89 of arXiv:1007.1727, for a Gaussian likelihood.
    guess = sigma * (shift - ndtri(curve.level * normal_sf(-shift)))
    upper = likelihood.parameters.upper[likelihood.parameters.poi_index]
    needed = jnp.stack([branches == 0, branches >= 0], axis=1)
    finite = jnp.all(jnp.isfinite(start)) & jnp.isfinite(curve.asimov_minimum)
    route = Route(
        branch=branches,
        origin=jnp.zeros_like(guess),
        end=jnp.broadcast_to(upper, guess.shape),
        guess=guess,
        start=jnp.broadcast_to(start, (*branches.shape, *start.shape)),
        needed=needed,
        open=jnp.broadcast_to(finite, branches.shape),
    )
    return cross(
        curve,
        jax.lax.stop_gradient(route),
        rtol=rtol,
        max_trials=40,
        minimiser=minimiser,
    )


def _sigma(likelihood: AbstractLikelihood, params: Float[Array, " par"]) -> Scalar:
    """Uncertainty of the parameter of interest on the Asimov data of `params`.

    Where the information is singular, an arbitrary positive number.
    """
    free = ~likelihood.parameters.fixed
    variance = covariance(fisher_information(likelihood, params), free)
    sigma = uncertainty(variance)[likelihood.parameters.poi_index]
    return jnp.where(jnp.isfinite(sigma) & (sigma > 0), sigma, 1.0)


def _poi(likelihood: AbstractLikelihood) -> str:
    return likelihood.parameters.names[likelihood.parameters.poi_index]


def _checked(level: float) -> Scalar:
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1")
    # An array, so that another level does not compile anew.
    return jnp.asarray(level, float)
