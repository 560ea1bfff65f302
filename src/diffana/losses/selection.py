"""Which parameters a loss is about, by name."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffana.histfactory import HistFactory
from diffana.likelihood import AbstractLikelihood


def positions(wanted: Sequence[str], names: Sequence[str]) -> tuple[int, ...]:
    """Positions of the wanted parameters; of all if none is named.

    Args:
        wanted: names of single parameters, or of those that have one component per bin
            (`rate` for `rate[0]`, `rate[1]`, ...).
        names: names of all parameters.

    Raises:
        ValueError: if a name is unknown.

    Example:
        >>> positions(["rate"], ["mu", "rate[0]", "rate[1]"])
        (1, 2)
    """
    found = []
    for name in wanted:
        components = [
            at
            for at, known in enumerate(names)
            if known == name or known.startswith(f"{name}[")
        ]
        if not components:
            raise ValueError(f"no parameter {name!r}; there are {', '.join(names)}")
        found += components
    return tuple(dict.fromkeys(found)) if wanted else tuple(range(len(names)))


def constrained(
    wanted: Sequence[str], likelihood: AbstractLikelihood
) -> tuple[Int[Array, " chosen"], Float[Array, " chosen"]]:
    """Positions of constrained parameters, and the widths of their constraints.

    Args:
        wanted: names as in `positions`; all constrained parameters if none is named.
        likelihood: a HistFactory model.

    Raises:
        ValueError: if the likelihood is no HistFactory model, or a parameter is unknown
            or has no constraint.
    """
    if not isinstance(likelihood, HistFactory):
        raise ValueError("only a HistFactory model tells its constraints")
    names = likelihood.parameters.names
    known = tuple(
        at
        for group in likelihood.layout.parameter_sets
        if group.aux_stop > group.aux_start
        for at in range(group.start, group.stop)
    )
    chosen = positions(wanted, names) if wanted else known
    for at in chosen:
        if at not in known:
            raise ValueError(f"parameter {names[at]!r} has no constraint")
    indices = jnp.array(chosen, int)
    return indices, likelihood.constraints.width[indices]
