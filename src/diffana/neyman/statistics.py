"""Test statistics of a value of the parameter of interest.

Both are twice a logarithm of a likelihood ratio, and large where the data speak against
the tested value.
"""

import abc
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffana.neyman.curves import Curves
from diffana.neyman.focus import AbstractFocus
from diffana.neyman.grid import Grid


# By how much the sum over a grid may differ from the integral of a focus: a focus that
# ends between two points, or outside the grid, is normalised again.
_LOST = 1e-2


class AbstractStatistic(eqx.Module):
    """What orders data sets when a value of the parameter of interest is tested."""

    @abc.abstractmethod
    def __call__(self, curves: Curves, grid: Grid) -> Float[Array, "toy grid"]:
        """The statistic of every data set at every tested value.

        inf where the data are impossible at the tested value, nan where a fit behind it
        is not certified.
        """


@final
class LRS(AbstractStatistic):
    """Likelihood-ratio statistic, -2 ln of L(mu) / sup L.

    The supremum is over the range of the grid. With the critical values of a Neyman
    construction these are the intervals of Feldman and Cousins.

    Source: Feldman, Cousins, Phys. Rev. D 57 (1998) 3873.
    """

    def __call__(self, curves: Curves, grid: Grid) -> Float[Array, "toy grid"]:
        """The statistic of every data set at every tested value, >= 0."""
        ratio = -2 * (curves.numerator - curves.highest[:, None])
        return jnp.maximum(ratio, 0.0)


@final
class FTS(AbstractStatistic):
    """Focused test statistic, -2 ln of L(mu) / ∫ L(m) f(m) dm.

    Among all tests of given coverage it makes the intervals whose expected length,
    averaged over true values that are distributed as f, is smallest, if the likelihood
    is exact and has no nuisance parameters.

    Attributes:
        focus: the focus function f.

    Source: Carzon, Ghosh, Izbicki, Lee, Masserano, Whiteson, arXiv:2507.17831; for the
    mean of a normal distribution Pratt, J. Am. Stat. Assoc. 56 (1961) 549.

    Example:
        >>> FTS(Normal(1.0, 0.5, lower=0.0))
    """

    focus: AbstractFocus

    def log_weights(self, grid: Grid) -> Float[Array, " grid"]:
        """Logarithm of the probability that the focus gives each point of the grid.

        The probabilities sum up to 1 exactly, so that exp(FTS / 2) is on average 1 at
        most, whatever the step of the grid.
        """
        log_weight = self.focus.log_weights(grid.points, grid.log_quadrature)
        return log_weight - jax.scipy.special.logsumexp(log_weight)

    def check(self, grid: Grid) -> None:
        """Refuse a grid that does not hold the focus, or is coarser than it.

        Raises:
            ValueError: naming how much of the focus is lost. A focus that shall end at
                a physical boundary has to be truncated there.
        """
        log_weight = self.focus.log_weights(grid.points, grid.log_quadrature)
        total = float(jnp.exp(jax.scipy.special.logsumexp(log_weight)))
        if not abs(total - 1) <= _LOST:
            raise ValueError(
                f"the focus sums up to {total:.4g} on the grid from "
                f"{float(grid.points[0]):g} to {float(grid.points[-1]):g} in steps of "
                f"{float(grid.step):.3g}: truncate it, or widen or refine the grid"
            )

    def __call__(self, curves: Curves, grid: Grid) -> Float[Array, "toy grid"]:
        """The statistic of every data set at every tested value."""
        weighted = curves.denominator + self.log_weights(grid)[None]
        average = jax.scipy.special.logsumexp(weighted, axis=1)
        # Data that are impossible everywhere in the focus speak against nothing.
        return -2 * (curves.numerator - average[:, None])
