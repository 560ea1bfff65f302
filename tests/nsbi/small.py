"""A small unbinned likelihood with everything in it: two normals, three parameters."""

import jax.numpy as jnp
import numpy as np

from diffana import nsbi
from diffana.likelihood import Parameters


SLOPE, WIDTH = 0.3, 0.2


def log_ratio(x):
    """Signal N(1, 1) over the reference N(0, 1), and the reference itself."""
    return np.stack([x - 0.5, np.zeros_like(x)], 1)


def shapes(x):
    """Both components: one polynomial-exponential and one log-quadratic morph."""
    tilt = SLOPE * x
    polyexp = np.stack([tilt, -tilt], 1)[:, :, None]
    quadratic = np.stack([WIDTH * (x**2 - 1), -0.05 * x**2], 1)
    return [(polyexp,), (polyexp, quadratic)]


def rows(x, weight=None, **options):
    """Events at x."""
    weight = np.ones_like(x) if weight is None else weight
    return nsbi.held(weight, log_ratio(x), shapes(x), **options)


def nodes(n_nodes=400):
    """Quadrature of the reference."""
    x = np.linspace(-9.0, 9.0, n_nodes)
    return x, np.exp(-0.5 * x**2)


def likelihood(bank=None, expected=(40.0, 200.0)):
    """Signal and background with a tilt of both and a width of the background."""
    x, density = nodes()
    tilt, width = nsbi.PolyExp(("tilt",)), nsbi.LogPolynomial.quadratic(("width",))
    components = (
        nsbi.Component(
            expected[0],
            yield_morph=nsbi.YieldMorph(("tilt",), [1.1], [0.92]),
            shape_morphs=(tilt,),
            name="signal",
        ),
        nsbi.Component(expected[1], shape_morphs=(tilt, width), name="background"),
    )
    channel = nsbi.Channel(
        components,
        nsbi.Products((("mu",), ())),
        rows(x, density) if bank is None else bank,
        "SR",
    )
    return nsbi.Unbinned(
        parameters=Parameters(
            inits=jnp.array([1.0, 0.0, 0.0]),
            lower=jnp.array([0.0, -5.0, -5.0]),
            upper=jnp.array([10.0, 5.0, 5.0]),
            fixed=jnp.zeros(3, bool),
            names=("mu", "tilt", "width"),
            poi="mu",
        ),
        channels=(channel,),
        constraints=nsbi.GaussianConstraints(("tilt", "width"), [1.0, 0.5]),
    )


def data(x, weight=None, aux=(0.2, -0.1), **options):
    """A data set."""
    return nsbi.UnbinnedData((rows(x, weight, **options),), jnp.array(aux))
