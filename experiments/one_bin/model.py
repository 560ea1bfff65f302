"""The analysis with one bin and one parameter phi, its likelihood and its judge."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pyhf

from diffana.histfactory import from_workspace, to_spec


LARGEST = 10.0
KINDS = {
    "shapesys": "Poisson-constrained background (shapesys)",
    "histosys": "Gaussian-constrained background (histosys)",
    "none": "no uncertainty",
}


def yields(phi):
    """Signal, background, and uncertainty of the background, in events."""
    return 15 + phi, 45 - 2 * phi, 0.5 + 0.1 * phi**2


def built(kind):
    """The likelihood of one of `KINDS` with templates still to be filled."""
    poi = {"name": "mu", "type": "normfactor", "data": None}
    data = {"shapesys": [1.0], "histosys": {"hi_data": [1.0], "lo_data": [1.0]}}
    uncertainty = {"name": "background", "type": kind, "data": data.get(kind)}
    modifiers = [] if kind == "none" else [uncertainty]
    samples = [
        {"name": "signal", "data": [1.0], "modifiers": [poi]},
        {"name": "background", "data": [1.0], "modifiers": modifiers},
    ]
    measurement = {"name": "m", "config": {"poi": "mu", "parameters": []}}
    model, _ = from_workspace(
        {
            "version": "1.0.0",
            "channels": [{"name": "SR", "samples": samples}],
            "observations": [{"name": "SR", "data": [1.0]}],
            "measurements": [measurement],
        }
    )
    return model


def filled(model, phi):
    """The likelihood at one configuration of the analysis, differentiable in `phi`."""
    signal, background, uncertainty = yields(phi)
    cells = [model.layout.cells("SR", name) for name in ("signal", "background")]
    old = model.templates
    new = {
        "nominal": old.nominal.at[cells[0]].set(signal).at[cells[1]].set(background),
        "shapesys": jnp.full_like(old.shapesys, uncertainty),
        "histosys_hi": jnp.full_like(old.histosys_hi, background + uncertainty),
        "histosys_lo": jnp.full_like(old.histosys_lo, background - uncertainty),
    }
    return eqx.tree_at(
        lambda m: [getattr(m.templates, name) for name in new], model, [*new.values()]
    )


def p0_of_pyhf(model):
    """Expected discovery p-value, computed by pyhf on the exported model."""
    judge = pyhf.Model(to_spec(model), poi_name="mu")
    params = np.array(judge.config.suggested_init())
    params[judge.config.poi_index] = 1.0
    data = judge.expected_data(params)
    return float(pyhf.infer.hypotest(0.0, data, judge, test_stat="q0"))
