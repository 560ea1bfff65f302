"""Expected yields of a HistFactory model and their derivative, in closed form.

    λ_b = Σ_cells (ν + Σ Δ(α)) · (factors of the row) · (factors of the cell)

Products run over gathered factors padded with 1. A scatter that multiplies would be
shorter, but JAX cannot differentiate it when positions repeat.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .layout import Layout
from .templates import Templates


def cell_rates(
    templates: Templates, layout: Layout, params: Float[Array, " par"]
) -> Float[Array, " cell"]:
    """Expected events of each cell, that is of each sample in each of its bins."""
    shifted, _ = _shifted(templates, layout, params)
    table, _ = _row_table(templates, layout, params)
    rows = product(table[layout.row_factors])
    return shifted * rows[layout.cell_row] * product(_cell_factors(layout, params))


def bin_sum(cells: Float[Array, " cell"], layout: Layout) -> Float[Array, " bin"]:
    """Sum of the samples in each bin of the main measurement."""
    return jax.ops.segment_sum(cells, layout.cell_bin, layout.n_bins)


def rates_and_jacobian(
    templates: Templates, layout: Layout, params: Float[Array, " par"]
) -> tuple[Float[Array, " bin"], Float[Array, "bin par"]]:
    """Expected events of each bin, and their derivatives with respect to `params`."""
    n_par, n_row = params.size, len(layout.rows)
    shifted, shift_slope = _shifted(templates, layout, params)
    table, table_slope = _row_table(templates, layout, params)
    factors = _cell_factors(layout, params)
    gathered = table[layout.row_factors]
    row_scale = product(gathered)[layout.cell_row]
    cell_scale = product(factors)

    table_par = jnp.concatenate(
        [jnp.zeros(1, int), jnp.arange(n_par), layout.normsys_par]
    )
    row_jacobian = (
        jnp.zeros((n_row, n_par))
        .at[jnp.arange(n_row)[:, None], table_par[layout.row_factors]]
        .add(leave_one_out(gathered) * table_slope[layout.row_factors])
    )
    unscaled = (
        jnp.zeros((layout.n_bins, n_row))
        .at[layout.cell_bin, layout.cell_row]
        .add(shifted * cell_scale)
    )
    used = layout.cell_factors > 0
    cell_slope = (shifted * row_scale)[:, None] * leave_one_out(factors) * used
    jacobian = (
        (unscaled @ row_jacobian)
        .at[layout.cell_bin[layout.histosys_cell], layout.histosys_par]
        .add(shift_slope * (row_scale * cell_scale)[layout.histosys_cell])
        .at[layout.cell_bin[:, None], jnp.where(used, layout.cell_factors - 1, 0)]
        .add(cell_slope)
    )
    return bin_sum(shifted * row_scale * cell_scale, layout), jacobian


def product(factors: Float[Array, "item factor"]) -> Float[Array, " item"]:
    """Product over the last axis, whose length is a power of two.

    Only multiplications occur, so every derivative is exact where factors are 0.
    """
    while factors.shape[-1] > 1:
        half = factors.shape[-1] // 2
        factors = factors[:, :half] * factors[:, half:]
    return factors[:, 0]


def leave_one_out(
    factors: Float[Array, "item factor"],
) -> Float[Array, "item factor"]:
    """Product over the last axis without the factor at each position.

    This is the derivative of the product, hence its transposed linearisation at 1.
    """
    value, pullback = jax.vjp(product, factors)
    return pullback(jnp.ones_like(value))[0]


def _shifted(
    templates: Templates, layout: Layout, params: Float[Array, " par"]
) -> tuple[Float[Array, " cell"], Float[Array, " histosys"]]:
    """Yield of each cell with its variations added, and the slope of each variation."""

    def shift(alpha):
        return layout.histosys_code(
            alpha,
            templates.histosys_lo,
            templates.nominal[layout.histosys_cell],
            templates.histosys_hi,
        )

    value, slope = _with_slope(shift, params[layout.histosys_par])
    return templates.nominal.at[layout.histosys_cell].add(value), slope


def _row_table(
    templates: Templates, layout: Layout, params: Float[Array, " par"]
) -> tuple[Float[Array, " position"], Float[Array, " position"]]:
    """Everything that can scale a row, and its slope in its own parameter."""

    def scale(alpha):
        return layout.normsys_code(alpha, templates.normsys_lo, templates.normsys_hi)

    value, slope = _with_slope(scale, params[layout.normsys_par])
    return (
        jnp.concatenate([jnp.ones(1), params, value]),
        jnp.concatenate([jnp.zeros(1), jnp.ones_like(params), slope]),
    )


def _cell_factors(
    layout: Layout, params: Float[Array, " par"]
) -> Float[Array, "cell factor"]:
    return jnp.concatenate([jnp.ones(1), params])[layout.cell_factors]


def _with_slope(
    function: Callable[[Array], Array], alpha: Float[Array, " entry"]
) -> tuple[Float[Array, " entry"], Float[Array, " entry"]]:
    """Value and derivative of a function that acts on each element."""
    return jax.jvp(function, (alpha,), (jnp.ones_like(alpha),))
