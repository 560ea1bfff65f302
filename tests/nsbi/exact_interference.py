"""The interference problem with its exact densities on a grid, as a likelihood."""

import jax
import jax.numpy as jnp
import numpy as np

from diffana import nsbi
from diffana.data.toys import COMPONENTS, Interference
from diffana.likelihood import Parameters


def moved_log_ratio(problem, x, alpha):
    """Log of the moved density of NI over the nominal one."""
    at = lambda a: jax.vmap(lambda e: problem.log_densities(e, a)[3])(x)
    return np.asarray(at(alpha) - at(0.0))


def exact_likelihood(morph="exact", n_per_axis=41, chunk=nsbi.rows.CHUNK):
    """Likelihood with NI as reference; the nuisance parameter moves NI.

    `morph` is the way the moved density is described: "exact", "polyexp" through its
    values at ±1, or "unnormalised" for the same without its normalisation.
    """
    problem = Interference()
    x, volume = problem.grid(n_per_axis)
    logs = np.asarray(jax.vmap(problem.log_densities)(jnp.asarray(x)))
    up, down = (moved_log_ratio(problem, jnp.asarray(x), a) for a in (1.0, -1.0))
    if morph == "exact":
        # ln of two normal densities of equal width is quadratic in the shift.
        shape = nsbi.LogPolynomial.quadratic(("alpha",))
        terms = np.asarray(nsbi.log_quadratic_terms(up[:, None], down[:, None]))
    else:
        shape = nsbi.PolyExp(("alpha",))
        terms = np.stack([up, down], 1)[:, :, None]
    bank = nsbi.held(
        volume * np.exp(logs[:, 3]),
        logs - logs[:, 3:],
        [(), (), (), (terms,)],
        chunk=chunk,
    )
    components = [
        nsbi.Component(expected, name=name)
        for name, expected in zip(COMPONENTS, problem.yields(), strict=True)
    ]
    components[3] = nsbi.Component(
        problem.yields()[3],
        shape_morphs=(shape,),
        name="NI",
        normalised=morph != "unnormalised",
    )
    channel = nsbi.Channel(
        tuple(components),
        nsbi.Stacked((nsbi.Interference("sqrt_mu"), nsbi.Products(((),)))),
        bank,
        "plane",
    )
    return nsbi.Unbinned(
        parameters=Parameters(
            inits=jnp.array([1.0, 0.0]),
            lower=jnp.array([0.0, -5.0]),
            upper=jnp.array([3.0, 5.0]),
            fixed=jnp.array([False, False]),
            names=("sqrt_mu", "alpha"),
            poi="sqrt_mu",
            interpolated=("sqrt_mu",),
        ),
        channels=(channel,),
        constraints=nsbi.GaussianConstraints.unit(("alpha",)),
    )
