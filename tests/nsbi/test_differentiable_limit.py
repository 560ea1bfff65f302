"""The expected limit of an unbinned fit, differentiated with respect to the analysis.

A soft cut and the resolution of a detector change the intensity of the events, through
the fit, up to the limit. The truth is held fixed: what is optimised is what is
measured, never the ratio itself.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffana import infer, losses, nsbi
from diffana.likelihood import Parameters


NODES = jnp.linspace(-6.0, 8.0, 121)


def likelihood(cut, resolution):
    """Signal N(1, 0.3² + resolution²) over N(0, 1), after a soft cut on x.

    The nuisance parameter shifts the background. Densities, efficiencies and
    normalisations are functions of the cut and the resolution.
    """
    log_normal = lambda x, mean, width: (
        -0.5 * ((x - mean) / width) ** 2 - jnp.log(width) - 0.5 * jnp.log(2 * jnp.pi)
    )
    keep = jax.nn.sigmoid(6.0 * (NODES - cut))
    signal = log_normal(NODES, 1.0, jnp.sqrt(0.09 + resolution**2))
    background = log_normal(NODES, 0.0, 1.0)
    step = NODES[1] - NODES[0]
    weight = keep * jnp.exp(background) * step
    efficiency = (keep * jnp.exp(signal)).sum() * step
    log_ratio = jnp.stack([signal - background, jnp.zeros_like(NODES)], axis=1)
    shift = 0.3 * NODES[:, None]
    terms = jnp.concatenate([shift, jnp.full_like(shift, -0.045)], axis=1)
    bank = nsbi.Rows(
        weight[None],
        nsbi.HeldTerms(nsbi.Terms(log_ratio[None], ((), (terms[None],)))),
    )
    channel = nsbi.Channel(
        (
            nsbi.Component(40.0 * efficiency, name="signal"),
            nsbi.Component(
                300.0 * weight.sum(),
                shape_morphs=(nsbi.LogPolynomial.quadratic(("shift",)),),
                name="background",
            ),
        ),
        nsbi.Products((("mu",), ())),
        bank,
        "SR",
    )
    return nsbi.Unbinned(
        parameters=Parameters(
            inits=jnp.array([1.0, 0.0]),
            lower=jnp.array([0.0, -5.0]),
            upper=jnp.array([20.0, 5.0]),
            fixed=jnp.zeros(2, bool),
            names=("mu", "shift"),
            poi="mu",
        ),
        channels=(channel,),
        constraints=nsbi.GaussianConstraints.unit(("shift",)),
    )


def central(function, at, step):
    """Central differences along both arguments, their error cancelled to step⁴."""
    slopes = []
    for i in range(2):
        unit = jnp.eye(2)[i]
        ends = [float(function(*(at + k * step * unit))) for k in (-2, -1, 1, 2)]
        slopes.append((ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step))
    return slopes


@pytest.mark.slow
@pytest.mark.parametrize(
    "result",
    [
        lambda model: losses.UpperLimit()(model),
        lambda model: losses.Cls()(model),
        lambda model: infer.sigma_mu(model, 0.0),
    ],
    ids=["limit", "cls", "sigma"],
)
def test_gradient_for_a_cut_and_a_resolution(result):
    at = jnp.array([-0.2, 0.4])
    value = jax.jit(lambda cut, resolution: result(likelihood(cut, resolution)))
    found = jax.jit(jax.grad(value, argnums=(0, 1)))(*at)
    # Certified fits are good to 1e-10, the search for the limit to 1e-6 at the worst.
    np.testing.assert_allclose(found, central(value, at, 0.02), rtol=2e-5)


def test_gradient_of_the_profiled_statistic_by_the_envelope_theorem():
    at = jnp.array([-0.2, 0.4])

    def statistic(cut, resolution):
        model = likelihood(cut, resolution)
        params = infer.nominal(model, 0.0)
        return infer.asimov_test(model, params, 0.8).q

    value = jax.jit(statistic)
    found = jax.jit(jax.grad(statistic, argnums=(0, 1)))(*at)
    np.testing.assert_allclose(found, central(value, at, 0.005), rtol=1e-6)


@pytest.mark.slow
def test_a_better_resolution_gives_a_better_limit():
    limit = jax.jit(lambda r: losses.UpperLimit()(likelihood(-0.2, r)))
    assert limit(0.1) < limit(0.4) < limit(0.8)
