"""Weights of the members of an ensemble of ratios, and their covariance.

    ln r(x) = Σ_i w_i f_i(x),    i = 0, ..., M,    f_0 = 1,

where f_1, ..., f_M are the log ratios of the members. The weights minimise a convex
loss over all training events, so that their covariance follows from its derivatives.

Source: Benevedes and Thaler, arXiv:2506.00113.
"""

from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float

from diffana.errors import RESULTS, DataError
from diffana.fit import FitResult, Minimiser, fit
from diffana.nsbi.symmetrised_mlc import (
    DENOMINATOR,
    NUMERATOR,
    SymmetrisedMLC,
    shares_of,
    weighted,
)
from diffana.numerics import as_float


@final
class EnsembleWeights(eqx.Module):
    """Fitted weights of an ensemble; nan where the fit is not certified.

    Attributes:
        weights: w, that of the constant first.
        hessian: second derivative H of the loss per unit of class weight,
            Σ (p_i exp(-h_i) + q_i exp(h_i)) f_i f_iᵀ.
        covariance: C of the weights, due to the finite number of training events.
        fit: the fit behind it.
        result: why the fit stopped. Members that are linearly dependent, the constant
            among them, give `hessian_not_pd`.
    """

    weights: Float[Array, " basis"]
    hessian: Float[Array, "basis basis"]
    covariance: Float[Array, "basis basis"]
    fit: FitResult
    result: RESULTS


def fit_ensemble_weights(
    basis_numerator: Float[ArrayLike, "numerator basis"],
    weight_numerator: Float[ArrayLike, " numerator"],
    basis_denominator: Float[ArrayLike, "denominator basis"],
    weight_denominator: Float[ArrayLike, " denominator"],
    *,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> EnsembleWeights:
    """Weights of the members of an ensemble, from two independent samples of events.

    For samples of N_n and N_d events of unit weight the covariance is

        C = H⁻¹ (V_n/N_n + V_d/N_d) H⁻¹,    V_n = Cov_n[f (1 + 1/r)],
                                            V_d = Cov_d[f (1 + r)].

    With event weights v, V/N becomes Σ v² (u - ū)(u - ū)ᵀ / (Σ v)², u the same
    functions and ū their weighted mean: the variance of a mean whose normalisation is
    estimated by the same events.

    Args:
        basis_numerator: for every event of the numerator 1, then the log ratios of the
            members: see `basis_values`.
        weight_numerator: of these events, any unit, >= 0. The sum does not matter.
        basis_denominator: likewise for the denominator.
        weight_denominator: likewise; the two sums may differ.
        minimiser: settings of the fit.
        throw: whether a fit that is not certified raises; otherwise `result` tells.

    Raises:
        ValueError: if shapes do not fit, or JAX runs in single precision.
        DataError: outside `jit`, if a basis or a weight is not finite, a weight is
            negative, a class has no weight, or, with `throw`, members are linearly
            dependent; the message names them. Under `jit`, such a fit is not certified.
        EquinoxRuntimeError: if `throw` and the fit is not certified, as with classes
            that a combination of the members separates completely.

    Source: Benevedes and Thaler, arXiv:2506.00113; C is the sandwich covariance of an
    M-estimator, Huber (1967).

    Example:
        >>> x = np.linspace(-3, 3, 61)
        >>> basis = np.stack([np.ones(61), x], axis=1)
        >>> weight = [np.exp(-0.5 * (x - mean) ** 2) for mean in (0.1, -0.1)]
        >>> found = fit_ensemble_weights(basis, weight[0], basis, weight[1])
        >>> round(float(found.weights[1]), 3)
        0.2
    """
    bases = as_float(basis_numerator), as_float(basis_denominator)
    weights = as_float(weight_numerator), as_float(weight_denominator)
    for basis, weight in zip(bases, weights, strict=True):
        if basis.ndim != 2 or weight.shape != basis.shape[:1]:
            raise ValueError(
                f"weights of an ensemble: a sample has a basis of shape {basis.shape} "
                f"and weights of shape {weight.shape}"
            )
    no_numerator, no_denominator = (jnp.zeros_like(weight) for weight in weights)
    return fit_pool_weights(
        jnp.concatenate(bases),
        jnp.stack(
            [
                jnp.concatenate([no_numerator, weights[1]]),
                jnp.concatenate([weights[0], no_denominator]),
            ],
            axis=1,
        ),
        minimiser=minimiser,
        throw=throw,
    )


def fit_pool_weights(
    basis: Float[ArrayLike, "event basis"],
    weight: Float[ArrayLike, "event class"],
    *,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> EnsembleWeights:
    """Weights of the members of an ensemble, from events that may be in both classes.

    As `fit_ensemble_weights`, for a pool of training events in which the same simulated
    event may have weight in the numerator and in the denominator, such as one that is
    reweighted from one to the other. Its fluctuation then moves both means, mostly
    together, and the covariance is Σ_i ψ_i ψ_iᵀ with the `influence` ψ_i of each event.

    Args:
        basis: for every event 1, then the log ratios of the members.
        weight: of every event in class 0, the denominator, and in class 1, the
            numerator; any unit, >= 0.
        minimiser: settings of the fit.
        throw: whether a fit that is not certified raises; otherwise `result` tells.

    Raises:
        ValueError: as in `fit_ensemble_weights`.
        DataError: as in `fit_ensemble_weights`.
        EquinoxRuntimeError: as in `fit_ensemble_weights`.

    Example:
        >>> x = np.linspace(-3, 3, 61)
        >>> weight = np.exp(-0.5 * (x[:, None] - np.array([-0.1, 0.1])) ** 2)
        >>> basis = np.stack([np.ones(61), x], axis=1)
        >>> round(float(fit_pool_weights(basis, weight).weights[1]), 3)
        0.2
    """
    values, sizes = as_float(basis), as_float(weight)
    _check(values, sizes)
    found = _fit_pool_weights(values, sizes, minimiser)
    if not throw:
        return found
    if not isinstance(found.weights, Tracer):
        _refuse_dependence(values, sizes, found)
    return found.result.error_if(found, found.result != RESULTS.successful)


def influence(
    found: EnsembleWeights,
    basis: Float[Array, "event basis"],
    weight: Float[Array, "event class"],
) -> Float[Array, "event basis"]:
    """How much the weights owe to the fluctuation of each training event.

    To first order the weights are off by the sum over events, and C is the sum of the
    products of each row with itself. Ratios with events in common, such as all that
    share a denominator, are correlated by the products of their rows: see
    `joint_covariance`.

    Args:
        found: the weights that were fitted to these events.
        basis: of the events, as in `fit_pool_weights`.
        weight: of the events in the two classes, as in `fit_pool_weights`.

    Example:
        >>> rows = influence(found, basis, weight)
        >>> bool(jnp.allclose(rows.T @ rows, found.covariance))
        True
    """
    shares = shares_of(weight)
    h = basis @ found.weights
    numerator, denominator = shares[:, NUMERATOR], shares[:, DENOMINATOR]
    pulls = jnp.stack(
        [
            denominator + weighted(denominator, jnp.exp, h),
            numerator + weighted(numerator, jnp.exp, -h),
        ],
        axis=1,
    )
    # Of each mean only the deviations count: its normalisation is estimated too.
    means = pulls.T @ basis
    slope = (pulls[:, NUMERATOR] - pulls[:, DENOMINATOR])[:, None] * basis
    expected = numerator[:, None] * means[NUMERATOR][None]
    expected = expected - denominator[:, None] * means[DENOMINATOR][None]
    return jnp.linalg.solve(found.hessian, (slope - expected).T).T


def joint_covariance(
    influences: Sequence[Float[Array, "event ..."]],
) -> Float[Array, "weight weight"]:
    """Covariance of the weights of several ratios that were fitted to common events.

    A block diagonal of the covariances of each is right only if no training event
    serves two ratios. Ratios to one reference sample share all of its events.

    Args:
        influences: of every ratio, on one pool: the same events in the same order, an
            event with weight 0 in both classes of a ratio if that did not use it.

    Returns:
        The covariance of all weights, those of the first ratio first.

    Example:
        >>> rows = [influence(ratio, basis, weight[:, [0, c]]) for c, ratio in ...]
        >>> joint_covariance(rows)
    """
    rows = jnp.concatenate(influences, axis=1)
    return rows.T @ rows


@eqx.filter_jit
def _fit_pool_weights(
    basis: Float[Array, "event basis"],
    weight: Float[Array, "event class"],
    minimiser: Minimiser | None,
) -> EnsembleWeights:
    shares = shares_of(weight)
    loss = SymmetrisedMLC.of(basis, shares)
    found = fit(loss, shares, minimiser=minimiser, throw=False)
    unknown = jnp.full((basis.shape[1],) * 2, jnp.nan)
    weights = EnsembleWeights(
        weights=found.bestfit,
        hessian=loss.hessian(found.bestfit, shares) / loss.size,
        covariance=unknown,
        fit=found,
        result=found.result,
    )
    rows = influence(weights, basis, weight)
    return eqx.tree_at(lambda w: w.covariance, weights, rows.T @ rows)


def _check(
    basis: Float[Array, "event basis"], weight: Float[Array, "event class"]
) -> None:
    """Refuse training events that cannot be used; what is traced has only a shape."""
    if basis.ndim != 2 or weight.shape != (len(basis), 2):
        raise ValueError(
            f"weights of an ensemble: the basis has shape {basis.shape} instead of "
            f"(event, basis), the weights {weight.shape} instead of (event, 2)"
        )
    if isinstance(basis, Tracer) or isinstance(weight, Tracer):
        return
    values, sizes = np.asarray(basis), np.asarray(weight)
    for name, array in (("basis", values), ("weight", sizes)):
        finite = np.isfinite(array).all(axis=1)
        if not finite.all():
            first = int(np.argmin(finite))
            raise DataError(
                f"weights of an ensemble: event {first} has {name} "
                f"{array[first].tolist()}"
            )
    if (sizes < 0).any():
        first = int(np.argmax((sizes < 0).any(axis=1)))
        raise DataError(
            f"weights of an ensemble: event {first} has weight "
            f"{sizes[first].min():g}; split a signed sample into its two parts"
        )
    for column, name in ((DENOMINATOR, "denominator"), (NUMERATOR, "numerator")):
        if not sizes[:, column].any():
            raise DataError(f"weights of an ensemble: the {name} has no weight")


def _refuse_dependence(
    basis: Float[Array, "event basis"],
    weight: Float[Array, "event class"],
    found: EnsembleWeights,
) -> None:
    """Name the functions of a failed fit that are linearly dependent.

    Raises:
        DataError: if there are any.
    """
    if found.result == RESULTS.successful:
        return
    used = np.asarray(basis)[np.asarray(weight).any(axis=1)]
    scale = np.sqrt(np.mean(used**2, axis=0))
    if not scale.all():
        raise DataError(
            f"weights of an ensemble: {_named(scale == 0)} is zero in every event"
        )
    strength, directions = np.linalg.eigh((used / scale).T @ (used / scale) / len(used))
    # Rounding of sums over events; a fit calls directions below 1e-11 flat.
    if strength[0] < 1e-11:
        involved = np.abs(directions[:, 0]) > 1e-3
        raise DataError(
            f"weights of an ensemble: {_named(involved)} are linearly dependent on the "
            "training events, so that their weights are undetermined: leave one out"
        )


def _named(which: Bool[np.ndarray, " basis"]) -> str:
    names = ["the constant", *(f"member {i}" for i in range(1, len(which)))]
    return ", ".join(name for name, wanted in zip(names, which, strict=True) if wanted)
