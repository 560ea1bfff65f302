"""Losses that are p-values expected from tests on Asimov data."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Scalar

from diffana.infer import expected_log_CLs, log_p0, significance
from diffana.losses.ingredients import Hypotheses, Needs
from diffana.losses.loss import AbstractLoss


@final
class Cls(AbstractLoss):
    """Median CLs expected under background only.

    Attributes:
        poi_test: signal strength to exclude, > 0.
        log: whether the value is ln CLs, which keeps its gradient over decades.

    Source: Simpson, PhD thesis (2023), section 7.3; arXiv:1007.1727, equation 65.
    """

    poi_test: float = eqx.field(static=True, default=1.0)
    log: bool = eqx.field(static=True, default=True)

    @property
    def _test(self) -> Hypotheses:
        return Hypotheses(0.0, self.poi_test)

    @property
    def needs(self) -> Needs:
        """The tested strength on background-only Asimov data."""
        return Needs(tests=(self._test,))

    def value(self, likelihood, scores, found) -> Scalar:
        """Ln CLs, or CLs."""
        log_CLs = expected_log_CLs(found.tests[self._test].q)[2]
        return log_CLs if self.log else jnp.exp(log_CLs)


@final
class P0(AbstractLoss):
    """Median discovery p-value expected for the signal.

    Attributes:
        poi_signal: true signal strength, > 0.
        log: whether the value is ln p0, which keeps its gradient over decades.

    Source: arXiv:1007.1727, equations 52 and 53.
    """

    poi_signal: float = eqx.field(static=True, default=1.0)
    log: bool = eqx.field(static=True, default=True)

    @property
    def _test(self) -> Hypotheses:
        return Hypotheses(self.poi_signal, 0.0)

    @property
    def needs(self) -> Needs:
        """No signal, on Asimov data with the signal."""
        return Needs(tests=(self._test,))

    def value(self, likelihood, scores, found) -> Scalar:
        """Ln p0, or p0."""
        value = log_p0(found.tests[self._test].q)
        return value if self.log else jnp.exp(value)


@final
class Significance(AbstractLoss):
    """Minus the median discovery significance expected for the signal, in sigma."""

    poi_signal: float = eqx.field(static=True, default=1.0)

    @property
    def _test(self) -> Hypotheses:
        return Hypotheses(self.poi_signal, 0.0)

    @property
    def needs(self) -> Needs:
        """No signal, on Asimov data with the signal."""
        return Needs(tests=(self._test,))

    def value(self, likelihood, scores, found) -> Scalar:
        """Minus Z."""
        return -significance(found.tests[self._test].q)
