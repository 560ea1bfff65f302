"""Several likelihoods of one measurement, which share parameters by name."""

from collections.abc import Sequence
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Scalar

from diffana.errors import SpecificationError
from diffana.histfactory import HistFactory
from diffana.likelihood import AbstractLikelihood, Expansion, Parameters
from diffana.nsbi.likelihood import Unbinned


@final
class Joint(AbstractLikelihood):
    """Product of likelihoods of independent data.

    A parameter that occurs in several of them is one parameter. A data set is a tuple
    with one data set for each likelihood, in their order.

    Attributes:
        parts: the likelihoods. A constraint term must be in one of them only, see
            `joined`.
        parameters: the parameters of all, each once; starting values, bounds and what
            is fixed are those of the first likelihood that has the parameter.

    Example:
        >>> model = joined(unbinned, control_regions)
        >>> fit(model, (events, counts))
    """

    parts: tuple[AbstractLikelihood, ...]

    def __init__(self, parts: Sequence[AbstractLikelihood]):
        self.parts = tuple(parts)

    @property
    def parameters(self) -> Parameters:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of all parts, each once."""
        owner = {}
        for number, part in enumerate(self.parts):
            for name in part.parameters.names:
                owner.setdefault(name, number)
        rows = [(self.parts[number].parameters, name) for name, number in owner.items()]

        def row(field: str) -> Array:
            return jnp.stack(
                [getattr(one, field)[one.index(name)] for one, name in rows]
            )

        pois = dict.fromkeys(p.parameters.poi for p in self.parts if p.parameters.poi)
        interpolated = (name for p in self.parts for name in p.parameters.interpolated)
        return Parameters(
            inits=row("inits"),
            lower=row("lower"),
            upper=row("upper"),
            fixed=row("fixed"),
            names=tuple(owner),
            poi=next(iter(pois), None),
            interpolated=tuple(dict.fromkeys(interpolated)),
        )

    def __check_init__(self):
        pois = dict.fromkeys(p.parameters.poi for p in self.parts if p.parameters.poi)
        if len(pois) > 1:
            raise SpecificationError(
                "a joint likelihood has one parameter of interest, not "
                f"{', '.join(pois)}"
            )

    def settled(self) -> "Joint":
        """The same with everything computed that depends on the model alone."""
        return Joint(tuple(part.settled() for part in self.parts))

    def twice_nll(self, params: Float[Array, " par"], data: PyTree) -> Scalar:
        """Sum of -2 ln L over the parts."""
        values = [
            part.twice_nll(params[at], own) for part, at, own in self._split(data)
        ]
        return jnp.sum(jnp.stack(values))

    def curvature(
        self, params: Float[Array, " par"], data: PyTree
    ) -> Float[Array, "par par"]:
        """Sum of the curvatures of the parts."""
        n_par = params.shape[0]
        total = jnp.zeros((n_par, n_par))
        for part, at, own in self._split(data):
            block = part.curvature(params[at], own)
            total = total.at[at[:, None], at[None, :]].add(block)
        return total

    def hessian(
        self, params: Float[Array, " par"], data: PyTree
    ) -> Float[Array, "par par"]:
        """Sum of the second derivatives of the parts."""
        return self.expansion(params, data).hessian

    def gradient(
        self, params: Float[Array, " par"], data: PyTree
    ) -> Float[Array, " par"]:
        """Sum of the first derivatives of the parts."""
        total = jnp.zeros_like(params)
        for part, at, own in self._split(data):
            total = total.at[at].add(part.gradient(params[at], own))
        return total

    def expansion(
        self,
        params: Float[Array, " par"],
        data: PyTree,
        *,
        exact: bool | Bool[Array, ""] = True,
    ) -> Expansion:
        """Sum of the expansions of the parts."""
        n_par = params.shape[0]
        found = [
            (part.expansion(params[at], own, exact=exact), at)
            for part, at, own in self._split(data)
        ]

        def spread(rows: Array, at: np.ndarray) -> Array:
            return jnp.zeros((*rows.shape[:-1], n_par)).at[..., at].set(rows)

        def square(block: Array, at: np.ndarray) -> Array:
            zero = jnp.zeros((n_par, n_par))
            return zero.at[at[:, None], at[None, :]].set(block)

        return Expansion(
            value=sum((one.value for one, _ in found), start=jnp.zeros(())),
            gradient=sum(
                (spread(one.gradient, at) for one, at in found), start=jnp.zeros(n_par)
            ),
            diagonal=sum(
                (spread(one.diagonal, at) for one, at in found), start=jnp.zeros(n_par)
            ),
            rows=jnp.concatenate([spread(one.rows, at) for one, at in found]),
            weight=jnp.concatenate([one.weight for one, _ in found]),
            bend=sum(
                (square(one.bend, at) for one, at in found),
                start=jnp.zeros((n_par, n_par)),
            ),
        )

    def expected_data(self, params: Float[Array, " par"]) -> PyTree:
        """The Asimov data of every part."""
        return tuple(
            part.expected_data(params[at])
            for part, at in zip(self.parts, self._positions(), strict=True)
        )

    def sample(self, params: Float[Array, " par"], key: PRNGKeyArray) -> PyTree:
        """One pseudo-experiment of every part."""
        keys = jax.random.split(key, len(self.parts))
        return tuple(
            part.sample(params[at], key)
            for part, at, key in zip(self.parts, self._positions(), keys, strict=True)
        )

    def samples(
        self, params: Float[Array, "*toy par"], n_toys: int, seed: int
    ) -> PyTree:
        """Pseudo-experiments of every part, with seeds that follow from `seed`."""
        seeds = np.random.SeedSequence(seed).generate_state(len(self.parts))
        return tuple(
            part.samples(params[..., at], n_toys, int(own))
            for part, at, own in zip(self.parts, self._positions(), seeds, strict=True)
        )

    def _positions(self) -> list[np.ndarray]:
        """Where the parameters of each part are among all."""
        names = self.parameters.names
        return [
            np.array([names.index(name) for name in part.parameters.names], int)
            for part in self.parts
        ]

    def _split(self, data: PyTree):
        return zip(self.parts, self._positions(), data, strict=True)


def joined(unbinned: Unbinned, *binned: HistFactory) -> Joint:
    """Events without bins together with binned channels.

    A nuisance parameter that both constrain is one parameter with one constraint, that
    of the first binned part which has it. The others lose theirs, auxiliary data
    included: `unbinned` must come with the data that fit what is left, which
    `Joint.expected_data` and `Joint.samples` give.

    Args:
        unbinned: regions of events.
        binned: HistFactory models; at most one may constrain a parameter.

    Raises:
        SpecificationError: if two binned models constrain the same parameter, or the
            parts have different parameters of interest.
    """
    constrained: dict[str, int] = {}
    for number, model in enumerate(binned):
        for name in _constrained(model):
            if constrained.setdefault(name, number) != number:
                raise SpecificationError(
                    f"parameter {name!r} is constrained by two binned models; combine "
                    "their channels in one workspace"
                )
    return Joint((unbinned.without_constraints(tuple(constrained)), *binned))


def _constrained(model: HistFactory) -> Sequence[str]:
    layout = model.layout
    at = [*np.asarray(layout.gaussian_par), *np.asarray(layout.poisson_par)]
    return [layout.parameters.names[i] for i in at]
