"""Confidence intervals from the profile likelihood, as differentiable roots."""

from collections.abc import Mapping
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit import FitResult, Minimiser, first_failure, fit as fit_likelihood
from diffana.infer.crossing import AbstractCurve, Route, cross
from diffana.infer.fisher import covariance, fisher_information, uncertainty
from diffana.likelihood import AbstractLikelihood
from diffana.numerics import safe_sqrt


@final
class ProfileInterval(eqx.Module):
    """Interval of one parameter, in its unit; nan unless its fits are certified.

    Attributes:
        estimate: best-fit value.
        lower: lower edge.
        upper: upper edge.
        lower_at_bound: whether the lower edge is the bound of the parameter, where the
            profile has not yet reached the level.
        upper_at_bound: the same of the upper edge.
        n_trials: values of the parameter tested for each edge.
        result: the first failure among the fit and the searches of the edges.
    """

    estimate: Scalar
    lower: Scalar
    upper: Scalar
    lower_at_bound: Bool[Array, ""]
    upper_at_bound: Bool[Array, ""]
    n_trials: Int[Array, " edge"]
    result: RESULTS


def profile_interval(
    likelihood: AbstractLikelihood,
    data: PyTree,
    name: str,
    *,
    level: float = 1.0,
    fixed: Mapping[str, ArrayLike] | None = None,
    fit: FitResult | None = None,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> ProfileInterval:
    """Where the profile of twice_nll along `name` rises to `level` above its minimum.

    Asymmetric uncertainties in the manner of MINUIT's MINOS. An edge is the first
    crossing on its side that the search meets, and at most the bound of the parameter.
    Both edges are differentiable functions of every array in `likelihood` and `data`,
    by the implicit function theorem.

    Args:
        likelihood: the statistical model.
        data: the data set, constraint measurements included.
        name: name of the parameter. The interval of a parameter that the model holds
            has no length.
        level: height in twice_nll above the minimum, > 0: 1 for a confidence level of
            68.3 % for one parameter, 3.841 for 95 %.
        fixed: parameters to hold on top of those the model holds, and their values.
        fit: the fit to these data with the same parameters held, if there is one.
        minimiser: settings of the fits.
        throw: whether a failure raises; otherwise `result` tells.

    Raises:
        ValueError: if a name is unknown, or `level` is not positive.
        EquinoxRuntimeError: if `throw` and a fit is not certified.

    Source: James, Roos, Comput. Phys. Commun. 10 (1975) 343 (MINOS).

    Example:
        >>> model, data = from_workspace(workspace)
        >>> interval = profile_interval(model, data, "mu")
        >>> interval.upper - interval.estimate
    """
    if not level > 0:
        raise ValueError(f"level {level} is not positive")
    held = {key: jnp.asarray(value, float) for key, value in (fixed or {}).items()}
    likelihood.parameters.index(name)
    if name in held:
        raise ValueError(f"{name!r} is held, so that it has no interval")
    if fit is None:
        fit = fit_likelihood(
            likelihood, data, fixed=held, minimiser=minimiser, throw=throw
        )
    height = jnp.asarray(level, float)
    interval = _interval(
        likelihood, data, held, fit, height, name=name, minimiser=minimiser
    )
    failed = interval.result != RESULTS.successful
    return interval.result.error_if(interval, failed) if throw else interval


@final
class Deviation(AbstractCurve):
    """√t above its value at the edge, where t is the profile above its minimum.

    Nearly linear on either side of the best fit.

    Attributes:
        minimum: twice_nll of the best fit.
        level: t at the edge.
    """

    likelihood: AbstractLikelihood
    data: PyTree
    fixed: dict[str, ArrayLike]
    minimum: Scalar
    level: Scalar
    name: str = eqx.field(static=True)

    def height(
        self, branch: Int[Array, ""], x: Scalar, minima: Float[Array, " fit"]
    ) -> Scalar:
        """√t at `x`, minus its value at the edge; the same on both sides."""
        del branch, x
        return safe_sqrt(minima[0] - self.minimum) - jnp.sqrt(self.level)


@eqx.filter_jit
def _interval(
    likelihood: AbstractLikelihood,
    data: PyTree,
    held: dict[str, Scalar],
    fit: FitResult,
    level: Scalar,
    *,
    name: str,
    minimiser: Minimiser | None,
) -> ProfileInterval:
    parameters = likelihood.parameters
    index = parameters.index(name)
    estimate = fit.bestfit[index]
    bounds = jnp.stack([parameters.lower[index], parameters.upper[index]])
    information = fisher_information(likelihood, fit.bestfit, data)
    sigma = uncertainty(covariance(information, fit.free))[index]
    # A parameter stopped by a bound has no uncertainty. Its curvature is a scale.
    alone = safe_sqrt(1 / jnp.abs(information[index, index]))
    sigma = jnp.where(jnp.isfinite(sigma) & (sigma > 0), sigma, alone)
    step = jnp.where(jnp.isfinite(sigma) & (sigma > 0), sigma, 1.0) * jnp.sqrt(level)
    curve = Deviation(
        likelihood=likelihood,
        data=jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], data),
        fixed=dict(held),
        minimum=fit.best_twice_nll,
        level=level,
        name=name,
    )
    fitted = fit.result == RESULTS.successful
    immovable = fitted & parameters.fixed[index]

    both = jnp.ones(2, bool)
    route = Route(
        branch=jnp.zeros(2, int),
        origin=jnp.stack([estimate, estimate]),
        end=bounds,
        guess=estimate + jnp.array([-1.0, 1.0]) * step,
        start=jnp.stack([fit.bestfit[None], fit.bestfit[None]]),
        needed=both[:, None],
        open=both & fitted & ~immovable,
    )
    found = cross(
        curve,
        jax.lax.stop_gradient(route),
        rtol=1e-6,
        max_trials=40,
        minimiser=minimiser,
    )
    at_bound = found.result == RESULTS.no_root
    edges = jnp.where(immovable, estimate, jnp.where(at_bound, bounds, found.x))

    def judge(has_edge: Bool[Array, ""], end: RESULTS) -> RESULTS:
        return RESULTS.where(has_edge, RESULTS.successful, end)

    ends = jax.vmap(judge)(at_bound | immovable, found.result)
    return ProfileInterval(
        estimate=estimate,
        lower=edges[0],
        upper=edges[1],
        lower_at_bound=at_bound[0],
        upper_at_bound=at_bound[1],
        n_trials=found.n_trials,
        result=RESULTS.where(fitted, first_failure(ends), fit.result),
    )
