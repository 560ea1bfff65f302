"""What every focus function can do."""

import abc

import equinox as eqx
from jaxtyping import Array, Float, Scalar


class AbstractFocus(eqx.Module):
    """A probability distribution over the parameter of interest."""

    @property
    @abc.abstractmethod
    def support(self) -> tuple[Scalar, Scalar]:
        """Lower and upper end of the values with probability; may be infinite."""

    @abc.abstractmethod
    def log_weights(
        self,
        grid_points: Float[Array, " point"],
        log_quadrature: Float[Array, " point"],
    ) -> Float[Array, " point"]:
        """Logarithm of the probability that each grid point stands for.

        It is not normalised: a sum of probabilities away from 1 tells that the grid is
        too narrow or too coarse.

        Args:
            grid_points: increasing values of the parameter.
            log_quadrature: logarithm of the weight of each in an integral over the
                parameter; -∞ is allowed.
        """

    @abc.abstractmethod
    def bulk(self, tail: float) -> tuple[float, float]:
        """Finite ends of an interval outside which is at most the probability `tail`.

        Not traceable. Users call `effective_support`.
        """


class AbstractDensity(AbstractFocus):
    """A focus with a probability density."""

    @abc.abstractmethod
    def log_density(self, mu: Float[Array, " point"]) -> Float[Array, " point"]:
        """Logarithm of the density, which integrates to 1; -∞ outside the support."""

    def log_weights(
        self,
        grid_points: Float[Array, " point"],
        log_quadrature: Float[Array, " point"],
    ) -> Float[Array, " point"]:
        """Logarithm of density times weight of the quadrature, at each point.

        See `AbstractFocus.log_weights`.
        """
        return self.log_density(grid_points) + log_quadrature


def effective_support(focus: AbstractFocus, tail: float = 1e-10) -> tuple[float, float]:
    """Finite ends of an interval that holds all but `tail` of the probability.

    For the choice of a grid; not traceable.

    Args:
        focus: with known parameters.
        tail: largest probability outside the interval, > 0 and < 1.

    Raises:
        ValueError: if `tail` is not as said.

    Example:
        >>> effective_support(Uniform(0.0, 5.0))
        (0.0, 5.0)
        >>> [round(end, 3) for end in effective_support(Normal(0, 1, lower=-2), 0.01)]
        [-2.0, 2.584]
    """
    if not 0 < tail < 1:
        raise ValueError(f"tail probability {tail} is not between 0 and 1")
    return focus.bulk(tail)
