"""Events together with binned channels: one likelihood, shared parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffana import fit, infer, nsbi
from diffana.errors import SpecificationError
from diffana.histfactory import from_workspace
from nsbi import small


def control_region(name="tilt"):
    """A control region of the background whose yield follows the shared parameter."""
    return {
        "channels": [
            {
                "name": "CR",
                "samples": [
                    {
                        "name": "background",
                        "data": [300.0, 120.0],
                        "modifiers": [
                            {
                                "name": name,
                                "type": "normsys",
                                "data": {"hi": 1.06, "lo": 0.95},
                            },
                            {"name": "cr_norm", "type": "normfactor", "data": None},
                        ],
                    }
                ],
            }
        ],
        "observations": [{"name": "CR", "data": [310.0, 118.0]}],
        "measurements": [
            {"name": "m", "config": {"poi": "", "parameters": []}},
        ],
        "version": "1.0.0",
    }


def binned(name="tilt"):
    model, _ = from_workspace(control_region(name))
    return model


PARAMS = {"mu": 1.2, "tilt": 0.3, "width": -0.2, "cr_norm": 1.05}


def at(model):
    return jnp.array([PARAMS[name] for name in model.parameters.names])


def test_value_is_the_sum_with_the_constraint_once():
    unbinned, counted = small.likelihood(), binned()
    joint = nsbi.joined(unbinned, counted)
    assert joint.parameters.names == ("mu", "tilt", "width", "cr_norm")
    assert joint.parameters.poi == "mu"
    x = np.random.default_rng(0).normal(0.2, 1.0, 80)
    events = small.data(x)
    alone = float(unbinned.twice_nll(at(unbinned), events))
    # The tilt was measured to be 0.2 by the events' auxiliary measurement.
    constraint = (PARAMS["tilt"] - 0.2) ** 2 + np.log(2 * np.pi)
    spec = pyhf.Workspace(control_region()).model(poi_name=None)
    data = [310.0, 118.0, 0.1]
    order = [PARAMS[name] for name in spec.config.par_names]
    by_pyhf = -2 * float(spec.logpdf(order, data)[0])
    both = (nsbi.UnbinnedData(events.rows, events.auxdata[1:]), jnp.array(data))
    found = joint.twice_nll(at(joint), both)
    np.testing.assert_allclose(found, alone - constraint + by_pyhf, rtol=1e-12)


def test_derivatives():
    joint = nsbi.joined(small.likelihood(), binned())
    truth = at(joint)
    data = joint.expected_data(truth)
    params = truth + 0.1
    expansion = joint.expansion(params, data)
    np.testing.assert_allclose(
        expansion.gradient, jax.grad(joint.twice_nll)(params, data), rtol=1e-10
    )
    np.testing.assert_allclose(
        expansion.hessian,
        jax.hessian(joint.twice_nll)(params, data),
        rtol=1e-9,
        atol=1e-9,
    )


def test_a_control_region_constrains_the_shared_parameter():
    unbinned = small.likelihood()
    joint = nsbi.joined(unbinned, binned())
    truth = at(joint)
    found = infer.estimate(joint, joint.expected_data(truth))
    np.testing.assert_allclose(found.bestfit, truth, atol=1e-8)
    # Without a free norm of its own the control region measures the tilt.
    fixed = {"cr_norm": jnp.array(1.05)}
    measured = infer.estimate(joint, joint.expected_data(truth), fixed=fixed)
    alone = infer.estimate(unbinned, unbinned.expected_data(at(unbinned)))
    assert measured.uncertainty[1] < 0.95 * alone.uncertainty[1]


def test_toys_have_the_right_means():
    joint = nsbi.joined(small.likelihood(small.rows(*small.nodes(50))), binned())
    truth = at(joint)
    events, counts = joint.samples(truth, 2000, seed=1)
    expected_events, expected_counts = joint.expected_data(truth)
    mean = np.asarray(events.rows[0].weight).sum(axis=(1, 2)).mean()
    total = float(expected_events.rows[0].total())
    # Four standard deviations of the mean of 2000 Poisson numbers.
    assert abs(mean - total) < 4 * np.sqrt(total / 2000)
    aux = np.asarray(events.auxdata).mean(axis=0)
    np.testing.assert_allclose(aux, [PARAMS["width"]], atol=4 * 0.5 / np.sqrt(2000))
    spread = np.sqrt(np.asarray(expected_counts[:2]) / 2000)
    off = np.asarray(counts).mean(axis=0)[:2] - np.asarray(expected_counts[:2])
    assert np.all(np.abs(off) < 4 * spread)
    again, _ = joint.samples(truth, 2000, seed=1)
    assert np.array_equal(again.rows[0].weight, events.rows[0].weight)


def test_fits_of_toys_are_certified():
    joint = nsbi.joined(small.likelihood(small.rows(*small.nodes(50))), binned())
    toys = joint.samples(at(joint), 8, seed=2)
    one = lambda toy: fit.fit(joint, toy, throw=False)
    found = jax.jit(lambda data: jax.lax.map(one, data))(toys)
    assert np.all(np.isfinite(found.bestfit))


def test_conflicts_are_refused():
    with pytest.raises(SpecificationError, match="constrained by two binned models"):
        nsbi.joined(small.likelihood(), binned(), binned())
