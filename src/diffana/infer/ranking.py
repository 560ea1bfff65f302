"""Impacts of the nuisance parameters on a parameter of interest, and their pulls."""

from collections.abc import Mapping, Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit import FitResult, Minimiser, first_failure, fit
from diffana.histfactory import HistFactory
from diffana.histfactory.constraints import constraints
from diffana.infer.fisher import covariance, fisher_information, uncertainty
from diffana.likelihood import AbstractLikelihood
from diffana.numerics import safe_divide


@final
class Ranking(eqx.Module):
    """Parameters with their impacts on `poi`, each array in the order of `names`.

    An impact is the shift of the best-fit `poi` when the parameter is held one
    uncertainty above (`up`) or below (`down`) its best-fit value: its uncertainty after
    the fit (`postfit`), or that of its auxiliary measurement alone (`prefit`).

    Attributes:
        names: the ranked parameters.
        poi: the parameter whose shifts are given.
        bestfit: best-fit values.
        uncertainty: after the fit; zero for parameters that are held or at a bound.
        pull: distance of the best fit from the auxiliary measurement, in units of that
            measurement's uncertainty; nan for parameters that are held or have none.
        constraint: uncertainty after the fit over that of the auxiliary measurement;
            nan likewise.
        prefit_up: shift of `poi`, in its unit; nan for parameters without auxiliary
            measurement.
        prefit_down: likewise.
        postfit_up: shift of `poi`, in its unit.
        postfit_down: likewise.
        free: parameters that are neither held nor at a bound.
        order: positions in `names`, the largest impact after the fit first.
        fit: the fit with all parameters free.
        result: the first failure among the fits.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    poi: str = eqx.field(static=True)
    bestfit: Float[Array, " ranked"]
    uncertainty: Float[Array, " ranked"]
    pull: Float[Array, " ranked"]
    constraint: Float[Array, " ranked"]
    prefit_up: Float[Array, " ranked"]
    prefit_down: Float[Array, " ranked"]
    postfit_up: Float[Array, " ranked"]
    postfit_down: Float[Array, " ranked"]
    free: Bool[Array, " ranked"]
    order: Int[Array, " ranked"]
    fit: FitResult
    result: RESULTS


def ranking(
    likelihood: AbstractLikelihood,
    data: PyTree,
    *,
    poi: str | None = None,
    parameters: Sequence[str] | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
    refit: bool = False,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> Ranking:
    """Pulls of parameters and their impacts on the parameter of interest.

    The impacts follow from the covariance C of the fit, without further fits: the
    derivative of the conditional best fit of `poi` by a held parameter k is
    C[poi, k] / C[k, k]. With `refit` they come from conditional fits, which also see
    where the dependence is not linear. Every number is a differentiable function of the
    arrays in `likelihood` and `data`.

    Args:
        likelihood: the statistical model. Uncertainties of auxiliary measurements are
            known for a `HistFactory` only; other models have no pre-fit impacts.
        data: the data set, constraint measurements included.
        poi: the parameter whose shifts are wanted; the model's own by default.
        parameters: names of the parameters to rank; all but `poi` by default.
        fixed: parameters to hold in all fits on top of those the model holds.
        refit: whether impacts come from fits with the parameter held one uncertainty
            off, though not beyond its bounds: four fits for each parameter. Outside of
            `jit` they share one compiled program.
        minimiser: settings of the fits.
        throw: whether a fit that is not certified raises; otherwise `result` tells.

    Raises:
        ValueError: if a name is unknown, or `poi` is to be ranked.
        EquinoxRuntimeError: if `throw` and a fit is not certified.

    Source: cabinetry's definition of pre- and post-fit impacts; the derivative is that
    of the implicit function theorem.

    Example:
        >>> model, data = from_workspace(workspace)
        >>> ranked = ranking(model, data)
        >>> [ranked.names[i] for i in ranked.order]
    """
    described = likelihood.parameters
    poi = described.names[described.poi_index] if poi is None else poi
    described.index(poi)
    if parameters is None:
        parameters = [name for name in described.names if name != poi]
    names = tuple(parameters)
    if poi in names:
        raise ValueError(f"{poi!r} has no impact on itself")
    held = {key: jnp.asarray(value, float) for key, value in (fixed or {}).items()}
    found = fit(likelihood, data, fixed=held, minimiser=minimiser, throw=throw)
    ranked = _ranking(likelihood, data, found, names=names, poi=poi)
    if refit:
        ranked = _refitted(ranked, likelihood, data, held, minimiser)
    failed = ranked.result != RESULTS.successful
    return ranked.result.error_if(ranked, failed) if throw else ranked


@eqx.filter_jit
def _ranking(
    likelihood: AbstractLikelihood,
    data: PyTree,
    found: FitResult,
    *,
    names: tuple[str, ...],
    poi: str,
) -> Ranking:
    index = likelihood.parameters.index(poi)
    ranked = jnp.array([likelihood.parameters.index(name) for name in names], int)
    information = fisher_information(likelihood, found.bestfit, data)
    variance = covariance(information, found.free)
    sigma = uncertainty(variance)[ranked]
    centre, width = (values[ranked] for values in _auxiliary(likelihood, data))
    bestfit, free = found.bestfit[ranked], found.free[ranked]
    width = jnp.where(free, width, jnp.nan)
    slope = safe_divide(variance[index, ranked], sigma**2)
    singular = ~jnp.all(jnp.isfinite(variance))
    singular = singular & (found.result == RESULTS.successful)
    return Ranking(
        names=names,
        poi=poi,
        bestfit=bestfit,
        uncertainty=sigma,
        pull=(bestfit - centre) / width,
        constraint=sigma / width,
        prefit_up=slope * width,
        prefit_down=-slope * width,
        postfit_up=slope * sigma,
        postfit_down=-slope * sigma,
        free=free,
        order=_order(slope * sigma),
        fit=found,
        result=RESULTS.where(singular, RESULTS.hessian_not_pd, found.result),
    )


def _auxiliary(
    likelihood: AbstractLikelihood, data: PyTree
) -> tuple[Float[Array, " par"], Float[Array, " par"]]:
    """Auxiliary measurement and its uncertainty of every parameter, nan without one."""
    nothing = jnp.full(len(likelihood.parameters), jnp.nan)
    if not isinstance(likelihood, HistFactory):
        return nothing, nothing
    layout = likelihood.layout
    terms = constraints(likelihood.templates, layout)
    auxdata = data[layout.n_bins :]
    centre = nothing.at[layout.gaussian_par].set(auxdata[layout.gaussian_aux])
    counted = auxdata[layout.poisson_aux] / terms.factor
    centre = centre.at[layout.poisson_par].set(counted)
    return centre, terms.width


def _refitted(
    ranked: Ranking,
    likelihood: AbstractLikelihood,
    data: PyTree,
    held: dict[str, Scalar],
    minimiser: Minimiser | None,
) -> Ranking:
    """The ranking with impacts from conditional fits."""
    parameters = likelihood.parameters
    index = parameters.index(ranked.poi)
    best = ranked.fit.bestfit
    prefit = ranked.uncertainty / ranked.constraint
    widths = {
        "prefit_up": prefit,
        "prefit_down": -prefit,
        "postfit_up": ranked.uncertainty,
        "postfit_down": -ranked.uncertainty,
    }
    shifts = {}
    results = [ranked.result]
    for kind, width in widths.items():
        known = jnp.isfinite(width)
        moved = []
        for position, name in enumerate(ranked.names):
            at = parameters.index(name)
            value = best[at] + jnp.where(known, width, 0.0)[position]
            found = fit(
                likelihood,
                data,
                fixed={
                    **held,
                    name: jnp.clip(value, parameters.lower[at], parameters.upper[at]),
                },
                partners=best[None],
                minimiser=minimiser,
                throw=False,
            )
            moved.append(found.bestfit[index] - best[index])
            results.append(found.result)
        shifts[kind] = jnp.where(known, jnp.stack(moved), jnp.nan)
    largest = jnp.maximum(
        jnp.abs(shifts["postfit_up"]), jnp.abs(shifts["postfit_down"])
    )
    ends = jax.tree.map(lambda *ends: jnp.stack(ends), *results)
    return eqx.tree_at(
        lambda r: (
            *(getattr(r, kind) for kind in shifts),
            r.order,
            r.result,
        ),
        ranked,
        (*shifts.values(), _order(largest), first_failure(ends)),
    )


def _order(impact: Float[Array, " ranked"]) -> Int[Array, " ranked"]:
    """Positions, the largest impact first and those without one last."""
    size = jnp.abs(jax.lax.stop_gradient(impact))
    return jnp.argsort(-jnp.where(jnp.isnan(size), -jnp.inf, size), stable=True)
