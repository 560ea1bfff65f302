"""Maximum-likelihood estimates: a fit with its uncertainties and how well it fits."""

from collections.abc import Mapping
from typing import final

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import gammaincc
from jaxtyping import Array, ArrayLike, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit import FitResult, Minimiser, certified, fit as fit_likelihood
from diffana.histfactory import HistFactory, poisson
from diffana.histfactory.constraints import constraints
from diffana.infer.fisher import (
    correlation,
    covariance,
    fisher_information,
    uncertainty,
)
from diffana.likelihood import AbstractLikelihood


@final
class GoodnessOfFit(eqx.Module):
    """Likelihood ratio of a fit to the saturated model.

    Attributes:
        twice_nll_saturated: twice_nll with every expected bin equal to the observed one
            and every constraint at its most likely value.
        chi2: how far best_twice_nll lies above that, >= 0; follows a χ² distribution
            for large counts.
        ndf: bins minus fitted parameters without constraint. A parameter that ended at
            a bound was fitted.
        p_value: probability of a larger `chi2`; nan without degrees of freedom.
    """

    twice_nll_saturated: Scalar
    chi2: Scalar
    ndf: Int[Array, ""]
    p_value: Scalar


@final
class Estimates(eqx.Module):
    """A fit with the uncertainties from the second derivative at its minimum.

    Whatever depends on a fit that was not certified is nan. Parameters that are held,
    or stopped by a bound, have uncertainty zero and zero rows in the matrices.

    Attributes:
        bestfit: parameters at the minimum, each in its unit.
        uncertainty: standard deviation of each parameter, in its unit.
        covariance: inverse of the observed information on the free parameters.
        correlation: the covariance divided by the uncertainties.
        best_twice_nll: twice_nll at the minimum.
        goodness: comparison with the saturated model; None for models without bins.
        fit: the fit behind it.
        result: why the fit stopped, or that its information cannot be inverted.
    """

    bestfit: Float[Array, " par"]
    uncertainty: Float[Array, " par"]
    covariance: Float[Array, "par par"]
    correlation: Float[Array, "par par"]
    best_twice_nll: Scalar
    goodness: GoodnessOfFit | None
    fit: FitResult
    result: RESULTS


def estimate(
    likelihood: AbstractLikelihood,
    data: PyTree,
    *,
    fixed: Mapping[str, ArrayLike] | None = None,
    fit: FitResult | None = None,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> Estimates:
    """Best-fit parameters, their uncertainties and correlations, goodness of fit.

    Every number is a differentiable function of the arrays in `likelihood` and `data`
    and of the values in `fixed`.

    Args:
        likelihood: the statistical model.
        data: the data set, constraint measurements included.
        fixed: parameters to hold on top of those the model holds, and their values.
        fit: the fit to these data with the same parameters held, if there is one.
        minimiser: settings of the search.
        throw: whether a fit that is not certified raises.

    Raises:
        ValueError: if a name in `fixed` is unknown.
        EquinoxRuntimeError: if `throw` and the fit is not certified.

    Source: the uncertainties are those of MINUIT's HESSE, from half the second
    derivative of twice_nll at the minimum.

    Example:
        >>> model, data = from_workspace(workspace)
        >>> estimates = estimate(model, data)
        >>> dict(zip(model.parameters.names, estimates.uncertainty.tolist()))
    """
    if fit is None:
        fit = fit_likelihood(
            likelihood, data, fixed=fixed, minimiser=minimiser, throw=throw
        )
    return _estimates(likelihood, data, certified(fit, throw=throw))


@eqx.filter_jit
def _estimates(
    likelihood: AbstractLikelihood, data: PyTree, found: FitResult
) -> Estimates:
    information = fisher_information(likelihood, found.bestfit, data)
    variance = covariance(information, found.free)
    goodness = None
    if isinstance(likelihood, HistFactory):
        goodness = goodness_of_fit(likelihood, data, found)
    # A certified Hessian is positive definite, but only just where it is degenerate.
    invertible = jnp.all(jnp.isfinite(variance))
    singular = (found.result == RESULTS.successful) & ~invertible
    return Estimates(
        bestfit=found.bestfit,
        uncertainty=uncertainty(variance),
        covariance=variance,
        correlation=correlation(variance),
        best_twice_nll=found.best_twice_nll,
        goodness=goodness,
        fit=found,
        result=RESULTS.where(singular, RESULTS.hessian_not_pd, found.result),
    )


def goodness_of_fit(
    model: HistFactory, data: Float[Array, " data"], fit: FitResult
) -> GoodnessOfFit:
    """Comparison of a fit with the saturated model.

    Args:
        model: the likelihood that was fitted.
        data: the data it was fitted to.
        fit: the fit.

    Source: Baker and Cousins, Nucl. Instrum. Meth. 221 (1984) 437; the treatment of
    constraint terms and of their parameters is cabinetry's.
    """
    layout = model.layout
    terms = constraints(model.templates, layout)
    counts, auxdata = data[: layout.n_bins], data[layout.n_bins :]
    counted = jnp.concatenate([counts, auxdata[layout.poisson_aux]])
    widths = jnp.log(2 * jnp.pi * terms.sigma**2)
    saturated = poisson.twice_nll(counted, counted).sum() + widths.sum()
    constrained = jnp.zeros_like(fit.free)
    constrained = constrained.at[layout.gaussian_par].set(True)
    constrained = constrained.at[layout.poisson_par].set(True)
    fitted = (fit.free | fit.at_bound) & ~constrained
    ndf = layout.n_bins - jnp.sum(fitted)
    chi2 = fit.best_twice_nll - saturated
    half = jnp.where(ndf > 0, ndf, 1) / 2
    # Rounding leaves a perfect fit slightly below zero, where the tail is undefined.
    tail = gammaincc(half, jnp.where(chi2 < 0, 0.0, chi2) / 2)
    return GoodnessOfFit(
        twice_nll_saturated=saturated,
        chi2=chi2,
        ndf=ndf,
        p_value=jnp.where(ndf > 0, tail, jnp.nan),
    )
