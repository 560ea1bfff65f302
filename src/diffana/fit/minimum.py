"""Derivatives of a located minimum, by theorem."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from diffana.fit.problem import Problem
from diffana.fit.quadratic import restrict


@eqx.filter_custom_jvp
def minimum(
    problem: Problem,
    *,
    located: tuple[Float[Array, " par"], Scalar, Bool[Array, " par"]],
) -> tuple[Float[Array, " par"], Scalar]:
    """Place and value of a minimum that is known, as functions of the problem.

    Args:
        problem: what is minimised.
        located: parameters at the minimum, the minimum itself, and which parameters are
            neither held nor at a bound; nan where there is no minimum.
    """
    params, value, _ = located
    return params, value


@minimum.def_jvp
def _minimum_jvp(primals, tangents, *, located):
    (problem,), (tangent,) = primals, tangents
    params, value = minimum(problem, located=located)
    _, _, free = located

    def value_and_gradient(model: Problem) -> tuple[Scalar, Float[Array, " par"]]:
        point = model.place(params)
        expansion = model.likelihood.expansion(point, model.data, exact=False)
        return expansion.value, expansion.gradient

    _, (dvalue, dgradient) = eqx.filter_jvp(value_and_gradient, (problem,), (tangent,))
    hessian = problem.likelihood.hessian(problem.place(params), problem.data)
    hessian = restrict(hessian, free)
    response = jnp.linalg.solve(hessian, jnp.where(free, dgradient, 0.0))
    dheld = jnp.zeros_like(response) if tangent.held is None else tangent.held
    dparams = jnp.where(problem.is_held, dheld, -response)
    return (params, value), (dparams, dvalue)
