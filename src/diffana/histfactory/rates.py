"""Expected yields of a HistFactory model and their derivatives, in closed form.

    λ_b = Σ_cells (ν + Σ Δ(α)) · Π f(α) · Π θ_row · Π θ_cell

The sum runs over the cells of the bin, Δ are the `histosys` differences, f the
`normsys` factors, and the last two products run over the parameters that scale the
whole row (`normfactor`, `lumi`) or the cell alone (`shapefactor`, `shapesys`,
`staterror`). Products run over gathered factors padded with 1: a scatter that
multiplies cannot be differentiated where positions repeat. Products of parameters are
exact, with all their derivatives, where a parameter is 0, as a signal strength may be.

Derivatives are collected on an axis with one more entry than there are parameters: the
constant 1 that pads the products comes first, and is dropped at the end.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from diffana.numerics import safe_divide

from .layout import Layout
from .templates import Templates


def cell_rates(
    templates: Templates, layout: Layout, params: Float[Array, " par"]
) -> Float[Array, " cell"]:
    """Expected events of each cell, that is of each sample in each of its bins."""
    return _Parts.at(templates, layout, params, _Morph.value_of).rates


def bin_sum(cells: Float[Array, " cell"], layout: Layout) -> Float[Array, " bin"]:
    """Sum of the samples in each bin of the main measurement."""
    return jax.ops.segment_sum(cells, layout.cell_bin, layout.n_bins)


def rates_and_derivatives(
    templates: Templates,
    layout: Layout,
    params: Float[Array, " par"],
    weight: Callable[[Float[Array, " bin"]], Float[Array, " bin"]],
    *,
    exact: bool | Bool[Array, ""] = True,
) -> tuple[Float[Array, " bin"], Float[Array, "bin par"], Float[Array, "par par"]]:
    """Expected events of each bin, with first and second derivatives.

    Args:
        templates: numbers of the model.
        layout: its structure.
        params: where.
        weight: what the second derivative of each bin is weighted with, as a function
            of the expected events.
        exact: whether the second derivative is wanted.

    Returns:
        The expected events λ, their derivatives with respect to `params`, and the
        second derivative of Σ_b weight_b λ_b for constant weights; zero if not wanted.
    """
    parts = _Parts.at(templates, layout, params)
    rates, jacobian = _rates_and_jacobian(parts, layout)

    def bend():
        return _weighted_bend(templates, parts, layout, params, weight(rates))

    def no_bend():
        return jnp.zeros((params.size, params.size))

    if isinstance(exact, bool):
        return rates, jacobian, bend() if exact else no_bend()
    return rates, jacobian, jax.lax.cond(exact, bend, no_bend)


def _rates_and_jacobian(
    parts: "_Parts", layout: Layout
) -> tuple[Float[Array, " bin"], Float[Array, "bin par"]]:
    scale = parts.row_scale * parts.cell_scale
    n_bins, n_rows = layout.n_bins, len(layout.rows)
    yields = (
        jnp.zeros((n_bins, n_rows))
        .at[layout.cell_bin, layout.cell_row]
        .add(parts.shifted * parts.cell_scale)
    )
    jacobian = (
        (yields @ _row_jacobian(parts, layout))
        .at[layout.cell_bin[layout.histosys_cell], layout.histosys_par + 1]
        .add(parts.shift.slope * scale[layout.histosys_cell])
        .at[layout.cell_bin[:, None], layout.cell_factors]
        .add((parts.shifted * parts.row_scale)[:, None] * parts.cell_leave)
    )
    return bin_sum(parts.rates, layout), jacobian[:, 1:]


def _weighted_bend(
    templates: Templates,
    parts: "_Parts",
    layout: Layout,
    params: Float[Array, " par"],
    weight: Float[Array, " bin"],
) -> Float[Array, "par par"]:
    n_par, n_rows = params.size + 1, len(layout.rows)
    cell_weight = weight[layout.cell_bin]
    by_shift = cell_weight * parts.row_scale * parts.cell_scale
    by_cell = cell_weight * parts.shifted * parts.row_scale
    by_row = jax.ops.segment_sum(
        cell_weight * parts.shifted * parts.cell_scale, layout.cell_row, n_rows
    )
    # What a row is multiplied with, by parameter of the yield or of the cell.
    partner = (
        jnp.zeros((n_rows, n_par))
        .at[layout.cell_row[layout.histosys_cell], layout.histosys_par + 1]
        .add(parts.shift.slope * (cell_weight * parts.cell_scale)[layout.histosys_cell])
        .at[layout.cell_row[:, None], layout.cell_factors]
        .add((cell_weight * parts.shifted)[:, None] * parts.cell_leave)
    )
    # A row is scaled by norm · plain, so that each pair of its parameters occurs as two
    # of norm, one of either, or one of either and a partner. Half of everything
    # symmetric is summed, since one product of matrices is most of the cost.
    log_slope, plain = _row_slopes(parts, layout)
    scale = parts.norm_scale * product(parts.row_gathered)
    by_plain = by_row * parts.norm_scale
    of_norm = (0.5 * by_row * scale)[:, None] * log_slope + scale[:, None] * partner
    of_norm = of_norm.at[jnp.arange(n_rows)[:, None], layout.row_factors].add(
        by_plain[:, None] * plain
    )
    of_plain = parts.norm_scale[:, None] * partner
    shift_leave = parts.cell_leave * (cell_weight * parts.row_scale)[:, None]
    half = (
        (log_slope.T @ of_norm)
        .at[layout.row_factors]
        .add(plain[:, :, None] * of_plain[:, None, :])
        .at[layout.histosys_par[:, None] + 1, layout.cell_factors[layout.histosys_cell]]
        .add(parts.shift.slope[:, None] * shift_leave[layout.histosys_cell])
    )
    shift_bend = _second_derivative(
        _shift_of(templates, layout), params[layout.histosys_par]
    )
    norm_bend = _second_derivative(
        _norm_of(templates, layout), params[layout.normsys_par]
    )
    norm_slope = safe_divide(parts.norm.slope, parts.norm.value)
    log_bend = safe_divide(norm_bend, parts.norm.value) - norm_slope**2
    row_pairs = leave_two_out(parts.row_gathered) * by_plain[:, None, None]
    cell_pairs = leave_two_out(parts.cell_gathered) * by_cell[:, None, None]
    whole = (
        (half + half.T)
        .at[layout.histosys_par + 1, layout.histosys_par + 1]
        .add(shift_bend * by_shift[layout.histosys_cell])
        .at[layout.normsys_par + 1, layout.normsys_par + 1]
        .add(log_bend * (by_row * scale)[layout.normsys_row])
        .at[layout.row_factors[:, :, None], layout.row_factors[:, None, :]]
        .add(row_pairs)
        .at[layout.cell_factors[:, :, None], layout.cell_factors[:, None, :]]
        .add(cell_pairs)
    )
    return whole[1:, 1:]


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

    This is the derivative of the product with respect to each factor.
    """
    value, pullback = jax.vjp(product, factors)
    return pullback(jnp.ones_like(value))[0]


def leave_two_out(
    factors: Float[Array, "item factor"],
) -> Float[Array, "item factor factor"]:
    """Product over the last axis without two factors; 0 where both are the same."""

    def derivative(direction):
        tangent = jnp.broadcast_to(direction[None, :], factors.shape)
        return jax.jvp(leave_one_out, (factors,), (tangent,))[1]

    return jax.vmap(derivative, out_axes=2)(jnp.eye(factors.shape[-1]))


class _Morph(NamedTuple):
    """Interpolation of each entry, and its derivative in its own α."""

    value: Float[Array, " entry"]
    slope: Float[Array, " entry"]

    @classmethod
    def at(
        cls, function: Callable[[Array], Array], alpha: Float[Array, " entry"]
    ) -> "_Morph":
        return cls(*jax.jvp(function, (alpha,), (jnp.ones_like(alpha),)))

    @classmethod
    def value_of(
        cls, function: Callable[[Array], Array], alpha: Float[Array, " entry"]
    ) -> "_Morph":
        """Without the derivative, which takes long to trace."""
        return cls(function(alpha), jnp.zeros_like(alpha))


def _second_derivative(
    function: Callable[[Array], Array], alpha: Float[Array, " entry"]
) -> Float[Array, " entry"]:
    return _Morph.at(lambda alpha: _Morph.at(function, alpha).slope, alpha).slope


def _shift_of(templates: Templates, layout: Layout) -> Callable[[Array], Array]:
    """The difference that each `histosys` entry adds, as a function of its own α."""

    def shift(alpha):
        nominal = templates.nominal[layout.histosys_cell]
        return layout.histosys_code(
            alpha, templates.histosys_lo, nominal, templates.histosys_hi
        )

    return shift


def _norm_of(templates: Templates, layout: Layout) -> Callable[[Array], Array]:
    """The factor of each `normsys` entry, as a function of its own α."""

    def norm(alpha):
        return layout.normsys_code(alpha, templates.normsys_lo, templates.normsys_hi)

    return norm


class _Parts(NamedTuple):
    """The factors of the yield of each cell."""

    shift: _Morph
    shifted: Float[Array, " cell"]
    norm: _Morph
    norm_scale: Float[Array, " row"]
    row_gathered: Float[Array, "row factor"]
    row_scale: Float[Array, " cell"]
    cell_gathered: Float[Array, "cell factor"]
    cell_scale: Float[Array, " cell"]

    @classmethod
    def at(
        cls,
        templates: Templates,
        layout: Layout,
        params: Float[Array, " par"],
        morph: Callable[..., _Morph] = _Morph.at,
    ) -> "_Parts":
        shift = morph(_shift_of(templates, layout), params[layout.histosys_par])
        norm = morph(_norm_of(templates, layout), params[layout.normsys_par])
        padded = jnp.concatenate([jnp.ones(1), params])
        norm_scale = product(
            jnp.concatenate([jnp.ones(1), norm.value])[layout.row_normsys]
        )
        row_gathered = padded[layout.row_factors]
        cell_gathered = padded[layout.cell_factors]
        return cls(
            shift=shift,
            shifted=templates.nominal.at[layout.histosys_cell].add(shift.value),
            norm=norm,
            norm_scale=norm_scale,
            row_gathered=row_gathered,
            row_scale=(norm_scale * product(row_gathered))[layout.cell_row],
            cell_gathered=cell_gathered,
            cell_scale=product(cell_gathered),
        )

    @property
    def rates(self) -> Float[Array, " cell"]:
        return self.shifted * self.row_scale * self.cell_scale

    @property
    def cell_leave(self) -> Float[Array, "cell factor"]:
        return leave_one_out(self.cell_gathered)


def _row_jacobian(parts: _Parts, layout: Layout) -> Float[Array, "row par"]:
    """Derivative of what scales each row."""
    log_slope, plain = _row_slopes(parts, layout)
    scale = parts.norm_scale * product(parts.row_gathered)
    rows = jnp.arange(len(layout.rows))[:, None]
    return (
        (scale[:, None] * log_slope)
        .at[rows, layout.row_factors]
        .add(parts.norm_scale[:, None] * plain)
    )


def _row_slopes(
    parts: _Parts, layout: Layout
) -> tuple[Float[Array, "row par"], Float[Array, "row factor"]]:
    """Logarithmic derivative of the `normsys` factors, derivative by each parameter.

    `normsys` factors are positive, and a row can have a hundred of them: dividing is
    far cheaper than leaving one out. A factor that is 0 has slope 0 too.
    """
    empty = jnp.zeros((len(layout.rows), len(layout.parameters) + 1))
    log_slope = empty.at[layout.normsys_row, layout.normsys_par + 1].add(
        safe_divide(parts.norm.slope, parts.norm.value)
    )
    return log_slope, leave_one_out(parts.row_gathered)
