"""A model of five bins with one signal, for tests of losses.

All of its variants share their structure, and so their compiled programs. A bin without
signal and without uncertainty has no influence and fills up models with fewer bins; an
uncertainty of zero is none.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf

from diffana.histfactory import from_model


N_BINS = 5
SILENT = 10.0  # events in a bin that fills up; any number would do


class Yields(NamedTuple):
    """Signal, background, its shifted templates and its uncorrelated uncertainty."""

    signal: jax.typing.ArrayLike
    background: jax.typing.ArrayLike
    up: jax.typing.ArrayLike | None = None
    down: jax.typing.ArrayLike | None = None
    uncertainty: jax.typing.ArrayLike = 0.0


def specification(yields):
    def modifier(kind, name, data=None):
        return {"type": kind, "name": name, "data": data}

    up_and_down = {"hi_data": list(yields.up), "lo_data": list(yields.down)}
    return {
        "channels": [
            {
                "name": "SR",
                "samples": [
                    {
                        "name": "signal",
                        "data": list(yields.signal),
                        "modifiers": [modifier("normfactor", "mu")],
                    },
                    {
                        "name": "background",
                        "data": list(yields.background),
                        "modifiers": [
                            modifier("histosys", "shape", up_and_down),
                            modifier("shapesys", "rate", list(yields.uncertainty)),
                        ],
                    },
                ],
            }
        ]
    }


FLAT = from_model(
    pyhf.Model(
        specification(Yields(*np.full((4, N_BINS), SILENT), np.ones(N_BINS))),
        poi_name="mu",
    )
)
CELLS = {name: FLAT.layout.cells("SR", name) for name in ("signal", "background")}


def filled(yields):
    """The five bins of `yields`, which may have fewer."""

    def pad(values, fill):
        values = jnp.atleast_1d(jnp.asarray(values, float))
        return jnp.concatenate([values, jnp.full(N_BINS - len(values), fill)])

    background = pad(yields.background, SILENT)
    return Yields(
        pad(yields.signal, 0.0),
        background,
        background if yields.up is None else pad(yields.up, SILENT),
        background if yields.down is None else pad(yields.down, SILENT),
        pad(yields.uncertainty, 0.0),
    )


def templates(yields):
    """Templates of the five-bin model; a differentiable function."""
    five = filled(yields)
    nominal = FLAT.templates.nominal
    nominal = nominal.at[CELLS["signal"]].set(five.signal)
    nominal = nominal.at[CELLS["background"]].set(five.background)
    return eqx.tree_at(
        lambda t: (t.nominal, t.histosys_hi, t.histosys_lo, t.shapesys),
        FLAT.templates,
        (nominal, five.up, five.down, five.uncertainty),
    )


def binned(yields):
    return eqx.tree_at(lambda m: m.templates, FLAT, templates(yields))
