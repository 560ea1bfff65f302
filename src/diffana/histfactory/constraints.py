"""Constraint terms of a HistFactory model, computed from its templates."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from . import poisson
from .layout import Layout
from .templates import Templates


@final
class Constraints(eqx.Module):
    """Auxiliary measurements and widths that go with the current templates.

    Attributes:
        auxdata: nominal auxiliary measurements: 0 for an α, 1 for the γ of a
            `staterror`, the count (ν/δ)² for the γ of a `shapesys`.
        sigma: width of each Gaussian constraint, in units of its parameter.
        factor: expected count of each Poisson constraint at γ = 1.
        fixed: parameters a fit may not move, those without any uncertainty included.
        layout: which parameter each constraint belongs to.
    """

    auxdata: Float[Array, " aux"]
    sigma: Float[Array, " gaussian"]
    factor: Float[Array, " poisson"]
    fixed: Bool[Array, " par"]
    layout: Layout

    def twice_nll(
        self, params: Float[Array, " par"], auxdata: Float[Array, " aux"]
    ) -> Scalar:
        """-2 ln of the density of `auxdata` at `params`."""
        layout = self.layout
        pull = (auxdata[layout.gaussian_aux] - params[layout.gaussian_par]) / self.sigma
        gaussian = pull**2 + 2 * jnp.log(self.sigma) + jnp.log(2 * jnp.pi)
        counts = poisson.twice_nll(
            auxdata[layout.poisson_aux], self.factor * params[layout.poisson_par]
        )
        return gaussian.sum() + counts.sum()

    def gradient(
        self, params: Float[Array, " par"], auxdata: Float[Array, " aux"]
    ) -> Float[Array, " par"]:
        """Derivative of `twice_nll` with respect to `params`."""
        layout = self.layout
        residual = params[layout.gaussian_par] - auxdata[layout.gaussian_aux]
        counts = poisson.slope(
            auxdata[layout.poisson_aux], self.factor * params[layout.poisson_par]
        )
        return self._by_parameter(2 * residual / self.sigma**2, self.factor * counts)

    def curvature(
        self, params: Float[Array, " par"], auxdata: Float[Array, " aux"]
    ) -> Float[Array, " par"]:
        """Diagonal of the second derivative of `twice_nll`; the rest of it is 0."""
        layout = self.layout
        counts = poisson.bend(
            auxdata[layout.poisson_aux], self.factor * params[layout.poisson_par]
        )
        return self._by_parameter(2 / self.sigma**2, self.factor**2 * counts)

    def expected_auxdata(self, params: Float[Array, " par"]) -> Float[Array, " aux"]:
        """Auxiliary measurements whose best fit is `params`."""
        layout = self.layout
        counts = self.factor * params[layout.poisson_par]
        return jnp.concatenate([params[layout.gaussian_par], counts])[
            layout.constraint_of_aux
        ]

    @property
    def width(self) -> Float[Array, " par"]:
        """Uncertainty of the auxiliary measurement of each parameter, in its unit.

        1/√factor for a Poisson constraint; nan for parameters without a constraint.
        """
        return self._by_parameter(self.sigma, self.factor**-0.5, without=jnp.nan)

    def _by_parameter(
        self,
        gaussian: Float[Array, " gaussian"],
        counts: Float[Array, " poisson"],
        *,
        without: float = 0.0,
    ) -> Float[Array, " par"]:
        """Values of the constraints at their parameters, `without` at all others.

        A scatter would say the same, but compiles and runs slowly on processors.
        """
        values = jnp.concatenate([gaussian, counts, jnp.array([without])])
        return values[self.layout.constraint_of_par]


def constraints(templates: Templates, layout: Layout) -> Constraints:
    """Constraint terms that go with `templates`.

    * `shapesys`: a Poisson count of expectation γ · (ν/δ)², where ν is the yield and δ
      its uncertainty. Bins with ν ≤ 0 or δ ≤ 0 have factor 1 and a fixed γ.
    * `staterror`: a Gaussian of width √Σδ²/Σν, summed over the samples that share the
      γ. Bins with Σν ≤ 0 or Σδ² = 0 have width 1 and a fixed γ.
    """
    shape_factor, shape_empty = _shapesys_factor(templates, layout)
    stat_width, stat_empty = _staterror_width(templates, layout)
    sigma = jnp.where(
        layout.sigma_derived, stat_width[layout.gaussian_par], templates.sigma
    )
    shape_factor = shape_factor[layout.poisson_par]
    factor = jnp.where(layout.factor_derived, shape_factor, templates.factor)
    auxdata = jnp.where(
        layout.aux_derived,
        jnp.zeros_like(templates.auxdata).at[layout.poisson_aux].set(shape_factor),
        templates.auxdata,
    )
    fixed = jnp.where(
        layout.fixed_derived, shape_empty | stat_empty, layout.parameters.fixed
    )
    return Constraints(auxdata, sigma, factor, fixed, layout)


def _shapesys_factor(
    templates: Templates, layout: Layout
) -> tuple[Float[Array, " par"], Bool[Array, " par"]]:
    """(ν/δ)² of the γ of `shapesys`, and which of them lack yield or uncertainty."""
    yields = templates.nominal[layout.shapesys_cell]
    empty = (yields <= 0) | (templates.shapesys <= 0)
    uncertainty = jnp.where(empty, 1.0, templates.shapesys)
    # Not the square of the ratio: pyhf's rounding makes exported data equal.
    count = jnp.where(empty, 1.0, yields) ** 2 / uncertainty**2
    n_par = len(layout.parameters)
    return (
        jnp.ones(n_par).at[layout.shapesys_par].set(count),
        jnp.zeros(n_par, bool).at[layout.shapesys_par].set(empty),
    )


def _staterror_width(
    templates: Templates, layout: Layout
) -> tuple[Float[Array, " par"], Bool[Array, " par"]]:
    """√Σδ²/Σν of the γ of `staterror`, and which of them lack yield or uncertainty."""
    n_par = len(layout.parameters)
    carried = jnp.zeros(n_par, bool).at[layout.staterror_par].set(True)
    variance, yields = (
        jnp.zeros(n_par).at[layout.staterror_par].add(values)
        for values in (
            templates.staterror**2,
            templates.nominal[layout.staterror_cell],
        )
    )
    # Phrased as "empty" and not as "filled", so that NaN stays NaN.
    empty = (variance == 0) | (yields <= 0)
    width = jnp.sqrt(jnp.where(empty, 1.0, variance)) / jnp.where(empty, 1.0, yields)
    return width, empty & carried
