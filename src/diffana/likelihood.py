"""The contract every statistical model fulfils, and the description of its parameters.

`fit`, `infer` and `losses` know nothing of a model beyond this module.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Scalar


class Parameters(eqx.Module):
    """Names, starting values and ranges of the parameters of a likelihood.

    A vector-valued parameter (one γ per bin) counts as one entry per component, named
    `name[0]`, `name[1]`, ... as pyhf's `par_names` does.

    Attributes:
        inits: value of each parameter at which a fit starts and which counts as
            nominal, in the unit of the parameter.
        lower: smallest value a fit may return; -inf where there is none.
        upper: largest value a fit may return; +inf where there is none.
        fixed: parameters that a fit holds at their initial value. An array and not a
            static property because a bin that becomes empty while an observable is
            trained fixes its γ.
        names: one name per parameter, in the order of the arrays.
        poi: name of the parameter of interest, or None.
        interpolated: names of the parameters that morph templates. Their profile can
            have several minima, so fits start from several of their values.
    """

    inits: Float[Array, " par"]
    lower: Float[Array, " par"]
    upper: Float[Array, " par"]
    fixed: Bool[Array, " par"]
    names: tuple[str, ...] = eqx.field(static=True)
    poi: str | None = eqx.field(static=True, default=None)
    interpolated: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        for field in ("inits", "lower", "upper", "fixed"):
            shape = jnp.shape(getattr(self, field))
            if shape != (len(self.names),):
                raise ValueError(
                    f"parameters: {field!r} has shape {shape}, but there are "
                    f"{len(self.names)} names"
                )
        if len(set(self.names)) != len(self.names):
            raise ValueError("parameters: two parameters have the same name")
        for name in self.interpolated + ((self.poi,) if self.poi else ()):
            self.index(name)

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Position of the parameter `name`.

        Raises:
            ValueError: if there is no such parameter.
        """
        if name not in self.names:
            raise ValueError(
                f"no parameter {name!r}; there are {', '.join(self.names)}"
            )
        return self.names.index(name)

    @property
    def poi_index(self) -> int:
        """Position of the parameter of interest.

        Raises:
            ValueError: if the model has none.
        """
        if self.poi is None:
            raise ValueError("the model has no parameter of interest")
        return self.index(self.poi)


class AbstractLikelihood(eqx.Module):
    """A statistical model: parameters, -2 ln L, expected data.

    `data` is whatever the model calls a data set, constraint (auxiliary) measurements
    included; it is an argument of every method and never part of the model.
    """

    parameters: eqx.AbstractVar[Parameters]

    @abc.abstractmethod
    def twice_nll(self, params: Float[Array, " par"], data: PyTree) -> Scalar:
        """-2 ln L of `data` at `params`; nan or inf outside the model's domain."""

    @abc.abstractmethod
    def expected_data(self, params: Float[Array, " par"]) -> PyTree:
        """The Asimov data set: the data whose fit returns `params`."""

    @abc.abstractmethod
    def sample(self, params: Float[Array, " par"], key: PRNGKeyArray) -> PyTree:
        """One pseudo-experiment drawn at `params`."""

    def gradient(
        self, params: Float[Array, " par"], data: PyTree
    ) -> Float[Array, " par"]:
        """First derivative of `twice_nll` with respect to `params`."""
        return jax.grad(self.twice_nll)(params, data)

    def hessian(
        self, params: Float[Array, " par"], data: PyTree
    ) -> Float[Array, "par par"]:
        """Second derivative of `twice_nll` with respect to `params`."""
        return jax.hessian(self.twice_nll)(params, data)

    @abc.abstractmethod
    def curvature(
        self, params: Float[Array, " par"], data: PyTree
    ) -> Float[Array, "par par"]:
        """A positive semi-definite matrix close to `hessian`, cheaper or safer."""
