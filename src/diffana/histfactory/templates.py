"""Every number of a HistFactory model that an analysis may compute."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


@final
class Templates(eqx.Module):
    """Histograms, uncertainties and auxiliary measurements of a HistFactory model.

    Everything is flat. A cell is one bin of one sample in one channel. An entry is one
    cell (`histosys`, `shapesys`, `staterror`) or one sample in one channel (`normsys`)
    that a modifier acts on. `Layout` says which slice belongs to what.

    Attributes:
        nominal: expected events of each cell.
        histosys_lo: yield of the down variation, in events.
        histosys_hi: yield of the up variation, in events.
        normsys_lo: factor of the down variation, > 0.
        normsys_hi: factor of the up variation, > 0.
        shapesys: absolute uncertainty of the yield, in events; a bin with 0 has no
            uncertainty, and its γ is fixed.
        staterror: absolute statistical uncertainty of the simulated yield, in events.
            The γ of a bin is fixed where the uncertainties of all samples vanish.
        auxdata: auxiliary measurements; not used where they follow from the templates
            (`Layout.aux_derived`).
        sigma: widths of the Gaussian constraints; not used where they follow from
            `staterror` (`Layout.sigma_derived`).
        factor: counts of the Poisson constraints at γ = 1; not used where they follow
            from `shapesys` (`Layout.factor_derived`).
    """

    nominal: Float[Array, " cell"] = eqx.field(converter=jnp.asarray)
    histosys_lo: Float[Array, " histosys"] = eqx.field(converter=jnp.asarray)
    histosys_hi: Float[Array, " histosys"] = eqx.field(converter=jnp.asarray)
    normsys_lo: Float[Array, " normsys"] = eqx.field(converter=jnp.asarray)
    normsys_hi: Float[Array, " normsys"] = eqx.field(converter=jnp.asarray)
    shapesys: Float[Array, " shapesys"] = eqx.field(converter=jnp.asarray)
    staterror: Float[Array, " staterror"] = eqx.field(converter=jnp.asarray)
    auxdata: Float[Array, " aux"] = eqx.field(converter=jnp.asarray)
    sigma: Float[Array, " gaussian"] = eqx.field(converter=jnp.asarray)
    factor: Float[Array, " poisson"] = eqx.field(converter=jnp.asarray)
