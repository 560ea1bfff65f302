"""Fisher information, covariance, correlation: three matrices, three names.

The Fisher information I is half the second derivative of twice_nll and grows with the
information in the data. The covariance is its inverse. The correlation is the
covariance divided by the uncertainties.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree, Scalar

from diffana.likelihood import AbstractLikelihood
from diffana.numerics import safe_sqrt


def fisher_information(
    likelihood: AbstractLikelihood,
    params: Float[Array, " par"],
    data: PyTree | None = None,
) -> Float[Array, "par par"]:
    """Fisher information matrix at `params`, in inverse products of parameter units.

    Args:
        likelihood: the statistical model.
        params: the point at which the second derivative is taken.
        data: the observed information of this data set; by default that of the Asimov
            data of `params`, which is the expected information.

    Source: Cramér; for its use as a loss, de Castro and Dorigo, arXiv:1806.04743.
    """
    at = likelihood.expected_data(params) if data is None else data
    return 0.5 * likelihood.hessian(params, at)


def covariance(
    information: Float[Array, "par par"], free: Bool[Array, " par"]
) -> Float[Array, "par par"]:
    """Covariance of the free parameters, zero in the rows of the others.

    Args:
        information: Fisher information matrix of all parameters.
        free: parameters that are neither held nor at a bound.

    Returns:
        The inverse on the free parameters; nan where the information is singular or not
        positive definite.
    """
    inside = free[:, None] & free[None, :]
    restricted = jnp.where(inside, information, jnp.diag(jnp.where(free, 0.0, 1.0)))
    diagonal = jnp.diagonal(restricted)
    scale = jnp.where(diagonal > 0, diagonal, jnp.nan) ** -0.5
    unit = restricted * scale[:, None] * scale[None, :]
    # Cholesky gives nan where the information is not positive definite, which a plain
    # inverse would turn into a number.
    factor = jnp.linalg.cholesky(unit)
    half = jnp.linalg.solve(factor, jnp.diag(scale))
    return jnp.where(inside, half.T @ half, 0.0)


def uncertainty(covariance: Float[Array, "par par"]) -> Float[Array, " par"]:
    """Standard deviation of every parameter, in its unit; zero for held ones."""
    return safe_sqrt(jnp.diagonal(covariance))


def correlation(covariance: Float[Array, "par par"]) -> Float[Array, "par par"]:
    """Correlation matrix; rows of held parameters are zero."""
    sigma = uncertainty(covariance)
    inverse = jnp.where(sigma > 0, 1.0 / jnp.where(sigma > 0, sigma, 1.0), 0.0)
    return covariance * inverse[:, None] * inverse[None, :]


def sigma_mu(likelihood: AbstractLikelihood, poi: float | Scalar = 1.0) -> Scalar:
    """Expected uncertainty of the parameter of interest, sqrt([I^-1]_mu,mu).

    Args:
        likelihood: the statistical model.
        poi: value of the parameter of interest in the Asimov data; the nuisance
            parameters are at their nominal values.

    Returns:
        The uncertainty in the unit of the parameter; nan if the information is
        singular.

    Source: de Castro and Dorigo, arXiv:1806.04743, section 3 (the INFERNO loss).
    """
    parameters = likelihood.parameters
    index = parameters.poi_index
    nominal = parameters.inits.at[index].set(poi)
    information = fisher_information(likelihood, nominal)
    free = ~parameters.fixed
    return uncertainty(covariance(information, free))[index]
