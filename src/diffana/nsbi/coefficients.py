"""How much of each component an intensity holds, as a function of the parameters.

The intensity of events is a sum over components, each a fixed shape times a number that
depends on the parameters. That number may be negative: an interference term is no
process of its own, and only the sum of all components has to be positive.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Scalar

from diffana.errors import SpecificationError


class AbstractCoefficients(eqx.Module):
    """Coefficients of components."""

    @property
    @abc.abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters they depend on."""

    @property
    @abc.abstractmethod
    def n_components(self) -> int:
        """How many there are."""

    @abc.abstractmethod
    def __call__(self, values: Mapping[str, Scalar]) -> Float[Array, " component"]:
        """The coefficients, of any sign.

        Args:
            values: value of each parameter by name; others may be among them.
        """


@final
class Products(AbstractCoefficients):
    """Each component is scaled by a product of parameters.

    The norm factors of HistFactory.

    Attributes:
        factors: for every component the names of its factors; none for a coefficient
            of 1.

    Example:
        >>> scaled = Products((("mu",), ()))
        >>> scaled({"mu": jnp.array(2.0)}).tolist()
        [2.0, 1.0]
    """

    factors: tuple[tuple[str, ...], ...] = eqx.field(static=True)

    @property
    def parameters(self) -> tuple[str, ...]:
        """All factors."""
        return tuple(dict.fromkeys(name for row in self.factors for name in row))

    @property
    def n_components(self) -> int:
        """One for each entry of `factors`."""
        return len(self.factors)

    def __call__(self, values: Mapping[str, Scalar]) -> Float[Array, " component"]:
        """The products."""
        rows = [[values[name] for name in row] for row in self.factors]
        return jnp.stack(
            [jnp.prod(jnp.stack(row)) if row else jnp.ones(()) for row in rows]
        )


@final
class Interference(AbstractCoefficients):
    """A signal that interferes with its background, in three components.

    In the order signal alone, signal with background at nominal strength, background
    alone, the coefficients are μ - √μ, √μ and 1 - √μ. The parameter is √μ, the scale of
    the amplitude: the derivative with respect to μ itself diverges at μ = 0, where
    tests of the background are made.

    Attributes:
        amplitude: name of the parameter √μ.

    Source: ATLAS, arXiv:2412.01600, section 3.

    Example:
        >>> mixed = Interference("sqrt_mu")
        >>> mixed({"sqrt_mu": jnp.array(0.5)}).tolist()
        [-0.25, 0.5, 0.5]
    """

    amplitude: str = eqx.field(static=True)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The amplitude."""
        return (self.amplitude,)

    @property
    def n_components(self) -> int:
        """Signal, both, background."""
        return 3

    def __call__(self, values: Mapping[str, Scalar]) -> Float[Array, " component"]:
        """The coefficients in the order signal, both, background."""
        scale = values[self.amplitude]
        return jnp.stack([scale * (scale - 1.0), scale, 1.0 - scale])


@final
class Morphing(AbstractCoefficients):
    """Components are the process at chosen values of its couplings.

    The intensity is a polynomial in the couplings, Σ_c m_c(θ) h_c(x) with known
    monomials m_c. Simulated at as many points θ_b as there are monomials, it follows
    everywhere: the coefficient of point b is Σ_c m_c(θ) [M⁻¹]_cb with M_bc = m_c(θ_b).
    With more points than monomials the least-norm solution is taken.

    Attributes:
        couplings: names of the parameters.
        powers: power of each coupling in each monomial.
        weights: M⁻¹.

    Source: Brehmer, Kling, Espejo, Cranmer, arXiv:1907.10621, section 2.1.

    Example:
        >>> kappa = Morphing.through(
        ...     ("kappa",), powers=[[0], [1], [2]], points=[[0.0], [1.0], [5.0]]
        ... )
        >>> kappa({"kappa": jnp.array(1.0)}).round(12).tolist()
        [0.0, 1.0, 0.0]
    """

    couplings: tuple[str, ...] = eqx.field(static=True)
    powers: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    weights: Float[Array, "monomial point"]

    @classmethod
    def through(
        cls,
        couplings: Sequence[str],
        *,
        powers: Sequence[Sequence[int]],
        points: Float[ArrayLike, "point coupling"],
        largest_condition: float = 1e10,
    ) -> "Morphing":
        """Morphing through simulated points.

        Args:
            couplings: names of the parameters.
            powers: power of each coupling in each monomial, >= 0.
            points: values of the couplings at which the process is simulated.
            largest_condition: largest condition number of the matrix of monomials that
                is accepted. Sixteen digits less its logarithm are left.

        Raises:
            SpecificationError: if a shape does not fit, or the points do not determine
                the polynomial.
        """
        rows = tuple(tuple(int(power) for power in row) for row in powers)
        at = np.asarray(points, float)
        if at.ndim != 2 or at.shape[1] != len(couplings):
            raise SpecificationError(
                f"morphing: points have shape {at.shape}, but there are "
                f"{len(couplings)} couplings"
            )
        if any(len(row) != len(couplings) for row in rows):
            raise SpecificationError("morphing: a monomial needs a power per coupling")
        matrix = np.prod(at[:, None, :] ** np.asarray(rows)[None], axis=2)
        if len(at) < len(rows):
            raise SpecificationError(
                f"morphing: {len(rows)} monomials need as many points, not {len(at)}"
            )
        condition = float(np.linalg.cond(matrix))
        if not condition < largest_condition:
            raise SpecificationError(
                "morphing: the points do not determine the polynomial: condition "
                f"number {condition:.2g}"
            )
        return cls(tuple(couplings), rows, jnp.asarray(np.linalg.pinv(matrix)))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The couplings."""
        return self.couplings

    @property
    def n_components(self) -> int:
        """One for each point."""
        return self.weights.shape[1]

    def __call__(self, values: Mapping[str, Scalar]) -> Float[Array, " component"]:
        """The coefficient of each point."""
        theta = jnp.stack([values[name] for name in self.couplings])
        # Integer powers by multiplication: 0**0 is 1, with derivatives.
        monomials = jnp.stack(
            [
                jnp.prod(jnp.stack([theta[i] ** n for i, n in enumerate(row)]))
                for row in self.powers
            ]
        )
        return monomials @ self.weights


@final
class Stacked(AbstractCoefficients):
    """Several groups of components, one after the other.

    Attributes:
        parts: coefficients of each group.

    Example:
        >>> both = Stacked((Interference("sqrt_mu"), Products(((),))))
        >>> both.n_components, both.parameters
        (4, ('sqrt_mu',))
    """

    parts: tuple[AbstractCoefficients, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Those of all groups."""
        names = (name for part in self.parts for name in part.parameters)
        return tuple(dict.fromkeys(names))

    @property
    def n_components(self) -> int:
        """Those of all groups."""
        return sum(part.n_components for part in self.parts)

    def __call__(self, values: Mapping[str, Scalar]) -> Float[Array, " component"]:
        """The coefficients of all groups."""
        return jnp.concatenate([part(values) for part in self.parts])
