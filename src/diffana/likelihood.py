"""The contract every statistical model fulfils, and the description of its parameters.

`fit`, `infer` and `losses` know nothing of a model beyond this module.
"""

import abc
from typing import NamedTuple, Self

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


class Expansion(eqx.Module):
    """twice_nll around a point, to second order.

    The second derivative has two parts. The *curvature* is never negative,

        diag(diagonal) + rowsᵀ diag(weight) rows,

    with one row for each bin of a binned model, which often has far more parameters
    than bins, so that its linear systems are solved at the cost of the bins. The *bend*
    is the rest of the Hessian, small near a good fit.

    Attributes:
        value: twice_nll.
        gradient: its first derivative.
        diagonal: curvature of terms in one parameter each, >= 0.
        rows: directions of the remaining curvature.
        weight: curvature along each of them, >= 0.
        bend: Hessian without the curvature; zero if it was not asked for.
    """

    value: Scalar
    gradient: Float[Array, " par"]
    diagonal: Float[Array, " par"]
    rows: Float[Array, "row par"]
    weight: Float[Array, " row"]
    bend: Float[Array, "par par"]

    @property
    def curvature(self) -> Float[Array, "par par"]:
        """The curvature as a matrix."""
        return self.rows.T @ (self.weight[:, None] * self.rows) + jnp.diag(
            self.diagonal
        )

    @property
    def hessian(self) -> Float[Array, "par par"]:
        """The Hessian, if the bend was asked for."""
        return self.curvature + self.bend


class Scoring(NamedTuple):
    """What a step of Fisher's scoring needs, at one point.

    Attributes:
        value: twice_nll.
        gradient: its first derivative.
        curvature: a positive semi-definite matrix close to its second derivative.
    """

    value: Scalar
    gradient: Float[Array, " par"]
    curvature: Float[Array, "par par"]


class AbstractLikelihood(eqx.Module):
    """A statistical model: parameters, -2 ln L, expected data.

    `data` is whatever the model calls a data set, constraint (auxiliary) measurements
    included; it is an argument of every method and never part of the model.
    """

    parameters: eqx.AbstractVar[Parameters]

    def settled(self) -> Self:
        """The same model with everything computed that only depends on the model.

        Fits evaluate the likelihood at many points; what is the same at all of them is
        then computed once.
        """
        return self

    @abc.abstractmethod
    def twice_nll(self, params: Float[Array, " par"], data: PyTree) -> Scalar:
        """-2 ln L of `data` at `params`; nan or inf outside the model's domain."""

    @abc.abstractmethod
    def expected_data(self, params: Float[Array, " par"]) -> PyTree:
        """The Asimov data set: the data whose fit returns `params`."""

    @abc.abstractmethod
    def sample(self, params: Float[Array, " par"], key: PRNGKeyArray) -> PyTree:
        """One pseudo-experiment drawn at `params`."""

    def samples(
        self, params: Float[Array, "*toy par"], n_toys: int, seed: int
    ) -> PyTree[Array]:
        """Pseudo-experiments drawn at `params`, one per entry of the leading axis.

        Not to be called under `jit`: a model may draw on the host.

        Args:
            params: parameters that generate the data, the same for all of them or one
                row for each.
            n_toys: how many.
            seed: of the random numbers; equal seeds give equal data.
        """
        keys = jax.random.split(jax.random.key(seed), n_toys)
        each = jnp.broadcast_to(params, (n_toys, len(self.parameters)))
        return jax.vmap(self.sample)(each, keys)

    def twice_nll_table(
        self, points: Float[Array, "point par"], data: PyTree[Array]
    ) -> Float[Array, "toy point"]:
        """-2 ln L of every data set at every point.

        Args:
            points: parameters.
            data: data sets, one per entry of the leading axis.
        """
        at_points = jax.vmap(self.twice_nll, in_axes=(0, None))
        return jax.vmap(at_points, in_axes=(None, 0))(points, data)

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

    def scoring(self, params: Float[Array, " par"], data: PyTree) -> Scoring:
        """Value, gradient and curvature in one go."""
        return Scoring(
            self.twice_nll(params, data),
            self.gradient(params, data),
            self.curvature(params, data),
        )

    def expansion(
        self,
        params: Float[Array, " par"],
        data: PyTree,
        *,
        exact: bool | Bool[Array, ""] = True,
    ) -> Expansion:
        """Value and derivatives of twice_nll in one go.

        Args:
            params: where.
            data: the data set.
            exact: whether the bend is wanted.
        """
        curvature = self.curvature(params, data)
        weight, directions = jnp.linalg.eigh(curvature)
        return Expansion(
            value=self.twice_nll(params, data),
            gradient=self.gradient(params, data),
            diagonal=jnp.zeros_like(params),
            rows=directions.T,
            weight=jnp.maximum(weight, 0.0),
            bend=jnp.where(exact, self.hessian(params, data) - curvature, 0.0),
        )
