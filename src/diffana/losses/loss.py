"""What every loss is, and sums of them."""

import abc
from collections.abc import Iterable, Mapping
from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike, Scalar

from diffana.errors import RESULTS
from diffana.fit import Minimiser
from diffana.likelihood import AbstractLikelihood
from diffana.losses.ingredients import Ingredients, Needs, gather
from diffana.losses.scores import Scores


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
    def needs(self) -> Needs:
        """The fits and matrices that this loss is computed from."""

    @abc.abstractmethod
    def value(
        self,
        likelihood: AbstractLikelihood,
        scores: tuple[Scores, ...],
        found: Ingredients,
    ) -> Scalar:
        """The loss, given what it asked for.

        Args:
            likelihood: the model built from the current templates.
            scores: output of the observable for every population of events.
            found: at least everything in `needs`.
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
        found = gather(likelihood, self.needs, minimiser)
        return self.judge(likelihood, scores, found)

    def judge(
        self,
        likelihood: AbstractLikelihood,
        scores: tuple[Scores, ...],
        found: Ingredients,
    ) -> LossValue:
        """The loss from its ingredients, nan unless all that it asked for succeeded."""
        result = found.result(self.needs)
        value = self.value(likelihood, scores, found)
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


def evaluate_all(
    losses: Mapping[str, AbstractLoss],
    likelihood: AbstractLikelihood,
    scores: tuple[Scores, ...] = (),
    *,
    minimiser: Minimiser | None = None,
) -> dict[str, LossValue]:
    """Several losses of the same likelihood, which share what they need.

    Args:
        losses: the losses by name.
        likelihood: the model built from the current templates.
        scores: output of the observable, for losses of classification.
        minimiser: settings of the fits.

    Example:
        >>> metrics = {"cls": Cls(log=False), "sigma_mu": SigmaMu()}
        >>> evaluate_all(metrics, likelihood)["cls"].value
    """
    found = gather(likelihood, united(losses.values()), minimiser)
    return {
        name: loss.judge(likelihood, scores, found) for name, loss in losses.items()
    }


def united(losses: Iterable[AbstractLoss]) -> Needs:
    """What several losses need together."""
    needs = Needs()
    for loss in losses:
        needs |= loss.needs
    return needs


@final
class WeightedSum(AbstractLoss):
    """Sum of losses times factors; what several terms need is computed once."""

    terms: tuple[AbstractLoss, ...]
    factors: tuple[ArrayLike, ...]

    @property
    def needs(self) -> Needs:
        """What all terms need together."""
        return united(self.terms)

    def value(self, likelihood, scores, found) -> Scalar:
        """The weighted sum of the terms."""
        values = [
            factor * term.value(likelihood, scores, found)
            for factor, term in zip(self.factors, self.terms, strict=True)
        ]
        return jnp.sum(jnp.stack(values))
