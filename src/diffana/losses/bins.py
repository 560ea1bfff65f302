"""Losses of the yields of bins, without any fit."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Scalar

from diffana.histfactory import HistFactory
from diffana.infer import nominal
from diffana.losses.ingredients import Needs
from diffana.losses.loss import AbstractLoss
from diffana.numerics import safe_sqrt


@final
class AsimovSignificance(AbstractLoss):
    """Minus the counting significance Z_A of all bins, without any uncertainty.

    Source: arXiv:1007.1727, equation 97, summed over bins in quadrature.
    """

    @property
    def needs(self) -> Needs:
        """Nothing."""
        return Needs()

    def value(self, likelihood, scores, found) -> Scalar:
        """Minus Z_A."""
        if not isinstance(likelihood, HistFactory):
            raise ValueError("the counting significance needs a binned likelihood")
        b = likelihood.expected_actualdata(nominal(likelihood, 0.0))
        s = likelihood.expected_actualdata(nominal(likelihood, 1.0)) - b
        # An empty background with signal in it has no finite significance; nan there
        # keeps the optimiser from hiding the signal in empty bins.
        ratio = s / jnp.where(b > 0, b, jnp.where(s == 0, 1.0, jnp.nan))
        return -safe_sqrt(2 * jnp.sum((s + b) * jnp.log1p(ratio) - s))


@final
class EmptyBins(AbstractLoss):
    """Penalty on bins whose background rests on too few simulated events.

    The sum over bins of max(0, r - threshold)^2, where r is the relative statistical
    uncertainty of the background yield, from the `staterror` of the samples that the
    parameter of interest does not scale. Added to a p-value, it keeps the optimiser
    from moving signal into bins that no background event happens to reach.

    Attributes:
        threshold: relative uncertainty that costs nothing, > 0; 0.3 is about eleven
            events of equal weight.
    """

    threshold: float = eqx.field(static=True, default=0.3)

    @property
    def needs(self) -> Needs:
        """Nothing."""
        return Needs()

    def value(self, likelihood, scores, found) -> Scalar:
        """The penalty; inf where a bin has no background at all."""
        if not isinstance(likelihood, HistFactory):
            raise ValueError("only a binned likelihood has bins that can be empty")
        layout, templates = likelihood.layout, likelihood.templates
        poi = likelihood.parameters.poi
        mask = np.zeros(len(layout.cell_bin), bool)
        for row in layout.rows:
            if poi not in {modifier.name for modifier in row.modifiers}:
                mask[row.start : row.stop] = True
        is_background = jnp.asarray(mask)
        bins = layout.n_bins
        yields = jnp.where(is_background, templates.nominal, 0.0)
        background = jax.ops.segment_sum(yields, layout.cell_bin, bins)
        cell = layout.staterror_cell
        squares = jnp.where(is_background[cell], templates.staterror**2, 0.0)
        variance = jax.ops.segment_sum(squares, layout.cell_bin[cell], bins)
        filled = background > 0
        relative = safe_sqrt(variance) / jnp.where(filled, background, 1.0)
        excess = jnp.maximum(relative - self.threshold, 0.0)
        return jnp.sum(jnp.where(filled, excess, jnp.inf) ** 2)
