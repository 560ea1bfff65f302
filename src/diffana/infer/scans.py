"""Profiles of twice_nll along one parameter or over a plane of two."""

import math
from collections.abc import Mapping
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from diffana.errors import RESULTS
from diffana.fit import FitResult, Minimiser, first_failure, fit
from diffana.likelihood import AbstractLikelihood


# Difference of two minima, relative to their size, that rounding may cause.
_ROUNDING = 1e-9


@final
class Scan(eqx.Module):
    """Conditional fits on a grid of one or two parameters.

    A point whose fit is not certified is nan.

    Attributes:
        names: the scanned parameters, one for each axis of the grid.
        values: values along each axis, in the unit of its parameter.
        delta_twice_nll: profile above the minimum of the free fit, on the grid. Where
            it is below zero by more than rounding the free fit missed the minimum, and
            `result` says so.
        bestfit: parameters of every conditional fit; the grid, then the parameters.
        free: fit with the scanned parameters free.
        result: how the fit of every point ended, on the grid.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    values: tuple[Float[Array, " point"], ...]
    delta_twice_nll: Float[Array, "..."]
    bestfit: Float[Array, "... par"]
    free: FitResult
    result: RESULTS


def scan(
    likelihood: AbstractLikelihood,
    data: PyTree,
    values: Mapping[str, Float[ArrayLike, " point"]],
    *,
    fixed: Mapping[str, ArrayLike] | None = None,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> Scan:
    """Profile of twice_nll on the grid spanned by `values`.

    One compiled program runs through all points; each fit starts from the free one and
    from its neighbour, besides the starts that every fit has. Every number is a
    differentiable function of the arrays in `likelihood` and `data` and of `values`.

    Args:
        likelihood: the statistical model.
        data: the data set, constraint measurements included.
        values: for one or two parameters by name, the values at which to hold them.
        fixed: parameters to hold in all fits, the free one included.
        minimiser: settings of the fits.
        throw: whether a fit that is not certified raises; otherwise `result` tells.

    Raises:
        ValueError: if a name is unknown or held, there are more than two, or their
            values do not form a row.
        EquinoxRuntimeError: if `throw` and a fit is not certified.

    Example:
        >>> model, data = from_workspace(workspace)
        >>> scan(model, data, {"mu": jnp.linspace(0, 3, 31)}).delta_twice_nll
    """
    names = tuple(values)
    if len(names) not in (1, 2):
        raise ValueError(f"a scan has one or two parameters, not {len(names)}")
    held = {key: jnp.asarray(value, float) for key, value in (fixed or {}).items()}
    axes = tuple(jnp.asarray(row, float) for row in values.values())
    for name, axis in zip(names, axes, strict=True):
        likelihood.parameters.index(name)
        if name in held:
            raise ValueError(f"{name!r} is held, so that it cannot be scanned")
        if axis.ndim != 1 or axis.size == 0:
            raise ValueError(f"values of {name!r} have shape {axis.shape}")
    free = fit(likelihood, data, fixed=held, minimiser=minimiser, throw=throw)
    grid = _scan(likelihood, data, held, free, axes, names=names, minimiser=minimiser)
    failed = jnp.any(grid.result != RESULTS.successful)
    return first_failure(grid.result).error_if(grid, failed) if throw else grid


@eqx.filter_jit
def _scan(
    likelihood: AbstractLikelihood,
    data: PyTree,
    held: dict[str, Array],
    free: FitResult,
    axes: tuple[Float[Array, " point"], ...],
    *,
    names: tuple[str, ...],
    minimiser: Minimiser | None,
) -> Scan:
    shape = tuple(axis.size for axis in axes)
    points = [grid.ravel() for grid in jnp.meshgrid(*axes, indexing="ij")]
    base = jax.lax.stop_gradient(free.bestfit)
    row = math.prod(shape[1:])

    def visit(earlier: Float[Array, "earlier par"], point: list[Array]):
        found = fit(
            likelihood,
            data,
            fixed={**held, **dict(zip(names, point, strict=True))},
            # The neighbours before this one along the last and along the first axis.
            partners=jnp.stack([earlier[-1], earlier[0], base]),
            minimiser=minimiser,
            throw=False,
        )
        good = found.result == RESULTS.successful
        place = jax.lax.stop_gradient(found.bestfit)
        place = jnp.where(good, place, earlier[-1])
        return jnp.concatenate([earlier[1:], place[None]]), found

    start = jnp.broadcast_to(base, (row, base.size))
    _, fits = jax.lax.scan(visit, start, points)
    delta = fits.best_twice_nll - free.best_twice_nll
    missed = delta < -_ROUNDING * (1.0 + jnp.abs(free.best_twice_nll))

    def judged(missed: Bool[Array, ""], end: RESULTS) -> RESULTS:
        return RESULTS.where(missed, RESULTS.missed_minimum, end)

    return Scan(
        names=names,
        values=axes,
        delta_twice_nll=delta.reshape(shape),
        bestfit=fits.bestfit.reshape(*shape, -1),
        free=free,
        result=jax.tree.map(
            lambda end: end.reshape(shape), jax.vmap(judged)(missed, fits.result)
        ),
    )
