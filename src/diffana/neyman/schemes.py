"""Which values of the nuisance parameters generate the toys of a belt."""

import abc
from typing import final

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int


class AbstractScheme(eqx.Module):
    """Where toys come from, and what the critical values then guarantee."""

    @property
    @abc.abstractmethod
    def guarantee(self) -> str:
        """What is known about the coverage of critical values from such toys."""

    @abc.abstractmethod
    def params(
        self, at: Int[np.ndarray, " toy"], rng: np.random.Generator
    ) -> Float[np.ndarray, "toy par"]:
        """Parameters that generate toys of tested values.

        Args:
            at: which tested value each toy belongs to.
            rng: source of random numbers.
        """


@final
class Direct(AbstractScheme):
    """Toys of a model without nuisance parameters.

    Attributes:
        params_of: all parameters at each tested value.
    """

    params_of: Float[np.ndarray, "point par"]

    @property
    def guarantee(self) -> str:
        """At every tested value, for the toys of this scheme."""
        return "coverage at every tested value that has toys"

    def params(
        self, at: Int[np.ndarray, " toy"], rng: np.random.Generator
    ) -> Float[np.ndarray, "toy par"]:
        """The parameters at the tested values."""
        return self.params_of[at]


@final
class Plugin(AbstractScheme):
    """Toys at each tested value with the nuisance parameters fitted there.

    Attributes:
        fitted: all parameters at each tested value, conditional fits to the data.

    Source: Cranmer, PHYSTAT 2005, section 4.4; Chuang, Lai, Stat. Sinica 10 (2000) 1.
    """

    fitted: Float[np.ndarray, "point par"]

    @property
    def guarantee(self) -> str:
        """At every tested value, for the toys of this scheme."""
        return "coverage at the nuisance parameters fitted to the data"

    def params(
        self, at: Int[np.ndarray, " toy"], rng: np.random.Generator
    ) -> Float[np.ndarray, "toy par"]:
        """The fitted parameters."""
        return self.fitted[at]


@final
class Conditional(AbstractScheme):
    """Toys all over a region of the nuisance parameters, for the worst case in it.

    The region is an ellipsoid around the conditional fits, in which the nuisance
    parameters lie with a probability of 1 - beta if the fits are normal. Critical
    values at a level raised by beta, at their largest in the region, then cover at
    every value of the nuisance parameters.

    Attributes:
        fitted: as in `Plugin`.
        root: matrix that takes a unit ball to the ellipsoid; rows of parameters without
            freedom are zero.
        lower: bounds of all parameters.
        upper: bounds of all parameters.
        beta: probability outside the region, as an amount by which levels are raised.

    Source: Berger, Boos, J. Am. Stat. Assoc. 89 (1994) 1012.
    """

    fitted: Float[np.ndarray, "point par"]
    root: Float[np.ndarray, "par direction"]
    lower: Float[np.ndarray, " par"]
    upper: Float[np.ndarray, " par"]
    beta: float

    @property
    def guarantee(self) -> str:
        """At every tested value, for the toys of this scheme."""
        return "coverage at all nuisance parameters in a region of the data's"

    def directions(
        self, n_toys: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "toy direction"]:
        """Points spread evenly over the unit ball."""
        n = self.root.shape[1]
        normal = rng.standard_normal((n_toys, n))
        radius = rng.uniform(size=(n_toys, 1)) ** (1 / n)
        return radius * normal / np.linalg.norm(normal, axis=1, keepdims=True)

    def at_directions(
        self, at: Int[np.ndarray, " toy"], ball: Float[np.ndarray, "toy direction"]
    ) -> Float[np.ndarray, "toy par"]:
        """Parameters at points of the unit ball."""
        return np.clip(self.fitted[at] + ball @ self.root.T, self.lower, self.upper)

    def params(
        self, at: Int[np.ndarray, " toy"], rng: np.random.Generator
    ) -> Float[np.ndarray, "toy par"]:
        """Parameters spread over the region."""
        return self.at_directions(at, self.directions(at.size, rng))


@final
class Average(AbstractScheme):
    """Toys with nuisance parameters drawn from a prior.

    Attributes:
        prior: points of equal probability, all parameters; that of interest is
            replaced.
        poi: the tested values.
        poi_index: position of the parameter of interest.
    """

    prior: Float[np.ndarray, "draw par"]
    poi: Float[np.ndarray, " point"]
    poi_index: int

    @property
    def guarantee(self) -> str:
        """At every tested value, for the toys of this scheme."""
        return "coverage on average over the prior of the nuisance parameters only"

    def params(
        self, at: Int[np.ndarray, " toy"], rng: np.random.Generator
    ) -> Float[np.ndarray, "toy par"]:
        """Parameters drawn from the prior."""
        chosen = self.prior[rng.integers(self.prior.shape[0], size=at.size)].copy()
        chosen[:, self.poi_index] = self.poi[at]
        return chosen
