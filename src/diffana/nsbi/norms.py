"""Normalisation of the shapes of components, by the reference events.

Z_j(θ) is the mean of r_j g_j over the bank. For a shape without parameters it is a
number. For one polynomial-exponential morph in one parameter it is, between α = -1 and
1, a polynomial whose coefficients are means over the bank: both are computed once.
Everything else takes a pass over the bank.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffana.nsbi.components import Component
from diffana.nsbi.morphs import PolyExp, polynomial_inside, polynomial_parts
from diffana.nsbi.rows import Rows, source_of


class Jet(NamedTuple):
    """Values with their derivatives with respect to all parameters.

    Attributes:
        value: one for each component, or a single one.
        first: first derivatives.
        second: second derivatives.
    """

    value: Float[Array, "*component"]
    first: Float[Array, "*component par"]
    second: Float[Array, "*component par par"]


@final
class Norms(eqx.Module):
    """What is known of Z before the parameters are.

    Attributes:
        constant: ln Z of the components whose shape depends on no parameter, else 0.
        moments: for every component the means over the bank of r times the parts of its
            polynomial, see `polynomial_parts`; None where Z is no polynomial.
    """

    constant: Float[Array, " component"]
    moments: tuple[Float[Array, " part"] | None, ...]


def precomputed(components: Sequence[Component], bank: Rows) -> Norms:
    """One pass over the bank, for all components.

    Args:
        components: shapes.
        bank: reference events.
    """

    def add(carry, weight, terms):
        found = []
        for total, component, log, shapes in zip(
            carry, components, terms.log_ratio.T, terms.shapes, strict=True
        ):
            density = weight * jnp.exp(log)
            if _is_polynomial(component):
                parts = polynomial_parts(shapes[0])
                found.append(total + jnp.tensordot(parts, density, axes=1))
            else:
                found.append(total + jnp.sum(density)[None])
        return found

    start = [jnp.zeros(8 if _is_polynomial(one) else 1) for one in components]
    sums = source_of(bank).scan(add, start, bank.weight)
    means = [found / bank.total() for found in sums]
    constant = [
        jnp.log(mean[0]) if component.normalised and not component.shape_morphs
        else jnp.zeros(())
        for component, mean in zip(components, means, strict=True)
    ]  # fmt: skip
    moments = (
        mean if _is_polynomial(component) else None
        for component, mean in zip(components, means, strict=True)
    )
    return Norms(jnp.stack(constant), tuple(moments))


def _is_polynomial(component: Component) -> bool:
    match component.shape_morphs:
        case (PolyExp(parameters=(_,)),):
            return component.normalised
    return False


def log_norms(
    components: Sequence[Component],
    bank: Rows,
    norms: Norms | None,
    names: tuple[str, ...],
    params: Float[Array, " par"],
    *,
    order: int,
) -> Jet:
    """Logarithm of Z of all components with its derivatives.

    Args:
        components: shapes.
        bank: reference events.
        norms: what is already known, if anything is.
        names: name of each parameter.
        params: their values.
        order: how many derivatives; those above are zero.
    """
    zero = _jet_of_nothing(len(params))
    jets = [zero] * len(components)
    known = [] if norms is None else list(norms.moments)
    polynomial = [j for j, one in enumerate(known) if one is not None]
    pending = [
        j
        for j, one in enumerate(components)
        if one.normalised
        and j not in polynomial
        and (one.shape_morphs or norms is None)
    ]
    if norms is not None:
        jets = [zero._replace(value=norms.constant[j]) for j in range(len(components))]
    if pending:
        means = _means(components, bank, pending, names, params, order)
        for j, mean in zip(pending, means, strict=True):
            jets[j] = mean
    for j in polynomial:
        (index,) = positions(names, components[j].shape_morphs[0].parameters)
        jets[j] = jax.lax.cond(
            jnp.abs(params[index]) < 1,
            lambda j=j, index=index: _inside(known[j], index, params, order),
            lambda j=j: _means(components, bank, [j], names, params, order)[0],
        )
    return jax.tree.map(lambda *parts: jnp.stack(parts), *jets)


def _jet_of_nothing(n_par: int) -> Jet:
    return Jet(jnp.zeros(()), jnp.zeros(n_par), jnp.zeros((n_par, n_par)))


def _inside(
    moments: Float[Array, " part"], index: int, params: Float[Array, " par"], order: int
) -> Jet:
    """Logarithm of the polynomial in one parameter."""
    alpha = jnp.clip(params[index], -1.0, 1.0)
    value, first, second = (polynomial_inside(alpha, moments, n) for n in range(3))
    zero = _jet_of_nothing(len(params))
    slope, bend = first / value, second / value - (first / value) ** 2
    return Jet(
        jnp.log(value),
        zero.first.at[index].set(slope) if order >= 1 else zero.first,
        zero.second.at[index, index].set(bend) if order == 2 else zero.second,
    )


def _means(
    components: Sequence[Component],
    bank: Rows,
    chosen: Sequence[int],
    names: tuple[str, ...],
    params: Float[Array, " par"],
    order: int,
) -> list[Jet]:
    """Logarithm of the mean of r g over the bank, for the chosen components."""
    n_par = len(params)

    def add(carry, weight, terms):
        found = []
        for (sum0, sum1, sum2), j in zip(carry, chosen, strict=True):
            log = terms.log_ratio[:, j]
            slopes = jnp.zeros((len(weight), n_par))
            pieces = []
            for morph, stored in zip(
                components[j].shape_morphs, terms.shapes[j], strict=True
            ):
                at, rows = positions(names, morph.parameters), jnp.asarray(stored)
                pieces.append((morph, at, rows))
                if order == 0:
                    log = log + morph.log_factor(params[at], rows)
                else:
                    value, first = morph.slopes(params[at], rows)
                    log = log + value
                    slopes = slopes.at[:, at].add(first)
            density = weight * jnp.exp(log)
            sum0 = sum0 + jnp.sum(density)
            if order >= 1:
                sum1 = sum1 + density @ slopes
            if order == 2:
                sum2 = sum2 + slopes.T @ (density[:, None] * slopes)
                for morph, at, rows in pieces:
                    block = morph.bend(params[at], rows, density)
                    sum2 = sum2.at[at[:, None], at[None, :]].add(block)
            found.append((sum0, sum1, sum2))
        return found

    zero = _jet_of_nothing(n_par)
    sums = source_of(bank).scan(add, [tuple(zero)] * len(chosen), bank.weight)
    total = bank.total()
    jets = []
    for sum0, sum1, sum2 in sums:
        slope = sum1 / sum0
        bend = sum2 / sum0 - jnp.outer(slope, slope)
        jets.append(
            Jet(jnp.log(sum0 / total), slope, bend if order == 2 else zero.second)
        )
    return jets


def positions(
    names: tuple[str, ...], chosen: Sequence[str]
) -> Int[np.ndarray, " chosen"]:
    """Positions of some parameters among all."""
    return np.array([names.index(name) for name in chosen], int)


def jet(
    function: Callable[[Float[Array, " par"]], Array],
    params: Float[Array, " par"],
    order: int,
) -> Jet:
    """`function` of the parameters with as many derivatives as asked for."""
    value = function(params)
    n_par = len(params)
    first = jnp.zeros((*value.shape, n_par))
    second = jnp.zeros((*value.shape, n_par, n_par))
    if order >= 1:
        first = jax.jacfwd(function)(params)
    if order == 2:
        second = jax.jacfwd(jax.jacfwd(function))(params)
    return Jet(value, first, second)


def divided(yields: Jet, norms: Jet) -> Jet:
    """Yield over Z, where the norms are ln Z."""
    value, first, second = yields
    slope, bend = norms.first, norms.second
    mixed = first[:, :, None] * slope[:, None, :]
    ahead = (
        second
        - mixed
        - jnp.swapaxes(mixed, 1, 2)
        + value[:, None, None] * (slope[:, :, None] * slope[:, None, :] - bend)
    )
    scale = jnp.exp(-norms.value)
    return Jet(
        value * scale,
        (first - value[:, None] * slope) * scale[:, None],
        ahead * scale[:, None, None],
    )
