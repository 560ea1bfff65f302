"""Scalar objectives of training, as values that add and scale.

A loss of the physics result is a function of the likelihood that the analysis built; a
classification loss is a function of the observable's output on the events. Both are
evaluated by `evaluate(likelihood, scores)`, so that they mix.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Scalar

from diffana.errors import RESULTS
from diffana.fit import Minimiser
from diffana.histfactory import HistFactory
from diffana.infer import (
    asimov_test,
    covariance,
    expected_log_CLs,
    fisher_information,
    log_p0,
    nominal,
    significance,
)
from diffana.infer.statistics import AsimovTest
from diffana.likelihood import AbstractLikelihood
from diffana.numerics import safe_sqrt


@final
class Scores(eqx.Module):
    """The observable's output on one population of simulated events.

    Attributes:
        logit: logarithm of the odds that an event is signal, one per event.
        weight: events at the target luminosity per simulated event; may be negative.
        is_signal: whether the population is signal.
        is_nominal: whether it is not a systematic variation.
    """

    logit: Float[Array, " event"]
    weight: Float[Array, " event"]
    is_signal: bool = eqx.field(static=True)
    is_nominal: bool = eqx.field(static=True)


class Hypotheses(NamedTuple):
    """Test of `poi_test` on the Asimov data of `poi_true`; what a loss may ask for.

    Two losses that ask for equal hypotheses share one fit.

    Attributes:
        poi_true: value of the parameter of interest that generates the data.
        poi_test: value that is tested.
    """

    poi_true: float
    poi_test: float


@final
class LossValue(eqx.Module):
    """Value of a loss, nan unless every fit behind it is certified.

    Attributes:
        value: the number to minimise.
        result: the first failure among the fits.
    """

    value: Scalar
    result: RESULTS


class AbstractLoss(eqx.Module):
    """Something to minimise. Losses add, and scale by numbers: `Cls() + 0.5 * P0()`."""

    @property
    @abc.abstractmethod
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """The tests whose fits this loss needs."""

    @abc.abstractmethod
    def value(
        self,
        likelihood: AbstractLikelihood,
        scores: tuple[Scores, ...],
        tests: Mapping[Hypotheses, AsimovTest],
    ) -> Scalar:
        """The loss, given the tests it asked for.

        Args:
            likelihood: the model built from the current templates.
            scores: output of the observable for every population of events.
            tests: one finished test for each of `hypotheses`.
        """

    def evaluate(
        self,
        likelihood: AbstractLikelihood,
        scores: tuple[Scores, ...] = (),
        *,
        minimiser: Minimiser | None = None,
    ) -> LossValue:
        """The loss and how its fits ended; each fit that it needs runs once.

        Args:
            likelihood: the model built from the current templates.
            scores: output of the observable, for losses of classification.
            minimiser: settings of the fits.
        """
        tests = asimov_tests(likelihood, self.hypotheses, minimiser)
        return self.judge(likelihood, scores, tests)

    def judge(
        self,
        likelihood: AbstractLikelihood,
        scores: tuple[Scores, ...],
        tests: Mapping[Hypotheses, AsimovTest],
    ) -> LossValue:
        """The loss from finished tests, nan unless all that it asked for succeeded."""
        result = RESULTS.successful
        for asked in self.hypotheses:
            found = tests[asked].fit.result
            result = RESULTS.where(result == RESULTS.successful, found, result)
        value = self.value(likelihood, scores, tests)
        # A value that is not finite without a failed fit comes from the information
        # matrix or from a yield: the caller must see a failure there too.
        silent = (result == RESULTS.successful) & ~jnp.isfinite(value)
        result = RESULTS.where(silent, RESULTS.undefined_loss, result)
        good = result == RESULTS.successful
        return LossValue(jnp.where(good, value, jnp.nan), result)

    def __call__(
        self, likelihood: AbstractLikelihood, scores: tuple[Scores, ...] = ()
    ) -> Scalar:
        """The loss as a number.

        Raises:
            EquinoxRuntimeError: if one of its fits is not certified.
        """
        found = self.evaluate(likelihood, scores)
        failed = found.result != RESULTS.successful
        return found.result.error_if(found.value, failed)

    def __add__(self, other: "AbstractLoss") -> "WeightedSum":
        return WeightedSum((self, other), (1.0, 1.0))

    def __rmul__(self, factor: ArrayLike) -> "WeightedSum":
        return WeightedSum((self,), (factor,))


def asimov_tests(
    likelihood: AbstractLikelihood,
    hypotheses: Sequence[Hypotheses],
    minimiser: Minimiser | None = None,
) -> dict[Hypotheses, AsimovTest]:
    """All tests in one batch of fits, each distinct one once.

    Args:
        likelihood: a statistical model with a parameter of interest.
        hypotheses: the tests wanted, possibly with repetitions.
        minimiser: settings of the fits.
    """
    distinct = tuple(dict.fromkeys(hypotheses))
    if not distinct:
        return {}

    def run(poi_true, poi_test):
        params = nominal(likelihood, poi_true)
        return asimov_test(
            likelihood, params, poi_test, minimiser=minimiser, throw=False
        )

    if len(distinct) == 1:
        # Without the batch axis the program compiles in two thirds of the time.
        return {distinct[0]: run(distinct[0].poi_true, distinct[0].poi_test)}
    tests = jax.vmap(run)(
        jnp.array([asked.poi_true for asked in distinct]),
        jnp.array([asked.poi_test for asked in distinct]),
    )
    return {
        asked: jax.tree.map(lambda leaf, i=i: leaf[i], tests)
        for i, asked in enumerate(distinct)
    }


@final
class WeightedSum(AbstractLoss):
    """Sum of losses times factors; fits that several terms need run once."""

    terms: tuple[AbstractLoss, ...]
    factors: tuple[ArrayLike, ...]

    @property
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """The tests of all terms."""
        return tuple(asked for term in self.terms for asked in term.hypotheses)

    def value(self, likelihood, scores, tests) -> Scalar:
        """The weighted sum of the terms."""
        values = [
            factor * term.value(likelihood, scores, tests)
            for factor, term in zip(self.factors, self.terms, strict=True)
        ]
        return jnp.sum(jnp.stack(values))


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
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """The tested strength on background-only Asimov data."""
        return (Hypotheses(0.0, self.poi_test),)

    def value(self, likelihood, scores, tests) -> Scalar:
        """Ln CLs, or CLs."""
        log_CLs = expected_log_CLs(tests[self.hypotheses[0]].q)[2]
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
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """No signal, on Asimov data with the signal."""
        return (Hypotheses(self.poi_signal, 0.0),)

    def value(self, likelihood, scores, tests) -> Scalar:
        """Ln p0, or p0."""
        value = log_p0(tests[self.hypotheses[0]].q)
        return value if self.log else jnp.exp(value)


@final
class Significance(AbstractLoss):
    """Minus the median discovery significance expected for the signal, in sigma."""

    poi_signal: float = eqx.field(static=True, default=1.0)

    @property
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """No signal, on Asimov data with the signal."""
        return (Hypotheses(self.poi_signal, 0.0),)

    def value(self, likelihood, scores, tests) -> Scalar:
        """Minus Z."""
        return -significance(tests[self.hypotheses[0]].q)


def _free_covariance(
    likelihood: AbstractLikelihood, poi: float
) -> Float[Array, "par par"]:
    information = fisher_information(likelihood, nominal(likelihood, poi))
    return covariance(information, ~likelihood.parameters.fixed)


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
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """None: the Asimov data are generated at their own minimum."""
        return ()

    def value(self, likelihood, scores, tests) -> Scalar:
        """Sigma of the parameter of interest, or its logarithm."""
        index = likelihood.parameters.poi_index
        variance = _free_covariance(likelihood, self.poi)[index, index]
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
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """None: the Asimov data are generated at their own minimum."""
        return ()

    def value(self, likelihood, scores, tests) -> Scalar:
        """Ln det of the covariance."""
        known = likelihood.parameters
        chosen = _chosen(self.parameters, known.names)
        matrix = _free_covariance(likelihood, self.poi)[jnp.ix_(chosen, chosen)]
        held = known.fixed[chosen]
        return jnp.linalg.slogdet(matrix + jnp.diag(jnp.where(held, 1.0, 0.0)))[1]


@final
class TotalVariance(AbstractLoss):
    """Sum of the variances of some or all parameters, each in its own unit squared.

    Attributes:
        poi: true value of the parameter of interest.
        parameters: names of the parameters to measure well; all of them if empty.

    Source: A-optimality of experimental design.
    """

    poi: float = eqx.field(static=True, default=1.0)
    parameters: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """None: the Asimov data are generated at their own minimum."""
        return ()

    def value(self, likelihood, scores, tests) -> Scalar:
        """Trace of the covariance."""
        chosen = _chosen(self.parameters, likelihood.parameters.names)
        return jnp.sum(jnp.diagonal(_free_covariance(likelihood, self.poi))[chosen])


def _chosen(wanted: tuple[str, ...], names: tuple[str, ...]) -> Array:
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"no parameter {unknown[0]!r}; there are {', '.join(names)}")
    return jnp.array([names.index(name) for name in wanted or names])


@final
class AsimovSignificance(AbstractLoss):
    """Minus the counting significance Z_A of all bins, without any uncertainty.

    Source: arXiv:1007.1727, equation 97, summed over bins in quadrature.
    """

    @property
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """None: nothing is fitted."""
        return ()

    def value(self, likelihood, scores, tests) -> Scalar:
        """Minus Z_A."""
        if not isinstance(likelihood, HistFactory):
            raise ValueError("the counting significance needs a binned likelihood")
        b = likelihood.expected_actualdata(nominal(likelihood, 0.0))
        s = likelihood.expected_actualdata(nominal(likelihood, 1.0)) - b
        # An empty background with signal in it has no finite significance; nan there
        # keeps the optimiser from hiding the signal in empty bins.
        ratio = s / jnp.where(b > 0, b, jnp.where(s == 0, 1.0, jnp.nan))
        return -safe_sqrt(2 * jnp.sum((s + b) * jnp.log1p(ratio) - s))


@final
class EmptyBins(AbstractLoss):
    """Penalty on bins whose background rests on too few simulated events.

    The sum over bins of max(0, r - threshold)^2, where r is the relative statistical
    uncertainty of the background yield, from the `staterror` of the samples that the
    parameter of interest does not scale. Added to a p-value, it keeps the optimiser
    from moving signal into bins that no background event happens to reach.

    Attributes:
        threshold: relative uncertainty that costs nothing, > 0; 0.3 is about eleven
            events of equal weight.
    """

    threshold: float = eqx.field(static=True, default=0.3)

    @property
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """None: nothing is fitted."""
        return ()

    def value(self, likelihood, scores, tests) -> Scalar:
        """The penalty; inf where a bin has no background at all."""
        if not isinstance(likelihood, HistFactory):
            raise ValueError("only a binned likelihood has bins that can be empty")
        layout, templates = likelihood.layout, likelihood.templates
        poi = likelihood.parameters.poi
        mask = np.zeros(len(layout.cell_bin), bool)
        for row in layout.rows:
            if poi not in {modifier.name for modifier in row.modifiers}:
                mask[row.start : row.stop] = True
        is_background = jnp.asarray(mask)
        bins = layout.n_bins
        yields = jnp.where(is_background, templates.nominal, 0.0)
        background = jax.ops.segment_sum(yields, layout.cell_bin, bins)
        cell = layout.staterror_cell
        squares = jnp.where(is_background[cell], templates.staterror**2, 0.0)
        variance = jax.ops.segment_sum(squares, layout.cell_bin[cell], bins)
        filled = background > 0
        relative = safe_sqrt(variance) / jnp.where(filled, background, 1.0)
        excess = jnp.maximum(relative - self.threshold, 0.0)
        return jnp.sum(jnp.where(filled, excess, jnp.inf) ** 2)


@final
class BinaryCrossEntropy(AbstractLoss):
    """Binary cross-entropy of signal against background, both with equal total weight.

    Attributes:
        augmented: whether systematic variations of the background count as background
            too, each with the weights of its own events. Variations of the signal then
            count as signal.
    """

    augmented: bool = eqx.field(static=True, default=False)

    @property
    def hypotheses(self) -> tuple[Hypotheses, ...]:
        """None: nothing is fitted."""
        return ()

    def value(self, likelihood, scores, tests) -> Scalar:
        """Mean of the two classes' mean -ln(probability of the true class)."""
        used = [score for score in scores if score.is_nominal or self.augmented]
        classes = [
            _class_entropy([score for score in used if score.is_signal is is_signal])
            for is_signal in (True, False)
        ]
        return 0.5 * (classes[0] + classes[1])


def _class_entropy(scores: list[Scores]) -> Scalar:
    """Weighted mean of -ln p over the populations of one class."""
    if not scores:
        raise ValueError("cross-entropy needs both signal and background events")
    total = jnp.zeros(())
    weight = jnp.zeros(())
    for score in scores:
        sign = -1.0 if score.is_signal else 1.0
        logit = score.logit.astype(float)
        total += jnp.sum(score.weight * jax.nn.softplus(sign * logit))
        weight += jnp.sum(score.weight)
    return total / weight
