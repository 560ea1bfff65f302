"""Losses about nuisance parameters with a constraint.

Both are in units of the width of the constraint: the uncertainty of the auxiliary
measurement, which for the γ of a `staterror` or a `shapesys` follows from the
templates. Parameters that are held do not count, those of empty bins among them.
"""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Scalar

from diffana.infer import nominal, uncertainty
from diffana.losses.ingredients import Hypotheses, Needs
from diffana.losses.loss import AbstractLoss
from diffana.losses.selection import constrained


@final
class Constraint(AbstractLoss):
    """How far the data are expected to over- or under-constrain nuisance parameters.

    The sum of (1 - σ/σ_c)² over nuisance parameters, where σ is the uncertainty from
    the Fisher information and σ_c the width of the constraint. On Asimov data σ is
    never above σ_c for a Gaussian constraint.

    Attributes:
        poi: true value of the parameter of interest.
        parameters: names of the parameters that count; all constrained ones if empty.

    Source: Simpson, PhD thesis (2023), section 7.4.
    """

    poi: float = eqx.field(static=True, default=1.0)
    parameters: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def needs(self) -> Needs:
        """The information at the true parameters; no fit."""
        return Needs(fisher=(self.poi,))

    def value(self, likelihood, scores, found) -> Scalar:
        """The sum of squares."""
        chosen, width = constrained(self.parameters, likelihood)
        sigma = uncertainty(found.fisher[self.poi].covariance)[chosen]
        held = likelihood.parameters.fixed[chosen]
        return jnp.sum(jnp.where(held, 0.0, (1 - sigma / width) ** 2))


@final
class Pulls(AbstractLoss):
    """Squared pulls of nuisance parameters when a wrong signal strength is assumed.

    The sum of ((θ̂ - θ₀)/σ_c)², where θ̂ comes from the fit with the parameter of
    interest held at `poi_test` to the Asimov data of `poi_true`, θ₀ generates the data,
    and σ_c is the width of the constraint. The fit with a free parameter of interest
    has no pulls on Asimov data. The defaults share their fit with `P0`: how much the
    nuisance parameters can imitate a signal. A parameter at its bound counts with its
    value there, which does not move.

    Attributes:
        poi_true: value of the parameter of interest that generates the data.
        poi_test: value at which the fit holds it.
        parameters: names of the parameters that count; all constrained ones if empty.

    Source: Simpson, PhD thesis (2023), section 7.5, without a formula.
    """

    poi_true: float = eqx.field(static=True, default=1.0)
    poi_test: float = eqx.field(static=True, default=0.0)
    parameters: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def _test(self) -> Hypotheses:
        return Hypotheses(self.poi_true, self.poi_test)

    @property
    def needs(self) -> Needs:
        """The conditional fit."""
        return Needs(tests=(self._test,))

    def value(self, likelihood, scores, found) -> Scalar:
        """The sum of squares."""
        chosen, width = constrained(self.parameters, likelihood)
        shift = found.tests[self._test].fit.bestfit - nominal(likelihood, self.poi_true)
        held = likelihood.parameters.fixed[chosen]
        pull = jnp.where(held, 0.0, shift[chosen] / width)
        return jnp.sum(pull**2)
