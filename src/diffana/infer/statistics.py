"""Profile-likelihood test statistics, arXiv:1007.1727 (Cowan, Cranmer, Gross, Vitells).

A statistic is a difference of two minima of twice_nll, so its derivative with respect
to the model needs none of the best-fit parameters (envelope theorem).
"""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit import FitResult, Minimiser, first_failure, fit, fit_together
from diffana.likelihood import AbstractLikelihood


@final
class Minima(eqx.Module):
    """What the test statistics of one tested value are computed from.

    Attributes:
        poi_test: tested value of the parameter of interest.
        poi_hat: its best-fit value.
        free: minimum of twice_nll.
        conditional: minimum with the parameter of interest held at `poi_test`.
        background: minimum with the parameter of interest held at zero.
    """

    poi_test: Float[Array, "..."]
    poi_hat: Float[Array, "..."]
    free: Float[Array, "..."]
    conditional: Float[Array, "..."]
    background: Float[Array, "..."]

    @property
    def tmu(self) -> Float[Array, "..."]:
        """t_mu, equation 8."""
        return self.conditional - self.free

    @property
    def q0(self) -> Float[Array, "..."]:
        """q_0 for discovery, equation 12; meaningful for poi_test = 0."""
        # The comparison is false for nan, so that a failed fit stays visible.
        return jnp.where(self.poi_hat < 0, 0.0, self.background - self.free)

    @property
    def qmu(self) -> Float[Array, "..."]:
        """q_mu for upper limits, equation 14."""
        return jnp.where(self.poi_hat > self.poi_test, 0.0, self.tmu)

    @property
    def qmu_tilde(self) -> Float[Array, "..."]:
        """q~_mu for upper limits on a non-negative parameter, equation 16."""
        physical = jnp.where(self.poi_hat < 0, self.background, self.free)
        above = self.conditional - physical
        return jnp.where(self.poi_hat > self.poi_test, 0.0, above)


@final
class ProfileScan(eqx.Module):
    """The fits behind the test statistics of one tested value, on one data set.

    Attributes:
        poi_test: tested value of the parameter of interest.
        poi_hat: its best-fit value.
        free: fit with the parameter of interest free.
        conditional: fit with the parameter of interest held at `poi_test`.
        background: fit with the parameter of interest held at zero.
        result: the first failure among the three fits.
    """

    poi_test: Scalar
    poi_hat: Scalar
    free: FitResult
    conditional: FitResult
    background: FitResult
    result: RESULTS

    @property
    def minima(self) -> Minima:
        """The minima of the fits, from which every statistic follows."""
        fits = self.free, self.conditional, self.background
        heights = (one.best_twice_nll for one in fits)
        return Minima(self.poi_test, self.poi_hat, *heights)

    @property
    def tmu(self) -> Scalar:
        """t_mu, equation 8."""
        return self.minima.tmu

    @property
    def q0(self) -> Scalar:
        """q_0 for discovery, equation 12; meaningful for poi_test = 0."""
        return self.minima.q0

    @property
    def qmu(self) -> Scalar:
        """q_mu for upper limits, equation 14."""
        return self.minima.qmu

    @property
    def qmu_tilde(self) -> Scalar:
        """q~_mu for upper limits on a non-negative parameter, equation 16."""
        return self.minima.qmu_tilde


def profile(
    likelihood: AbstractLikelihood,
    data: PyTree,
    poi_test: ArrayLike,
    *,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> ProfileScan:
    """Fits from which every test statistic at `poi_test` follows.

    Args:
        likelihood: a statistical model with a parameter of interest.
        data: the data set, constraint measurements included.
        poi_test: tested value of the parameter of interest.
        minimiser: settings of the search.
        throw: whether a fit that is not certified raises; otherwise `result` tells and
            the statistics are nan.

    Raises:
        EquinoxRuntimeError: if `throw` and one of the fits is not certified.

    Example:
        >>> model, data = from_workspace(workspace)
        >>> profile(model, data, 1.0).qmu_tilde
    """
    held = _profiled(likelihood, poi_test)
    fits = fit_together(likelihood, data, held, minimiser=minimiser, throw=throw)
    return _profile_scan(likelihood, poi_test, fits)


@final
class AsimovTest(eqx.Module):
    """Test of one value of the parameter of interest on the Asimov data of another.

    Attributes:
        q: twice_nll at the tested value above that of the generating parameters, which
            are the exact minimum of their own Asimov data.
        fit: the conditional fit.
    """

    q: Scalar
    fit: FitResult


def asimov_test(
    likelihood: AbstractLikelihood,
    params: Float[Array, " par"],
    poi_test: ArrayLike,
    *,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> AsimovTest:
    """Test `poi_test` on the Asimov data of `params`, with a single fit.

    Args:
        likelihood: a statistical model with a parameter of interest.
        params: parameters that generate the data set.
        poi_test: tested value of the parameter of interest.
        minimiser: settings of the search.
        throw: whether a fit that is not certified raises; otherwise the result is nan.

    Raises:
        EquinoxRuntimeError: if `throw` and the conditional fit is not certified.
    """
    data = likelihood.expected_data(params)
    conditional = fit(
        likelihood,
        data,
        fixed={_poi(likelihood): poi_test},
        partners=params[None],
        minimiser=minimiser,
        throw=throw,
    )
    q = conditional.best_twice_nll - likelihood.twice_nll(params, data)
    return AsimovTest(q=q, fit=conditional)


@eqx.filter_jit
def exclusion_fits(
    likelihood: AbstractLikelihood,
    data: PyTree,
    poi_test: ArrayLike,
    minimiser: Minimiser | None = None,
) -> tuple[ProfileScan, AsimovTest]:
    """`profile`, and the test of `poi_test` on the Asimov data of its background fit.

    All fits are one search, which compiles once and starts every fit where a related
    one ended. Failures are data.
    """
    return _with_asimov(likelihood, data, poi_test, poi_test, 2, minimiser)


@eqx.filter_jit
def discovery_fits(
    likelihood: AbstractLikelihood,
    data: PyTree,
    poi_signal: ArrayLike,
    minimiser: Minimiser | None = None,
) -> tuple[ProfileScan, AsimovTest]:
    """`profile`, and the test of no signal on the Asimov data of its conditional fit.

    As `exclusion_fits`.
    """
    return _with_asimov(likelihood, data, poi_signal, 0.0, 1, minimiser)


def _with_asimov(
    likelihood: AbstractLikelihood,
    data: PyTree,
    poi_test: ArrayLike,
    poi_asimov: ArrayLike,
    source: int,
    minimiser: Minimiser | None,
) -> tuple[ProfileScan, AsimovTest]:
    likelihood = likelihood.settled()
    held = _profiled(likelihood, poi_test)
    fits = fit_together(
        likelihood,
        data,
        [*held, {_poi(likelihood): poi_asimov}],
        asimov_of=[None, None, None, source],
        minimiser=minimiser,
        throw=False,
    )
    observed = _profile_scan(likelihood, poi_test, _entry(fits, slice(0, 3)))
    generator, conditional = fits.bestfit[source], _entry(fits, 3)
    exact = likelihood.twice_nll(generator, likelihood.expected_data(generator))
    q = conditional.best_twice_nll - exact
    return observed, AsimovTest(q=q, fit=conditional)


def _poi(likelihood: AbstractLikelihood) -> str:
    parameters = likelihood.parameters
    return parameters.names[parameters.poi_index]


def _profiled(
    likelihood: AbstractLikelihood, poi_test: ArrayLike
) -> list[dict[str, ArrayLike]]:
    """What the free, the conditional and the background fit hold."""
    poi = _poi(likelihood)
    return [{}, {poi: poi_test}, {poi: 0.0}]


def _profile_scan(
    likelihood: AbstractLikelihood, poi_test: ArrayLike, fits: FitResult
) -> ProfileScan:
    free, conditional, background = (_entry(fits, i) for i in range(3))
    return ProfileScan(
        poi_test=jnp.asarray(poi_test, float),
        poi_hat=free.bestfit[likelihood.parameters.poi_index],
        free=free,
        conditional=conditional,
        background=background,
        result=first_failure(fits.result),
    )


def nominal(likelihood: AbstractLikelihood, poi: ArrayLike) -> Float[Array, " par"]:
    """Nominal parameters with the parameter of interest set to `poi`."""
    parameters = likelihood.parameters
    return parameters.inits.at[parameters.poi_index].set(poi)


def _entry(fits: FitResult, index: int | slice) -> FitResult:
    return jax.tree.map(lambda leaf: leaf[index], fits)
