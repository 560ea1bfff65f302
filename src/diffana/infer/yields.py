"""Expected yields of a HistFactory model with their uncertainties."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffana.histfactory import HistFactory, Layout
from diffana.numerics import safe_sqrt


@final
class Yields(eqx.Module):
    """Expected events and their standard deviations, per bin and per channel.

    Attributes:
        cells: of each sample in each of its bins; `layout.cells(channel, sample)` is
            the slice of one sample in one channel.
        cells_uncertainty: likewise.
        bins: of all samples in each bin; `layout.bins(channel)` is the slice of one
            channel.
        bins_uncertainty: likewise; correlations between samples are taken into account.
        rows: of each sample in a whole channel, in the order of `layout.rows`.
        rows_uncertainty: likewise, with the correlations between bins.
        channels: of all samples in a whole channel, in the order of `layout.channels`.
        channels_uncertainty: likewise.
        layout: names and positions.
    """

    cells: Float[Array, " cell"]
    cells_uncertainty: Float[Array, " cell"]
    bins: Float[Array, " bin"]
    bins_uncertainty: Float[Array, " bin"]
    rows: Float[Array, " row"]
    rows_uncertainty: Float[Array, " row"]
    channels: Float[Array, " channel"]
    channels_uncertainty: Float[Array, " channel"]
    layout: Layout


@eqx.filter_jit
def yields(
    model: HistFactory,
    params: Float[Array, " par"],
    covariance: Float[Array, "par par"],
) -> Yields:
    """Expected yields at `params`, with uncertainties by linear propagation.

    The variance of a yield λ is J C Jᵀ with J = ∂λ/∂θ at `params`. Every number is a
    differentiable function of the arrays in `model`, `params` and `covariance`.

    Args:
        model: the statistical model.
        params: where; the best fit, or nominal values.
        covariance: of the parameters, in products of their units; zero in the rows of
            parameters that are held. That of a fit (`Estimates.covariance`) gives
            uncertainties after the fit, `prefit_covariance` those before it.

    Source: linear propagation of uncertainties. cabinetry's `yield_stdev` takes half
    the difference of the yields one uncertainty up and down for J σ, which is the same
    where a yield is linear in each single parameter (all modifiers but `normsys`).

    Example:
        >>> model, data = from_workspace(workspace)
        >>> found = estimate(model, data)
        >>> yields(model, found.bestfit, found.covariance).bins_uncertainty
    """
    layout = model.layout
    jacobian = jax.jacfwd(model.expected_samples)(params)
    cells = model.expected_samples(params)
    channel_of_bin = jnp.concatenate(
        [
            jnp.full(channel.stop - channel.start, position)
            for position, channel in enumerate(layout.channels)
        ]
    )
    sums = {
        "cells": (jnp.arange(cells.size), cells.size),
        "bins": (layout.cell_bin, layout.n_bins),
        "rows": (layout.cell_row, len(layout.rows)),
        "channels": (channel_of_bin[layout.cell_bin], len(layout.channels)),
    }
    numbers = {}
    for name, (group, size) in sums.items():
        slope = jax.ops.segment_sum(jacobian, group, size)
        variance = jnp.sum((slope @ covariance) * slope, axis=1)
        numbers[name] = jax.ops.segment_sum(cells, group, size)
        numbers[f"{name}_uncertainty"] = safe_sqrt(variance)
    return Yields(**numbers, layout=layout)


def prefit_covariance(model: HistFactory) -> Float[Array, "par par"]:
    """Covariance of the parameters before any fit: widths of their constraints.

    Diagonal; zero for parameters without constraint, such as norm factors, and for
    those that are held. This is cabinetry's definition.

    Example:
        >>> model, data = from_workspace(workspace)
        >>> yields(model, model.parameters.inits, prefit_covariance(model)).bins
    """
    width = model.constraints.width
    moves = ~model.parameters.fixed & ~jnp.isnan(width)
    return jnp.diag(jnp.where(moves, width, 0.0) ** 2)
