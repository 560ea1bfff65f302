"""Priors of nuisance parameters, from their constraints."""

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri
from scipy.stats import qmc

from diffana.errors import SpecificationError
from diffana.histfactory import HistFactory
from diffana.likelihood import AbstractLikelihood


_N_PRIOR = 128


def prior_points(
    likelihood: AbstractLikelihood, seed: int, n_points: int = _N_PRIOR
) -> Float[np.ndarray, "point par"]:
    """Points of equal probability of a normal prior of the nuisance parameters.

    Means are the initial values, standard deviations those of the constraints. The
    points are those of a scrambled Sobol' sequence, the bounds cut them.

    Raises:
        SpecificationError: naming a free parameter that has no constraint.
    """
    parameters = likelihood.parameters
    width = constraint_widths(likelihood)
    free = ~np.asarray(parameters.fixed)
    free[parameters.poi_index] = False
    for name, one, is_free in zip(parameters.names, width, free, strict=True):
        if is_free and not np.isfinite(one):
            raise SpecificationError(
                f"parameter {name!r} has no constraint, and so no prior to average "
                "over: use the treatment profile or laplace, and the scheme plugin"
            )
    sobol = qmc.Sobol(int(free.sum()), rng=np.random.default_rng(seed))
    uniform = np.clip(sobol.random(n_points), 1e-12, 1 - 1e-12)
    points = np.tile(np.asarray(parameters.inits), (n_points, 1))
    points[:, free] += ndtri(uniform) * width[free]
    return np.clip(points, np.asarray(parameters.lower), np.asarray(parameters.upper))


def constraint_widths(likelihood: AbstractLikelihood) -> Float[np.ndarray, " par"]:
    """Standard deviation of the constraint of each parameter; nan without."""
    if isinstance(likelihood, HistFactory):
        return np.asarray(likelihood.constraints.width)
    width = np.full(len(likelihood.parameters), np.nan)
    constraints = getattr(likelihood, "constraints", None)
    if constraints is not None:
        for name, one in zip(
            constraints.parameters, np.asarray(constraints.width), strict=True
        ):
            width[likelihood.parameters.index(name)] = one
    return width
