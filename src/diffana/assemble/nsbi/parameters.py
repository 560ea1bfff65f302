"""Parameters of the likelihood of an unbinned measurement."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from diffana.config import NsbiConfig
from diffana.errors import SpecificationError
from diffana.likelihood import Parameters


# Those of pyhf for a constrained parameter.
_CONSTRAINED = (-5.0, 5.0)


class _Parameter(NamedTuple):
    name: str
    init: float
    bounds: tuple[float, float]


def parameters(config: NsbiConfig, constrained: Sequence[str]) -> Parameters:
    """Couplings, norm factors, then the constrained parameters.

    Args:
        config: the configuration.
        constrained: names of the nuisance parameters.

    Raises:
        SpecificationError: if a parameter that is to be fixed does not exist.
    """
    couplings = couplings_of(config)
    found = [
        *couplings,
        *(
            _Parameter(one.name, one.nominal, one.bounds)
            for one in config.norm_factors or ()
        ),
        *(_Parameter(name, 0.0, _CONSTRAINED) for name in constrained),
    ]
    names = [one.name for one in found]
    held = {one.name: one.value for one in config.general.fixed or ()}
    for name in held:
        if name not in names:
            raise SpecificationError(
                f"General.Fixed: the model has no parameter {name!r}"
            )
    return Parameters(
        inits=jnp.array([held.get(one.name, one.init) for one in found], float),
        lower=jnp.array([one.bounds[0] for one in found], float),
        upper=jnp.array([one.bounds[1] for one in found], float),
        fixed=jnp.array([name in held for name in names], bool),
        names=tuple(names),
        poi=config.general.poi,
        # Quadratic in a coupling, a likelihood may have two minima.
        interpolated=tuple(one.name for one in couplings if one.name not in held),
    )


def couplings_of(config: NsbiConfig) -> tuple[_Parameter, ...]:
    """Parameters that coefficients are polynomials of."""
    if config.interference is not None:
        section = config.interference
        return (_Parameter(section.amplitude, section.nominal, section.bounds),)
    if config.morphing is not None:
        return tuple(
            _Parameter(one.name, one.nominal, one.bounds)
            for one in config.morphing.couplings
        )
    return ()
