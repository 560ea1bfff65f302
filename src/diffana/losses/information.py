"""Losses that are functions of the Fisher information."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Scalar

from diffana.likelihood import AbstractLikelihood
from diffana.losses.ingredients import Fisher, Needs
from diffana.losses.loss import AbstractLoss
from diffana.losses.selection import positions
from diffana.numerics import safe_sqrt


@final
class SigmaMu(AbstractLoss):
    """Expected uncertainty of the parameter of interest, from the Fisher information.

    Attributes:
        poi: true value of the parameter of interest.
        log: whether the value is ln sigma rather than sigma.

    Source: de Castro and Dorigo, arXiv:1806.04743, section 3.
    """

    poi: float = eqx.field(static=True, default=1.0)
    log: bool = eqx.field(static=True, default=False)

    @property
    def needs(self) -> Needs:
        """The information at the true parameters; no fit."""
        return Needs(fisher=(self.poi,))

    def value(self, likelihood, scores, found) -> Scalar:
        """Sigma of the parameter of interest, or its logarithm."""
        index = likelihood.parameters.poi_index
        variance = found.fisher[self.poi].covariance[index, index]
        return 0.5 * jnp.log(variance) if self.log else safe_sqrt(variance)


@final
class LogGeneralisedVariance(AbstractLoss):
    """Logarithm of the determinant of the covariance of some or all parameters.

    Attributes:
        poi: true value of the parameter of interest.
        parameters: names of the parameters whose joint confidence region is to be
            small; every free parameter if empty. Those left out are profiled.

    Source: Wilks, Biometrika 24 (1932) 471; D-optimality of experimental design.
    """

    poi: float = eqx.field(static=True, default=1.0)
    parameters: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def needs(self) -> Needs:
        """The information at the true parameters; no fit."""
        return Needs(fisher=(self.poi,))

    def value(self, likelihood, scores, found) -> Scalar:
        """Ln det of the covariance."""
        return _log_determinant(likelihood, found.fisher[self.poi], self.parameters)


@final
class GeneralisedVariance(AbstractLoss):
    """Determinant of the covariance, whose logarithm is `LogGeneralisedVariance`.

    It overflows or underflows with many parameters; for mixtures in which the
    determinant itself is to count.

    Attributes:
        poi: true value of the parameter of interest.
        parameters: as in `LogGeneralisedVariance`.

    Source: Simpson, PhD thesis (2023), section 7.5.
    """

    poi: float = eqx.field(static=True, default=1.0)
    parameters: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def needs(self) -> Needs:
        """The information at the true parameters; no fit."""
        return Needs(fisher=(self.poi,))

    def value(self, likelihood, scores, found) -> Scalar:
        """Determinant of the covariance."""
        fisher = found.fisher[self.poi]
        return jnp.exp(_log_determinant(likelihood, fisher, self.parameters))


@final
class TotalVariance(AbstractLoss):
    """Sum of the variances of some or all parameters, each in its own unit squared.

    The trace of the covariance, or the sum of chosen diagonal elements.

    Attributes:
        poi: true value of the parameter of interest.
        parameters: names of the parameters to measure well; all of them if empty.

    Source: A-optimality of experimental design.
    """

    poi: float = eqx.field(static=True, default=1.0)
    parameters: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def needs(self) -> Needs:
        """The information at the true parameters; no fit."""
        return Needs(fisher=(self.poi,))

    def value(self, likelihood, scores, found) -> Scalar:
        """Trace of the covariance."""
        chosen = jnp.array(positions(self.parameters, likelihood.parameters.names))
        return jnp.sum(jnp.diagonal(found.fisher[self.poi].covariance)[chosen])


def _log_determinant(
    likelihood: AbstractLikelihood, fisher: Fisher, wanted: tuple[str, ...]
) -> Scalar:
    known = likelihood.parameters
    chosen = jnp.array(positions(wanted, known.names))
    matrix = fisher.covariance[jnp.ix_(chosen, chosen)]
    held = known.fixed[chosen]
    return jnp.linalg.slogdet(matrix + jnp.diag(jnp.where(held, 1.0, 0.0)))[1]
