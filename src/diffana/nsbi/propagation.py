"""What the uncertainty of learned ratios does to the parameters of a fit.

The weights w of the ensembles behind a likelihood (see `weighted_ensemble`) were fitted
to finitely many simulated events and have a covariance C. To first order the best fit θ
follows them as dθ/dw = -F⁻¹ B, where F is the Fisher information and B = ∂²NLL/∂θ∂w:

    Cov(θ) = F⁻¹ + F⁻¹ B C Bᵀ F⁻¹.

The first term is the uncertainty due to the data, the second that due to the networks.
The data must not be the events that trained them.

Whether the ratio in the likelihood is normalised again, so that p integrates to one for
every w, changes B and with it the second term: what w does to the normalisation is then
no uncertainty any more, but that of the sample it is normalised on is a new one.

Source: Benevedes and Thaler, arXiv:2506.00113, for one parameter; the general form is
error propagation through the implicit function theorem.
"""

from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from diffana.errors import RESULTS, DataError
from diffana.fit import FitResult
from diffana.infer import (
    Estimates,
    Scan,
    covariance as covariance_of,
    fisher_information,
    uncertainty,
)
from diffana.likelihood import AbstractLikelihood, Parameters
from diffana.numerics import as_float


# Below minus this part of the largest eigenvalue, one is not rounding.
_ROUNDING = 1e-10


@final
class NetworkCovariance(eqx.Module):
    """Covariance of the parameters of a fit, due to the data and to the networks.

    Everything is nan if `result` is not success. Parameters that are held, or stopped
    by a bound, have zero rows.

    Attributes:
        statistical: F⁻¹, due to the data and the auxiliary measurements.
        network: F⁻¹ B C Bᵀ F⁻¹, due to the finite number of training events.
        response: dθ/dw, in units of the parameters; the weights in the order in which
            `jax.flatten_util.ravel_pytree` lists them.
        result: why the fit stopped, or that a derivative or C is not usable.
    """

    statistical: Float[Array, "par par"]
    network: Float[Array, "par par"]
    response: Float[Array, "par weight"]
    result: RESULTS

    @property
    def total(self) -> Float[Array, "par par"]:
        """Sum of both covariances."""
        return self.statistical + self.network

    @property
    def uncertainty(self) -> Float[Array, " par"]:
        """Standard deviation of each parameter due to both, in its unit."""
        return uncertainty(self.total)

    @property
    def statistical_uncertainty(self) -> Float[Array, " par"]:
        """Standard deviation of each parameter due to the data, in its unit."""
        return uncertainty(self.statistical)

    @property
    def network_uncertainty(self) -> Float[Array, " par"]:
        """Standard deviation of each parameter due to the networks, in its unit."""
        return uncertainty(self.network)

    @property
    def inflation(self) -> Float[Array, " par"]:
        """Total over statistical variance, >= 1; nan for parameters without either.

        With one free parameter it is 1 + σ² B C Bᵀ, where σ² is the statistical
        variance.
        """
        variance = jnp.diagonal(self.statistical)
        known = variance > 0
        ratio = jnp.diagonal(self.total) / jnp.where(known, variance, 1.0)
        return jnp.where(known, ratio, jnp.nan)


def network_covariance(
    problem: Callable[[PyTree[Array]], tuple[AbstractLikelihood, PyTree]],
    weights: PyTree[Float[ArrayLike, " _"]],
    covariance: PyTree[Float[ArrayLike, "_ ..."]],
    estimates: Estimates | FitResult,
    *,
    throw: bool = True,
) -> NetworkCovariance:
    """Covariance of fitted parameters with the uncertainty of the learned ratios.

    What has an uncertainty need not be weights of ensembles. A ratio that is divided by
    its mean over a finite sample depends on the weights v of these events, with
    variances v²; left out, that can be most of the uncertainty. In the same way
    everything can be made to depend on the weights of all simulated events, the weights
    of ensembles through `fit_pool_weights`: then events that serve several purposes are
    correlated as they should be.

    Args:
        problem: the likelihood and its data as functions of the weights: the log ratios
            of observed and of reference events are `basis @ weights`. A differentiable
            function of no other effect. Arrays that it closes over are compiled into
            the program; an `equinox.Partial` or a module holds them as arguments.
        weights: the fitted weights of one ratio, or those of several in any tree.
        covariance: one matrix for all weights in the order of `ravel_pytree`, or the
            same tree with a matrix for the weights of each leaf, which are then
            uncorrelated with the others. In place of a matrix, a row holds the
            variances of uncorrelated weights. Ratios that were trained on common
            events, such as one reference sample, are correlated: `joint_covariance`.
        estimates: the fit at `weights`. Parameters that it held, or that stopped at a
            bound, do not react.
        throw: whether a failure raises; otherwise `result` tells.

    Returns:
        Both covariances. What is of second order in C is left out, such as the bias of
        the best fit and the information that the data have on the weights.

    Raises:
        ValueError: if shapes do not fit.
        DataError: outside `jit`, if a covariance of weights is not finite, symmetric
            and positive semi-definite. Under `jit`, the result is then `non_finite`.
        EquinoxRuntimeError: if `throw`, and the fit is not certified or a derivative is
            not finite.

    Example:
        >>> model, data = problem(found.weights)
        >>> estimates = estimate(model, data)
        >>> both = network_covariance(
        ...     problem, found.weights, found.covariance, estimates
        ... )
        >>> both.statistical_uncertainty, both.network_uncertainty
    """
    weights = jax.tree.map(as_float, weights)
    blocks = _blocks(weights, covariance)
    for block in blocks:
        check_covariance(block, "network covariance")
    both = _network_covariance(problem, weights, blocks, estimates)
    if not throw:
        return both
    return both.result.error_if(both, both.result != RESULTS.successful)


def widened_scan(scan: Scan, both: NetworkCovariance, parameters: Parameters) -> Scan:
    """A scan of one parameter, with the uncertainty of the networks included.

    The profile is divided by the `inflation` of the parameter. A profile that is a
    parabola with the statistical variance becomes one with the total variance, so that
    the interval below a level covers as often as that of the total uncertainty. In
    general it keeps its shape, and what the networks do is that at the best fit: it is
    an approximation to the extent that it differs along the scan, and no likelihood
    ratio any more. Profiling the weights (`ProfiledWeights`) does without it.

    Args:
        scan: of one parameter, in the same fit.
        both: the covariances of that fit.
        parameters: of the likelihood that was fitted.

    Raises:
        ValueError: if the scan is over a plane, or its parameter is unknown.

    Source: Benevedes and Thaler, arXiv:2506.00113, for a fit of one parameter; with
    nuisance parameters both variances are the profiled ones.

    Example:
        >>> profile = scan(model, data, {"mu": jnp.linspace(0, 2, 41)})
        >>> widened_scan(profile, both, model.parameters).delta_twice_nll
    """
    if len(scan.names) != 1:
        raise ValueError(f"a scan of one parameter can be widened, not {scan.names}")
    factor = both.inflation[parameters.index(scan.names[0])]
    return eqx.tree_at(lambda s: s.delta_twice_nll, scan, scan.delta_twice_nll / factor)


def _blocks(
    weights: PyTree[Array], covariance: PyTree[ArrayLike]
) -> tuple[Float[Array, "..."], ...]:
    """Covariances or variances of successive weights.

    Raises:
        ValueError: if shapes do not fit.
    """
    given = jax.tree.map(as_float, covariance)
    sizes = [leaf.size for leaf in jax.tree.leaves(weights)]
    blocks = jax.tree.leaves(given)
    if eqx.is_array(given):
        sizes = [sum(sizes)]
    elif jax.tree.structure(given) != jax.tree.structure(weights):
        raise ValueError(
            "network covariance: there has to be one covariance for each leaf of the "
            f"weights, {jax.tree.structure(weights)}, instead of "
            f"{jax.tree.structure(given)}"
        )
    for size, block in zip(sizes, blocks, strict=True):
        if block.shape not in ((size,), (size, size)):
            raise ValueError(
                f"network covariance: the covariance of {size} weights has shape "
                f"{block.shape}"
            )
    return tuple(blocks)


def check_covariance(covariance: Float[Array, "weight ..."], where: str) -> None:
    """Refuse what is no covariance of weights; what is traced is not looked at.

    Args:
        covariance: the matrix, or a row of variances.
        where: beginning of the error message.

    Raises:
        DataError: if it is not finite, symmetric and positive semi-definite.
    """
    if isinstance(covariance, Tracer):
        return
    if not np.isfinite(np.asarray(covariance)).all():
        raise DataError(f"{where}: the covariance of weights is not finite")
    if not _is_symmetric(covariance):
        raise DataError(f"{where}: the covariance of weights is not symmetric")
    if not _is_semidefinite(covariance):
        raise DataError(
            f"{where}: the covariance of weights is not positive semi-definite"
        )


def _is_symmetric(covariance: Float[Array, "weight ..."]) -> Bool[Array, ""]:
    """Whether a matrix is so, up to rounding; a row of variances is."""
    skew = covariance - covariance.T
    return jnp.all(jnp.abs(skew) <= _ROUNDING * jnp.max(jnp.abs(covariance)))


def _is_semidefinite(covariance: Float[Array, "weight ..."]) -> Bool[Array, ""]:
    """Whether no eigenvalue is negative beyond rounding; false for nan."""
    if covariance.ndim == 1:
        return jnp.all(covariance >= 0)
    lowest = jnp.min(jnp.linalg.eigvalsh(covariance))
    return lowest >= -_ROUNDING * jnp.max(jnp.abs(covariance))


@eqx.filter_jit
def _network_covariance(
    problem: Callable[[PyTree[Array]], tuple[AbstractLikelihood, PyTree]],
    weights: PyTree[Array],
    blocks: tuple[Float[Array, "..."], ...],
    estimates: Estimates | FitResult,
) -> NetworkCovariance:
    found = estimates.fit if isinstance(estimates, Estimates) else estimates
    if isinstance(estimates, Estimates):
        statistical = estimates.covariance
    else:
        likelihood, data = problem(weights)
        information = fisher_information(likelihood, found.bestfit, data)
        statistical = covariance_of(information, found.free)
    mixed = _mixed_derivative(problem, weights, found)
    response = -statistical @ mixed
    network, start = jnp.zeros_like(statistical), 0
    for block in blocks:
        part = response[:, start : start + len(block)]
        start += len(block)
        is_usable = _is_symmetric(block) & _is_semidefinite(block)
        usable = jnp.where(is_usable, block, jnp.nan)
        spread = part * usable[None] if block.ndim == 1 else part @ usable
        network = network + spread @ part.T
    singular = ~jnp.all(jnp.isfinite(statistical))
    broken = ~jnp.all(jnp.isfinite(network)) | ~jnp.all(jnp.isfinite(response))
    result = RESULTS.where(
        singular,
        RESULTS.hessian_not_pd,
        RESULTS.where(broken, RESULTS.non_finite, RESULTS.successful),
    )
    result = RESULTS.where(
        estimates.result == RESULTS.successful, result, estimates.result
    )
    failed = result != RESULTS.successful
    statistical, network, response = (
        jnp.where(failed, jnp.nan, part) for part in (statistical, network, response)
    )
    return NetworkCovariance(statistical, network, response, result)


def _mixed_derivative(
    problem: Callable[[PyTree[Array]], tuple[AbstractLikelihood, PyTree]],
    weights: PyTree[Array],
    found: FitResult,
) -> Float[Array, "par weight"]:
    """B = ∂²NLL/∂θ∂w; zero rows for parameters that do not react."""
    flat, unravel = ravel_pytree(weights)
    n_par = found.bestfit.size

    def score(values: Float[Array, " weight"]) -> Float[Array, " par"]:
        likelihood, data = problem(unravel(values))
        slope = 0.5 * likelihood.gradient(found.bestfit, data)
        return jnp.where(found.free, slope, 0.0)

    # One direction after the other: in one go, all would hold the events at once.
    if flat.size <= n_par:

        def push(direction: Float[Array, " weight"]) -> Float[Array, " par"]:
            return jax.jvp(score, (flat,), (direction,))[1]

        return jax.lax.map(push, jnp.eye(flat.size)).T
    _, pull = jax.vjp(score, flat)
    return jax.lax.map(lambda direction: pull(direction)[0], jnp.eye(n_par))
